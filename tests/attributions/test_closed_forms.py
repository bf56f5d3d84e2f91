"""Each method satisfies the equation that defines it, where the answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from interpreto import (
    GradientShap,
    Granularity,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    Occlusion,
    Saliency,
    SmoothGrad,
    Sobol,
    SquareGrad,
    VarGrad,
)
from interpreto.attributions.aggregations import DistancesFromMask, LinearRegressionAggregator
from interpreto.attributions.perturbations import ShapTokenPerturbator
from interpreto.errors import CompletenessWarning, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import Units
from tests import problems, tiny

TEXTS = ["The film was not good.", "It's a great story, and the actors are terrible", "Good"]


@pytest.fixture
def tokenizer():
    return tiny.wordpiece()


@pytest.fixture
def additive(tokenizer):
    return problems.Additive(len(tokenizer)).eval()


def game_explanation(method, value, u, target=0, **options):
    model = problems.Game(value, u)
    explainer = method(model, problems.GameTokenizer(u), granularity=Granularity.TOKEN, replacement="mask", **options)
    return explainer(torch.arange(u), target)[0], model


@pytest.mark.parametrize("granularity", ["token", "word", "all_tokens", "sentence"])
@pytest.mark.parametrize("replacement", ["mask", "unk", "mean", "zero", 7])
@pytest.mark.parametrize("method", [Occlusion, Lime, KernelShap])
def test_mask_methods_find_the_weights_of_an_additive_model(additive, tokenizer, method, replacement, granularity):
    table = additive.embedding.weight
    absent = {"mask": tokenizer.mask_token_id, "unk": tokenizer.unk_token_id, 7: 7}
    vector = {"mean": table.mean(0), "zero": torch.zeros_like(table[0])}
    vector |= {name: table[i] for name, i in absent.items()}
    for explanation in method(additive, tokenizer, replacement=replacement, granularity=granularity)(
        TEXTS, targets=[[0, 2]] * 3
    ):
        wanted = additive.contributions(explanation.sample, vector[replacement])[[0, 2]]
        torch.testing.assert_close(explanation.attributions, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("replacement", ["drop", "attention"])
def test_units_that_are_taken_out_or_hidden_add_nothing(additive, tokenizer, replacement):
    class NoBias(problems.Additive):
        def read(self, vectors):
            return vectors.sum(1) @ self.head.weight.T

    model = NoBias(len(tokenizer)).eval()
    for method in (Occlusion, KernelShap):
        for explanation in method(model, tokenizer, replacement=replacement)(TEXTS, targets=1):
            wanted = model.contributions(explanation.sample, torch.zeros(8))[[1]]
            torch.testing.assert_close(explanation.attributions, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("baseline", ["zero", "mask", "mean", 0.3])
def test_path_methods_find_the_weights_of_an_additive_model(additive, tokenizer, baseline):
    table = additive.embedding.weight
    start = {"zero": torch.zeros(8), "mask": table[tokenizer.mask_token_id], "mean": table.mean(0), 0.3: torch.full((8,), 0.3)}
    for method, options in ((IntegratedGradients, {"n_perturbations": 3}), (GradientShap, {"noise_std": 0.0})):
        for explanation in method(additive, tokenizer, baseline=baseline, **options)(TEXTS, targets=2):
            wanted = additive.contributions(explanation.sample, start[baseline])[[2]]
            torch.testing.assert_close(explanation.attributions, wanted, atol=1e-4, rtol=1e-4)
            assert float(explanation.residual.abs()) < 1e-4


def test_gradient_methods_of_an_additive_model_are_its_gradient(additive, tokenizer):
    norm = additive.head.weight[1].norm()
    for method in (Saliency, SmoothGrad):
        for explanation in (
            method(additive, tokenizer, noise_std=0.5)(TEXTS, 1)
            if method is SmoothGrad
            else method(additive, tokenizer)(TEXTS, 1)
        ):
            torch.testing.assert_close(explanation.attributions, norm.expand_as(explanation.attributions), rtol=1e-5, atol=1e-5)
    for explanation in SquareGrad(additive, tokenizer)(TEXTS, 1):
        torch.testing.assert_close(explanation.attributions, norm.square().expand_as(explanation.attributions))
    for explanation in VarGrad(additive, tokenizer)(TEXTS, 1):
        assert float(explanation.attributions.abs().max()) < 1e-8
    for explanation in InputXGradient(additive, tokenizer)(TEXTS, 1):
        wanted = additive.contributions(explanation.sample, torch.zeros(8))[[1]]
        torch.testing.assert_close(explanation.attributions, wanted, atol=1e-5, rtol=1e-5)


def test_integrated_gradients_of_a_cubic_is_exact(tokenizer):
    model = problems.Cubic(len(tokenizer)).eval()
    explanation = IntegratedGradients(model, tokenizer, n_perturbations=2, baseline="zero", granularity="token")(TEXTS[0], 0)[0]
    inside = explanation.sample.units.index >= 0
    wanted = (model.embedding(explanation.sample.input_ids[inside]) @ model.head.weight[0]).pow(3)
    torch.testing.assert_close(explanation.attributions[0], wanted.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("u", range(2, 11))
def test_kernel_shap_is_the_shapley_value_when_all_coalitions_fit(u):
    value, phi = problems.random_game(u, seed=u)
    np.testing.assert_allclose(problems.exact_shapley(value, u), phi, atol=1e-12)
    explanation, model = game_explanation(KernelShap, value, u, n_perturbations=2**u)
    np.testing.assert_allclose(explanation.attributions[0], phi, atol=1e-6)
    assert model.calls == 2**u
    assert float(explanation.standard_error.abs().max()) < 1e-6


@pytest.mark.parametrize("n", [30, 48, 60, 90, 200, 500])
@pytest.mark.parametrize("u", [13, 15])
def test_kernel_shap_always_sums_to_the_gap(u, n):
    value, _ = problems.random_game(u, seed=u)
    explanation, model = game_explanation(KernelShap, value, u, target=1, n_perturbations=n)
    gap = explanation.base_scores - explanation.reference_scores
    assert float((explanation.attributions.double().sum() - gap).abs()) < 1e-5
    assert float(explanation.residual.abs()) < 1e-5
    assert model.calls <= n + 1


def test_kernel_shap_error_at_24_units_and_200_samples():
    errors = []
    for seed in range(30):
        value, phi = problems.random_game(24, seed)
        explanation, _ = game_explanation(KernelShap, value, 24, n_perturbations=200, random_state=seed)
        errors.append(np.linalg.norm(explanation.attributions[0].numpy() - phi) / np.linalg.norm(phi))
    assert np.mean(errors) <= 0.15


@pytest.mark.parametrize("n", [60, 200, 600])
def test_kernel_shap_standard_errors_are_those_of_repeated_runs(n):
    value, phi = problems.random_game(14, seed=3)
    runs = [game_explanation(KernelShap, value, 14, n_perturbations=n, random_state=seed)[0] for seed in range(60)]
    spread = torch.stack([run.attributions[0] for run in runs]).std(0).mean()
    told = torch.stack([run.standard_error[0] for run in runs]).nanmean()
    assert 0.6 < float(told / spread) < 1.8
    bias = torch.stack([run.attributions[0] for run in runs]).mean(0) - torch.from_numpy(phi)
    assert float(bias.abs().max()) < 4 * float(spread) / 60**0.5


@pytest.mark.parametrize("u", [1, 2])
def test_kernel_shap_of_one_and_two_units(u):
    value, phi = problems.random_game(u, seed=5, order=u) if u == 2 else (lambda present: 2.0 * present[:, 0] + 1.0, [2.0])
    explanation, _ = (
        game_explanation(KernelShap, value, u, n_perturbations=2) if u == 1 else game_explanation(KernelShap, value, u)
    )
    np.testing.assert_allclose(explanation.attributions[0], phi, atol=1e-6)


def test_kernel_shap_with_fewer_coalitions_than_twice_the_units_is_refused():
    value, _ = problems.random_game(20, seed=0)
    with pytest.raises(OptionError, match=r"`n_perturbations`: 39 coalitions cannot rank 20 units; pass at least 40"):
        game_explanation(KernelShap, value, 20, n_perturbations=39)
    game_explanation(KernelShap, value, 20, n_perturbations=40)


@pytest.mark.parametrize(("u", "n"), [(9, 100), (12, 200), (13, 60), (24, 200), (30, 500)])
def test_coalitions_come_in_pairs_with_the_mass_of_the_kernel(u, n):
    sample = Sample("", torch.arange(u), Units(torch.arange(u), ("x",) * u, ((0, 1),) * u))
    variants = ShapTokenPerturbator(n)(sample, torch.Generator().manual_seed(0))
    rest, weights = variants.mask[2:], variants.weights[2:]
    assert len(variants.mask) <= n
    rows = {tuple(row) for row in rest.tolist()}
    assert len(rows) == len(rest)
    assert all(tuple(1 - x for x in row) in rows for row in rows)
    sizes = rest.sum(1)
    for size in range(1, u):
        if bool((sizes == size).any()):
            mass = weights[sizes == size].sum()
            torch.testing.assert_close(float(mass), 1 / (size * (u - size)), rtol=1e-9, atol=0)
        counts = rest[sizes == size].sum(0)
        assert int(counts.max() - counts.min()) <= 2


def test_lime_weighs_the_untouched_text_most():
    distances = {DistancesFromMask.COSINE, DistancesFromMask.HAMMING, DistancesFromMask.EUCLIDEAN}
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))
    for distance in distances:
        weights = LinearRegressionAggregator(distance).weights(masks)
        assert int(weights.argmax()) == 0 and float(weights[0]) == 1.0
        assert bool((weights[1:] < 1.0).all())
        assert int(weights.argmin()) == len(masks) - 1  # everything removed is the farthest


def test_lime_kernel_has_the_published_values():
    kept = (10, 9, 5, 1)
    masks = torch.stack([torch.tensor([0.0] * k + [1.0] * (10 - k)) for k in kept])
    weights = LinearRegressionAggregator().weights(masks)
    np.testing.assert_allclose(weights, [1.0, 0.979153, 0.503440, 0.023746], atol=1e-6)


def test_lime_is_scikit_learns_weighted_regression():
    from sklearn.linear_model import LinearRegression

    value, _ = problems.random_game(8, seed=1)
    explanation, _ = game_explanation(Lime, value, 8, n_perturbations=100, random_state=4)
    explainer = Lime(problems.Game(value, 8), problems.GameTokenizer(8), n_perturbations=100, granularity="token")
    masks = explainer.perturbator.masks(8, torch.Generator().manual_seed(4))
    weights = LinearRegressionAggregator().weights(masks)
    fit = LinearRegression().fit(1 - masks, value(1 - masks.double().numpy()), sample_weight=weights)
    np.testing.assert_allclose(explanation.attributions[0], fit.coef_, atol=1e-5)


def test_lime_standard_errors_are_those_of_repeated_runs():
    value, _ = problems.random_game(10, seed=2)
    runs = [game_explanation(Lime, value, 10, n_perturbations=200, random_state=seed)[0] for seed in range(60)]
    spread = torch.stack([run.attributions[0] for run in runs]).std(0).mean()
    told = torch.stack([run.standard_error[0] for run in runs]).mean()
    assert 0.6 < float(told / spread) < 1.6


def test_lime_with_fewer_copies_than_coefficients_is_refused():
    value, _ = problems.random_game(20, seed=0)
    with pytest.raises(OptionError, match=r"`n_perturbations`: 20 perturbed inputs do not determine 21 coefficients"):
        game_explanation(Lime, value, 20, n_perturbations=20)


@pytest.mark.parametrize("sampler", ["sobol", "halton", "latin_hypercube"])
def test_sobol_finds_the_analytic_indices(sampler):
    """f = 2x₁ + x₂ + 2(x₁ − ½)(x₃ − ½) on fair coins: V = 1 + ¼ + ¼·... by hand."""

    def value(present):
        x = present
        return 2 * x[:, 0] + x[:, 1] + 4 * (x[:, 0] - 0.5) * (x[:, 2] - 0.5)

    variance = 4 / 4 + 1 / 4 + 16 / 16  # of the three uncorrelated parts
    first = np.array([1.0, 0.25, 0.0, 0.0]) / variance
    total = np.array([2.0, 0.25, 1.0, 0.0]) / variance
    for order, wanted in (("first", first), ("total", total)):
        options = {"n_token_perturbations": 4096, "sampler": sampler, "sobol_indices_order": order}
        explanation, model = game_explanation(Sobol, value, 4, **options)
        np.testing.assert_allclose(explanation.attributions[0], wanted, atol=0.05)
        assert model.calls == 2**4  # every distinct copy is run once


def test_sobol_of_a_constant_is_zero():
    explanation, _ = game_explanation(Sobol, lambda present: np.full(len(present), 3.0), 5)
    assert float(explanation.attributions.abs().max()) == 0.0


def test_sobol_standard_errors_cover_the_truth():
    value, _ = problems.random_game(6, seed=1, order=2)
    exact = game_explanation(Sobol, value, 6, n_token_perturbations=2**13, sobol_indices_order="total")[0].attributions
    runs = [
        game_explanation(Sobol, value, 6, sobol_indices_order="total", sampler="latin_hypercube", random_state=seed)[0]
        for seed in range(40)
    ]
    inside = torch.stack([(run.attributions - exact).abs() <= 2 * run.standard_error + 0.02 for run in runs]).float().mean()
    assert float(inside) > 0.8


def test_integrated_gradients_misses_less_with_more_steps_and_says_how_many():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    text = "The film was not good, and the story is terrible."
    with pytest.warns(CompletenessWarning, match=r"miss \d+% of the score gap") as caught:
        coarse = IntegratedGradients(model, tokenizer, n_perturbations=1)(text)[0]
    enough = int(str(caught[0].message).split("n_perturbations=")[1].split()[0])
    finer = IntegratedGradients(model, tokenizer, n_perturbations=enough)(text)[0]  # a warning would be an error
    gap = float((coarse.base_scores - coarse.reference_scores).abs())
    assert float(finer.residual.abs()) < 0.05 * gap < float(coarse.residual.abs())
    finest = IntegratedGradients(model, tokenizer, n_perturbations=256)(text)[0]
    assert float(finest.residual.abs()) < 1e-4


@pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")  # of scores that hardly move
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "albert", "electra", "gpt2", "xlnet"])
def test_integrated_gradients_is_complete_at_the_default_steps(family):
    steep, tokenizer = tiny.CLASSIFIERS[family]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = type(steep)(steep.config).eval()  # as steep as a model at its start
    explanations = IntegratedGradients(model, tokenizer)(list(tiny.SENTENCES[1:]))
    for explanation in explanations:
        gap = float((explanation.base_scores - explanation.reference_scores).abs())
        assert float(explanation.residual.abs()) <= 1e-3 * max(1.0, gap)


def test_smooth_grad_without_noise_is_saliency_and_var_grad_is_zero():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    wanted = Saliency(model, tokenizer)(TEXTS)
    smooth = SmoothGrad(model, tokenizer, noise_std=0.0)(TEXTS)
    for a, b in zip(wanted, smooth, strict=True):
        torch.testing.assert_close(a.attributions, b.attributions, rtol=1e-4, atol=1e-6)
    for explanation in VarGrad(model, tokenizer, noise_std=0.0)(TEXTS):
        assert float(explanation.attributions.abs().max()) < 1e-8


@pytest.mark.parametrize("input_x_gradient", [False, True])
def test_noise_statistics_are_those_of_the_definition(input_x_gradient):
    """Against all gradient vectors held at once."""
    model, tokenizer = tiny.CLASSIFIERS["distilbert"]()
    options = {"n_perturbations": 11, "noise_std": 0.3, "input_x_gradient": input_x_gradient, "granularity": "token"}
    smooth, square, var = (m(model, tokenizer, **options)(TEXTS[0], 1)[0] for m in (SmoothGrad, SquareGrad, VarGrad))
    ids = smooth.sample.input_ids
    x = model.get_input_embeddings()(ids).detach()
    noise = torch.randn(11, *x.shape, generator=torch.Generator().manual_seed(0))
    points = (x + noise * smooth.sample.units.free[:, None] * (0.3 * x.std())).requires_grad_()
    logits = model(inputs_embeds=points, attention_mask=torch.ones(11, len(ids), dtype=torch.long)).logits[:, 1]
    vectors = torch.autograd.grad(logits.sum(), points)[0]
    vectors = (vectors * points if input_x_gradient else vectors).detach()[:, smooth.sample.units.free]
    mean = vectors.mean(0)
    wanted = mean.sum(-1) if input_x_gradient else mean.norm(dim=-1)
    torch.testing.assert_close(smooth.attributions[0], wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(square.attributions[0], vectors.square().mean(0).sum(-1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(var.attributions[0], vectors.var(0).sum(-1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", [SmoothGrad, SquareGrad, VarGrad, GradientShap])
def test_standard_errors_of_noisy_gradients_are_those_of_repeated_runs(method):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    runs = [method(model, tokenizer, random_state=seed)(TEXTS[0], 1)[0] for seed in range(40)]
    spread = torch.stack([run.attributions for run in runs]).std(0)
    told = torch.stack([run.standard_error for run in runs]).median(0).values  # some errors of a skewed variance are large
    assert 0.5 < float((told / spread).mean()) < 2.0
