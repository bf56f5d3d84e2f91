"""Explanations of many inputs: a list, its tables and files, and means over texts."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from interpreto import Explanations, KernelShap, Occlusion, demo
from interpreto.attributions.global_importance import GlobalImportance
from interpreto.errors import FileError, InputError, OptionError
from interpreto.intervals import mean_interval

TEXTS = ["A gorgeous film.", "A dull, dull film.", "What a gorgeous waste.", "A dull but gorgeous film."]


@pytest.fixture(scope="module")
def classifier():
    return demo.load_classifier()


@pytest.fixture(scope="module")
def explained(classifier):
    return Occlusion(*classifier)(TEXTS, targets=["positive", "negative", "negative", "positive"])


@pytest.fixture(scope="module")
def shapley(classifier):
    return KernelShap(*classifier)(TEXTS, targets=["positive", "negative", "negative", "positive"])


def test_a_call_returns_a_list_that_shows_itself(explained):
    assert isinstance(explained, Explanations) and isinstance(explained, list)
    assert len(explained) == 4 and explained.texts == TEXTS
    assert repr(explained) == "Explanations(4 of Occlusion: 'positive' × 2, 'negative' × 2)"
    assert 'class="interpreto' in explained._repr_html_()
    assert all(word in explained.to_html() for word in ("gorgeous", "dull", "waste"))
    assert str(explained).count("Occlusion") == 4


def test_parts_of_it_are_of_its_kind(explained):
    assert explained[0] is next(iter(explained)) and explained[np.int64(1)] is explained[1] and explained[-1] is explained[3]
    for part, texts in [
        (explained[1:3], TEXTS[1:3]),
        (explained[[0, 3]], [TEXTS[0], TEXTS[3]]),
        (explained[torch.tensor([True, False, True, False])], TEXTS[::2]),
        (explained[np.array([2, 0])], [TEXTS[2], TEXTS[0]]),
        (explained[[label == ["negative"] for label in (e.target_labels for e in explained)]], TEXTS[1:3]),
        (explained + explained[:1], [*TEXTS, TEXTS[0]]),
        (list(explained[:1]) + explained[1:2], TEXTS[:2]),
        (copy.copy(explained), TEXTS),
        (explained.copy(), TEXTS),
        (pickle.loads(pickle.dumps(explained)), TEXTS),
        (explained[[]], []),
    ]:
        assert isinstance(part, Explanations) and part.texts == texts
    with pytest.raises(InputError, match="3 truth values for 4"):
        _ = explained[[True, False, True]]
    with pytest.raises(InputError, match="index"):
        _ = explained[["a"]]
    with pytest.raises(InputError, match="0 explanations for 4"):
        explained.compare([])


def test_filters_and_orders(explained):
    assert explained.filter(label="negative").texts == TEXTS[1:3]
    assert explained.filter(containing="DULL").texts == [TEXTS[1], TEXTS[3]]
    assert explained.filter(lambda e: len(e.elements) > 4, method="Occlusion").texts == [
        TEXTS[i] for i in (1, 2, 3) if len(explained[i].elements) > 4
    ]
    scores = [float(e.base_scores[0]) for e in explained.sort_by()]
    assert scores == sorted(scores, reverse=True)
    assert explained.sort_by("text", descending=False).texts == sorted(TEXTS)
    assert explained.sort_by(lambda e: len(e.text)).texts[0] == max(TEXTS, key=len)
    with pytest.raises(OptionError, match="residual"):
        explained.sort_by("residual")
    with pytest.raises(OptionError, match="'score'"):
        explained.sort_by("length")


def test_the_table_has_a_row_per_unit_and_target(explained):
    frame = explained.to_dataframe()
    assert len(frame) == sum(e.attributions.numel() for e in explained)
    for i, explanation in enumerate(explained):
        own = frame[frame.text_id == i]
        assert own.attribution.tolist() == explanation.attributions[0].tolist()
        assert [text[a:b] for text, a, b in zip(own.text, own.start, own.end, strict=True)] == own.unit.tolist()
        assert set(own.score) == {float(explanation.base_scores[0])} and set(own.target) == set(explanation.target_labels)
    assert list(Explanations().to_dataframe().columns) == list(frame.columns)


def test_means_over_texts_are_those_of_a_loop(explained):
    importance = explained.importance()
    dull = next(row for row in importance if row.unit == "dull" and row.target == "negative")
    values = torch.tensor([v for e, v in zip(explained[1].elements, explained[1].attributions[0], strict=True) if e == "dull"])
    assert dull.n_occurrences == 2 and dull.n_texts == 1 and dull.mean == pytest.approx(float(values.mean()))
    assert np.isnan(dull.low) and not dull.is_sure
    gorgeous = next(row for row in importance if row.unit == "gorgeous" and row.target == "positive")
    values = [float(e.attributions[0, e.elements.index("gorgeous")]) for e in (explained[0], explained[3])]
    assert gorgeous.mean == pytest.approx(np.mean(values)) and gorgeous.text_ids == (0, 3)
    assert gorgeous.low < gorgeous.mean < gorgeous.high
    assert [abs(row.mean) for row in importance] == sorted((abs(row.mean) for row in importance), reverse=True)
    assert {row.unit for row in explained.importance(min_count=2)} == {"a", "film", ".", "gorgeous"}
    assert explained.importance(by=lambda unit: "word" if unit.isalpha() else "").rows[0].unit == "word"
    assert {row.unit for row in explained.importance(by="exact")} >= {"A", "a"}
    assert importance.top(1, "positive", sign=-1)[0].mean < 0 < importance.top(1, "positive", sign=1)[0].mean
    assert importance.to_dataframe().shape == (len(importance), 8)
    for call, error in [
        (lambda: explained.importance(by="lemma"), OptionError),
        (lambda: importance.top(1, "great"), OptionError),
        (lambda: Explanations().importance(), InputError),
    ]:
        with pytest.raises(error):
            call()


def test_means_do_not_depend_on_the_order_of_texts(explained):
    assert isinstance(explained.importance(), GlobalImportance)
    backwards = {(r.unit, r.target): r for r in explained[::-1].importance()}
    for row in explained.importance():
        other = backwards[row.unit, row.target]
        assert (row.n_texts, row.n_occurrences) == (other.n_texts, other.n_occurrences)
        assert row.mean == pytest.approx(other.mean) and row.high == pytest.approx(other.high, nan_ok=True)


def test_a_comparison_is_scipys_rank_correlation_per_text(explained, shapley):
    found = explained.compare(shapley)
    for value, a, b in zip(found.correlations, explained, shapley, strict=True):
        assert float(value) == pytest.approx(stats.spearmanr(a.attributions[0], b.attributions[0]).statistic)
    assert found.mean == pytest.approx(float(found.correlations.mean()))
    assert explained.compare(explained).mean == pytest.approx(1.0)
    assert "mean rank correlation" in repr(found) and all(len(units) <= 3 for units in found.disagreements)
    with pytest.raises(InputError, match=r"other\[0\]"):
        explained.compare(shapley[::-1])
    with pytest.raises(InputError, match="got 1 explanations for 4"):
        explained.compare(shapley[:1])


def test_one_file_holds_all(explained, shapley, tmp_path):
    path = tmp_path / "all.safetensors"
    (explained + shapley).save(path)
    again = Explanations.load(path)
    assert isinstance(again, Explanations) and again.texts == TEXTS * 2
    for a, b in zip(explained + shapley, again, strict=True):
        assert torch.equal(a.attributions, b.attributions) and a.method == b.method and a.elements == b.elements
        assert (a.standard_error is None) == (b.standard_error is None)
    Explanations().save(path)
    assert Explanations.load(path) == []
    explained[0].save(path)
    with pytest.raises(FileError, match="interpreto"):
        Explanations.load(path)


def test_tables_as_files(explained, tmp_path):
    pandas = pytest.importorskip("pandas")
    explained.save(tmp_path / "all.csv")
    assert len(pandas.read_csv(tmp_path / "all.csv")) == len(explained.to_dataframe())
    with pytest.raises(FileError, match="table of numbers"):
        Explanations.load(tmp_path / "all.csv")


def test_calls_that_generate_return_it_too():
    from tests import tiny

    explained = Occlusion(*tiny.chat_lm())(["The film was", "It is"], " good")
    assert isinstance(explained, Explanations)
    assert isinstance(explained.importance().top(1), list)


def spread(values, words=("dull", "Dull,", "fine"), **facts):
    """One text of `words` per row of values, for one class."""
    from tests.visualizations.examples import explanation

    return Explanations(explanation(list(words), [list(row)], ["negative"], **facts) for row in values)


def test_words_have_no_punctuation_and_the_sum_of_their_units():
    from dataclasses import replace

    from interpreto.inputs.units import Units

    made = spread([(1.0, 3.0, 0.5)])
    assert {row.unit: row.mean for row in made.importance(by="word")} == {"dull": 2.0, "fine": 0.5}
    assert {row.unit for row in made.importance(by="word", fold_case=False)} == {"dull", "Dull", "fine"}
    assert {row.unit for row in made.importance(fold_case=False)} == {"dull", "Dull,", "fine"}
    # tokens of one word: un | friendly
    (whole,) = spread([(1.0, 3.0)], ["unfriendly", "end."])
    units = Units(torch.arange(3), ("un", "friendly", "end."), ((0, 2), (2, 10), (11, 15)))
    cut = replace(whole, sample=replace(whole.sample, units=units), attributions=torch.tensor([[1.0, 3.0, 5.0]]))
    found = {row.unit: row for row in Explanations([cut]).importance(by="word")}
    assert found["unfriendly"].mean == 4.0 and found["unfriendly"].occurrences[0].units == (0, 1) and found["end"].mean == 5.0
    magnitudes = Explanations([replace(cut, signed=False)]).importance(by="word")
    assert {row.unit: row.mean for row in magnitudes} == {"unfriendly": 2.0, "end": 5.0}
    # a unit of several words is no word
    (sentence,) = spread([(1.0,)], ["One. Two words"])
    assert [row.unit for row in Explanations([sentence]).importance(by="word")] == ["one. two words"]


def test_occurrences_weigh_as_asked_and_intervals_are_over_texts():
    made = spread([(1.0, 3.0, 0.0), (4.0, float("nan"), 0.0), (5.0, 6.0, 0.0)])
    by_text = {row.unit: row for row in made.importance(by="word")}["dull"]
    assert by_text.mean == pytest.approx((2 + 4 + 5.5) / 3) and by_text.n_texts == 3 and by_text.n_occurrences == 5
    assert [tuple(place) for place in by_text.occurrences[:2]] == [(0, (0,), 1.0), (0, (1,), 3.0)]
    each = {row.unit: row for row in made.importance(by="word", weighting="occurrence")}["dull"]
    assert each.mean == pytest.approx((1 + 3 + 4 + 5 + 6) / 5)
    sums, counts = torch.tensor([4.0, 4.0, 11.0]).double(), torch.tensor([2.0, 1.0, 2.0]).double()
    influences = each.mean + (sums - each.mean * counts) / counts.mean()  # of a ratio of two sums over texts
    assert (each.low, each.high) == pytest.approx(mean_interval(influences, 0.95))
    assert each.least == (min(abs(each.low), abs(each.high)) if each.is_sure else 0.0)


def test_shares_do_not_depend_on_the_size_of_the_scores():
    made = spread([(1.0, -2.0, 1.0), (10.0, -20.0, 10.0)])
    shares = {row.unit: row for row in made.importance(normalize=True)}
    assert shares["dull"].mean == pytest.approx(0.25) and shares["dull,"].mean == pytest.approx(-0.5)
    assert shares["dull"].low == pytest.approx(shares["dull"].high)
    for options in ({"weighting": "token"}, {"normalize": True, "min_count": 0}):
        with pytest.raises(OptionError):
            made.importance(**options)


def test_the_surest_units_come_first_when_asked():
    made = spread([(1.0, 5.0, -2.0), (1.0, -4.0, -2.2), (1.1, 5.5, -1.8)], words=("sure", "large", "against"))
    importance = made.importance()
    assert [row.unit for row in importance.top(3, surest=True)] == ["against", "sure"]
    assert importance.top(1)[0].unit == "large" and importance.top(1, sign=-1, surest=True)[0].unit == "against"
