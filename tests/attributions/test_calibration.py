"""Standard errors are calibrated: the value ± 1.96 errors holds the truth in 90 to 99 % of 200 draws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from interpreto import KernelShap, Lime, SmoothGrad, VarGrad
from interpreto.attributions.aggregations import (
    DistancesFromMask,
    LinearRegressionAggregator,
    ShapleyAggregator,
    SobolAggregator,
    SobolIndicesOrders,
)
from interpreto.attributions.aggregations.base import t_ratio
from interpreto.attributions.perturbations import (
    LinearInterpolationPerturbator,
    RandomMaskedTokenPerturbator,
    SequenceSamplers,
    ShapTokenPerturbator,
    SobolTokenPerturbator,
)
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Readout, Sample, Targets
from interpreto.inputs.units import Units
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


@pytest.mark.parametrize("seed", [3])
@pytest.mark.parametrize("n", [30, 45, 56, pytest.param(200, marks=pytest.mark.slow)])
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
@pytest.mark.parametrize("n", [32, pytest.param(128, marks=pytest.mark.slow)])
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


class Quadratic(torch.nn.Module):
    """A classifier that is quadratic in its embeddings: under noise, mean and variance of its gradients are known."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.slope = torch.nn.Embedding(9, 16), torch.nn.Parameter(torch.randn(16) * 3)
        half = torch.randn(16, 16)
        self.curvature = torch.nn.Parameter((half + half.T) / 2)

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None):
        x = self.table(input_ids) if inputs_embeds is None else inputs_embeds
        score = (x @ self.slope + ((x @ self.curvature) * x).sum(-1) / 2).sum(1)
        return torch.stack([score, -score], 1)


@pytest.mark.parametrize("method", [SmoothGrad, VarGrad])
def test_noisy_gradients(method):
    model, tokenizer, ids = Quadratic().eval(), tiny.wordpiece(), torch.tensor([3, 4, 5, 6, 7])
    with torch.no_grad():
        x, std = model.table(ids), 0.1
        mean = model.slope + x @ model.curvature
        variance = (std * x.std()).square() * model.curvature.square().sum()
        truth = mean.norm(dim=-1) if method is SmoothGrad else variance.expand(len(ids))
    values, errors = [], []
    for seed in range(DRAWS):
        found = method(model, tokenizer, noise_std=std, random_state=seed, granularity="all_tokens")(ids, 0)[0]
        values.append(found.attributions[0].double())
        errors.append(found.standard_error[0].double())
    assert_calibrated(torch.stack(values), torch.stack(errors), truth.double())


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
