"""Labels of concepts: planted truths are found, what is scored was not seen, and no label is without its score."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch

from interpreto import ModelWithSplitPoints, demo, plot_concepts
from interpreto.concepts import NeuronsAsConcepts, PCAConcepts, TopKInputs, TopKSAEConcepts, concept_dashboard
from interpreto.concepts.given import given_concepts
from interpreto.concepts.interpretations import ConceptLabel, ConceptLabels, Interpretation, KeywordLabels, LabelScore
from interpreto.concepts.interpretations.concept_label import check_labels
from interpreto.concepts.interpretations.held_out import TextSplit, read_text_unit, read_texts
from interpreto.concepts.interpretations.keywords import PRIOR, WordTable, keywords, log_odds, words_of
from interpreto.concepts.summaries import global_concepts
from interpreto.errors import FileError, InputError, OptionError
from interpreto.statistics import auc, auc_difference

WORDS = [
    *("river", "stone", "cloud", "apple", "chair", "music", "paper", "light"),
    *("glass", "table", "horse", "green", "quiet", "early", "winter", "garden"),
]


def planted(n: int = 240, seed: int = 0) -> tuple[list[str], torch.Tensor]:
    """Return texts of random words and amounts of four concepts: "7", "river or stone", noise, nothing at all."""
    draws = random.Random(seed)
    texts = [" ".join(draws.sample(WORDS, 6)) + (f" {draws.choice([7, 8])}" if i % 3 == 0 else "") for i in range(n)]
    texts = [f"{text} {i:x}th" for i, text in enumerate(texts)]
    rows = [[2.0 * ("7" in text.split()), "river" in text or "stone" in text, draws.random(), 0.0] for text in texts]
    return texts, torch.tensor(rows, dtype=torch.float32)


@pytest.fixture(scope="module")
def splitter() -> ModelWithSplitPoints:
    model, tokenizer = demo.load_classifier()
    return ModelWithSplitPoints(model, [1], tokenizer=tokenizer)


@pytest.fixture(scope="module")
def explainer(splitter) -> NeuronsAsConcepts:
    return NeuronsAsConcepts(splitter)


@pytest.fixture(scope="module")
def labels(explainer) -> ConceptLabels:
    texts, codes = planted()
    return KeywordLabels(explainer, "sample").interpret(texts, concepts_indices=[0, 1, 2, 3], concepts_activations=codes)


class TestKeywords:
    def test_planted_words_are_found_and_tell_the_texts(self, labels) -> None:
        assert next(iter(labels[0].keywords)) == "7" and labels[0].score.value > 0.99
        assert set(list(labels[1].keywords)[:2]) == {"river", "stone"} and labels[1].score.value > 0.9
        assert all(labels[c].score.beats_controls and labels[c].score.shuffled < 0.7 for c in (0, 1))

    def test_noise_scores_no_better_than_its_controls(self, labels) -> None:
        score = labels[2].score
        assert abs(score.value - 0.5) < 0.2 and not score.beats_controls

    def test_a_concept_that_is_nowhere_is_not_scored_and_says_why(self, labels) -> None:
        assert labels[3].text is None and labels[3].score is None and "active in 0 of" in labels[3].verdict

    def test_log_odds_are_monroes(self) -> None:
        y, n, size = torch.tensor([[7.0], [0.0]]).double(), torch.tensor([[3.0], [10.0]]).double(), (20.0, 60.0)
        ratio, z = log_odds(y, n, *(torch.tensor([s]).double() for s in size))
        for w in range(2):
            a = PRIOR * float(y[w] + n[w]) / sum(size)
            one, two = float(y[w]) + a, float(n[w]) + a
            expected = math.log(one / (size[0] + PRIOR - one)) - math.log(two / (size[1] + PRIOR - two))
            assert float(ratio[w]) == pytest.approx(expected)
            assert float(z[w]) == pytest.approx(expected / math.sqrt(1 / one + 1 / two))

    def test_counts_are_of_texts(self) -> None:
        table = WordTable(["gem gem gem", "a gem", "bore"])
        chosen = torch.tensor([[True, False], [True, True], [False, True]])
        counts = dict(zip(table.vocabulary, table.counts(chosen).tolist(), strict=True))
        assert counts == {"a": [1.0, 1.0], "bore": [0.0, 1.0], "gem": [2.0, 1.0]}
        assert table.sums({"gem": 2.0, "absent": 9.0, "a": 0.5}).tolist() == [2.0, 2.5, 0.0]
        assert keywords(WordTable([]), torch.zeros(0, 2, dtype=torch.bool), 3) == [{}, {}]
        assert {"‹?›", "‹digit›", "room"} <= words_of("Room 7?")

    def test_order_and_company_change_nothing(self, explainer, labels) -> None:
        texts, codes = planted()
        order = list(range(len(texts)))
        random.Random(1).shuffle(order)
        found = KeywordLabels(explainer, "sample").interpret(
            [texts[i] for i in order], concepts_indices=[1], concepts_activations=codes[order]
        )
        assert found[1].keywords == labels[1].keywords and found[1].score.value == labels[1].score.value
        assert set(found[1].evidence) <= set(texts)

    def test_activations_given_as_any_form_give_the_same(self, explainer, splitter, tmp_path) -> None:
        texts = [sentence.text for sentence in demo.load_sentences()[:60]]
        labeler = KeywordLabels(explainer, min_count=1)
        rows = splitter.get_activations(texts, "word")
        store = splitter.store_activations(texts, tmp_path / "s", "word")
        expected = labeler.interpret(texts, concepts_indices=[1, 2])
        for given in (rows, rows[splitter.split_points[0]], store):
            assert labeler.interpret(texts, given, [1, 2]).texts() == expected.texts()
        with pytest.raises(InputError, match="rows"):
            labeler.interpret(texts[:-1], rows, [1])

    def test_wrong_calls(self, explainer) -> None:
        for wrong in (None, "one text", ["one text"]):
            with pytest.raises(InputError, match="`inputs`"):
                KeywordLabels(explainer).interpret(wrong)
        for option in ({"k": 0}, {"held_out": 0.0}, {"held_out": 1.0}, {"quantile": 1.0}, {"min_count": 0}):
            with pytest.raises(OptionError):
                KeywordLabels(explainer, **option)

    @pytest.mark.slow
    def test_words_of_an_autoencoders_concepts_predict_them_in_other_texts(self, splitter) -> None:
        sentences = demo.load_sentences()
        train = [one.text for one in sentences if one.split == "train"][:1000]
        explainer = TopKSAEConcepts(splitter, nb_concepts=48).fit(splitter.get_activations(train, "word"))
        texts = [one.text for one in sentences if one.split == "held-out"][:1200]
        scores = [one.score for one in KeywordLabels(explainer).interpret(texts).values() if one.score]
        assert len(scores) >= 40 and sum(score.value for score in scores) / len(scores) >= 0.70
        assert abs(sum(score.shuffled for score in scores) / len(scores) - 0.5) <= 0.03


class TestHeldOut:
    def test_parts_share_no_text(self, explainer) -> None:
        texts, codes = planted()
        twice = [*texts, *(text.upper() + "!" for text in texts)]
        unit = read_text_unit(explainer, "sample")
        found = read_texts(
            explainer,
            twice,
            None,
            [0],
            unit=unit,
            split=TextSplit(),
            quantile=0.9,
            concepts_activations=torch.cat([codes, codes]),
        )
        kept = {
            " ".join(sorted(text.lower().strip("!").split()))
            for text, held in zip(found.texts, found.held, strict=True)
            if held
        }
        left = {
            " ".join(sorted(text.lower().strip("!").split()))
            for text, held in zip(found.texts, found.held, strict=True)
            if not held
        }
        assert kept and left and not kept & left
        assert 0.4 < float(found.held.float().mean()) < 0.6

    def test_a_texts_part_does_not_depend_on_the_others_and_on_its_form(self) -> None:
        split, more = TextSplit(), TextSplit(0.8)
        texts, _ = planted()
        assert all(split.held_out(text) == split.held_out(f"  {text.title()}?!") for text in texts)
        assert all(more.held_out(text) for text in texts if split.held_out(text))
        assert [TextSplit(0.5, 1).held_out(text) for text in texts] != [split.held_out(text) for text in texts]

    def test_equal_texts_count_once(self, explainer) -> None:
        texts, codes = planted(40)
        unit = read_text_unit(explainer, "sample")
        asked = {"unit": unit, "split": TextSplit(), "quantile": 0.9}
        found = read_texts(explainer, texts * 2, None, [0], concepts_activations=torch.cat([codes, codes]), **asked)
        assert found.texts == texts


class TestStatistics:
    @pytest.mark.parametrize("seed", range(4))
    def test_auc_is_the_share_of_pairs(self, seed: int) -> None:
        draws = torch.Generator().manual_seed(seed)
        scores = torch.randint(0, 5, (30,), generator=draws).float()
        scores[torch.rand(30, generator=draws) < 0.1 * seed] = torch.nan
        positive = torch.rand(30, generator=draws) < 0.4
        pairs = list(itertools.product(scores[positive].tolist(), scores[~positive].tolist()))
        won = sum(0.5 if math.isnan(a) or math.isnan(b) or a == b else float(a > b) for a, b in pairs)
        assert auc(scores, positive) == pytest.approx(won / len(pairs))
        assert math.isnan(auc(scores, torch.ones(30, dtype=torch.bool)))

    @pytest.mark.slow
    def test_the_interval_of_a_difference_covers_it(self) -> None:
        covered, draws = 0, torch.Generator().manual_seed(0)
        positive = torch.arange(60) < 20
        for _ in range(300):
            base = torch.randn(60, generator=draws) + 1.0 * positive
            other = base + torch.randn(60, generator=draws) - 1.0 * positive
            low, high = auc_difference(base, other, positive)
            truth = float(torch.distributions.Normal(0, 1).cdf(torch.tensor(1 / 2**0.5))) - 0.5
            covered += low <= truth <= high
        assert 0.90 <= covered / 300 <= 0.99
        assert auc_difference(base, base, positive) == (0.0, 0.0)


class TestLabels:
    def test_no_label_is_shown_without_its_score(self, labels, tmp_path) -> None:
        for label in (*labels.values(), ConceptLabel("a", "me"), ConceptLabel(None, "me", failure="the judge said nothing")):
            for said in (str(label), repr(label)):
                assert ("AUC" in said) == (label.score is not None) and ("not scored" in said) == (label.score is None)
        assert repr(labels).count("[") == 4 and repr(labels).count("AUC") == 3
        table = labels.to_dataframe()
        assert list(table.score) == ["KeywordDetection"] * 3 + ["not scored"] and table.value.notna().tolist() == [True] * 3 + [
            False
        ]

    def test_files_keep_everything(self, labels, tmp_path) -> None:
        labels.save(tmp_path / "labels.json")
        again = ConceptLabels.load(tmp_path / "labels.json")
        assert repr(again) == repr(labels) and again.config == dict(labels.config)
        assert {c: one.keywords for c, one in again.items()} == {c: one.keywords for c, one in labels.items()}
        assert again[0].control.keywords == labels[0].control.keywords and again[0].evidence == labels[0].evidence
        for bad in ("", "[]", '{"format": "x"}', '{"format": "interpreto labels 1", "labels": {"a": 1}, "config": {}}'):
            (tmp_path / "bad.json").write_text(bad)
            with pytest.raises(FileError, match=r"bad\.json"):
                ConceptLabels.load(tmp_path / "bad.json")

    def test_scores_are_replaced_as_a_whole(self, labels) -> None:
        score = LabelScore("Detection", "AUC", 0.8, 0.5, 0.5, (0.1, 0.4), 0.5, 20)
        found = labels.with_scores({0: score})
        assert found[0].score == score and found[1].score is None and "not scored" in str(found[1])
        assert labels.texts() == {c: label.text for c, label in labels.items()}

    def test_texts_of_ones_own_are_labels_that_are_not_scored(self) -> None:
        assert repr(check_labels({1: "digits"})[1]) == "'digits' [not scored]"
        for wrong in ({"a": "b"}, {1: 2}, ["a"], None):
            with pytest.raises(OptionError, match="`labels`"):
                check_labels(wrong)

    def test_top_inputs_are_an_interpretation(self, explainer) -> None:
        assert isinstance(TopKInputs(explainer), Interpretation) and isinstance(KeywordLabels(explainer), Interpretation)


class TestViews:
    @pytest.fixture(scope="class")
    def found(self, splitter) -> tuple[PCAConcepts, list[str], ConceptLabels]:
        texts = [sentence.text for sentence in demo.load_sentences()[:120]]
        explainer = PCAConcepts(splitter, nb_concepts=3).fit(splitter.get_activations(texts, "word"))
        return explainer, texts, KeywordLabels(explainer, min_count=2).interpret(texts)

    def test_plots_show_labels_with_their_scores(self, found) -> None:
        explainer, texts, labels = found
        mixed = ConceptLabels({**labels, 2: ConceptLabel("of one's own", "me")})
        view = global_concepts(explainer, texts[:20], interpretation=mixed)
        page, lines = view.to_html(), "".join(str(view).split())
        for concept, label in mixed.items():
            assert view.name(concept).startswith("[AUC " if label.score else "[not scored] ")
            assert label.verdict in page and label.verdict.replace(" ", "") in lines

    def test_the_dashboard_shows_labels_with_their_scores(self, found) -> None:
        explainer, texts, labels = found
        board = concept_dashboard(explainer, texts[:30], interpretation=labels)
        table = board.to_dataframe()
        assert list(table["label score"]) == [labels[c].verdict for c in range(3)]
        assert [profile.name for profile in board.profiles] == [labels[c].shown for c in range(3)]
        assert all(label.verdict in board.to_html() for label in labels.values())
        assert str(board).count("[AUC ") + str(board).count("[not scored]") == 3

    @pytest.mark.slow
    def test_a_labeler_itself_is_an_interpretation(self, found) -> None:
        explainer, texts, labels = found
        view = global_concepts(explainer, texts, interpretation=KeywordLabels(explainer, min_count=2))
        assert {c: view.name(c) for c in view.shown} == {c: labels[c].shown for c in view.shown}


class TestGivenImportances:
    def test_numbers_are_shown_as_they_are(self) -> None:
        values = torch.tensor([[0.5, -0.2, 0.0], [-0.1, 0.4, 0.0]])
        view = given_concepts(values, {0: "praise", 1: ConceptLabel("blame", "me")}, class_names=["bad", "good"])
        assert torch.equal(view.effects, values) and torch.equal(view.importances, values.abs())
        assert view.shown == (0, 1) and view.outputs == ("bad", "good") and view.name(1) == "[not scored] blame"
        nested = {"bad": {0: 0.5, 1: -0.2}, "good": {0: -0.1, 1: 0.4}}
        assert torch.equal(given_concepts(nested).effects, values[:, :2])
        assert given_concepts([0.5, -0.2]).outputs == ("importance",)

    def test_effects_of_a_texts_units_sum_to_its_importances(self) -> None:
        amounts, values = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[2.0, 1.0]])
        view = given_concepts(values, sample=["lovely", "film"], activations=amounts)
        assert torch.equal(view.effects[0], torch.tensor([[0.5, 0.5], [1.5, 0.5]])) and view.text == "lovely film"
        whole = given_concepts(view.effects, sample=["lovely", "film"], activations=amounts)
        assert torch.equal(whole.effects, view.effects)

    @pytest.mark.parametrize("text", [None, ["lovely", "film"]])
    def test_they_are_drawn_in_every_medium(self, text, tmp_path, capsys) -> None:
        own = {} if text is None else {"sample": text, "concepts_activations": torch.ones(2, 2)}
        labels = {0: "praise", 1: ConceptLabel("blame", "me")}
        asked = {"concepts_importances": torch.tensor([[0.5, -0.2]]), "concepts_labels": labels, "top_k": 2, **own}
        plot_concepts(**asked, save_path=tmp_path / "page.html", backend="terminal")
        lines, page = capsys.readouterr().out, (tmp_path / "page.html").read_text("utf-8")
        assert (
            "praise" in lines and "[not scored] blame" in lines and "[not scored] blame" in page and "nan" not in lines.lower()
        )
        pytest.importorskip("matplotlib")
        assert plot_concepts(**asked, backend="matplotlib") is not None

    @pytest.mark.parametrize(
        "wrong",
        [
            {"importances": "x"},
            {"importances": []},
            {"importances": torch.ones(1, 1, 1, 1)},
            {"importances": [float("nan")]},
            {"importances": {"a": {"b": 1.0}}},
            {"importances": [[1.0]], "class_names": ["a", "b"]},
            {"importances": [[1.0]], "activations": torch.ones(1, 1)},
            {"importances": [[1.0]], "sample": ["a"]},
            {"importances": [[1.0]], "sample": ["a"], "activations": torch.ones(2, 1)},
            {"importances": [1.0], "interpretation": 3},
        ],
    )
    def test_what_does_not_fit(self, wrong) -> None:
        with pytest.raises(OptionError, match="`"):
            given_concepts(**wrong)
        with pytest.raises(OptionError, match="`"):
            plot_concepts(**wrong, inputs=None)

    def test_one_or_the_other(self, explainer) -> None:
        for wrong in (
            {},
            {"concept_explainer": explainer},
            {"inputs": "a", "importances": [1.0]},
            {"inputs": "a", "sample": ["a"]},
        ):
            with pytest.raises(OptionError):
                plot_concepts(**wrong)
