"""Classifiers with an encoder and a decoder: both read the text, so every word has two ways to the score."""

import copy

import pytest
import torch

from interpreto import InputXGradient, IntegratedGradients, Occlusion, Saliency
from interpreto.concepts import PCAConcepts
from interpreto.concepts.splitters import SplitterForClassification
from tests.tiny import SENTENCES, SEQ2SEQ_CLASSIFIERS

FAMILIES = ["t5", "bart"]


def built(family):
    """A classifier, its tokenizer, and a text whose tokens are all different."""
    model, tokenizer = SEQ2SEQ_CLASSIFIERS[family]()
    for text in SENTENCES:
        ids = tokenizer(text)["input_ids"]
        if len(ids) > 5 and len(set(ids)) == len(ids):
            return model, tokenizer, text
    raise AssertionError("no such text")


def table(model):
    return model.get_input_embeddings().weight


def without(model, token):
    """The model with zeros for one token of its vocabulary."""
    blind = copy.deepcopy(model)
    table(blind).data[token] = 0.0
    return blind


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_table_that_both_read(family):
    model, tokenizer, text = built(family)
    (output,) = InputXGradient(model, tokenizer, granularity="all_tokens")(text, [1])
    ids = output.sample.input_ids
    model(ids[None]).logits[0, 1].backward()
    (norms,) = Saliency(model, tokenizer, granularity="all_tokens")(text, [1])
    expected = (table(model).grad[ids] * table(model)[ids]).sum(-1).detach()
    inside = slice(0, -2) if family == "bart" else slice(0, -1)  # what the decoder begins with is no token of the text
    torch.testing.assert_close(output.attributions[0, 1:][inside], expected[1:][inside], atol=1e-5, rtol=1e-4)
    expected = table(model).grad[ids].norm(dim=-1)
    torch.testing.assert_close(norms.attributions[0, 1:][inside], expected[1:][inside], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_of_zeros_is_gone_from_both(family):
    model, tokenizer, text = built(family)
    (output,) = Occlusion(model, tokenizer, granularity="token", replacement="zero")(text, [1])
    for u in range(len(output.elements)):
        (token,) = output.sample.input_ids[output.sample.units.index == u].tolist()
        with torch.no_grad():
            removed = without(model, token)(output.sample.input_ids[None]).logits[0, 1]
        torch.testing.assert_close(output.attributions[0, u], output.base_scores[0] - removed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_hidden_from_the_encoder_is_hidden_from_the_decoder(family):
    model, tokenizer, text = built(family)
    (output,) = Occlusion(model, tokenizer, granularity="token", replacement="attention")(text, [1])
    ids = output.sample.input_ids[None]
    for u in range(len(output.elements)):
        seen = (output.sample.units.index != u).long()[None]
        behind = torch.cat([torch.ones(1, 1).long(), seen[:, :-1]], 1)
        with torch.no_grad():
            removed = model(ids, attention_mask=seen, decoder_attention_mask=behind).logits[0, 1]
        torch.testing.assert_close(output.attributions[0, u], output.base_scores[0] - removed, atol=1e-5, rtol=1e-4)


def test_integrated_gradients_are_complete():
    model, tokenizer, text = built("bart")
    (output,) = IntegratedGradients(model, tokenizer, n_perturbations=512, baseline="zero")(text, [1])
    gap = float(output.base_scores[0] - output.reference_scores[0])
    assert abs(float(output.attributions.sum()) - gap) < 1e-2 * abs(gap)
    blind = copy.deepcopy(model)
    special = set(tokenizer.all_special_ids)
    table(blind).data[[i for i in output.sample.input_ids.tolist() if i not in special]] = 0.0
    with torch.no_grad():
        assert float(blind(output.sample.input_ids[None]).logits[0, 1]) == pytest.approx(
            float(output.reference_scores[0]), abs=1e-5
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_company_changes_nothing(family):
    model, tokenizer, _ = built(family)
    for method in (Saliency, InputXGradient):
        together = method(model, tokenizer)(SENTENCES, [0] * len(SENTENCES))
        for text, output in zip(SENTENCES, together, strict=True):
            (alone,) = method(model, tokenizer)(text, [0])
            largest = float(alone.attributions.abs().max())
            torch.testing.assert_close(output.attributions, alone.attributions, atol=1e-4 * max(1.0, largest), rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_tables_of_their_own_move_by_themselves(family):
    model, tokenizer, text = built(family)
    decoder = model.get_decoder()
    decoder.embed_tokens = copy.deepcopy(decoder.embed_tokens)
    decoder.embed_tokens.weight = torch.nn.Parameter(decoder.embed_tokens.weight.detach() * 1.5)
    (output,) = InputXGradient(model, tokenizer, granularity="all_tokens")(text, [1])
    encoder, ids = model.get_encoder().embed_tokens, output.sample.input_ids
    with torch.no_grad():
        assert float(model(ids[None]).logits[0, 1]) == pytest.approx(float(output.base_scores[0]), abs=1e-5)
    encoder.weight.grad = None
    model(ids[None]).logits[0, 1].backward()
    expected = (encoder.weight.grad[ids] * encoder.weight[ids]).sum(-1).detach()
    torch.testing.assert_close(output.attributions[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_concepts_that_the_head_reads(family):
    model, tokenizer, text = built(family)
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    explainer = PCAConcepts(splitter, nb_concepts=3).fit(splitter.get_activations(SENTENCES)[0])
    bridge = explainer.get_inputs_to_concepts_model()
    (output,) = InputXGradient(bridge, tokenizer, granularity="token")(text, [2])
    bridge(output.sample.input_ids[None]).logits[0, 2].backward()
    ids = output.sample.input_ids[output.sample.units.free]
    expected = (table(model).grad[ids] * table(model)[ids]).sum(-1).detach()
    torch.testing.assert_close(output.attributions[0], expected, atol=1e-5, rtol=1e-4)
    (hidden,) = Occlusion(bridge, tokenizer, granularity="token", replacement="attention")(text, [2])
    seen = (hidden.sample.units.index != 1).long()[None]
    behind = torch.cat([torch.ones(1, 1).long(), seen[:, :-1]], 1)
    kept = []
    handle = model.get_submodule(splitter.split_points[0]).register_forward_pre_hook(lambda _m, args: kept.append(args[0]))
    with torch.no_grad():
        model(output.sample.input_ids[None], attention_mask=seen, decoder_attention_mask=behind)
    handle.remove()
    rest = explainer.encode_activations(kept[0])[0, 2]
    torch.testing.assert_close(hidden.attributions[0, 1], hidden.base_scores[0] - rest, atol=1e-5, rtol=1e-4)
