"""Steering of codes that are read at some places and written at others: equal to a forward pass with hooks by hand."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from interpreto import Steering, steered
from interpreto.concepts import CrosscoderConcepts, CrossLayerTranscoderConcepts, NeuronsAsConcepts, TranscoderConcepts
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.concepts.steering.controls import Control, batched
from interpreto.errors import ModelError, OptionError
from tests import tiny

PLACES = (
    ["model.layers.0.mlp:input", "model.layers.1.mlp:input"],
    ["model.layers.0.mlp", "model.layers.1.mlp"],
)
BOTH = [1, 4]  # a concept of each layer


@pytest.fixture(scope="module")
def loaded():
    return tiny.CAUSAL_LMS["llama"]()


def drawn(explainer, d, count):
    """Give a coder weights of a normal distribution, so that about half of the codes are zero."""
    draws, c = torch.Generator().manual_seed(3), explainer.nb_concepts
    model = explainer.concept_model
    widths = (d,) * (model.reads + model.writes)
    shapes = {
        "encoder_weight": (c, d if model.layered else d * model.reads),
        "encoder_bias": (c,),
        "atoms": (c, d * count),
        "decoder_bias": (d * count,),
    }
    named = {name: torch.randn(shape, generator=draws) for name, shape in shapes.items()}
    if model.layered:
        for group in range(count):
            named["atoms"][group * c // count : (group + 1) * c // count, : group * d] = 0
    if model.activation == "jumprelu":
        named["threshold"] = torch.full((c,), 0.3)
    model.take({**named, "units": torch.ones(count)}, torch.tensor(widths))
    return explainer


def across(loaded, activation="relu", places=PLACES):
    model, tokenizer = loaded
    splitter = ModelWithSplitPoints(model, [*places[0], *places[1]], tokenizer=tokenizer)
    explainer = CrossLayerTranscoderConcepts(splitter, 6, places[0], writes_to=places[1], activation=activation)
    return drawn(explainer, model.config.hidden_size, 2)


def by_hand(loaded, explainer, change, run, before=None):
    """Run a model with hooks that read codes at one place and write their change at others.

    ``change`` maps a layer's codes to changed ones; ``before`` is added to what the last place is given, after it was read.
    """
    model, coder = loaded[0], explainer.concept_model
    modules, handles, moved = dict(model.named_modules()), [], {}

    def read(layer, hidden):
        part = slice(3 * layer, 3 * layer + 3)
        z = hidden @ coder.encoder_weight[part].T + coder.encoder_bias[part]
        z = z.relu() * (z > 0.3) if coder.activation == "jumprelu" else z.relu()
        new = z.clone()
        for c in BOTH:
            if c // 3 == layer:
                new[..., c % 3] = change(z[..., c % 3])
        moved[layer] = new - z

    def write(layer, out):
        for own in range(layer + 1):
            out = out + moved[own] @ explainer.directions(PLACES[1][layer])[3 * own : 3 * own + 3]
        return out

    def given(layer):
        def hook(_, args):
            read(layer, args[0])
            return None if before is None or layer == 0 else (args[0] + before,)

        return hook

    for layer in (0, 1):
        handles.append(modules[PLACES[0][layer].removesuffix(":input")].register_forward_pre_hook(given(layer)))
        handles.append(modules[PLACES[1][layer]].register_forward_hook(lambda _, __, out, at=layer: write(at, out)))
    try:
        return run()
    finally:
        for handle in handles:
            handle.remove()


def inputs_of(loaded, texts=("The film was so good",)):
    return loaded[1](list(texts), return_tensors="pt")


def scores(loaded, **options):
    """Return a function that runs the model on a text without gradients."""
    ids = inputs_of(loaded)

    def run():
        with torch.no_grad():
            return loaded[0](**ids, **options).logits

    return run


@pytest.mark.parametrize("activation", ["relu", "jumprelu"])
def test_codes_of_layers_are_changed_as_by_hand(loaded, activation):
    explainer, run = across(loaded, activation), scores(loaded)
    plain = run()
    for steering, change in (
        (Steering.ablate(explainer, BOTH), torch.zeros_like),
        (Steering.clamp(explainer, BOTH, 2.5), lambda z: torch.full_like(z, 2.5)),
        (Steering.scale(explainer, BOTH, -3), lambda z: -3 * z),
    ):
        with steered(loaded[0], steering):
            found = run()
        assert_close(found, by_hand(loaded, explainer, change, run), atol=1e-5, rtol=1e-5)
        assert float((found - plain).abs().max()) > 1e-3
    with steered(loaded[0], Steering.scale(explainer, range(6), 1)):
        assert torch.equal(run(), plain)  # no bit changes
    assert torch.equal(run(), plain)


def test_a_concept_writes_where_its_layer_may(loaded):
    explainer = across(loaded)
    assert [step.writes for c in BOTH for step in Steering.ablate(explainer, c).steps] == [tuple(PLACES[1]), (PLACES[1][1],)]
    assert [step.reads for c in BOTH for step in Steering.ablate(explainer, c).steps] == [(PLACES[0][0],), (PLACES[0][1],)]
    assert "model.layers.1.mlp" in repr(Steering.ablate(explainer, 4)) and "layers.0" not in repr(Steering.ablate(explainer, 4))


def test_the_last_layer_is_linear_where_the_head_is(loaded):
    places = (PLACES[0], ["model.layers.0.mlp", "model.norm"])
    explainer, run = across(loaded, places=places), scores(loaded)
    slope = loaded[0].lm_head.weight.detach() @ explainer.directions("model.norm")[4]
    found = []
    for value in (0.0, 1.0, 2.0):
        with steered(loaded[0], Steering.clamp(explainer, 4, value)):
            found.append(run()[0])
    assert_close(found[1] - found[0], slope.expand_as(found[0]), atol=1e-4, rtol=1e-4)
    assert_close(found[2] - found[1], found[1] - found[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("at", ["all", "prompt", "generated", "last"])
def test_a_cache_changes_nothing(loaded, at):
    explainer, written = across(loaded), {}
    batch = {"input_ids": torch.tensor([[0, 0, 5, 9], [7, 3, 4, 8]]), "attention_mask": torch.tensor([[0, 0, 1, 1], [1] * 4])}
    options = {"max_new_tokens": 4, "do_sample": False, "output_scores": True, "return_dict_in_generate": True}
    plain = loaded[0].generate(**batch, **options, pad_token_id=0)
    for cache in (True, False):
        with steered(loaded[0], Steering.clamp(explainer, BOTH, 2.0, at=at)):
            written[cache] = loaded[0].generate(**batch, **options, use_cache=cache, pad_token_id=0)
    assert torch.equal(written[True].sequences, written[False].sequences)
    with_cache, without = (torch.stack(written[cache].scores) for cache in (True, False))
    assert_close(with_cache, without, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(with_cache, torch.stack(plain.scores), atol=1e-2)


def test_steerings_are_done_in_their_order(loaded):
    model, tokenizer = loaded
    explainer, run = across(loaded), scores(loaded)
    neurons = NeuronsAsConcepts(ModelWithSplitPoints(model, PLACES[0][1], tokenizer=tokenizer))  # a splitter of its own
    ablated, added = Steering.ablate(explainer, BOTH), Steering.add(neurons, 2, 1.0, unit=3.0)
    shift = torch.zeros(model.config.hidden_size)
    shift[2] = 3.0
    with steered(model, ablated + added):
        first_read = run()
    with steered(model, added + ablated):
        first_added = run()
    assert_close(first_read, by_hand(loaded, explainer, torch.zeros_like, run, before=shift), atol=1e-5, rtol=1e-5)

    def pushed():
        handle = dict(model.named_modules())["model.layers.1.mlp"].register_forward_pre_hook(
            lambda _, args: (args[0] + shift,), prepend=True
        )
        try:
            return run()
        finally:
            handle.remove()

    assert_close(first_added, by_hand(loaded, explainer, torch.zeros_like, pushed), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(first_read, first_added, atol=1e-4)
    with steered(model, added + ablated + added):  # the same place before and after another step
        twice = run()
    assert not torch.allclose(twice, first_added, atol=1e-4)


def test_gradients_go_through_what_is_read_and_written(loaded):
    explainer, ids = across(loaded), inputs_of(loaded)
    embedded = loaded[0].get_input_embeddings()(ids.input_ids).detach()

    def gradient():
        given = embedded.clone().requires_grad_()
        loaded[0](inputs_embeds=given).logits[0, -1, 5].backward()
        return given.grad

    with steered(loaded[0], Steering.scale(explainer, BOTH, 2.0)):
        found = gradient()
    assert_close(found, by_hand(loaded, explainer, lambda z: 2 * z, gradient), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found, gradient(), atol=1e-4)
    loaded[0].zero_grad()


def test_texts_of_a_batch_have_a_steering_each(loaded):
    explainer, run = across(loaded), scores(loaded)
    steerings = [None, Steering.ablate(explainer, BOTH), Steering.clamp(explainer, 4, 2.0)]
    ids = inputs_of(loaded, ["The film was so good"] * 3)
    with steered(loaded[0], batched(steerings, steerings[1])), torch.no_grad():
        together = loaded[0](**ids).logits
    for row, steering in zip(together, steerings, strict=True):
        with steered(loaded[0], steering or Steering.scale(explainer, 0, 1)):
            assert_close(row, run()[0], atol=1e-4, rtol=1e-4)


def test_a_random_control_is_as_long_at_each_place(loaded):
    explainer, places = across(loaded, places=(PLACES[0], ["model.layers.0.mlp", "model.norm"])), {}
    steering = Steering.clamp(explainer, 1, 2.0)

    def look(name):
        def hook(_, __, out):
            places.setdefault(name, []).append(out)

        return hook

    modules, names = dict(loaded[0].named_modules()), ["model.layers.0.mlp", "model.norm"]
    for one in (Steering.scale(explainer, 1, 1), steering, Control("direction", 7).of(steering)):
        with steered(loaded[0], one):
            handles = [modules[name].register_forward_hook(look(name)) for name in names]
            scores(loaded)()
            for handle in handles:
                handle.remove()
    plain, moved, random = places[names[0]]
    assert_close((random - plain).norm(dim=-1), (moved - plain).norm(dim=-1), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(random, moved, atol=1e-2)


def test_nothing_is_left_after_an_exception(loaded):
    explainer, run = across(loaded), scores(loaded)
    before = run()
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded[0].modules()]
    with pytest.raises(ZeroDivisionError), steered(loaded[0], Steering.ablate(explainer, BOTH)):
        raise ZeroDivisionError(run())
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded[0].modules()]
    assert torch.equal(run(), before)


def test_codes_that_are_not_known_in_time_are_refused(loaded):
    model, tokenizer = loaded
    d, splitter = model.config.hidden_size, ModelWithSplitPoints(model, [*PLACES[0], *PLACES[1]], tokenizer=tokenizer)
    with pytest.raises(OptionError, match="the k largest of all layers"):
        Steering.ablate(across(loaded, "topk"), 1)
    crosscoder = drawn(CrosscoderConcepts(splitter, 6, PLACES[1], activation="relu"), d, 2)
    with pytest.raises(OptionError, match=r"cannot clamp concept 1 to 2.0: its codes read .* all together"):
        Steering.clamp(crosscoder, 1, 2.0)
    assert len(Steering.add(crosscoder, 1).steps) == 2
    pair = [ModelWithSplitPoints(model, PLACES[1][0], tokenizer=tokenizer) for _ in range(2)]
    two = drawn(CrosscoderConcepts(pair, 6, [PLACES[1][0], f"other:{PLACES[1][0]}"], activation="relu"), d, 2)
    with pytest.raises(OptionError, match="the second model does not run"):
        Steering.scale(two, 1, 2.0)
    backwards = drawn(TranscoderConcepts(splitter, 6, PLACES[0][1], writes_to=PLACES[1][0], activation="relu"), d, 1)
    with (
        pytest.raises(ModelError, match=r"'model.layers.1.mlp:input', which this pass has not reached"),
        steered(model, Steering.ablate(backwards, 1)),
    ):
        scores(loaded)()
