"""Dashboards of concepts: counts, quantiles, neighbors, words, and their agreement with the other summaries."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from interpreto import ModelWithSplitPoints, demo
from interpreto.concepts import NeuronsAsConcepts, PCAConcepts, SemiNMFConcepts, TopKInputs, concept_dashboard
from interpreto.concepts.dashboard import CHUNK, around_peak, by_quantile, nearest
from interpreto.concepts.distinctive_words import PRIOR, DistinctiveWords
from interpreto.concepts.histograms import BINS, Histograms
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.concepts.summaries import global_concepts
from interpreto.errors import InputError, OptionError
from tests.tiny import CAUSAL_LMS
from tests.visualizations.concept_examples import passage

TEXTS = [sentence.text for sentence in demo.load_sentences()[:30]]


@pytest.fixture(scope="module")
def splitter():
    model, tokenizer = demo.load_classifier()
    return ModelWithSplitPoints(model, [1], tokenizer=tokenizer)


@pytest.fixture(scope="module")
def explainer(splitter):
    return PCAConcepts(splitter, nb_concepts=6).fit(splitter.get_activations(TEXTS, "word"))


@pytest.fixture(scope="module")
def dashboard(explainer):
    return concept_dashboard(explainer, TEXTS)


class TestHistograms:
    @pytest.mark.parametrize("scales", [(1, 1, 1), (0.01, 1, 300), (300, 1, 0.01), (0, 0, 2)])
    def test_counts_are_numpys_however_the_range_grows(self, scales):
        draws = np.random.default_rng(0)
        parts = [scale * draws.normal(size=(40, 3)) * np.array([1, 7, 0.2]) for scale in scales]
        parts = [torch.tensor(part * (draws.random(part.shape) < 0.8), dtype=torch.float32) for part in parts]
        found = Histograms(3)
        for part in parts:
            found.add(part)
        rows = torch.cat(parts).double().numpy()
        for concept in range(3):
            one, values = found.of(concept), rows[:, concept]
            edges = one.width * np.arange(BINS + 1)
            assert one.zeros == (values == 0).sum() and one.width * BINS >= np.abs(values).max()
            for sign, counts in ((1, one.above), (-1, one.below)):
                within = np.searchsorted(edges, sign * values[sign * values > 0], side="left")  # bins (a, b]
                expected = np.bincount(within - 1, minlength=BINS)
                assert list(counts) == list(expected[: len(counts)]) and expected[len(counts) :].sum() == 0

    def test_a_concept_that_is_always_zero_has_no_bins(self):
        found = Histograms(2)
        found.add(torch.tensor([[0.0, 1.0], [0.0, -2.0]]))
        assert (found.of(0).above, found.of(0).below, found.of(0).zeros, found.of(0).width) == ((), (), 2, 0.0)
        assert sum(found.of(1).above) == sum(found.of(1).below) == 1


class TestDistinctiveWords:
    def test_a_word_that_every_concept_is_large_at_names_none_that_has_another(self):
        found = DistinctiveWords(4, most=1)
        codes = 5 * torch.eye(4).repeat(3, 1)
        words = ["film", "plot", "actor", "score"] * 3
        found.add([*words, "the", "the"], torch.cat([codes, torch.full((2, 4), 2.0)]))
        assert [names[0] for _, names in sorted(found.names().items())] == ["film", "plot", "actor", "score"]

    def test_scores_follow_the_formula(self):
        found = DistinctiveWords(2, words=2, most=2)
        codes = torch.tensor([[3.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
        found.add(["a", "b", "a c"], codes)
        scale = codes.square().mean(0).sqrt()
        z = torch.tensor([[3.0, 3.0], [1.0, 0.0], [0.0, 2.0]]) / (PRIOR + torch.tensor([[2.0], [1.0], [1.0]])) / scale
        scores = z**2 / z.sum(1, keepdim=True)
        expected = {c: tuple("abc"[i] for i in scores[:, c].argsort(descending=True)[:2]) for c in range(2)}
        kept = {
            c: tuple(w for w in names if scores["abc".index(w), c] > 0.2 * scores[:, c].max()) for c, names in expected.items()
        }
        assert found.names() == kept

    def test_batches_and_case_do_not_matter(self):
        draws = torch.rand(9, 3, generator=torch.Generator().manual_seed(0))
        words = ["Film", "plot", "film", "a dull plot", "actor", "Actor", "!", "", "e-mail"]
        whole, parts = DistinctiveWords(3), DistinctiveWords(3)
        whole.add(words, draws)
        for i in range(9):
            parts.add(words[i : i + 1], draws[i : i + 1])
        assert whole.names() == parts.names()
        assert "film" not in {word for words in whole.names().values() for word in words}  # as it is written first
        assert DistinctiveWords(3).names() == {}

    def test_new_words_are_dropped_where_there_is_no_room(self, monkeypatch):
        monkeypatch.setattr("interpreto.concepts.distinctive_words.CELLS", 4)
        found = DistinctiveWords(2)
        found.add(["a", "b", "c", "d", "a"], torch.tensor([[1.0, 0], [0, 1.0], [9.0, 9.0], [9.0, 9.0], [1.0, 0]]))
        assert found.names() == {0: ("a",), 1: ("b",)}

    def test_no_word_is_in_more_than_two_of_24_names_of_the_demo(self, splitter):
        texts = [sentence.text for sentence in demo.load_sentences()[:120]]
        explainer = SemiNMFConcepts(splitter, nb_concepts=24).fit(splitter.get_activations(texts, "word"))
        names = global_concepts(explainer, texts, k_concepts=24).names
        assert sorted(names) == list(range(24))
        assert max(Counter(word.casefold() for words in names.values() for word in words).values()) <= 2


class TestNumbers:
    def test_effects_are_those_of_the_global_summary(self, explainer, dashboard):
        other = global_concepts(explainer, TEXTS)
        assert torch.equal(dashboard.importances, other.importances) and torch.equal(dashboard.effects, other.effects)
        assert dashboard.outputs == other.outputs and dashboard.texts == len(TEXTS)
        assert [profile.words for profile in dashboard.profiles] == [other.names[c] for c in range(6)]

    def test_densities_means_and_peaks_are_those_of_the_rows(self, splitter, explainer, dashboard):
        rows = splitter.get_activations(TEXTS, "word")
        codes = explainer.encode_activations(rows).double()
        assert dashboard.units == len(codes)
        for profile in dashboard.profiles:
            values = codes[:, profile.concept]
            assert profile.density == pytest.approx(float((values > 0).double().mean()), abs=2 / len(codes))
            assert profile.mean == pytest.approx(float(values.mean()), abs=1e-4)
            assert profile.peak == pytest.approx(float(values.max()), rel=1e-4)
            assert sum(profile.histogram.above) + sum(profile.histogram.below) + profile.histogram.zeros == len(codes)

    def test_the_first_texts_are_those_of_largest_activation(self, explainer, dashboard):
        views = global_concepts(explainer, TEXTS, k_inputs=3, k_concepts=6).top_inputs
        for profile in dashboard.profiles:
            assert [p.text for p in profile.examples[0].passages] == [p.text for p in views[profile.concept]]
            assert (profile.examples[0].low, profile.examples[0].high) == (0.8, 1.0)
            peaks = [float(p.activations.max()) for group in profile.examples for p in group.passages]
            assert peaks == sorted(peaks, reverse=True) and peaks[-1] > 0

    def test_a_language_model_has_its_tokens(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        texts = ["the film is great", "a dull plot"]
        found = concept_dashboard(NeuronsAsConcepts(splitter).fit(splitter.get_activations(texts, "token")), texts)
        assert found.outputs[0] == "every token" and len(found.profiles) == model.config.hidden_size
        assert all(profile.neighbors == () for profile in found.profiles)  # neurons are orthogonal

    def test_names_come_from_an_interpretation_and_serve_as_one(self, explainer, dashboard):
        labels = TopKInputs(explainer, "word", k=2)
        found = concept_dashboard(explainer, TEXTS[:5], interpretation=labels)
        expected = labels.interpret(TEXTS[:5])
        assert {p.concept: p.words for p in found.profiles} == {c: tuple(words or ()) for c, words in expected.items()}
        again = global_concepts(explainer, TEXTS[:5], interpretation=dashboard.names(), k_concepts=6)
        assert {concept: again.name(concept) for concept in range(6)} == dashboard.names()

    def test_a_table_has_a_row_per_concept(self, dashboard):
        frame = dashboard.to_dataframe()
        assert list(frame.concept) == list(range(6)) and frame["effect: positive"][2] == float(dashboard.effects[1, 2])

    def test_what_cannot_be_shown_is_refused(self, explainer):
        with pytest.raises(OptionError, match="`k_inputs`"):
            concept_dashboard(explainer, TEXTS[:2], k_inputs=0)
        with pytest.raises(InputError, match="nothing in it"):
            concept_dashboard(explainer, [])


def test_quantiles_hold_texts_of_their_ranks():
    peaks = torch.arange(100.0).flip(0)[:, None]
    groups = by_quantile(peaks, k=3)[0]
    assert groups[0] == [0, 1, 2] and [len(group) for group in groups] == [3] * 5
    active = 99  # the last is 0
    for i, group in enumerate(groups):
        assert all(active * i / 5 <= place < active * (i + 1) / 5 + 1 for place in group)
    assert sorted(place for group in groups for place in group) == [place for group in groups for place in group]
    assert by_quantile(torch.tensor([[0.0], [-1.0]]), k=2) == [[[], [], [], [], []]]
    for count in range(1, 12):
        groups = by_quantile(torch.arange(1.0, count + 1)[:, None], k=3)[0]
        assert groups[0] and [place for group in groups for place in group] == list(range(count))[::-1]


def test_neighbors_are_those_of_all_cosines():
    directions = torch.randn(700, 8, generator=torch.Generator().manual_seed(0))
    found = nearest(directions)
    unit = directions.double() / directions.double().norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    for i in (0, 511, 512, 699):
        values, places = cosines[i].topk(5)
        assert [place for place, _ in found[i]] == places.tolist()
        assert [value for _, value in found[i]] == pytest.approx(values.tolist(), abs=1e-5)


def test_of_a_long_text_the_part_around_the_peak_is_shown():
    whole = passage([f"w{i}" for i in range(3 * CHUNK)], [float(i == CHUNK + 7) for i in range(3 * CHUNK)])
    found = around_peak(whole)
    assert found.peak == 7 and len(found.elements) == CHUNK and found.elements[7] == f"w{CHUNK + 7}"
    assert all(found.text[a:b] == element for element, (a, b) in zip(found.elements, found.spans, strict=True))
    short = passage(["a", "film"], [0.0, 1.0])
    assert around_peak(short) is short


def test_granularity_of_a_text_reads_its_words(splitter):
    rows = splitter.get_activations(TEXTS, ActivationGranularity.SAMPLE)
    explainer = PCAConcepts(splitter, nb_concepts=2).fit(rows)
    found = concept_dashboard(explainer, TEXTS, activation_granularity="sample")
    assert found.units == len(TEXTS) and all(" " not in word for profile in found.profiles for word in profile.words)
