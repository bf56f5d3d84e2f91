"""What is read of a data set equals what `Explanations` says of the same list."""

from __future__ import annotations

import math

import pandas
import pytest
import torch
from safetensors.torch import save

from interpreto import Explanations, explain_dataset
from interpreto.attributions.tables import as_bytes, from_bytes
from interpreto.datasets import ExplanationDataset, ImportanceSums
from interpreto.errors import InputError, OptionError
from tests.datasets.explainers import occlusion, texts


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[ExplanationDataset, Explanations]:
    found = [*texts(40), "Good, good film."]
    call = {"targets": ["up", "down"]}
    dataset = explain_dataset(occlusion(), found, tmp_path_factory.mktemp("a") / "out", rows_per_shard=7, call=call)
    return dataset, occlusion()(found, [["up", "down"]] * 41)


def test_it_is_a_sequence(written):
    dataset, whole = written
    assert len(dataset) == 41 and dataset[3].text == whole[3].text and dataset[-1].text == whole[-1].text
    assert dataset[5:20:4].texts == whole[5:20:4].texts and isinstance(dataset[:2], Explanations)
    assert dataset[[40, 0, 7]].texts == whole[[40, 0, 7]].texts and dataset[3:3] == []
    with pytest.raises(IndexError, match="41"):
        dataset[41]
    with pytest.raises(InputError, match="pass an index"):
        dataset["a"]


@pytest.mark.parametrize("by", ["unit", "word", "exact", str.title])
@pytest.mark.parametrize(
    "options", [{}, {"weighting": "occurrence"}, {"normalize": True, "min_count": 3}, {"fold_case": False}]
)
def test_importance_is_that_of_the_list(written, by, options):
    dataset, whole = written
    found, expected = dataset.importance(by, **options), whole.importance(by, **options)
    assert found.targets == expected.targets and found.n_texts == 41 and found.method == expected.method
    ours, theirs = ({(row.unit, row.target): row for row in one} for one in (found, expected))
    assert ours.keys() == theirs.keys() and len(ours) > 10
    for key, row in ours.items():
        for name in ("mean", "low", "high", "mean_magnitude", "n_texts", "n_occurrences"):
            a, b = getattr(row, name), getattr(theirs[key], name)
            assert (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-7), (key, name)


def test_sums_of_parts_add_up(written):
    _, whole = written
    parts = [ImportanceSums("word", weighting="occurrence") for _ in range(4)]
    for i, explanation in enumerate(whole):
        parts[i % 3].add(explanation)
    for part in parts[:3]:
        parts[3].merge(part)
    for row, other in zip(parts[3].result(), whole.importance("word", weighting="occurrence"), strict=True):
        assert math.isclose(row.mean, other.mean, rel_tol=1e-6, abs_tol=1e-9) and row.n_texts == other.n_texts


def test_occurrences_are_those_of_a_sample(written):
    dataset, _ = written
    found = dataset.importance(examples=5)
    assert len(found.explanations) == 5 and found.n_texts == 41
    for row in found:
        for place in row.occurrences:
            explanation = found.explanations[place.text_id]
            assert explanation.elements[place.units[0]].strip().casefold() == row.unit
    assert "<html" in found.to_html() and "good" in str(found)


def test_filters_are_those_of_the_list(written):
    dataset, whole = written
    for options in ({"containing": "Dull"}, {"label": "up"}, {"label": "sideways"}, {"method": "Occlusion"}):
        assert [one.text for one in dataset.filter(**options)] == whole.filter(**options).texts
    high = dataset.filter(lambda one: float(one.base_scores[0]) > 0)
    expected = whole.filter(lambda one: float(one.base_scores[0]) > 0)
    both = high.filter(containing="film")
    assert [one.text for one in both] == expected.filter(containing="film").texts and 0 < len(both) < len(high) < 41
    assert both[1:3].texts == expected.filter(containing="film")[1:3].texts
    a, b = both.importance(), expected.filter(containing="film").importance()
    assert [(row.unit, row.n_texts) for row in a] == [(row.unit, row.n_texts) for row in b]
    assert len(dataset) == 41 and "2 conditions on 41" in repr(both)


def test_tables_are_those_of_the_list(written):
    dataset, whole = written
    pandas.testing.assert_frame_equal(dataset.to_pandas(), whole.to_dataframe())
    filtered = dataset.filter(containing="dull").to_pandas()
    assert set(filtered["text_id"]) == {i for i, text in enumerate(whole.texts) if "dull" in text.split()}


def test_samples_are_drawn_without_replacement_and_by_seed(written):
    dataset, whole = written
    found = dataset.sample(10)
    assert len(found) == 10 and [one.text for one in found] == [one.text for one in dataset.sample(10)]
    assert sorted(dataset.sample(99).texts) == sorted(whole.texts)
    assert dataset.sample(10, random_state=1).texts != found.texts
    with pytest.raises(OptionError, match="`n`"):
        dataset.sample(0)


def test_pages_are_of_a_sample(written, tmp_path):
    dataset, _ = written
    page = dataset.to_html(tmp_path / "page.html", n=20)
    assert (tmp_path / "page.html").read_text() == page and "dataset" in dataset._repr_html_()
    with pytest.raises(InputError, match="no explanation"):
        dataset.filter(label="sideways").to_html()


def test_numbers_come_back_bit_for_bit(written):
    dataset, whole = written
    for found, expected in zip(dataset, whole, strict=True):
        assert torch.equal(found.attributions, expected.attributions) and found.spans == expected.spans


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_an_explanation_in_a_shard_is_a_file_of_safetensors(dtype):
    tensors = {"b": torch.tensor([[0, 1], [2, 3]]).T.to(dtype), "a": torch.ones(0, 3, dtype=dtype)}
    content = as_bytes((tensors, {"text": "é"}))
    assert content == save({name: value.contiguous() for name, value in tensors.items()}, {"interpreto": r'{"text": "\u00e9"}'})
    found, facts = from_bytes(content)
    assert facts == {"text": "é"} and all(torch.equal(found[name], value) for name, value in tensors.items())
