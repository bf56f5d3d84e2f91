"""An explanation holds all that it says, and a file gives all of it back."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from interpreto import (
    AttributionOutput,
    Contrast,
    GradientShap,
    IntegratedGradients,
    KernelShap,
    Occlusion,
    Saliency,
    SmoothGrad,
)
from interpreto.attributions.output import unit_name
from interpreto.errors import FileError, OptionError
from interpreto.inputs.units import Granularity
from tests import tiny

TEXTS = ["The film was terrible, and great.", ("A шедевр, she said", "no end 🎬")]
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "occlusion": (Occlusion, {"replacement": 7}),
    "kernel shap": (KernelShap, {"n_perturbations": 60, "inference_mode": "softmax"}),
    "saliency": (Saliency, {"granularity": Granularity.ALL_TOKENS}),
    "smooth grad": (SmoothGrad, {"n_perturbations": 4, "granularity_aggregation_strategy": "max"}),
    "gradient shap": (GradientShap, {"n_perturbations": 4, "baseline": torch.zeros(32)}),
    "integrated gradients": (IntegratedGradients, {"n_perturbations": 64, "baseline": "mean", "granularity": "sentence"}),
}
FAMILIES = ["bert", "xlnet", "llama"]


def explained(method: str, family: str = "bert") -> list[AttributionOutput]:
    kind, options = METHODS[method]
    return kind(*tiny.CLASSIFIERS[family](), **options)(TEXTS, targets=torch.tensor([[2, 0], [1, 1]]))


def assert_same(found: Any, expected: Any, name: str) -> None:
    """Equal to the last bit, NaN included, and of the same kind."""
    assert type(found) is type(expected), name
    if isinstance(expected, Tensor):
        assert found.dtype == expected.dtype, name
        assert torch.equal(found.isnan(), expected.isnan()), name
        assert torch.equal(found.nan_to_num(), expected.nan_to_num()), name
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), name
        for key, value in expected.items():
            assert_same(found[key], value, f"{name}.{key}")
    elif hasattr(expected, "__dataclass_fields__"):
        for field in fields(expected):
            assert_same(getattr(found, field.name), getattr(expected, field.name), f"{name}.{field.name}")
    elif isinstance(expected, tuple):
        assert len(found) == len(expected), name
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_same(a, b, f"{name}[{i}]")
    else:
        assert found == expected, name


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_back_every_field_to_the_last_bit(method: str, tmp_path: Path) -> None:
    for i, output in enumerate(explained(method)):
        path = tmp_path / f"{i}.safetensors"
        output.save(path)
        found = AttributionOutput.load(str(path))
        assert_same(found, output, "output")
        assert (found.elements, found.spans, found.text) == (output.elements, output.spans, output.text)
        assert_same(found.model_inputs_to_explain, output.model_inputs_to_explain, "inputs")


def test_values_that_cannot_depend_on_an_element_stay_nan(tmp_path: Path) -> None:
    output = explained("occlusion")[0]
    values = output.attributions.clone()
    values[1, 2] = float("nan")
    replace(output, attributions=values).save(tmp_path / "nan")
    assert AttributionOutput.load(tmp_path / "nan").attributions.isnan().nonzero().tolist() == [[1, 2]]


def test_a_file_is_safetensors_with_readable_facts_and_holds_no_code(tmp_path: Path) -> None:
    path = tmp_path / "explanation.safetensors"
    output = explained("kernel shap")[1]
    output.save(path)
    with safe_open(str(path), framework="pt") as file:
        facts = json.loads(file.metadata()["interpreto"])
        assert torch.equal(file.get_tensor("attributions"), output.attributions)
        assert torch.equal(file.get_tensor("extras.token_type_ids"), output.sample.extras["token_type_ids"])
    assert facts["method"] == "KernelShap"
    assert facts["text"] == "A шедевр, she said no end 🎬"
    content = path.read_bytes()
    header = int.from_bytes(content[:8], "little")
    described = json.loads(content[8 : 8 + header])
    ends = [entry["data_offsets"][1] for name, entry in described.items() if name != "__metadata__"]
    assert len(content) == 8 + header + max(ends)  # nothing but the header and the numbers
    assert not content.startswith((b"\x80", b"PK"))  # a pickle, a torch archive


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "explanation.safetensors"
    explained("occlusion")[0].save(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileError, match="cannot be read as an explanation"):
        AttributionOutput.load(path)


@pytest.mark.parametrize("place", ["nowhere.safetensors", "."])
def test_what_is_no_file_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="`path`: there is no file"):
        AttributionOutput.load(tmp_path / place)


def with_values(values: list[list[float]]) -> AttributionOutput:
    output = explained("occlusion")[0]
    attributions = torch.zeros_like(output.attributions)
    attributions[:, : len(values[0])] = torch.tensor(values)
    return replace(output, attributions=attributions)


def test_top_ranks_by_magnitude_and_leaves_nan_out() -> None:
    nan = float("nan")
    output = with_values([[0.5, -3.0, 1.0, nan, -1.0], [2.0, nan, nan, nan, nan]])
    assert output.elements == ["The", "film", "was", "terrible", ",", "and", "great", "."]
    assert output.top(3) == [("film", -3.0), ("was", 1.0), (",", -1.0)]  # equal ones in the order of the text
    assert output.top(1, target=1) == [("The", 2.0)]
    assert [element for element, _ in output.top(99)] == ["film", "was", ",", "The", "and", "great", "."]


def test_the_short_form_tells_method_targets_and_best_elements() -> None:
    output = with_values([[0.5, -3.0, 1.25], [0.0, 0.0, 0.0]])
    assert repr(output) == (
        "AttributionOutput(Occlusion, ['positive', 'negative'], 8 words: 'film' -3, 'was' +1.25, 'The' +0.5)"
    )


@pytest.mark.parametrize("method", ["kernel shap", "saliency"])
def test_a_dataframe_has_a_row_for_each_target_and_element(method: str) -> None:
    pytest.importorskip("pandas")
    output = explained(method)[0]
    table = output.to_dataframe()
    u = len(output.elements)
    assert list(table["target"]) == ["positive"] * u + ["negative"] * u
    assert list(table["target_id"]) == [2] * u + [0] * u
    assert list(table["position"]) == [*range(u)] * 2
    assert list(table["element"]) == output.elements * 2
    assert list(table["attribution"]) == output.attributions.flatten().tolist()
    starts_and_ends = list(zip(table["start"], table["end"], strict=True))
    assert starts_and_ends == output.spans * 2
    if output.standard_error is None:
        assert table["standard_error"].isna().all()
    else:
        assert list(table["standard_error"]) == output.standard_error.flatten().tolist()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["occlusion", "saliency"])
def test_the_recorded_inputs_give_the_recorded_scores(method: str, family: str) -> None:
    model, _ = tiny.CLASSIFIERS[family]()
    for output in explained(method, family):
        with torch.no_grad():
            logits = model(**output.model_inputs_to_explain).logits[0]
        torch.testing.assert_close(output.base_scores, logits[output.targets], rtol=0, atol=1e-5)


def test_a_loaded_explanation_still_gives_the_recorded_scores(tmp_path: Path) -> None:
    model, _ = tiny.CLASSIFIERS["bert"]()
    explained("occlusion")[1].save(tmp_path / "explanation")
    output = AttributionOutput.load(tmp_path / "explanation")
    with torch.no_grad():
        logits = model(**output.model_inputs_to_explain).logits[0]
    torch.testing.assert_close(output.base_scores, logits[output.targets], rtol=0, atol=1e-5)


def test_elements_are_the_characters_at_their_spans() -> None:
    for output in explained("occlusion"):
        assert output.elements == [output.text[start:end] for start, end in output.spans]
    assert explained("integrated gradients")[0].elements == [TEXTS[0]]
    tokens = explained("saliency")[0]
    assert (tokens.elements[0], tokens.elements[-1]) == ("[CLS]", "[SEP]")  # special tokens have no characters


def rewritten(path: Path, tensors: dict[str, Any] | None = None, facts: dict[str, Any] | None = None) -> None:
    """Change tensors and facts of an explanation's file; None takes one out."""
    with safe_open(str(path), framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["interpreto"])
    for whole, changes in ((found, tensors or {}), (header, facts or {})):
        for name, value in changes.items():
            if value is None:
                del whole[name]
            else:
                whole[name] = value
    save_file(found, str(path), metadata={"interpreto": json.dumps(header)})


DAMAGED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "values of other units": ({"attributions": torch.zeros(2, 3)}, {}, r"`attributions` has shape \(2, 3\)"),
    "values of other targets": ({"attributions": torch.zeros(1, 8)}, {}, r"`attributions` has shape \(1, 8\)"),
    "infinite values": ({"attributions": torch.full((2, 8), torch.inf)}, {}, "`attributions` is not finite"),
    "whole values": ({"attributions": torch.zeros(2, 8).long()}, {}, "`attributions` holds torch.int64"),
    "no values": ({"attributions": None}, {}, "it lacks the tensor `attributions`"),
    "scores of other targets": ({"base_scores": torch.zeros(3)}, {}, r"`base_scores` has shape \(3,\)"),
    "no score": ({"base_scores": torch.tensor([0.0, torch.nan])}, {}, "`base_scores` is not finite"),
    "errors of other units": ({"standard_error": torch.zeros(2, 3)}, {}, r"`standard_error` has shape"),
    "a unit that is not there": ({"unit_index": torch.full((13,), 8)}, {}, "`unit_index` holds numbers out of range"),
    "units of other tokens": ({"unit_index": torch.zeros(4).long()}, {}, r"`unit_index` has shape \(4,\) for 13 tokens"),
    "ids in a table": ({"input_ids": torch.zeros(2, 5).long()}, {}, r"`input_ids` has shape \(2, 5\)"),
    "negative ids": ({"input_ids": torch.full((13,), -3)}, {}, "`input_ids` holds numbers out of range"),
    "fractions of ids": ({"input_ids": torch.zeros(13)}, {}, "`input_ids` holds torch.float32"),
    "inputs of other tokens": ({"extras.token_type_ids": torch.zeros(3).long()}, {}, "`extras.token_type_ids` has shape"),
    "no readout": ({"reading.0.ids": None}, {}, "it lacks the tensor `reading.0.ids`"),
    "a readout of other targets": ({"reading.0.ids": torch.tensor([1])}, {}, "`reading.0.ids` has shape"),
    "positions beyond the tokens": ({"reading.0.at": torch.tensor([0, 13])}, {}, "`reading.0.at` holds numbers out of range"),
    "weights of other targets": ({"reading.0.mix": torch.zeros(3, 2)}, {}, "`reading.0.mix` has shape"),
    "an unknown tensor": ({"forward": torch.zeros(1)}, {}, "it has an unknown tensor `forward`"),
    "one unit less": ({}, {"elements": ["a"] * 7}, "for 2 targets and 7 units"),
    "one label more": ({}, {"target_labels": ["a", "b", "c"]}, "for 3 targets"),
    "a label that is none": ({}, {"target_labels": ["a", 1]}, "`target_labels` is no list of texts"),
    "no target": ({}, {"target_labels": []}, "it has no targets"),
    "a place beyond the text": ({}, {"spans": [[0, 900]] * 8}, r"`spans` holds \(0, 900\) for a text of 33 characters"),
    "a place before the text": ({}, {"spans": [[-1, 2]] * 8}, r"`spans` holds \(-1, 2\)"),
    "a place that ends first": ({}, {"spans": [[3, 2]] * 8}, r"`spans` holds \(3, 2\)"),
    "a place that is none": ({}, {"spans": [[0.5, 2]] * 8}, r"`spans` holds \[0.5, 2\]"),
    "places of other units": ({}, {"spans": [[0, 1]]}, "it has 1 `spans` for 8 units"),
    "places of other targets": ({}, {"target_spans": [None]}, "it has 1 `target_spans` for 2 targets"),
    "a text that is a number": ({}, {"text": 3}, "`text` is of type int"),
    "a method that is a dict": ({}, {"method": {}}, "`method` is of type dict"),
    "a sign that is a number": ({}, {"signed": 1}, "`signed` is of type int"),
    "a prompt beyond the tokens": ({}, {"prompt": 99}, "`prompt` is 99 for 13 tokens"),
    "no granularity": ({}, {"granularity": None}, "it lacks `granularity`"),
    "flags of other readouts": ({}, {"causal": [True, True]}, "`causal` is no list of 1 flags"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "explanation"
    explained("occlusion")[0].save(path)
    return path


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_file_whose_parts_do_not_fit_is_refused(damage: str, saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "explanation"
    path.write_bytes(saved.read_bytes())
    rewritten(path)
    AttributionOutput.load(path)  # it is the damage that is refused
    tensors, facts, message = DAMAGED[damage]
    rewritten(path, tensors, facts)
    with pytest.raises(FileError, match=f"holds an inconsistent explanation: .*{message}"):
        AttributionOutput.load(path)


def test_a_home_is_found(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    AttributionOutput.load(saved).save("~/explanation")
    AttributionOutput.load("~/explanation").to_html("~/a.html")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.html", "explanation"]
    for write in (AttributionOutput.load(saved).save, AttributionOutput.load(saved).to_html):
        with pytest.raises(FileError, match="`path`: there is no folder"):
            write(tmp_path / "no" / "a")


@pytest.mark.parametrize("asked", [{}, {"aggregate": "sequence"}, {"aggregate": "unit"}])
@pytest.mark.parametrize("target", [" good", " so good", Contrast(" good", " bad")])
def test_a_generation_with_one_row_is_its_own_sequence(target: Any, asked: dict[str, str]) -> None:
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    for method in (Occlusion, Saliency):
        output = method(model, tokenizer)("The film was", target, **asked)[0]
        if len(output.targets) == 1:
            assert output.sequence() is output
        elif output.signed:
            assert len(output.sequence().targets) == 1
    assert len(Occlusion(model, tokenizer)("The film was", " so good", aggregate="sequence")[0].sequence().targets) == 1


@pytest.mark.parametrize("targets", [[1], [0, 1]])
def test_classes_are_no_sequence(targets: list[int]) -> None:
    output = Occlusion(*tiny.CLASSIFIERS["bert"]())(TEXTS[0], [targets])[0]
    with pytest.raises(OptionError, match="are no sequence; only those of a generation are"):
        output.sequence()


@pytest.mark.parametrize("granularity", [*Granularity])
def test_units_are_named_in_english(granularity: Granularity) -> None:
    assert unit_name(granularity.value).endswith("s") and not unit_name(granularity.value).endswith("ss")
    assert unit_name(granularity.value, 1) + "s" == unit_name(granularity.value)


def test_the_short_form_holds_no_control_character() -> None:
    bad = "\x1b[31m\x07\n\u202e"
    output = replace(explained("occlusion")[0], method=bad, target_labels=[bad, bad], granularity=bad)
    assert not set("\x1b\x07\n\u202e") & set(repr(output))
