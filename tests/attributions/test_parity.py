"""Parity with captum and shap, where they are right."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from interpreto import GradientShap, InputXGradient, IntegratedGradients, KernelShap, Occlusion, Saliency
from tests import problems, tiny

TEXT = "The film was not good, and the story is terrible."
FAMILIES = ["bert", "roberta", "distilbert", "electra", "deberta_v2", "modernbert", "gpt2", "qwen3"]


@pytest.fixture(params=FAMILIES)
def setting(request):
    """A model as a function of embeddings, its tokenizer, the embeddings of a text and those of a baseline."""
    steep, tokenizer = tiny.CLASSIFIERS[request.param]()
    ids = tokenizer(TEXT, return_tensors="pt")
    x = steep.get_input_embeddings()(ids["input_ids"]).detach()
    mean = steep.get_input_embeddings()(torch.arange(len(tokenizer))[None]).mean(1).expand_as(x).detach()
    steep.config.pad_token_id = None

    def forward(embeddings):
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long)
        # One row at a time: decoder classifiers without a padding token refuse batches.
        return torch.cat(
            [steep(inputs_embeds=e[None], attention_mask=m[None]).logits for e, m in zip(embeddings, mask, strict=True)]
        )

    return steep, tokenizer, forward, x, mean


@pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")
def test_integrated_gradients_is_captums(setting):
    from captum.attr import IntegratedGradients as Captum

    model, tokenizer, forward, x, mean = setting
    explainer = IntegratedGradients(model, tokenizer, n_perturbations=16, baseline="mean", granularity="all_tokens")
    wanted = Captum(forward).attribute(x, mean, target=1, n_steps=16).sum(-1)  # Gauss-Legendre is its default too
    torch.testing.assert_close(explainer(TEXT, 1)[0].attributions, wanted.float(), rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")  # DeBERTa-v2 normalizes its embeddings first
def test_input_x_gradient_and_saliency_are_captums(setting):
    from captum.attr import InputXGradient as CaptumInputXGradient
    from captum.attr import Saliency as CaptumSaliency

    model, tokenizer, forward, x, _ = setting
    product = CaptumInputXGradient(forward).attribute(x.clone().requires_grad_(), target=2).sum(-1)
    norm = CaptumSaliency(forward).attribute(x.clone().requires_grad_(), target=2, abs=False).norm(dim=-1)
    ours = InputXGradient(model, tokenizer, granularity="all_tokens")(TEXT, 2)[0]
    torch.testing.assert_close(ours.attributions, product.detach(), rtol=1e-3, atol=1e-4)
    ours = Saliency(model, tokenizer, granularity="all_tokens")(TEXT, 2)[0]
    torch.testing.assert_close(ours.attributions, norm.detach(), rtol=1e-3, atol=1e-4)


def test_gradient_shap_is_captums_with_the_noise_fixed(monkeypatch):
    """captum draws one coefficient a copy and a normal noise; both are set to ours."""
    from captum.attr import GradientShap as Captum

    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    x = model.get_input_embeddings()(tokenizer(TEXT, return_tensors="pt")["input_ids"]).detach()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(8, *x.shape[1:], generator=generator) * (0.2 * x.std())
    alphas = torch.rand(8, 1, 1, generator=generator)

    def forward(embeddings):
        return model(inputs_embeds=embeddings, attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long)).logits

    monkeypatch.setattr(torch, "normal", lambda mean, std: noise)
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: alphas.flatten().numpy())
    wanted = Captum(forward).attribute(x, torch.zeros_like(x), n_samples=8, stdevs=1.0, target=0).sum(-1)
    monkeypatch.undo()
    options = {"n_perturbations": 8, "noise_std": 0.2, "granularity": "all_tokens", "baseline": "zero"}
    explainer = GradientShap(model, tokenizer, **options)
    torch.testing.assert_close(explainer(TEXT, 0)[0].attributions, wanted.detach().float(), rtol=1e-3, atol=1e-4)


def test_occlusion_is_captums_feature_ablation():
    from captum.attr import FeatureAblation

    model, tokenizer = tiny.CLASSIFIERS["roberta"]()
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    ablation = FeatureAblation(lambda i: model(i, attention_mask=torch.ones_like(i)).logits)
    wanted = ablation.attribute(ids, baselines=tokenizer.mask_token_id, target=1).float()
    ours = Occlusion(model, tokenizer, granularity="all_tokens")(TEXT, 1)[0]
    torch.testing.assert_close(ours.attributions, wanted, rtol=1e-4, atol=1e-5)


def test_kernel_shap_is_shaps_exact_explainer():
    with warnings.catch_warnings():  # its plots use matplotlib's older names
        warnings.simplefilter("ignore")
        import shap

    model, tokenizer = tiny.CLASSIFIERS["electra"]()
    ours = KernelShap(model, tokenizer, n_perturbations=2**10, granularity="token")("The film was terrible.", 0)[0]
    u, ids = len(ours.elements), ours.sample.input_ids

    def scores(present):
        present = torch.as_tensor(np.asarray(present)).float()
        rows = torch.where(ours.sample.units.spread(1 - present).bool(), tokenizer.mask_token_id, ids)
        with torch.no_grad():
            return model(rows, attention_mask=torch.ones_like(rows)).logits[:, 0].numpy()

    masker = shap.maskers.Independent(np.zeros((1, u)))
    wanted = shap.explainers.ExactExplainer(scores, masker)(np.ones((1, u))).values
    np.testing.assert_allclose(ours.attributions, wanted, atol=1e-5)


def test_kernel_shap_converges_where_the_sampler_of_the_reference_library_does_not():
    """Its sizes are drawn ∝ k(u − k) and its regression has no constraint: some 12 % off, at any budget."""
    value, phi = problems.random_game(12, seed=0)
    explainer = KernelShap(problems.Game(value, 12), problems.GameTokenizer(12), granularity="token", n_perturbations=3000)
    ours = explainer(torch.arange(12), 0)[0].attributions[0].numpy()
    assert np.linalg.norm(ours - phi) / np.linalg.norm(phi) < 0.02
