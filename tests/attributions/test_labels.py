"""What the model predicts and what is true, next to every explanation of a classifier; files and tables of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch

from interpreto import (
    BlackBox,
    Contrast,
    Explanations,
    GradientShap,
    IntegratedGradients,
    KernelShap,
    Occlusion,
    Saliency,
    demo,
)
from interpreto.errors import FileError, InputError, OptionError, TargetError
from interpreto.inputs.samples import Prediction
from interpreto.storage import write_file
from tests import tiny

TEXTS = ["A gorgeous film.", "A dull, dull film.", "What a gorgeous waste.", "A dull but gorgeous film."]
LABELS = ["positive", 0, np.int64(1), "positive"]


@pytest.fixture(scope="module")
def classifier():
    return demo.load_classifier()


@pytest.fixture(scope="module")
def logits(classifier):
    model, tokenizer = classifier
    with torch.no_grad():
        return torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS])


@pytest.fixture(scope="module")
def explained(classifier):
    return Occlusion(*classifier)(TEXTS, "positive", labels=LABELS)


@pytest.mark.parametrize("method", [Occlusion, KernelShap, Saliency, IntegratedGradients, GradientShap])
@pytest.mark.parametrize("targets", [None, 0, "positive", Contrast(1, 0), [[0, 1], [1], [0], [1, 0]]])
def test_the_prediction_is_the_models_whatever_is_explained(classifier, logits, method, targets):
    model, tokenizer = classifier
    explainer = method(model, tokenizer)
    found = explainer(TEXTS, targets)
    again = explainer.explain_samples([one.sample for one in found])  # whose targets are known
    assert [one.prediction for one in again] == [one.prediction for one in found]
    for one, own in zip(found, logits, strict=True):
        assert one.prediction == model.config.id2label[int(own.argmax())]
        assert one.confidence == pytest.approx(float(own.softmax(-1).max()), abs=1e-5)
        assert one.label is None and one.correct is None
        classes = [i for i in one.targets.tolist() if i >= 0]
        torch.testing.assert_close(one.base_scores[: len(classes)], own[classes], atol=1e-5, rtol=0)


def test_predictions_cost_no_pass(classifier, monkeypatch):
    """With and without the reading of all outputs, the same rows are run."""
    model, tokenizer = classifier

    def rows_of(method):
        seen = []
        handle = model.register_forward_hook(lambda _m, _a, output: seen.append(len(output.logits)))
        try:
            method(model, tokenizer)(TEXTS[:2], "positive")
        finally:
            handle.remove()
        return seen

    for method in (Occlusion, Saliency):
        whole = rows_of(method)
        with monkeypatch.context() as patched:
            patched.setattr("interpreto.attributions.evidence.OUTPUTS_READ", 1)
            assert method(model, tokenizer)(TEXTS[0], "positive")[0].prediction is None
            assert rows_of(method) == whole


def test_the_true_label_stands_next_to_the_prediction(explained, logits):
    names = ["negative", "positive"]
    assert [one.label for one in explained] == ["positive", "negative", "positive", "positive"]
    assert [one.correct for one in explained] == [
        names[int(own.argmax())] == one.label for own, one in zip(logits, explained, strict=True)
    ]
    assert set(explained[0].target_labels) == {"positive"}


@pytest.mark.parametrize(
    "labels",
    [
        ["positive"] * 4,
        "positive",
        1,
        np.array([1, 1, 1, 1]),
        torch.ones(4, dtype=torch.long),
        pandas.Series(["positive"] * 4),
        (1 for _ in range(4)),
        [["positive"]] * 4,
    ],
    ids=lambda value: type(value).__name__,
)
def test_labels_come_in_every_container(classifier, labels):
    assert [one.label for one in Occlusion(*classifier)(TEXTS, labels=labels)] == ["positive"] * 4
    lazy = Occlusion(*classifier).stream((text for text in TEXTS[:2]), labels=(label for label in ("positive", 0)))
    assert [one.label for one in lazy] == ["positive", "negative"]
    assert Occlusion(*classifier)(TEXTS[0], labels=["positive"])[0].label == "positive"


def test_labels_that_do_not_fit_are_refused(classifier):
    explainer = Occlusion(*classifier)
    for labels, message in [
        (["positive"], r"`labels`: got 1 for 4 inputs"),
        ((i for i in (0, 1)), r"`labels`: got 2 for more inputs"),
        ((1 for _ in range(5)), r"`labels`: got more than 4"),
        (["positiv_"] * 4, r"`labels\[0\]`: no class is called 'positiv_'.*Did you mean 'positive'"),
        ([0, 1, 2, 0], r"`labels\[2\]`: class 2 is not in 0..1"),
        ([[0, 1]] * 4, r"`labels\[0\]`: .* has one class"),
        ([0.5] * 4, r"`labels\[0\]`: got 0.5; pass a class id"),
        (pandas.DataFrame({"y": [1, 1, 1, 1]}), r"`labels`: got a DataFrame; pass one of its columns"),
    ]:
        with pytest.raises(TargetError, match=message):
            explainer(TEXTS, labels=labels)
    with pytest.raises(OptionError, match="only a classifier"):
        Occlusion(*tiny.chat_lm())(TEXTS[0], " good", labels="positive")


def test_models_of_other_kinds():
    def scores(texts):
        return [[text.count("!"), text.count("?")] for text in texts]

    box = Occlusion(BlackBox(scores, labels=["shouts", "asks"]))
    assert [one.prediction for one in box(["Stop! Now!", "Why?"], 0)] == ["shouts", "asks"]
    assert box("Why?")[0].confidence is None
    (one,) = Occlusion(BlackBox(scores, labels=["shouts", "asks"]), task="multi-label")("Why!?", labels=[[1, "shouts"]])
    assert one.prediction == one.label == "shouts, asks" and one.correct
    assert Occlusion(BlackBox(scores), task="regression")("Why?")[0].prediction is None
    assert Occlusion(*tiny.chat_lm())("The film was", " good")[0].prediction is None


def test_tables_and_files_have_them(explained, tmp_path):
    frame = explained.to_dataframe()
    for name in ("prediction", "confidence", "label", "correct"):
        assert frame.groupby("text_id")[name].first().tolist() == [getattr(one, name) for one in explained]
    assert pandas.read_csv(tmp_path / "a.csv" if explained.to_csv(tmp_path / "a.csv") else "").equals(
        pandas.read_csv(pandas.io.common.StringIO(explained.to_csv()))
    )
    for path in (tmp_path / "a.safetensors", tmp_path / "a.parquet"):
        explained.save(path)
        again = Explanations.load(path)
        assert [(a.prediction, a.confidence, a.label, a.text) for a in again] == [
            (a.prediction, a.confidence, a.label, a.text) for a in explained
        ]
        assert all(torch.equal(a.attributions, b.attributions) for a, b in zip(again, explained, strict=True))
    table = pandas.read_parquet(tmp_path / "a.parquet")
    assert table.drop(columns="explanation").equals(frame)
    Explanations().save(tmp_path / "none.parquet")
    assert Explanations.load(tmp_path / "none.parquet") == []


def test_other_tables_are_refused(explained, tmp_path):
    frame = explained.to_dataframe()
    frame.to_parquet(tmp_path / "other.parquet")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and nothing else")
    for name, message in [("other", "none that"), ("damaged", "cannot be read"), ("missing", "there is no file")]:
        with pytest.raises(FileError, match=message):
            Explanations.load(tmp_path / f"{name}.parquet")


def test_files_of_earlier_versions_lack_them(explained, tmp_path, monkeypatch):
    explained[0].save(tmp_path / "new.safetensors")
    from interpreto.attributions import serialization as files
    from interpreto.attributions.output import AttributionOutput
    from interpreto.storage import read_file

    tensors, facts = read_file(tmp_path / "new.safetensors", files.FORMAT, "an explanation")
    old = {name: value for name, value in facts.items() if name not in (*files.LATER, "format")}
    write_file(tmp_path / "old.safetensors", files.FORMAT, tensors, old)
    again = AttributionOutput.load(tmp_path / "old.safetensors")
    assert again.prediction is None and again.label is None and again.correct is None
    for name, value in (("confidence", 2.0), ("prediction", 3), ("label", 1)):
        write_file(tmp_path / "odd.safetensors", files.FORMAT, tensors, {**old, name: value})
        with pytest.raises(FileError, match=name):
            AttributionOutput.load(tmp_path / "odd.safetensors")
    assert json.dumps(old)


def test_a_table_is_explained_by_its_columns(classifier, explained):
    frame = pandas.DataFrame({"sentence": TEXTS, "label": ["positive", "negative", "positive", "positive"], "aim": 1})
    explainer = Occlusion(*classifier)
    found = explainer.explain_frame(frame, "sentence", target="aim", label="label")
    assert [one.label for one in found] == [one.label for one in explained]
    assert all(torch.equal(a.attributions, b.attributions) for a, b in zip(found, explained, strict=True))
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"sentence": TEXTS[:2], "label": [1, 0]})
    assert [one.label for one in explainer.explain_frame(rows, "sentence", label="label")] == ["positive", "negative"]
    (pair,) = explainer.explain_frame(frame[:1], ("sentence", "label"), spans=[(0, 1)])
    assert pair.text == "A gorgeous film. positive" and pair.elements == ["A"]
    with pytest.raises(InputError, match=r"`text`: the table has no column 'sentence_'; it has 'sentence', 'label'"):
        explainer.explain_frame(frame, "sentence_")
    with pytest.raises(InputError, match="`frame`: got list; pass a table"):
        explainer.explain_frame(TEXTS)


def test_a_prediction_is_a_value(explained):
    assert Prediction("a", 0.5) == Prediction("a", 0.5)
    assert replace(explained[0], label="negative").correct is False
