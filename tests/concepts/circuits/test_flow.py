"""Concepts to concepts: exact in linear layers, zero for what comes later, and the derivative elsewhere."""

from __future__ import annotations

import pytest
import torch

from interpreto import ModelWithSplitPoints, SplitterForClassification, demo
from interpreto.concepts import NeuronsAsConcepts, PCAConcepts, concept_to_concept
from interpreto.errors import InputError, ModelError, OptionError
from tests import tiny
from tests.concepts.circuits.toys import WIDTH, Linear, planted, split

IDS = torch.tensor([3, 1, 4, 1, 5, 9])


@pytest.fixture(scope="module")
def linear():
    model = Linear()
    splitter = split(model, ["blocks.0", "blocks.1"])
    draw = torch.Generator().manual_seed(1)
    orthogonal = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draw)).Q
    source = planted(splitter, "blocks.0", orthogonal[:, :5], orthogonal[:, :5].T)
    encoder = torch.randn(WIDTH, 3, generator=draw)
    target = planted(splitter, "blocks.1", encoder, torch.linalg.pinv(encoder))
    return model, source, target, orthogonal[:, :5].T, encoder


@pytest.mark.parametrize("token", [0, 2, 5])
def test_linear_layers_give_encoder_times_weights_times_dictionary(linear, token):
    model, source, target, dictionary, encoder = linear
    block = model.blocks[1]
    flow = concept_to_concept(source, target, IDS, concepts=[0, 1, 2], at=token, method="gradient")[0]
    for t in range(len(IDS)):
        weights = block.mix[token, t] * block.values + (block.weight if t == token else 0.0)
        torch.testing.assert_close(flow.values[:, t], (dictionary @ weights @ encoder).T.detach(), atol=1e-5, rtol=1e-5)
    assert not flow.values[:, token + 1 :].any() and not flow.error[:, token + 1 :].any()


def test_in_linear_layers_the_attribution_is_the_ablation_and_all_sums_to_the_amount(linear):
    _, source, target, _, _ = linear
    by = {
        m: concept_to_concept(source, target, [IDS, IDS[:3]], concepts=[2, 0], method=m)
        for m in ("gradient_x_concept", "ablation")
    }
    for gradient, ablation in zip(*by.values(), strict=True):
        torch.testing.assert_close(gradient.values, ablation.values, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(gradient.error, ablation.error, atol=1e-4, rtol=1e-4)
        assert float(gradient.error.abs().max()) > 0.01
        total = gradient.values.sum((1, 2)) + gradient.error.sum(1)
        torch.testing.assert_close(total, gradient.amounts, atol=1e-4, rtol=1e-4)


def test_the_choice_of_active_concepts_is_kept(linear):
    _, _, _, _, encoder = linear
    splitter = split(Linear(), ["blocks.0", "blocks.1"])
    source = planted(splitter, "blocks.0", torch.eye(WIDTH), torch.eye(WIDTH))
    whole = planted(splitter, "blocks.1", encoder, torch.linalg.pinv(encoder))
    sparse = planted(splitter, "blocks.1", encoder, torch.linalg.pinv(encoder), k=1)
    free = concept_to_concept(source, whole, IDS, concepts=[0, 1, 2], method="gradient")[0]
    kept = concept_to_concept(source, sparse, IDS, concepts=[0, 1, 2], method="gradient")[0]
    active = kept.amounts != 0
    assert active.sum() == 1
    torch.testing.assert_close(kept.values[active], free.values[active])
    assert not kept.values[~active].any()


@pytest.mark.slow
def test_a_transformer_agrees_with_finite_differences():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    splitter = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer)
    source, target = (NeuronsAsConcepts(splitter, split_point=name) for name in splitter.split_points)
    flow = concept_to_concept(source, target, "The film was great.", concepts=[3], at=2, method="gradient")[0]
    samples = splitter.samples("The film was great.", "all_tokens")
    hidden = splitter.batch_activations(samples, splitter.split_points[0])
    for t, a in ((0, 1), (1, 5), (2, 3)):
        moved = []
        for step in (1e-2, -1e-2):
            changed = hidden.clone()
            changed[0, t, a] += step
            (found,) = splitter.activations_from(samples, changed, splitter.split_points[0], [1]).values()
            moved.append(found[0, 2, 3])
        slope = float(moved[0] - moved[1]) / 2e-2
        assert float(flow.values[0, t, a]) == pytest.approx(slope, rel=0.02, abs=1e-4)
    assert not flow.values[0, 3:].any()


@pytest.mark.slow
def test_texts_do_not_depend_on_the_others_of_a_call():
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, [0, "bert.pooler"], tokenizer=tokenizer)
    texts = [sentence.text for sentence in demo.load_sentences()[:20]]
    rows = ModelWithSplitPoints(model, 0, tokenizer=tokenizer).get_activations(texts)
    source = PCAConcepts(splitter, 4, "bert.encoder.layer.0").fit(rows["bert.encoder.layer.0"])
    target = NeuronsAsConcepts(splitter, 128, split_point="bert.pooler")
    for method in ("gradient_x_concept", "ablation"):
        together = concept_to_concept(source, target, texts[:3], method=method, k=2)
        for text, flow in zip(texts, together, strict=False):
            alone = concept_to_concept(source, target, text, method=method, k=2)[0]
            assert alone.concepts.tolist() == flow.concepts.tolist() and flow.positions.tolist() == [0, 0]
            torch.testing.assert_close(alone.values, flow.values, atol=1e-4, rtol=1e-3)
    assert len(together[0].top(1, 3)) == 3 and "2 →" not in repr(flow)


def test_what_cannot_be_asked_is_refused(linear):
    _, source, target, _, _ = linear
    with pytest.raises(OptionError, match="not reached after"):
        concept_to_concept(target, source, IDS)
    with pytest.raises(OptionError, match="`concepts`: got 3; pass numbers from 0 to 2"):
        concept_to_concept(source, target, IDS, concepts=[3])
    with pytest.raises(OptionError, match="`at`: got 6, and a text has 6 tokens"):
        concept_to_concept(source, target, IDS, at=6)
    with pytest.raises(OptionError, match="`at`: got 'first'"):
        concept_to_concept(source, target, IDS, at="first")
    with pytest.raises(InputError, match="there is nothing in it"):
        concept_to_concept(source, target, [])
    model, tokenizer = demo.load_classifier()
    head = NeuronsAsConcepts(SplitterForClassification(model, tokenizer=tokenizer))
    with pytest.raises(OptionError, match="use concepts of ModelWithSplitPoints"):
        concept_to_concept(head, target, "A film.")
    other = NeuronsAsConcepts(ModelWithSplitPoints(model, 0, tokenizer=tokenizer))
    with pytest.raises(OptionError, match="of another model"):
        concept_to_concept(other, target, "A film.")
    blind = planted(source.splitter, "blocks.0", torch.eye(WIDTH), torch.eye(WIDTH))
    blind.concept_model.has_differentiable_decoder = False
    with pytest.raises(ModelError, match="method='ablation'"):
        concept_to_concept(blind, target, IDS)
