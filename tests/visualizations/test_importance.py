"""Pages, figures and lines of many texts: mean attributions per class, and the table of a data set."""

from __future__ import annotations

import numpy as np
import pytest

from interpreto import Explanations, plot_importance
from interpreto.attributions.global_importance import least_count
from interpreto.errors import InputError, OptionError
from interpreto.visualizations.html.importance import OCCURRENCES
from interpreto.visualizations.importance_layout import spread, surest_first
from interpreto.visualizations.table_layout import MANY, text_rows
from tests.visualizations.examples import INJECTIONS, explanation, film, generation
from tests.visualizations.test_html import Outline, numbers, payload

WORDS = ("dull", "Dull", "fine")


def texts(n: int = 4, words=WORDS, **facts: object) -> Explanations:
    return Explanations(
        explanation(
            [*words, f"text{i}"], [[1.0 + i, 2.0, -1.0, 0.1], [-1.0, -2.0, 1.0, 0.0]], ["negative", "positive"], **facts
        )
        for i in range(n)
    )


def test_the_page_holds_means_intervals_and_every_occurrence():
    importance = texts().importance(by="word")
    part = payload(importance.to_html())["parts"]["importance"]
    assert [(c["name"], c["texts"]) for c in part["classes"]] == [("negative", 4), ("positive", 4)]
    dull = next(unit for unit in part["classes"][0]["units"] if unit["unit"] == "dull")
    row = next(row for row in importance.of("negative") if row.unit == "dull")
    assert (dull["mean"], dull["low"], dull["high"]) == pytest.approx((row.mean, row.low, row.high), rel=1e-6)
    assert dull["texts"] == 4 and dull["count"] == 8 == len(dull["places"])
    assert numbers([dull["values"]])[0].tolist() == [place.value for place in row.occurrences]
    assert dull["places"][3] == [1, 0, 0, [1]]  # second text, first explanation, first target, unit 1


def test_facts_that_all_explanations_share_are_in_the_page_once():
    deck = payload(texts(3).importance().to_html())["deck"]
    assert {"facts", "unit", "signed", "labels"} <= set(deck["shared"])
    assert len(deck["groups"]) == 3 and all("labels" not in group[0] and "values" in group[0] for group in deck["groups"])


def test_explanations_of_one_text_by_two_methods_share_its_card():
    again = explanation(["dull", "Dull", "fine", "text0"], [[1.0] * 4, [0.0] * 4], ["negative", "positive"])  # other values
    both = Explanations([*texts(2), again])
    page = payload(both.importance().to_html())
    assert [len(group) for group in page["deck"]["groups"]] == [2, 1]
    dull = next(unit for unit in page["parts"]["importance"]["classes"][0]["units"] if unit["unit"] == "dull")
    assert [place[:2] for place in dull["places"]] == [[0, 0], [0, 0], [1, 0], [1, 0], [0, 1], [0, 1]]


def test_many_occurrences_are_evenly_spread():
    importance = texts(OCCURRENCES).importance()
    units = payload(importance.to_html())["parts"]["importance"]["classes"][0]["units"]
    dull = next(unit for unit in units if unit["unit"] == "dull")
    assert dull["count"] == 2 * OCCURRENCES and len(dull["places"]) == OCCURRENCES
    places = next(row for row in importance if row.unit == "fine").occurrences
    assert spread(places, 10 * len(places)) == list(places)
    assert [place.text_id for place in spread(places, 4)] == [0, 30, 60, 90]
    assert [least_count(n) for n in (1, 9, 10, 49, 50)] == [1, 1, 2, 2, 3]


def test_the_surest_units_are_shown_first_in_every_medium(capsys):
    made = Explanations(
        explanation(["sure", "wild", "weak"], [[1.0 + i / 10, 9.0 * (-1) ** i, 0.5 + i / 10]], ["negative"]) for i in range(4)
    )
    importance = made.importance()
    assert [row.unit for row in surest_first(importance, "negative", 3)] == ["sure", "weak", "wild"]
    plot_importance(importance, backend="terminal")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("negative  words by their mean effect in logits over 4 texts · Occlusion")
    assert [line.split()[0] for line in lines[1:]] == ["sure", "weak", "wild"] and "+1.15" in lines[1] and "4 texts" in lines[1]
    axes = plot_importance(made, backend="matplotlib").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sure (4)", "weak (4)", "wild (4)"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1.15, 0.65, 0.0])
    assert sum(len(dots.get_offsets()) for dots in axes.collections if len(dots.get_offsets()) == 4) == 12


def test_all_texts_of_a_page_stay_text():
    hostile = Explanations(
        explanation([*INJECTIONS[:6], f"x{i}"], [[1.0] * 7], [INJECTIONS[2]], method=INJECTIONS[0]) for i in range(MANY + 1)
    )
    for page in (hostile.to_html(), hostile.importance().to_html(), hostile.importance()._repr_html_()):
        allowed = {"script", "style", "main", "div", "table", "span"}
        assert {tag for tag, _ in Outline(page).elements} - allowed <= {
            *("html", "head", "meta", "title", "body", "h1", "p", "b", "thead", "tbody", "tr", "th", "td")
        }
        assert not any(name.startswith("on") for _, attributes in Outline(page).elements for name, _ in attributes)


def test_many_texts_are_a_table_and_few_are_cards():
    few, many = texts(MANY), texts(MANY + 1)
    assert isinstance(payload(few.to_html()), list) and isinstance(payload(many[:1].to_html()), list)
    part = payload(many.to_html())["parts"]["table"]
    assert [row[0] for row in part["rows"]] == list(range(MANY + 1))
    assert [row[1] for row in part["rows"]] == [1] * (MANY + 1)  # the target of largest score
    assert 'class="interpreto dataset"' in many._repr_html_()
    assert payload((many + many).to_html())["deck"]["groups"][0].__len__() == 2


def test_rows_know_what_they_show():
    rows = text_rows([[film()], [generation("A b", [" c"])]])
    assert [(row.target, row.prediction, row.label, row.is_right) for row in rows] == [
        (1, None, None, None),
        (0, None, None, None),
    ]


def test_magnitudes_have_no_direction():
    made = texts(signed=False)
    part = payload(made.importance().to_html())["parts"]["importance"]
    assert not part["signed"] and part["unit"] == "magnitude"
    assert payload(made.importance(normalize=True).to_html())["parts"]["importance"]["unit"] == "share of the text"
    assert np.isfinite(numbers([part["classes"][0]["units"][0]["values"]])).all()


def test_what_cannot_be_shown():
    with pytest.raises(InputError, match="got none"):
        plot_importance([])
    with pytest.raises(OptionError, match="`backend`"):
        plot_importance(texts(), backend="svg")
    with pytest.raises(OptionError, match="`by`: got 'lemma'"):
        plot_importance(texts(), by="lemma")


def test_a_text_that_occurs_twice_has_one_card_and_all_its_occurrences():
    page = payload((texts(2) + texts(1)).importance().to_html())
    assert [len(group) for group in page["deck"]["groups"]] == [1, 1]
    unit = next(unit for unit in page["parts"]["importance"]["classes"][0]["units"] if unit["unit"] == "fine")
    assert [place[:2] for place in unit["places"]] == [[0, 0], [1, 0], [0, 0]]
