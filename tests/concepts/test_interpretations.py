"""What concepts mean: their largest inputs."""

import numpy as np
import pytest
import torch

from interpreto import demo
from interpreto.concepts import ICAConcepts, NeuronsAsConcepts, NMFConcepts
from interpreto.concepts.interpretations import TopKInputs
from interpreto.concepts.interpretations.top_k import Ranking
from interpreto.concepts.interpretations.topk_inputs import _read_sizes
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
from interpreto.errors import InputError, OptionError
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES, SEQ2SEQ


def neurons(factory=CLASSIFIERS["bert"], point=1, **options):
    model, tokenizer = factory()
    splitter = ModelWithSplitPoints(model, point, tokenizer=tokenizer, **options)
    width = next(iter(splitter.get_activations("A film").values())).shape[1]
    return NeuronsAsConcepts(splitter).fit(torch.zeros(1, width))


def by_hand(texts, values, k):
    """Largest activation of each distinct text, the k largest above zero."""
    best = {}
    for text, value in zip(texts, values, strict=True):
        best[text] = max(value, best.get(text, -float("inf")))
    ranked = sorted(((value, text) for text, value in best.items() if value > 0), reverse=True)[:k]
    return {text: value for value, text in ranked} or None


def expected(splitter, granularity, k, inputs=SENTENCES):
    rows = next(iter(splitter.get_activations(inputs, granularity).values()))
    texts = [text for sample in splitter.samples(inputs, granularity) for text in sample.units.texts]
    return {c: by_hand(texts, rows[:, c].tolist(), k) for c in range(rows.shape[1])}


def assert_same(found, reference):
    assert list(found) == list(reference)
    for concept, texts in reference.items():
        if texts is None:
            assert found[concept] is None
            continue
        assert list(found[concept].values()) == pytest.approx(list(texts.values()), abs=1e-5)
        assert set(found[concept]) == set(texts)


class TestRanking:
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_streamed_is_sorted_whole(self, size):
        generator = torch.Generator().manual_seed(0)
        values = torch.randn(300, 6, generator=generator)
        texts = [str(int(i)) for i in torch.randint(40, (300,), generator=generator)]
        ranking = Ranking(6, 5)
        for start in range(0, 300, size):
            ranking.add(texts[start : start + size], values[start : start + size])
            assert len(ranking._texts) <= 6 * 5
        for concept in range(6):
            assert list(ranking.best(concept).items()) == [
                (text, pytest.approx(value)) for text, value in by_hand(texts, values[:, concept].tolist(), 5).items()
            ]

    @pytest.mark.parametrize("distinct", [200, 12])
    @pytest.mark.parametrize("levels", [1, 2, 4])
    def test_of_equal_activations_the_first_to_be_read_counts_whatever_the_batch(self, levels, distinct):
        generator = torch.Generator().manual_seed(levels)
        values = torch.randint(levels + 1, (200, 5), generator=generator).float()
        texts = [str(int(i)) for i in torch.randint(distinct, (200,), generator=generator)]
        wanted = []
        for column in values.T.tolist():
            first = {}
            for value, _, text in sorted(((-v, i, t) for i, (v, t) in enumerate(zip(column, texts, strict=True)) if v > 0)):
                first.setdefault(text, -value)
            wanted.append(list(first.items())[:4])
        for size in (1, 3, 50, 200):
            ranking = Ranking(5, 4)
            for start in range(0, 200, size):
                ranking.add(texts[start : start + size], values[start : start + size])
            assert [list((ranking.best(c) or {}).items()) for c in range(5)] == wanted

    def test_nothing_above_zero_is_none(self):
        ranking = Ranking(2, 3)
        ranking.add(["a", "b"], torch.tensor([[0.0, -1.0], [0.0, 2.0]]))
        assert ranking.best(0) is None
        assert ranking.best(1) == {"b": 2.0}


@pytest.mark.parametrize("granularity", ["token", "word", "sentence", "sample", "cls_token", "all_tokens"])
def test_every_granularity_with_given_and_with_computed_activations(granularity):
    explainer = neurons()
    splitter = explainer.splitter
    reference = expected(splitter, granularity, 3)
    interpretation = TopKInputs(concept_explainer=explainer, activation_granularity=granularity, k=3)
    given = interpretation.interpret(
        inputs=SENTENCES, latent_activations=splitter.get_activations(SENTENCES, activation_granularity=granularity)
    )
    assert_same(given, reference)
    assert_same(interpretation.interpret(inputs=SENTENCES), reference)
    assert_same(interpretation.interpret(inputs=(text for text in SENTENCES)), reference)
    assert_same(interpretation.interpret(inputs=splitter.samples(SENTENCES, granularity)), reference)


def test_a_store_is_read_in_parts_and_needs_no_inputs(tmp_path, monkeypatch):
    explainer = neurons()
    store = explainer.splitter.store_activations(SENTENCES, tmp_path / "store", "word", rows_per_shard=10)
    reference = expected(explainer.splitter, "word", 4)
    monkeypatch.setattr("interpreto.concepts.interpretations.topk_inputs.CODES", 32 * 7)
    monkeypatch.setattr(type(store), "read", lambda _: pytest.fail("the store was read whole"))
    interpretation = TopKInputs(concept_explainer=explainer, activation_granularity="word", k=4)
    assert_same(interpretation.interpret(latent_activations=store), reference)
    assert_same(interpretation.interpret(inputs=SENTENCES, latent_activations=store), reference)


def test_more_texts_than_there_are(bert_explainer):
    found = TopKInputs(concept_explainer=bert_explainer, k=10_000).interpret(inputs=SENTENCES)
    assert_same(found, expected(bert_explainer.splitter, "word", 10_000))


def test_forms_of_the_indices(bert_explainer):
    interpretation = TopKInputs(concept_explainer=bert_explainer)
    whole = interpretation.interpret(SENTENCES)
    for indices in (3, [3, 1], (1,), range(2, 5), torch.tensor([4, 2]), "all"):
        found = interpretation.interpret(SENTENCES, concepts_indices=indices)
        wanted = (
            list(range(32))
            if isinstance(indices, str)
            else [indices]
            if isinstance(indices, int)
            else [int(i) for i in indices]
        )
        assert_same(found, {i: whole[i] for i in wanted})


def test_a_concept_that_is_nowhere_above_zero_is_none(bert_explainer):
    rows = next(iter(bert_explainer.splitter.get_activations(SENTENCES, activation_granularity="word").values()))
    found = TopKInputs(concept_explainer=bert_explainer).interpret(SENTENCES, torch.cat([-rows[:, :1].abs(), rows[:, 1:]], 1))
    assert found[0] is None
    assert any(found.values())


@pytest.fixture
def bert_explainer():
    return neurons()


FAMILIES = {
    "wordpiece": (CLASSIFIERS["bert"], 1),
    "roberta": (CLASSIFIERS["roberta"], 1),
    "byte_bpe": (CAUSAL_LMS["gpt2"], 1),
    "sentencepiece": (CAUSAL_LMS["llama"], 1),
    "xlnet": (CLASSIFIERS["xlnet"], 1),
    "unigram": (SEQ2SEQ["t5"], "encoder.block.1"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_surface_text(family):
    """Neither `##` nor `Ġ` nor `▁`: not of a vocabulary, nor of tokens of texts with white space and foreign letters."""
    explainer = neurons(*FAMILIES[family])
    found = [TopKInputs(concept_explainer=explainer, use_vocab=True, k=50).interpret()]
    texts = [*SENTENCES, "Two  spaces,\n\na new paragraph 🎬 films"]
    inputs = texts if family != "xlnet" else texts[:2]
    found.append(TopKInputs(concept_explainer=explainer, activation_granularity="token", k=50).interpret(inputs))
    labels = [text for each in found for texts in each.values() for text in texts or {}]
    assert len(set(labels)) > 60
    for label in labels:
        assert not label.startswith("##") or label.strip("#") == ""
        assert not set(label) & set("ĠĊ▁"), label
        assert label == label.strip()


def test_a_vocabulary_is_each_token_between_special_ones(bert_explainer):
    splitter, tokenizer = bert_explainer.splitter, bert_explainer.splitter.tokenizer
    found = TopKInputs(concept_explainer=bert_explainer, use_vocab=True, k=1000).interpret(concepts_indices=2)[2]
    best = {}
    pieces = {piece: i for piece, i in tokenizer.get_vocab().items() if i not in tokenizer.all_special_ids}
    ids = torch.tensor([[tokenizer.cls_token_id, i, tokenizer.sep_token_id] for i in pieces.values()])
    rows = splitter.get_activations(ids)["bert.encoder.layer.1"]
    for piece, value in zip(pieces, rows[:, 2].tolist(), strict=True):
        label = piece.removeprefix("##") if piece != "##" else piece
        best[label] = max(value, best.get(label, -1e9))
    assert found.keys() == {label for label, value in best.items() if value > 0}
    for label, value in found.items():
        assert value == pytest.approx(best[label], abs=1e-5)


def test_runs_of_words_are_distinct_and_read_alone(bert_explainer):
    texts = ["A great film, a great cast.", "A great film!"]
    interpretation = TopKInputs(concept_explainer=bert_explainer, ngrams=(1, 2), k=100, min_count=2)
    found = interpretation.interpret(inputs=texts)
    runs = ["A", "A great", "great", "great film", "film"]  # twice each, in one spelling
    rows = bert_explainer.splitter.get_activations(runs, activation_granularity="sample")["bert.encoder.layer.1"]
    assert_same(found, {c: by_hand(runs, rows[:, c].tolist(), 100) for c in range(32)})


def test_a_classification_splitter_is_interpreted_by_whole_texts_and_by_words():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    rows, _ = splitter.get_activations(SENTENCES)
    explainer = NeuronsAsConcepts(splitter).fit(rows)
    found = TopKInputs(concept_explainer=explainer).interpret(SENTENCES, rows)
    assert_same(found, {c: by_hand(SENTENCES, rows[:, c].tolist(), 5) for c in range(32)})
    words = TopKInputs(concept_explainer=explainer, ngrams=1, k=3).interpret(SENTENCES)
    alone, _ = splitter.get_activations(["wonderful", "terrible"])
    everything = TopKInputs(concept_explainer=explainer, ngrams=1, k=100).interpret(SENTENCES)
    for c in range(32):
        assert (everything[c] or {}).get("terrible", 0.0) == pytest.approx(max(0.0, float(alone[1, c])), abs=1e-5)
    assert all(len(each) <= 3 for each in words.values() if each)


def test_what_a_model_writes_is_interpreted_and_a_vocabulary_is_only_read():
    model, tokenizer = CAUSAL_LMS["gpt2"]()
    splitter = SplitterForGeneration(model, 1, tokenizer, max_new_tokens=3)
    (rows,) = splitter.get_activations(SENTENCES[:3]).values()
    explainer = NeuronsAsConcepts(splitter).fit(rows)
    found = TopKInputs(concept_explainer=explainer, activation_granularity="token").interpret(SENTENCES[:3], rows)
    assert len(found) == 32
    model.generate = lambda *_, **__: pytest.fail("the model wrote")
    TopKInputs(concept_explainer=explainer, use_vocab=True).interpret(concepts_indices=0)


def test_codes_are_encoded_and_not_activations():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    rows = splitter.get_activations(SENTENCES, activation_granularity="word")["bert.encoder.layer.1"]
    explainer = NMFConcepts(splitter, nb_concepts=3, force_relu=True).fit(rows)
    texts = [text for sample in splitter.samples(SENTENCES, "word") for text in sample.units.texts]
    codes = explainer.encode_activations(rows)
    found = TopKInputs(concept_explainer=explainer).interpret(SENTENCES, {"bert.encoder.layer.1": rows})
    assert_same(found, {c: by_hand(texts, codes[:, c].tolist(), 5) for c in range(3)})


def test_the_first_example_of_the_reference_on_the_embedded_classifier():
    model, tokenizer = demo.load_classifier()
    dataset = [sentence.text for sentence in demo.load_sentences("movie")[:150]]
    splitter = ModelWithSplitPoints(model, tokenizer=tokenizer, split_points=["bert.encoder.layer.1"], batch_size=64)
    word = ModelWithSplitPoints.activation_granularities.WORD
    activations = splitter.get_activations(dataset, activation_granularity=word)
    explainer = ICAConcepts(splitter, nb_concepts=20, tolerance=1e-2).fit(activations)
    interpretations = TopKInputs(concept_explainer=explainer, activation_granularity=word).interpret(
        inputs=dataset, latent_activations=activations
    )
    assert list(interpretations) == list(range(20))
    vocabulary = {text for sample in splitter.samples(dataset, word) for text in sample.units.texts}
    for texts in interpretations.values():
        assert len(texts) == 5
        assert set(texts) <= vocabulary
        assert list(texts.values()) == sorted(texts.values(), reverse=True)


@pytest.mark.slow
def test_the_first_example_on_all_sentences():
    model, tokenizer = demo.load_classifier()
    dataset = [sentence.text for sentence in demo.load_sentences()[:4000]]
    splitter = ModelWithSplitPoints(model, tokenizer=tokenizer, split_points=["bert.encoder.layer.1"])
    activations = splitter.get_activations(dataset, activation_granularity="word")
    (rows,) = activations.values()
    explainer = ICAConcepts(splitter, nb_concepts=20).fit(rows[::16])
    found = TopKInputs(concept_explainer=explainer).interpret(inputs=dataset, latent_activations=activations)
    codes = explainer.encode_activations(rows)
    words = [text for sample in splitter.samples(dataset, "word") for text in sample.units.texts]
    assert len(words) == len(rows) > 60_000
    for concept, texts in found.items():
        assert len(texts) == 5
        best = codes[:, concept].max(0)
        assert next(iter(texts.items())) == (words[int(best.indices)], pytest.approx(float(best.values), rel=1e-5))


def test_spellings_of_the_reference_library(bert_explainer):
    from interpreto import concepts

    assert concepts.TopKInputs is TopKInputs and TopKInputs.activation_granularities.WORD == "word"
    ours = TopKInputs(bert_explainer, ngrams=(1, 2), min_count=2).interpret(SENTENCES, concepts_indices=[0, 1])
    theirs = TopKInputs(bert_explainer, use_unique_words=2, unique_words_kwargs={"count_min_threshold": 2})
    assert theirs.interpret(SENTENCES, concepts_indices=[0, 1]) == ours
    assert TopKInputs(bert_explainer, use_unique_words=True).ngrams == (1, 1)
    assert TopKInputs(bert_explainer, use_unique_words=False).ngrams is None
    for options in ({"ngrams": 1}, {"unique_words_kwargs": {"lemmatize": True}}):
        with pytest.raises(OptionError, match="ngrams"):
            TopKInputs(bert_explainer, use_unique_words=1, **options)
    with pytest.raises(InputError, match="the inputs come first"):
        TopKInputs(bert_explainer).interpret("all", SENTENCES)


def test_whole_numbers_of_numpy(bert_explainer):
    assert _read_sizes(np.int64(2)) == _read_sizes((np.int32(2), np.int64(2))) == (2, 2)
    same = TopKInputs(bert_explainer, k=2).interpret(SENTENCES, concepts_indices=[0])
    assert TopKInputs(bert_explainer, k=2).interpret(SENTENCES, concepts_indices=np.array([0])) == same
