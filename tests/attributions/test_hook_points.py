"""Gradients and relevance of activations at a hook point: captum's layer methods, completeness, the embeddings' own place."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradientXActivation, LayerIntegratedGradients

from interpreto import (
    AttnLrp,
    AttributionOutput,
    Contrast,
    DeepLift,
    DeepLiftShap,
    ExpectedGradients,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    RawAttention,
    Saliency,
    SmoothGrad,
    SquareGrad,
    VarGrad,
)
from interpreto.errors import ModelError, OptionError
from tests import tiny

TEXT = "The film was not good"
METHODS = {
    Saliency: {},
    InputXGradient: {},
    IntegratedGradients: {"n_perturbations": 4},
    SmoothGrad: {"n_perturbations": 3},
    SquareGrad: {"n_perturbations": 3},
    VarGrad: {"n_perturbations": 3},
    GradientShap: {"n_perturbations": 3},
    ExpectedGradients: {"n_perturbations": 3},
    AttnLrp: {},
    DeepLift: {},
    DeepLiftShap: {"n_baselines": 2},
}
BLOCKS = {"bert": "bert.encoder.layer.0", "gpt2": "transformer.h.0"}
INNER = {"bert": ".intermediate", "gpt2": ".mlp"}
pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")


def near(found, wanted, share=1e-5):
    torch.testing.assert_close(found, wanted, rtol=0, atol=share * float(wanted.nan_to_num().abs().max()), equal_nan=True)


def classifier(family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    return model, tokenizer, ids, (lambda rows: model(rows).logits)


@pytest.mark.parametrize("family", BLOCKS)
@pytest.mark.parametrize("inside", [False, True], ids=["block", "inner module"])
def test_input_x_gradient_is_captums_layer_gradient_x_activation(family, inside):
    model, tokenizer, ids, logits = classifier(family)
    at = BLOCKS[family] + (INNER[family] if inside else "")
    wanted = LayerGradientXActivation(logits, dict(model.named_modules())[at]).attribute(ids, target=1)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    found = InputXGradient(model, tokenizer, granularity="all_tokens", at=at)(TEXT, 1)[0]
    near(found.attributions[0], wanted.detach().reshape(ids.shape[1], -1).sum(-1))
    assert found.hook_point == at


@pytest.mark.parametrize("family", BLOCKS)
def test_integrated_gradients_are_captums_layer_integrated_gradients(family):
    model, tokenizer, ids, _ = classifier(family)
    at, steps, embeddings = BLOCKS[family], 20, model.get_input_embeddings()(ids).detach()
    method = LayerIntegratedGradients(lambda rows: model(inputs_embeds=rows).logits, dict(model.named_modules())[at])
    start = torch.zeros_like(embeddings)
    wanted = method.attribute(embeddings, start, target=1, n_steps=steps, method="gausslegendre", internal_batch_size=1)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    explainer = IntegratedGradients(model, tokenizer, granularity="all_tokens", n_perturbations=steps, baseline="zero", at=at)
    found = explainer(TEXT, 1)[0]
    near(found.attributions[0], wanted.detach()[0].sum(-1), 1e-4)
    assert float(found.residual.abs()) < 1e-3 * float(found.attributions.abs().max())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_at_the_embeddings_nothing_changes(method):
    """The embedding layer's output is what methods explain anyway."""
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    wanted = method(model, tokenizer, **METHODS[method])(TEXT, [[0, 2]])[0]
    found = method(model, tokenizer, at="bert.embeddings.word_embeddings", **METHODS[method])(TEXT, [[0, 2]])[0]
    near(found.attributions, wanted.attributions, 1e-4)
    near(found.base_scores, wanted.base_scores)
    if wanted.reference_scores is not None:
        near(found.reference_scores, wanted.reference_scores, 1e-4)


@pytest.mark.parametrize("method", [DeepLift, DeepLiftShap], ids=lambda method: method.__name__)
def test_deep_lift_is_complete_between_activations(method):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    found = method(model, tokenizer, at=0, **METHODS[method])([TEXT, "A good film"], [1, 2])
    for output in found:
        assert float(output.residual.abs().max()) < 1e-4 * max(1.0, float(output.base_scores.abs().max()))


def test_frozen_relevance_of_activations_sums_to_the_logit():
    """Of a model without biases, whatever the layer; the last block's belongs to the token that is read."""
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    for at in (0, -1):
        explainer = AttnLrp(model, tokenizer, attention="frozen", granularity="all_tokens", at=at, inference_mode="logits")
        found = explainer("The film was", " good")[0]
        torch.testing.assert_close(found.attributions.nansum(-1), found.base_scores, rtol=1e-4, atol=1e-4)
        first = found.attributions[0].nan_to_num()
        assert (first.count_nonzero() == 1) == (at == -1)


@pytest.mark.parametrize(
    ("family", "call"),
    [
        ("gpt2", ("The film was", Contrast(" not good", " dull and bad"))),
        pytest.param("gpt2", (["The film was", "A"], [" not good", " film"]), marks=pytest.mark.slow),
    ],
)
def test_generations_too(family, call):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    wanted = InputXGradient(model, tokenizer)(*call)
    at = "transformer.wte"
    for one, other in zip(wanted, InputXGradient(model, tokenizer, at=at)(*call), strict=True):
        near(one.base_scores, other.base_scores)
        if not isinstance(call[1], Contrast):
            near(one.attributions, other.attributions)
    for output in InputXGradient(model, tokenizer, at=0)(*call):
        assert output.hook_point == "transformer.h.0" and bool(output.attributions.nan_to_num().any())


@pytest.mark.slow
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_a_stack_of_an_encoder_decoder_has_its_own_tokens(stack):
    model, tokenizer = tiny.SEQ2SEQ["t5"]()
    found = InputXGradient(model, tokenizer, at=f"{stack}.block.0")("The film was not good", "a good film")[0]
    values, source = found.attributions.nan_to_num(), found.sample.source
    of_source = torch.tensor([end <= len("The film was not good") for _, end in found.spans])
    assert source and bool(values[-1, of_source].any()) is (stack == "encoder")
    assert bool(values[-1, ~of_source].any()) is (stack == "decoder")


def test_the_place_is_kept_in_files(tmp_path):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    found = InputXGradient(model, tokenizer, at=-1)(TEXT, 0)[0]
    found.save(tmp_path / "one")
    assert AttributionOutput.load(tmp_path / "one").hook_point == "bert.encoder.layer.1"


def test_places_that_cannot_be_explained_are_refused():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    with pytest.raises(OptionError, match=r"`at`: got block 7, .* has 2"):
        InputXGradient(model, tokenizer, at=7)
    with pytest.raises(OptionError, match=r"`at`.*bert.encoder.layr"):
        InputXGradient(model, tokenizer, at="bert.encoder.layr")
    with pytest.raises(OptionError, match=r"`at`: got \[0, 1\]; pass one"):
        InputXGradient(model, tokenizer, at=[0, 1])
    for method in (KernelShap, RawAttention):
        with pytest.raises(OptionError, match=f"`at`: got 0; {method.__name__} reads no gradients"):
            method(model, tokenizer, at=0)
    with pytest.raises(OptionError, match="`path`: 'discretized'"):
        IntegratedGradients(model, tokenizer, path="discretized", at=0)
    with pytest.raises(ModelError, match=r"`at`: 'bert.pooler' gives one vector per text"):
        InputXGradient(model, tokenizer, at="bert.pooler")(TEXT, 0)
