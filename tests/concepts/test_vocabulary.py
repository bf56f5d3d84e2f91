"""Directions in the vocabulary: by the head alone, and by running the model."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from interpreto import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration, demo
from interpreto.concepts import DictionaryLearningExplainer, NeuronsAsConcepts
from interpreto.concepts.concept_model import Dictionary
from interpreto.concepts.interpretations import TokenChange, VocabularyProjection
from interpreto.concepts.labels import read_labels
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.models.readout import final_norm_gain
from tests import tiny, tiny_tasks

TEXTS = [tiny.SENTENCES[i] for i in (6, 1, 3)]
NEOX = partial(tiny._build, "GPTNeoXForCausalLM", tiny.byte_bpe, tiny._DENSE)
OPT = partial(tiny._build, "OPTForCausalLM", tiny.byte_bpe, tiny._SIZES | {"ffn_dim": 64, "max_position_embeddings": 128})
GAINS = {
    "gpt2": (tiny.CAUSAL_LMS["gpt2"], "transformer.ln_f", lambda weight: weight),
    "llama": (tiny.CAUSAL_LMS["llama"], "model.norm", lambda weight: weight),
    "gemma": (tiny.CAUSAL_LMS["gemma3_text"], "model.norm", lambda weight: 1 + weight),
    "gpt-neox": (NEOX, "gpt_neox.final_layer_norm", lambda weight: weight),
    "opt": (OPT, "model.decoder.final_layer_norm", lambda weight: weight),
    "t5": (tiny.SEQ2SEQ["t5"], "decoder.final_layer_norm", lambda weight: weight),
    "bart": (tiny.SEQ2SEQ["bart"], None, None),
}


class Given(Dictionary):
    """Directions that are given, and amounts along them."""

    def fit(self, activations, random_state, tqdm_bar):
        self.learned(activations.read())

    def encode(self, activations):
        return activations @ self.dictionary.T


def of(splitter, directions):
    return DictionaryLearningExplainer(splitter, Given, nb_concepts=len(directions)).fit(directions)


def bare():
    """A model whose last block adds nothing, with no normalization before its head."""
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    with torch.no_grad():
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            model.get_submodule(f"model.layers.1.{name}").weight.zero_()
    model.model.norm = torch.nn.Identity()
    return model, tokenizer


def directions(count=4, width=32):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", GAINS)
def test_the_gain_of_the_final_normalization_is_found_by_running_the_model(family):
    build, path, gain_of = GAINS[family]
    model, tokenizer = build()
    found = final_norm_gain(model, tokenizer)
    wanted = torch.ones(32) if path is None else gain_of(model.get_submodule(path).weight.detach())
    if family == "t5" and model.config.tie_word_embeddings:
        wanted = wanted * 32**-0.5
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_heads_that_do_more_than_normalize_are_refused_by_name():
    with pytest.raises(ModelError, match="BertForMaskedLM lies more than a normalization"):
        final_norm_gain(*tiny_tasks.MASKED_LMS["bert"]())
    with pytest.raises(ModelError, match="BertForSequenceClassification has no output layer over a vocabulary"):
        final_norm_gain(*tiny.CLASSIFIERS["bert"]())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_scores_are_the_head_on_the_gain_times_the_direction(family):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    norm, vectors = model.get_submodule(GAINS[family][1]), directions()
    projection = VocabularyProjection(model=model, tokenizer=tokenizer)
    centered = vectors - vectors.mean(1, keepdim=True) if family == "gpt2" else vectors
    scores = (centered * norm.weight) @ model.lm_head.weight.T
    wanted = (scores - scores.mean(1, keepdim=True)).detach()
    torch.testing.assert_close(projection.scores(vectors), wanted, atol=1e-4, rtol=1e-4)
    cosines = VocabularyProjection(model=model, tokenizer=tokenizer, rank_by="cosine").scores(vectors)
    rows = (model.lm_head.weight - model.lm_head.weight.mean(0)).detach() * norm.weight.detach()
    rows = rows - rows.mean(1, keepdim=True) if family == "gpt2" else rows
    wanted = torch.nn.functional.cosine_similarity(vectors[:, None], rows[None], dim=-1)
    torch.testing.assert_close(cosines, wanted, atol=1e-5, rtol=1e-4)


def test_a_direction_made_of_a_tokens_row_reads_that_token():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    gain = model.model.norm.weight.detach()
    rows = (model.lm_head.weight * gain).detach()
    rows = rows - rows.mean(0)
    ids = tokenizer.convert_tokens_to_ids(["▁film", "▁was", "."])
    assert len(set(ids)) == 3 and tokenizer.unk_token_id not in ids
    read = VocabularyProjection(model=model, tokenizer=tokenizer, rank_by="cosine", k=1)
    found = read.read(rows[ids])
    assert [next(iter(tokens)).strip() for tokens in found] == ["film", "was", "."]
    assert all(value == pytest.approx(1.0, abs=1e-4) for tokens in found for value in tokens.values())


def test_running_the_model_agrees_with_the_head_where_nothing_lies_between():
    model, tokenizer = bare()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    explainer = of(splitter, directions())
    change = TokenChange(explainer, strength=0.7, batch_size=2)
    (found,) = change.changes(TEXTS, [0, 1, 2, 3])
    unit = explainer.get_dictionary() / explainer.get_dictionary().norm(dim=1, keepdim=True)
    wanted = VocabularyProjection(explainer).readout.scores(unit)
    torch.testing.assert_close(found.float() / (0.7 * change.scale), wanted, atol=1e-4, rtol=1e-4)
    lengths = [h.norm(dim=-1)[1:] for text in TEXTS for h in splitter.get_activations(text, "all_tokens").values()]
    assert change.scale == pytest.approx(float(torch.cat(lengths).median()), rel=1e-5)
    by_head, by_running = VocabularyProjection(explainer, k=3).interpret(), change.interpret(TEXTS)
    assert [list(row)[:3] for row in by_running.values()] == [list(row) for row in by_head.values()]


def test_changes_are_means_over_tokens_but_the_first_by_hand():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    explainer = of(splitter, directions())
    change = TokenChange(explainer)
    (found,) = change.changes(TEXTS, [2])
    step = change.scale * explainer.get_dictionary()[2] / explainer.get_dictionary()[2].norm()
    total, count = 0.0, 0
    for text in TEXTS:

        def edit(hidden):
            return torch.cat([hidden[:, :1], hidden[:, 1:] + step], 1)

        with torch.no_grad():
            moved = splitter.edited_outputs(text, edit)[0, 1:] - splitter.edited_outputs(text, lambda h: h)[0, 1:]
        total, count = total + moved.sum(0), count + len(moved)
    torch.testing.assert_close(found[0].float(), total / count, atol=1e-4, rtol=1e-3)
    alone = TokenChange(explainer, batch_size=1)
    torch.testing.assert_close(next(alone.changes(TEXTS, [2])), found, atol=1e-5, rtol=1e-4)


def test_a_clamped_concept_has_its_largest_amount_everywhere():
    model, tokenizer = bare()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    explainer = NeuronsAsConcepts(splitter)
    (found,) = TokenChange(explainer, mode="clamp", strength=2.0).changes(TEXTS, [5])
    values = torch.cat([splitter.get_activations(text, "all_tokens")[splitter.split_point][1:, 5] for text in TEXTS])
    wanted = (2 * values.max() - values.mean()) * model.lm_head.weight[:, 5].detach()
    torch.testing.assert_close(found[0].float(), wanted, atol=1e-4, rtol=1e-4)


def test_classes_of_a_classifier_and_tokens_of_a_decoder():
    model, tokenizer = demo.load_classifier()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    head = of(splitter, directions(2, 128))
    found = TokenChange(head, k=2).interpret(["A charming film.", "Dull."])
    assert set(found[0]) == {"negative", "positive"} and list(found[0].values()) == sorted(found[0].values(), reverse=True)
    model, tokenizer = tiny.SEQ2SEQ["t5"]()
    for path in ("encoder.block.0", "decoder.block.0"):
        explainer = NeuronsAsConcepts(SplitterForGeneration(model, path, tokenizer, max_new_tokens=3))
        assert len(TokenChange(explainer, k=2).interpret(["The film"], concepts_indices=[1])[1]) == 2


def test_both_sides_and_no_special_tokens():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    read = VocabularyProjection(model=model, tokenizer=tokenizer, k=4, side="both").read(directions(3))
    for tokens in read:
        values = list(tokens.values())
        assert len(values) == 8 and values[:4] == sorted(values[:4], reverse=True) and values[4:] == sorted(values[4:])
        assert not {"<s>", "</s>", "<unk>"} & set(tokens)
    opposite = VocabularyProjection(model=model, tokenizer=tokenizer, k=4).read(-directions(3))
    assert [list(tokens) for tokens in opposite] == [list(tokens)[4:] for tokens in read]


WRONG = {
    "nothing to read": (lambda explainer: VocabularyProjection(), OptionError, "pass fitted concepts, or a `model`"),
    "two models": (lambda explainer: VocabularyProjection(explainer, model=1), OptionError, "pass one of them"),
    "no side": (lambda explainer: VocabularyProjection(explainer, side="left"), OptionError, "'top', 'bottom', 'both'"),
    "width": (lambda explainer: VocabularyProjection(explainer).scores(torch.ones(2, 5)), ModelError, "have 32 dimensions"),
    "one token": (lambda explainer: TokenChange(explainer).interpret(["a"]), InputError, "besides its first"),
    "no strength": (lambda explainer: TokenChange(explainer, strength=-1.0), OptionError, "above 0"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_calls_say_what_to_do(wrong):
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    call, error, message = WRONG[wrong]
    with pytest.raises(error, match=message):
        call(NeuronsAsConcepts(ModelWithSplitPoints(model, 0, tokenizer=tokenizer)))


def test_plots_and_the_dashboard_take_their_tokens():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    explainer = of(splitter, directions())
    found = VocabularyProjection(explainer, k=2)
    for interpretation in (found, found.interpret(), TokenChange(explainer, k=2)):
        labels, _ = read_labels(explainer, interpretation, [1, 3], splitter.samples(TEXTS), inputs=TEXTS, granularity="word")
        assert {concept: len(label) for concept, label in labels.items()} == {1: 2, 3: 2}
