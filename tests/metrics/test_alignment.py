"""Alignment with human labels: 1 for cluster ids, chance for shuffled ones."""

import pytest
import torch

from interpreto.concepts import KMeansConcepts, NeuronsAsConcepts
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.errors import InputError, OptionError
from interpreto.metrics import HumanAlignment, surface_label
from tests.tiny import CLASSIFIERS, SENTENCES


@pytest.fixture
def clustered():
    generator = torch.Generator().manual_seed(0)
    owners = torch.arange(200) % 5
    rows = 10 * torch.eye(5, 6)[owners] + 0.1 * torch.randn(200, 6, generator=generator)
    return KMeansConcepts(None, nb_concepts=5).fit(rows), rows


def ids(explainer, rows):
    return [f"cluster {k}" for k in explainer.encode_activations(rows).argmax(1).tolist()]


def test_labels_that_are_clusters(clustered):
    explainer, rows = clustered
    result = HumanAlignment(explainer).run(rows, ids(explainer, rows))
    assert result.score == 1.0 and result.details["control"] == 0.0 and set(result.details["curve"].values()) == {1.0}
    assert all(c.precision == c.recall == 1.0 and c.base == 0.2 and c.size == 40 for c in result.details["concepts"])


def test_two_wrong_labels_of_forty(clustered):
    """95 % of each cluster's units keep its label: aligned at 0.9 and at 0.95, not at 1."""
    explainer, rows = clustered
    labels, seen = ids(explainer, rows), {}
    for i, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= 2:
            labels[i] = "other"
    assert [HumanAlignment(explainer, theta).compute(rows, labels) for theta in (0.9, 0.95, 0.96)] == [1.0, 1.0, 0.0]


def test_random_labels_are_aligned_as_often_as_the_control(clustered):
    explainer, rows = clustered
    labels = ["often" if i % 10 else "rare" for i in torch.randperm(200, generator=torch.Generator().manual_seed(1)).tolist()]
    result = HumanAlignment(explainer, 0.85, n_controls=200).run(rows, labels)
    assert result.details["control"] > 0.5 and abs(result.score - result.details["control"]) < 0.45
    assert all(c.label == "often" and c.base == 0.9 for c in result.details["concepts"])


def test_units_without_a_label_count_against_a_concept(clustered):
    explainer, rows = clustered
    labels = [label if i % 4 else None for i, label in enumerate(ids(explainer, rows))]
    assert HumanAlignment(explainer).compute(rows, labels) == 0.0


def test_quantiles_of_neurons():
    """A neuron's top rows are those of its own label."""
    rows = torch.eye(4)[torch.arange(80) % 4] * (1 + torch.rand(80, 1, generator=torch.Generator().manual_seed(0)))
    labels = [str(i % 4) for i in range(80)]
    result = HumanAlignment(NeuronsAsConcepts(None, nb_concepts=4), assign="quantile", quantile=0.9).run(rows, labels)
    assert result.score == 1.0 and [c.recall for c in result.details["concepts"]] == [0.4] * 4


def test_functions_of_units_of_a_store(tmp_path):
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    store = splitter.store_activations(SENTENCES, tmp_path, "word")
    explainer = KMeansConcepts(splitter, nb_concepts=3).fit(store)
    by_store = HumanAlignment(explainer).run(store, surface_label)
    units = [unit.text for unit in store.units()]
    by_rows = HumanAlignment(explainer).run(store.read(), {unit: surface_label(unit) for unit in units}, units)
    assert by_store.score == by_rows.score and by_store.details["concepts"] == by_rows.details["concepts"]
    with pytest.raises(InputError, match="units"):
        HumanAlignment(explainer).run(store.read(), surface_label)


def test_wrong_calls(clustered):
    explainer, rows = clustered
    with pytest.raises(InputError, match="3 for 200"):
        HumanAlignment(explainer).run(rows, ["a", "b", "c"])
    with pytest.raises(InputError, match="None"):
        HumanAlignment(explainer).run(rows, [None] * 200)
    with pytest.raises(OptionError, match="min_size"):
        HumanAlignment(explainer, min_size=1000).run(rows, ["a"] * 200)
    with pytest.raises(OptionError, match="assign"):
        HumanAlignment(explainer, assign="all")
