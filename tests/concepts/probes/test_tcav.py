"""TCAV: planted directions, the distribution of the test, and what is drawn."""

import pytest
import torch

from interpreto.concepts import CAVConcepts, load_concepts, tcav
from interpreto.concepts.probes.labeled_rows import read_labeled
from interpreto.concepts.probes.permutations import holm, permuted_gaps
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.errors import EstimateWarning, ModelError
from tests.problems import linear_headed
from tests.tiny import CLASSIFIERS, SENTENCES

WEIGHT = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def splitter():
    return linear_headed(WEIGHT)


def examples(direction, n=40, seed=0):
    """Rows around 0, and as many around a direction, both with the same noise at right angles to the classes' weights."""
    noise = torch.randn(n, 32, generator=torch.Generator().manual_seed(seed))
    noise = noise - noise @ torch.linalg.pinv(WEIGHT) @ WEIGHT
    return torch.cat([noise + direction, noise]), [1] * n + [0] * n


def test_planted_directions(splitter):
    up = WEIGHT[0] / WEIGHT[0].norm()
    across = torch.linalg.qr(WEIGHT.T, mode="complete").Q[:, -1]
    for direction, sign, derivative in ((up, 1.0, 1.0), (-up, 0.0, -1.0), (across, 0.5, 0.0)):
        found = tcav(CAVConcepts(splitter).fit(*examples(5 * direction)), SENTENCES[1:5], 0, permutations=500)
        assert found.sign.tolist() == [[sign]]
        assert torch.allclose(found.derivative, (5 * derivative * WEIGHT[0].norm()).double(), atol=1e-4)
        assert bool(found.significant) is (derivative != 0)
        assert found.parallel > 0.9999 and found.targets == (found.targets[0],)


def test_the_derivative_is_a_step_of_the_model(splitter):
    """At a linear head the score changes by exactly the derivative."""
    vectors = CAVConcepts(splitter).fit(*examples(torch.ones(32)))
    found = tcav(vectors, SENTENCES[1:5], permutations=100)
    rows, _ = splitter.get_activations(SENTENCES[1:5])
    moved = splitter.activations_to_outputs(rows + vectors.get_dictionary()) - splitter.activations_to_outputs(rows)
    assert torch.allclose(found.derivative[0], moved.mean(0).double(), atol=1e-4)
    assert found.derivative.shape == (1, 3) and found.random.shape == (50, 1, 3)


def test_deeper_down_it_is_the_derivative_of_moving_all_tokens():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    texts = SENTENCES[1:5]
    vectors = CAVConcepts(splitter, cv=0).fit(
        splitter.get_activations(SENTENCES, "sample"), [i % 2 for i in range(len(SENTENCES))]
    )
    with pytest.warns(EstimateWarning, match="fewer than 20"):
        found = tcav(vectors, texts, permutations=50, activation_granularity="all_tokens")
    step = 1e-2 * vectors.get_dictionary()[0]
    ends = [torch.cat([splitter.edited_outputs([text], lambda rows, s=s: rows + s * step) for text in texts]) for s in (1, -1)]
    difference = (ends[0] - ends[1]).detach().double() / 2e-2
    assert torch.allclose(found.derivative[0], difference.mean(0), atol=1e-3 * float(difference.abs().max()))
    assert found.auc.isnan().all()


def test_the_test_rejects_as_often_as_its_level_says():
    """Of 400 random sets of rows, with one number each, about 5 % have p ≤ 0.05: 20 ± 4.4."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 1, generator=generator, dtype=torch.float64).exp()
    rejected = 0
    for seed in range(400):
        labels = torch.zeros(40, dtype=torch.int64)
        labels[torch.randperm(40, generator=generator)[:15]] = 1
        data = read_labeled(values, labels)
        null = permuted_gaps(data, values, 199, torch.Generator().manual_seed(seed))
        gap = values[labels == 1].mean() - values[labels == 0].mean()
        rejected += int((1 + (null.abs() >= gap.abs() - 1e-12).sum()) / 200 <= 0.05)
    assert 8 <= rejected <= 32


def test_permuted_gaps_are_those_of_permuted_labels():
    groups = torch.tensor([0, 0, 1, 1, 1, 2, 3])
    values = torch.arange(7, dtype=torch.float64)[:, None]
    data = read_labeled(values, [1, 1, 0, 0, 0, 1, 0], groups)
    found = permuted_gaps(data, values, 300, torch.Generator().manual_seed(0)).flatten()
    possible = set()
    for one in range(4):
        for other in range(one):
            inside = (groups == one) | (groups == other)
            possible.add(round(float(values[inside].mean() - values[~inside].mean()), 9))
    assert {round(float(gap), 9) for gap in found} == possible


def test_labels_within_texts_stay_in_them():
    """Each text has one row of each label, and the second is larger by 1: a gap is a mean of ±1."""
    values = torch.arange(12, dtype=torch.float64)[:, None]
    data = read_labeled(values, [0, 1] * 6, torch.arange(12) // 2)
    found = permuted_gaps(data, values, 200, torch.Generator().manual_seed(0)).flatten()
    assert found.abs().max() <= 1 + 1e-12 and len(found.unique()) > 3


def test_holm_is_the_step_down_of_bonferroni():
    assert torch.allclose(holm(torch.tensor([[0.01, 0.5], [0.02, 0.9]])), torch.tensor([[0.04, 1.0], [0.06, 1.0]]))


def test_other_fits_are_repeated_on_shuffled_labels(splitter):
    found = tcav(CAVConcepts(splitter, "ridge", l2=0.1).fit(*examples(WEIGHT[0])), SENTENCES[1:3], 0, n_random=30)
    assert found.n_permutations == 30 and found.interval.isnan().all() and bool(found.significant)


def test_concepts_of_a_file_need_their_examples(splitter, tmp_path):
    rows, labels = examples(WEIGHT[0])
    vectors = CAVConcepts(splitter).fit(rows, labels)
    vectors.save(tmp_path / "cav.safetensors")
    loaded = load_concepts(tmp_path / "cav.safetensors", splitter)
    with pytest.raises(ModelError, match="examples"):
        tcav(loaded, SENTENCES[1:3])
    found = tcav(loaded, SENTENCES[1:3], examples=(rows, labels), permutations=100)
    assert torch.equal(found.p_value, tcav(vectors, SENTENCES[1:3], permutations=100).p_value)


def test_what_makes_a_result_weak_is_said(splitter):
    rows = torch.randn(60, 32, generator=torch.Generator().manual_seed(0))
    with pytest.warns(EstimateWarning, match="AUC below"):
        tcav(CAVConcepts(splitter).fit(rows, [0, 1] * 30), SENTENCES[1:3], 0, permutations=100)


def test_it_is_drawn_everywhere(splitter, tmp_path):
    found = tcav(CAVConcepts(splitter, names=["<b>kind"]).fit(*examples(WEIGHT[0])), SENTENCES[1:4], permutations=200)
    page = found.to_html(tmp_path / "tcav.html")
    assert "&lt;b&gt;kind" in page and "<b>kind" not in page and page.count("<circle") == 3 * 51
    assert str(found).splitlines()[1].startswith("● <b>kind →")
    assert found.plot(backend="matplotlib").axes[0].get_xlabel() == "change of the score per step"
    assert found.to_dataframe().shape == (3, 9)


def test_same_seed_same_result(splitter):
    vectors = CAVConcepts(splitter).fit(*examples(WEIGHT[0]))
    one, other = (tcav(vectors, SENTENCES[1:3], permutations=100, random_state=1) for _ in range(2))
    assert torch.equal(one.p_value, other.p_value) and torch.equal(one.random, other.random)
