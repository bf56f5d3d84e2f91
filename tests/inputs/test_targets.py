"""Targets are read alike from every container that users have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BatchEncoding

from interpreto import Contrast, Occlusion
from interpreto.errors import TargetError
from interpreto.inputs.targets import read_classes, read_continuations
from tests import tiny

NAMES = ["negative", "positive"]
CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "generator": lambda items: (item for item in items),
    "array": np.array,
    "array of objects": lambda items: np.array(items, dtype=object),
    "series": pd.Series,
    "index": pd.Index,
    "categorical": pd.Categorical,
}
WHOLE = [int, np.int64, np.int32, np.uint8, np.array, torch.tensor]


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("items", [NAMES, [1, 0]], ids=["names", "ids"])
def test_one_class_for_each_input_in_any_container(kind, items):
    assert read_classes(CONTAINERS[kind](items), 2) == [[items[0]], [items[1]]]


@pytest.mark.parametrize("kind", [*CONTAINERS, "tensor"])
def test_several_classes_of_a_single_input(kind):
    container = torch.tensor if kind == "tensor" else CONTAINERS[kind]
    assert read_classes(container([1, 0]), 1, single=True) == [[1, 0]]
    assert read_classes(container([1, 0]), 3, shared=True) == [[1, 0]] * 3
    with pytest.raises(TargetError, match="`targets`: got 2 for 3 inputs; pass one per input"):
        read_classes(container([1, 0]), 3)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, pd.Series, lambda rows: map(iter, rows)])
def test_a_row_of_classes_for_each_input(kind):
    assert read_classes(kind([[0, 1], [1, 0]]), 2) == [[0, 1], [1, 0]]


@pytest.mark.parametrize("whole", WHOLE)
def test_a_whole_number_of_any_kind_is_a_class_for_all(whole):
    assert read_classes(whole(1), 2) == [[1], [1]]
    assert read_classes([whole(1), [whole(0), "a"]], 2) == [[1], [0, "a"]]
    assert all(type(i) is int for row in read_classes([whole(1), whole(0)], 2) for i in row)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_names_in_any_container_explain_their_classes(kind):
    explainer = Occlusion(*tiny.CLASSIFIERS["bert"]())
    found = explainer(["A film", "No end"], CONTAINERS[kind](NAMES))
    assert [output.target_labels for output in found] == [[name] for name in NAMES]


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), 1.0, np.float32(1), None, b"positive", torch.tensor(1.0), torch.tensor([True]), [[[1]]]]
)
def test_what_is_no_class_is_refused(value):
    with pytest.raises(TargetError, match=r"^`targets(\[0\])*`: got .*(; pass None|are integers)"):
        read_classes([value], 1)


@pytest.mark.parametrize("value", [np.array([5, 6]), torch.tensor([5, 6]), pd.Series([5, 6]), [np.int64(5), 6], (5, 6)])
def test_ids_of_one_continuation_in_any_container(value):
    assert read_continuations(value, 1, single=True) == [[5, 6]]
    assert read_continuations([value, "a text"], 2) == [[5, 6], "a text"]


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, iter])
def test_a_text_for_each_input_in_any_container(kind):
    assert read_continuations(kind([" a", " b"]), 2) == [" a", " b"]


def test_a_batch_is_a_row_for_each_input_without_padding():
    batch = BatchEncoding({"input_ids": [[5, 6], [7, 0]], "attention_mask": np.array([[1, 1], [1, 0]])})
    assert read_continuations(batch, 2) == [[5, 6], [7]]
    assert read_continuations({"input_ids": torch.tensor([5, 6])}, 1) == [[5, 6]]


def test_a_contrast_may_hold_what_a_target_may_be():
    explainer = Occlusion(*tiny.CLASSIFIERS["bert"]())
    plain = explainer("A film", Contrast(0, 1))[0]
    for a, b in ((np.int64(0), torch.tensor(1)), ("negative", np.array(1)), (np.str_("negative"), 1)):
        assert torch.equal(explainer("A film", Contrast(a, b))[0].attributions, plain.attributions)


def test_a_class_that_the_config_does_not_name_is_explained_where_the_model_has_it():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    named = Occlusion(model, tokenizer)("A film", 2)[0]
    model.config.id2label = {0: "no", 1: "yes"}
    found = Occlusion(model, tokenizer)("A film", 2)[0]
    assert torch.equal(found.attributions, named.attributions) and found.target_labels == ["2"]
    with pytest.raises(TargetError, match=r"`targets`: class 3 is not in 0\.\.2"):
        Occlusion(model, tokenizer)("A film", 3)
