"""Standard errors are calibrated: the value ± 1.96 errors holds the truth in 90 to 99 % of 200 draws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from interpreto import KernelShap, Lime, VarGrad
from interpreto.attributions.aggregations import (
    DistancesFromMask,
    LinearRegressionAggregator,
    ShapleyAggregator,
    SmoothGradAggregator,
    SobolAggregator,
    SobolIndicesOrders,
    SquareGradAggregator,
    VarGradAggregator,
)
from interpreto.attributions.aggregations.base import error_of_few, jackknife, jackknife_in_logarithms, t_ratio
from interpreto.attributions.perturbations import (
    LinearInterpolationPerturbator,
    RandomMaskedTokenPerturbator,
    SequenceSamplers,
    ShapTokenPerturbator,
    SobolTokenPerturbator,
)
from interpreto.attributions.perturbations import sobol as sobol_design
from interpreto.errors import OptionError
from interpreto.inputs.samples import EmbeddingVariants, MaskVariants, Readout, Sample, Targets
from interpreto.inputs.units import Units
from interpreto.models.gradients import GradientMoments
from tests import problems, tiny

DRAWS = 200


def sample_of(u: int) -> Sample:
    units = Units(torch.arange(u), tuple("x" * u), tuple((i, i + 1) for i in range(u)))
    return Sample("x" * u, torch.arange(u), units, targets=Targets((Readout(torch.tensor([0])),), ("a",), (None,)))


def estimates(perturbator, aggregator, value, u: int) -> tuple[Tensor, Tensor]:
    """Values and errors of every draw, ``(draws, u)``."""
    found = []
    for seed in range(DRAWS):
        variants = perturbator(sample_of(u), torch.Generator().manual_seed(seed))
        scores = torch.from_numpy(value((1 - variants.mask).double().numpy()))[:, None]
        found.append(aggregator.aggregate(scores, variants))
    return torch.stack([e.values[0] for e in found]), torch.stack([e.standard_error[0] for e in found])


def assert_calibrated(values: Tensor, errors: Tensor, truth: Tensor) -> None:
    assert bool(torch.isfinite(errors).all())
    z = (values - truth) / errors
    assert 0.90 <= float((z.abs() <= 1.96).double().mean()) <= 0.99
    assert float(z.square().mean().sqrt()) < 1.4


def all_masks(u: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=u)))


@pytest.mark.parametrize(
    ("n", "seed"),
    [(n, 3) for n in (28, 30, 45, 56)]
    + [
        pytest.param(n, seed, marks=pytest.mark.slow) for n, seed in [(200, 3), (41, 0), *((28, seed) for seed in (0, 1, 2, 4))]
    ],
)
def test_kernel_shap(n, seed):
    value, phi = problems.random_game(14, seed)
    values, errors = estimates(ShapTokenPerturbator(n), ShapleyAggregator(), value, 14)
    assert_calibrated(values, errors, torch.from_numpy(phi))


@pytest.mark.parametrize(("distance", "width"), [("cosine", 0.25), ("hamming", 0.25), ("euclidean", 0.5), ("cosine", 1.0)])
@pytest.mark.parametrize("n", [50, 200])
def test_lime(distance, width, n):
    u = 8
    value, _ = problems.random_game(u, 3)
    aggregator, masks = LinearRegressionAggregator(DistancesFromMask(distance), width), all_masks(u)
    scores = torch.from_numpy(value((1 - masks).double().numpy()))[:, None]
    truth = aggregator.aggregate(scores, MaskVariants(sample_of(u), masks)).values[0]
    values, errors = estimates(RandomMaskedTokenPerturbator(n), aggregator, value, u)
    assert_calibrated(values, errors, truth)


@pytest.mark.parametrize("order", SobolIndicesOrders)
@pytest.mark.parametrize("sampler", SequenceSamplers)
@pytest.mark.parametrize("n", [16, pytest.param(32, marks=pytest.mark.slow), pytest.param(128, marks=pytest.mark.slow)])
def test_sobol(order, sampler, n):
    u = 8
    value, _ = problems.random_game(u, 2)
    f = value(all_masks(u).double().numpy()).reshape((2,) * u)
    truth = []
    for i in range(u):
        alone = f.mean(axis=tuple(j for j in range(u) if j != i)).var()
        truth.append(alone if order is SobolIndicesOrders.FIRST_ORDER else f.var(axis=i).mean())
    values, errors = estimates(SobolTokenPerturbator(n, sampler), SobolAggregator(n, order), value, u)
    assert_calibrated(values, errors, torch.tensor(np.array(truth) / f.var()))


@pytest.mark.parametrize("n", [4, pytest.param(8, marks=pytest.mark.slow), pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("aggregator", [SmoothGradAggregator, SquareGradAggregator, VarGradAggregator])
def test_noisy_gradients(aggregator, n):
    """Of a score that is quadratic in its embeddings: under noise, mean and variance of its gradients are known."""
    generator = torch.Generator().manual_seed(0)
    sample, tokens, d, std = sample_of(5), 5, 16, 0.3
    mean, half = (torch.randn(size, d, generator=generator, dtype=torch.float64) for size in (tokens, d))
    curvature = (half + half.T) / 2
    variance = std**2 * curvature.square().sum()
    exact = {
        SmoothGradAggregator: mean.norm(dim=-1),
        SquareGradAggregator: mean.square().sum(-1) + variance,
        VarGradAggregator: variance.expand(tokens),
    }
    values, errors = [], []
    for _ in range(DRAWS):
        gradients = mean + std * torch.randn(n, tokens, d, generator=generator, dtype=torch.float64) @ curvature
        reducer = GradientMoments(EmbeddingVariants(sample, gradients), 1)
        reducer.add(list(range(n)), 0, gradients)
        found = aggregator().aggregate(reducer.result(), reducer.variants)
        of_logs = found.in_logarithms
        errors.append(jackknife_in_logarithms(found.values, found.left_out) if of_logs else jackknife(found.left_out))
        values.append(found.values)
    assert_calibrated(torch.cat(values), torch.cat(errors), exact[aggregator])


@pytest.mark.parametrize("n", [8, 32])
def test_a_variance_of_rare_large_gradients(n):
    """The squared distances of gradients to their mean are skewed as those of a trained classifier are."""
    generator = torch.Generator().manual_seed(0)
    values, errors = [], []
    for _ in range(DRAWS):
        sizes = torch.randn(n, 6, 1, generator=generator, dtype=torch.float64).mul(0.4).exp()
        gradients = sizes * torch.randn(n, 6, 8, generator=generator, dtype=torch.float64)
        reducer = GradientMoments(EmbeddingVariants(sample_of(6), gradients), 1)
        reducer.add(list(range(n)), 0, gradients)
        found = VarGradAggregator().aggregate(reducer.result(), reducer.variants)
        values.append(found.values)
        errors.append(jackknife_in_logarithms(found.values, found.left_out))
    assert_calibrated(torch.cat(values), torch.cat(errors), torch.full((6,), 8 * math.exp(0.32)))


@pytest.mark.parametrize("n", [28, 29, 37, 45, 54, 55])
def test_kernel_shap_uses_its_whole_budget_and_sums_to_the_gap(n):
    value, _ = problems.random_game(14, 3)
    variants = ShapTokenPerturbator(n)(sample_of(14), torch.Generator().manual_seed(0))
    assert len(variants.mask.unique(dim=0)) >= n - 2 and len(variants.mask) == n  # two orders may share a coalition
    scores = torch.from_numpy(value((1 - variants.mask).double().numpy()))[:, None]
    found = ShapleyAggregator().aggregate(scores, variants)
    assert bool(torch.isfinite(found.standard_error).all())
    torch.testing.assert_close(found.values.sum(), (scores[0] - scores[1])[0])


@pytest.mark.parametrize("n", [30, 37, 45])
def test_blocks_of_units_do_not_bias_games_of_pairs(n):
    value, phi = problems.random_game(14, 5, order=2)
    values, _ = estimates(ShapTokenPerturbator(n), ShapleyAggregator(), value, 14)
    error = values.std(0) / DRAWS**0.5
    assert float(((values.mean(0) - torch.from_numpy(phi)).abs() / error.clamp(min=1e-9)).max()) < 4


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left_out = (values.sum(0) - values) / 8
    torch.testing.assert_close(jackknife(left_out), values.std(0) / 3 * t_ratio(8))


def test_errors_of_few_draws_are_moderated_by_those_of_all_units():
    stats = pytest.importorskip("scipy.stats")
    variance = torch.tensor([[1.0, 4.0, 7.0]], dtype=torch.float64)
    wanted = [math.sqrt((1 * own + 3 * 4.0) / 4) * stats.t.ppf(0.975, 4) / 1.959964 for own in (1.0, 4.0, 7.0)]
    torch.testing.assert_close(error_of_few(variance, 2)[0], torch.tensor(wanted).double(), rtol=3e-3, atol=0)
    torch.testing.assert_close(error_of_few(variance, 10_000), variance.sqrt(), rtol=2e-3, atol=0)
    assert bool(error_of_few(variance, 1).isnan().all())


def test_the_jackknife_of_logarithms_is_the_upper_arm_of_their_interval():
    left_out = torch.tensor([[[1.0, 0.0, 2.0]], [[2.0, 0.0, 0.0]], [[4.0, 0.0, 3.0]]], dtype=torch.float64)
    values = torch.tensor([[2.0, 0.0, 2.0]], dtype=torch.float64)
    found = jackknife_in_logarithms(values, left_out)[0]
    spread = math.log(2) * math.sqrt(2 * 2 / 3) * t_ratio(2)
    assert float(values[0, 0] + 1.959964 * found[0]) == pytest.approx(2 * math.exp(1.959964 * spread))
    assert float(found[1]) == 0 and math.isnan(found[2])  # never different from 0; known from one group alone


def test_a_variance_of_two_gradients_has_no_standard_error():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    errors = [VarGrad(model, tokenizer, n_perturbations=n)("dull film", 0)[0].standard_error for n in (2, 3)]
    assert errors[0] is None and errors[1] is not None and bool((errors[1] > 0).all())


@pytest.mark.parametrize("degrees", [1, 2, 4, 5, 7, 15, 31, 1000])
def test_the_quantile_of_students_t(degrees):
    stats = pytest.importorskip("scipy.stats")
    assert t_ratio(degrees) == pytest.approx(stats.t.ppf(0.975, degrees) / stats.norm.ppf(0.975), rel=3e-3)


def test_without_degrees_of_freedom_there_is_no_quantile():
    assert math.isnan(t_ratio(0))


@pytest.mark.slow
@pytest.mark.parametrize("method", [Lime, KernelShap])
def test_a_review_of_221_words_is_explained_at_the_defaults(method):
    model, tokenizer = tiny.CLASSIFIERS["xlnet"]()
    found = method(model, tokenizer)(" ".join(["good", "bad", "film"] * 73 + ["a", "b"]))[0]
    assert len(found.elements) == 221 and bool(torch.isfinite(found.attributions).all())
    assert bool(torch.isfinite(found.standard_error).all())


@pytest.mark.parametrize("u", [5, 50, 51, 221])
def test_defaults_grow_with_the_units(u):
    generator = torch.Generator().manual_seed(0)
    assert len(RandomMaskedTokenPerturbator().masks(u, generator)) == max(200, 4 * u)
    assert len(ShapTokenPerturbator()(sample_of(u), generator).mask) == (32 if u == 5 else max(500, 2 * u))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_draws_do_not_depend_on_the_default_dtype(dtype):
    def drawn() -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        masks = [RandomMaskedTokenPerturbator(50).masks(8, generator)]
        return masks + [SobolTokenPerturbator(8, sampler).masks(8, generator) for sampler in SequenceSamplers]

    expected, before = drawn(), torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = drawn()
    finally:
        torch.set_default_dtype(before)
    assert all(torch.equal(a.float(), b.float()) for a, b in zip(found, expected, strict=True))


def test_a_baseline_is_checked_in_the_constructor():
    with pytest.raises(OptionError, match=r"`baseline`: got Embedding\(3, 2\); pass a name"):
        LinearInterpolationPerturbator(torch.nn.Embedding(3, 2))


def test_a_sequence_is_scrambled_once_and_belongs_to_the_caller():
    sampler, found = SequenceSamplers.SOBOL, []
    scrambled = sobol_design._scrambled
    scrambled.cache_clear()
    for _ in range(2):
        found.append(sampler(8, 6, torch.Generator().manual_seed(0)))
        found[-1][:] += 1.0  # a caller's changes stay its own
    assert scrambled.cache_info().hits == 1 and torch.equal(found[0], found[1])
    assert (found[0] < 2.0).all() and not torch.equal(found[0], sampler(8, 6, torch.Generator().manual_seed(1)) + 1.0)
