"""Concepts of transcoders and crosscoders to concepts: products of encoder, weights and directions in linear layers."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from interpreto import ModelWithSplitPoints
from interpreto.concepts import (
    CrosscoderConcepts,
    CrossLayerTranscoderConcepts,
    TranscoderConcepts,
    concept_to_concept,
)
from interpreto.errors import OptionError
from tests import tiny
from tests.concepts.circuits.planted_coders import drawn
from tests.concepts.circuits.toys import WIDTH, Linear, planted, split

IDS = torch.tensor([3, 1, 4, 1, 5, 9])
INPUTS, OUTPUTS = [f"blocks.{i}:input" for i in range(3)], [f"blocks.{i}" for i in range(3)]
OPEN = 50.0  # a bias with which every concept is active


@pytest.fixture(scope="module")
def linear():
    model = Linear(layers=3)
    return model, split(model, [*INPUTS, *OUTPUTS])


def transcoder(splitter, read, write, **options):
    explainer = TranscoderConcepts(splitter, 5, read, writes_to=write, activation="relu", **options)
    return drawn(explainer, [WIDTH], [WIDTH], bias=OPEN, dtype=torch.float32)


def through(model, block, token, t):
    """Return the matrix from one token's activations to another's in a block."""
    own = model.blocks[block]
    return (own.mix[token, t] * own.values + (own.weight if t == token else 0.0)).detach()


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_acts_where_it_writes_and_is_acted_on_where_it_reads(linear, skip):
    model, splitter = linear
    source = transcoder(splitter, INPUTS[0], OUTPUTS[0], skip=skip)
    target = transcoder(splitter, OUTPUTS[1], OUTPUTS[2], skip=skip)
    flow = concept_to_concept(source, target, IDS, concepts=[0, 3], at=4, method="gradient")[0]
    encoder = target.concept_model.encoder_weight[[0, 3]]
    for t in range(len(IDS)):
        wanted = (source.directions() @ through(model, 1, 4, t) @ encoder.T).T
        assert_close(flow.values[:, t], wanted, atol=1e-5, rtol=1e-5)
    assert (flow.source, flow.target) == (OUTPUTS[0], OUTPUTS[1]) and not flow.values[:, 5:].any()


def test_amounts_and_errors_sum_to_the_code_but_for_biases(linear):
    _, splitter = linear
    source, target = transcoder(splitter, INPUTS[0], OUTPUTS[0]), transcoder(splitter, OUTPUTS[1], OUTPUTS[2])
    source.concept_model.decoder_bias.zero_()
    by = {
        m: concept_to_concept(source, target, [IDS, IDS[:3]], concepts=[1, 2], method=m)
        for m in ("gradient_x_concept", "ablation")
    }
    for gradient, ablation in zip(*by.values(), strict=True):
        assert_close(gradient.values, ablation.values, atol=2e-3, rtol=1e-4)  # amounts of 50
        assert_close(gradient.error, ablation.error, atol=2e-3, rtol=1e-4)
        total = gradient.values.sum((1, 2)) + gradient.error.sum(1)
        assert_close(total, gradient.amounts - OPEN, atol=2e-3, rtol=1e-4)


def test_of_several_written_places_what_the_model_makes_of_one_at_the_next_is_replaced(linear):
    model, splitter = linear
    across = CrossLayerTranscoderConcepts(splitter, 6, INPUTS[:2], writes_to=OUTPUTS[:2], activation="relu")
    across = drawn(across, [WIDTH] * 2, [WIDTH] * 2, bias=OPEN, dtype=torch.float32)
    crosscoder = CrosscoderConcepts(splitter, 6, OUTPUTS[:2], activation="relu")
    crosscoder = drawn(crosscoder, [WIDTH] * 2, bias=OPEN, dtype=torch.float32)
    encoder = torch.randn(WIDTH, 3, generator=torch.Generator().manual_seed(1))
    target = planted(splitter, OUTPUTS[2], encoder, torch.linalg.pinv(encoder))
    for source in (across, crosscoder):
        flow = concept_to_concept(source, target, IDS, concepts=[0, 1, 2], at=3, method="gradient")[0]
        for t in range(4):
            wanted = (source.directions(OUTPUTS[1]) @ through(model, 2, 3, t) @ encoder).T
            assert_close(flow.values[:, t], wanted, atol=1e-5, rtol=1e-5)
        assert flow.source == " + ".join(OUTPUTS[:2])


def test_within_a_cross_layer_transcoder_only_later_layers_are_acted_on(linear):
    _, splitter = linear
    across = CrossLayerTranscoderConcepts(
        splitter, 6, [INPUTS[0], OUTPUTS[1]], writes_to=[OUTPUTS[0], OUTPUTS[2]], activation="relu"
    )
    across = drawn(across, [WIDTH] * 2, [WIDTH] * 2, bias=OPEN, dtype=torch.float32)
    for method in ("gradient", "gradient_x_concept", "ablation"):
        flow = concept_to_concept(across, across, IDS, concepts=[1, 4], at=2, method=method)[0]
        assert not flow.values[0].any() and not flow.error[0].any()  # of layer 0, which reads before anything is written
        assert flow.values[1, :3, :3].abs().min() > 0 and not flow.values[1, :, 3:].any()
        for other in concept_to_concept(across, across, [IDS[:4], IDS], concepts=[1, 4], at=2, method=method):
            length = other.values.shape[1]
            assert_close(other.values, flow.values[:, :length], atol=2e-3, rtol=1e-4)  # texts do not depend on each other


def test_a_crosscoder_is_acted_on_at_all_places_that_follow(linear):
    model, splitter = linear
    source = transcoder(splitter, INPUTS[0], OUTPUTS[0])
    target = CrosscoderConcepts(splitter, 6, OUTPUTS, activation="relu")
    target = drawn(target, [WIDTH] * 3, bias=OPEN, dtype=torch.float32)
    flow = concept_to_concept(source, target, IDS, concepts=[2], at=1, method="gradient")[0]
    first, second, third = target.concept_model.encoder_weight[2].split(WIDTH)
    for t in range(2):
        at_first = first if t == 1 else torch.zeros_like(first)  # where it is written, it is read
        passed = sum(through(model, 1, s, t) @ through(model, 2, 1, s) for s in range(t, 2))
        wanted = source.directions() @ (at_first + through(model, 1, 1, t) @ second + passed @ third)
        assert_close(flow.values[0, t], wanted, atol=1e-4, rtol=1e-4)


def test_what_has_no_meaning_is_refused(linear):
    _, splitter = linear
    early, late = transcoder(splitter, INPUTS[0], OUTPUTS[0]), transcoder(splitter, INPUTS[2], OUTPUTS[2])
    across = CrossLayerTranscoderConcepts(splitter, 6, INPUTS[1:], writes_to=OUTPUTS[1:], activation="relu")
    across = drawn(across, [WIDTH] * 2, [WIDTH] * 2, bias=OPEN, dtype=torch.float32)
    with pytest.raises(OptionError, match="is not reached after"):
        concept_to_concept(late, early, IDS)
    with pytest.raises(OptionError, match="is not reached after"):
        concept_to_concept(late, across, IDS)
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    pair = [ModelWithSplitPoints(model, "transformer.h.0", tokenizer=tokenizer) for _ in range(2)]
    two = drawn(CrosscoderConcepts(pair, 6, activation="relu"), [32] * 2, dtype=torch.float32)
    with pytest.raises(OptionError, match="`source`: a CrosscoderConcepts of two models; nothing passes from one model"):
        concept_to_concept(two, two, "A film.")
