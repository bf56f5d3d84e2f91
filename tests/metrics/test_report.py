"""Reports: labels are read as classes, explanations and numbers are those of the parts, and the page is only a page."""

from __future__ import annotations

import pytest
import torch

from interpreto import Occlusion, demo, report
from interpreto.errors import InputError, OptionError, TaskError
from interpreto.metrics.text_concepts import names_of, text_concepts
from tests.visualizations.test_html import Outline, payload

SENTENCES = [one for one in demo.load_sentences() if abs(one.score) > 0.5][:60]
DATA = [(one.text, "Positive" if one.score > 0 else "0") for one in SENTENCES]  # names in any case, and ids


@pytest.fixture(scope="module")
def found():
    steps: list[str] = []
    made = report(
        *(demo.load_classifier()[0], DATA, demo.load_classifier()[1]),
        method="occlusion",
        max_texts=None,
        n_faithfulness=6,
        nb_concepts=2,
        on_step=steps.append,
    )
    assert len(steps) == 4
    return made


def test_numbers_are_those_of_the_model(found):
    model, tokenizer = demo.load_classifier()
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text, _ in DATA])
    labels = torch.tensor([0 if label == "0" else 1 for _, label in DATA])
    assert found.quality.names == ("negative", "positive")
    assert torch.equal(found.quality.predictions, logits.argmax(1)) and torch.equal(found.quality.labels, labels)
    torch.testing.assert_close(found.quality.confidences, logits.softmax(1).amax(1).double(), atol=1e-4, rtol=0)
    mistakes = found.mistakes(3)
    assert all(not found.quality.right[i] for i in mistakes)
    confidences = found.quality.confidences[mistakes].tolist()
    assert confidences == sorted(confidences, reverse=True)


def test_explanations_are_those_of_the_method_for_every_class(found):
    alone = Occlusion(*demo.load_classifier())(DATA[0][0], [0, 1])[0]
    torch.testing.assert_close(found.explanations[0].attributions, alone.attributions, atol=1e-4, rtol=1e-3)
    assert found.method == "Occlusion" and found.explanations[0].label == ("negative" if DATA[0][1] == "0" else "positive")
    assert found.importance.targets == ("negative", "positive") and min(row.n_texts for row in found.importance) >= 3


def test_faithfulness_is_measured_on_the_predictions(found):
    table = found.faithfulness
    assert table is not None and table.names == ["Occlusion", "random"]
    assert table["Occlusion", "ABPC"].n_valid == 6 and table["Occlusion", "ABPC"].score > table["random", "ABPC"].score
    low, high = table.margin("ABPC", "Occlusion")
    assert low < table["Occlusion", "ABPC"].score - table["random", "ABPC"].score < high


def test_what_was_run_is_there_to_repeat_it(found):
    facts = dict(found.run)
    assert facts["Method"] == "Occlusion(replacement='auto')" and facts["Seed"] == "0" and "60 of 60" in facts["Texts"]
    assert torch.__version__ in facts["Versions"] and facts["Identity"].startswith("config ")


def test_the_page_holds_every_part_once(found):
    page = found.to_html()
    outline, data = Outline(page), payload(page)
    ids = [dict(attributes)["id"] for tag, attributes in outline.elements if tag == "section"]
    assert ids == ["right-and-wrong", "mistakes", "words", "concepts", "trust", "texts", "run"]
    assert [tag for tag, _ in outline.elements].count("h1") == 1 and [tag for tag, _ in outline.elements].count("main") == 1
    assert set(data["parts"]) == {"importance", "table"} and len(data["parts"]["table"]["rows"]) == 60
    links = [dict(attributes)["href"] for tag, attributes in outline.elements if tag == "a"]
    assert links == [f"#{name}" for name in ids]
    shown = " ".join(outline.texts)
    right = found.quality.accuracy.hits
    assert f"{right} of 60 texts get their true label" in shown and "Can the explanations be trusted?" in shown
    cells = [dict(attributes)["data-filter"] for tag, attributes in outline.elements if "data-filter" in dict(attributes)]
    assert len(cells) == 4 and '{"label": "1", "prediction": "0"}' in cells
    assert "http" not in {key for tag, attributes in outline.elements for key, _ in attributes}
    assert not any(dict(attributes).get("src") for _, attributes in outline.elements)


def test_the_table_has_prediction_label_and_confidence(found):
    table = payload(found.to_html())["parts"]["table"]
    assert table["classes"] == ["negative", "positive"] and table["percent"]
    for row, explanation in zip(table["rows"], found.explanations, strict=True):
        assert table["classes"][row[2]] == explanation.prediction and table["classes"][row[3]] == explanation.label
        assert explanation.target_labels[row[1]] == explanation.prediction
    wrong = sum(row[2] != row[3] for row in table["rows"])
    rings = {place[0] for part in payload(found.to_html())["parts"]["importance"]["classes"] for unit in part["units"]
             for i in unit.get("wrong", ()) for place in [unit["places"][i]]}  # fmt: skip
    assert 0 < len(rings) <= wrong


def test_texts_stay_texts():
    hostile = ["<script>alert(1)</script> a fine film", "<b onclick='x'> a dull film", "</style> it was good", "{{x}} bad"] * 4
    made = report(
        demo.load_classifier()[0],
        [(text, i % 2) for i, text in enumerate(hostile)],
        demo.load_classifier()[1],
        method="occlusion",
        n_faithfulness=0,
        nb_concepts=0,
    )
    outline = Outline(made.to_html())
    assert [tag for tag, _ in outline.elements].count("script") == 2
    assert not any(name.startswith("on") for _, attributes in outline.elements for name, _ in attributes)
    assert made.faithfulness is None and made.concepts is None and len(made.remarks) == 2
    assert "left out, as asked" in str(made)


def test_of_more_than_two_classes_mistakes_are_explained_for_both(monkeypatch):
    monkeypatch.setattr("interpreto.metrics.report.FEW_CLASSES", 1)
    model, tokenizer = demo.load_classifier()
    made = report(model, DATA[:12], tokenizer, method="occlusion", n_faithfulness=0, nb_concepts=0)
    for explanation in made.explanations:
        expected = [explanation.prediction] if explanation.correct else [explanation.prediction, explanation.label]
        assert explanation.target_labels == expected
    assert any(not explanation.correct for explanation in made.explanations)


def test_concepts_are_named_by_words_of_their_texts():
    texts = [f"{word} {other}" for word in ("dull", "kind") for other in ("plot", "film", "cast", "end", "hero")]
    codes = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5)
    assert names_of(texts, codes) == [("dull",), ("kind",)]
    assert names_of(["a", "b"], torch.ones(2, 2)) == [(), ()]
    with pytest.raises(InputError, match="at least 50"):
        text_concepts(*demo.load_classifier(), texts, ["negative", "positive"])


def test_effects_of_concepts_are_what_the_head_loses_without_them(found):
    concepts = found.concepts
    assert concepts is not None and len(concepts.concepts) == 2 and 0 < concepts.explained <= 1
    sizes = [float((concept.effects - concept.effects.mean()).abs().max()) for concept in concepts.concepts]
    assert sizes == sorted(sizes, reverse=True)
    for concept in concepts.concepts:
        assert list(concept.activations) == sorted(concept.activations, reverse=True) and max(concept.texts) < 60


def test_what_cannot_be_reported():
    from tests import tiny

    model, tokenizer = demo.load_classifier()
    with pytest.raises(InputError, match=r"'great' in column 'label' is no class.*'negative', 'positive'"):
        report(model, [("A film.", "great")], tokenizer)
    with pytest.raises(InputError, match="'2' in column"):
        report(model, [("A film.", "2")], tokenizer)
    with pytest.raises(OptionError, match="`method`: got 'gradients'"):
        report(model, DATA[:2], tokenizer, method="gradients")
    with pytest.raises(TaskError, match="single-label classifier"):
        report(tiny.chat_lm()[0], [("A film.", "good")], tiny.chat_lm()[1])


def test_a_black_box_has_a_report_without_concepts():
    from interpreto import BlackBox

    def score(texts: list[str]) -> list[list[float]]:
        return [[float("dull" in text), float("kind" in text)] for text in texts]

    data = [("A dull film.", "bad"), ("A kind film.", "good"), ("A dull end.", "good")]
    made = report(BlackBox(score, labels=["bad", "good"]), data, method="occlusion", n_faithfulness=3)
    assert made.quality.accuracy.hits == 2 and made.mistakes() == [2]
    assert made.concepts is None and "no activations" in made.remarks[-1]
    assert "n/a" in made.to_html() or made.quality.calibration
