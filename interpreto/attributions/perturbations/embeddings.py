"""Perturbators that move embeddings: along a path from a baseline, or by noise."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.perturbations.base import EmbeddingsPerturbator, on_units
from interpreto.errors import OptionError
from interpreto.inputs.samples import EmbeddingVariants, Sample
from interpreto.models.embeddings import Baseline, InputSpace
from interpreto.quadrature import gauss_legendre
from interpreto.validation import check_count, check_not_negative, is_number, shown


class LinearInterpolationPerturbator(EmbeddingsPerturbator):
    """Place points on the line from a baseline to the input, at the nodes of the Gauss-Legendre rule.

    Args:
        baseline: Start of the line: a `Baseline`.
        n_perturbations: Number of points.
    """

    def __init__(self, baseline: Any = "zero", n_perturbations: int = 32) -> None:
        self.baseline, self.n_perturbations = check_baseline(baseline), check_count(n_perturbations, "n_perturbations")

    def __call__(self, sample: Sample, space: InputSpace, generator: Generator) -> EmbeddingVariants:
        embeddings = space.embed(sample)
        step = on_units(embeddings - space.baseline(self.baseline, embeddings, sample), sample)
        alphas, shares = gauss_legendre(self.n_perturbations)
        points = embeddings - (1 - alphas.to(embeddings))[:, None, None] * step
        return EmbeddingVariants(sample, points, step[None], shares, embeddings - step)


class GaussianNoisePerturbator(EmbeddingsPerturbator):
    """Add Gaussian noise to the input.

    Args:
        n_perturbations: Number of noisy inputs.
        std: Standard deviation of the noise, in standard deviations of the input's embeddings.
        input_x_gradient: Contract the gradients with the noisy input instead of taking norms.
    """

    def __init__(self, n_perturbations: int = 32, *, std: float = 0.1, input_x_gradient: bool = False) -> None:
        self.n_perturbations = check_count(n_perturbations, "n_perturbations")
        self.std, self.input_x_gradient = check_not_negative(std, "noise_std"), input_x_gradient

    def __call__(self, sample: Sample, space: InputSpace, generator: Generator) -> EmbeddingVariants:
        embeddings = space.embed(sample)
        noise = torch.randn(self.n_perturbations, *embeddings.shape, generator=generator, dtype=torch.float32).to(embeddings)
        points = embeddings + on_units(noise, sample) * (self.std * spread_of(embeddings, sample))
        return EmbeddingVariants(sample, points, direction=points if self.input_x_gradient else None)


class GradientShapPerturbator(EmbeddingsPerturbator):
    """Draw random points between a baseline and the noisy input; gradients are contracted with the difference of the two.

    Args:
        baseline: Start of the lines: a `Baseline`.
        n_perturbations: Number of points, each on a line of its own.
        std: Standard deviation of the noise, in standard deviations of the input's embeddings.
    """

    def __init__(self, baseline: Any = "zero", n_perturbations: int = 32, *, std: float = 0.1) -> None:
        self.baseline, self.n_perturbations = check_baseline(baseline), check_count(n_perturbations, "n_perturbations")
        self.std = check_not_negative(std, "noise_std")

    def __call__(self, sample: Sample, space: InputSpace, generator: Generator) -> EmbeddingVariants:
        embeddings = space.embed(sample)
        p = self.n_perturbations
        start = embeddings - on_units(embeddings - space.baseline(self.baseline, embeddings, sample), sample)
        noise = torch.randn(p, *embeddings.shape, generator=generator, dtype=torch.float32).to(embeddings)
        alphas = torch.rand(p, 1, 1, generator=generator, dtype=torch.float32).to(embeddings)
        step = embeddings + on_units(noise, sample) * (self.std * spread_of(embeddings, sample)) - start
        return EmbeddingVariants(sample, start + alphas * step, step, baseline=start)


def check_baseline(value: Any) -> Baseline:
    """Return a baseline: a name, a number or a tensor.

    Raises:
        OptionError: if it is something else, such as the embedding layer that other libraries' perturbators take.
    """
    if not isinstance(value, (str, Tensor)) and not is_number(value):
        raise OptionError(f"`baseline`: got {shown(value)}; pass a name such as 'zero' or 'mask', a number or a tensor.")
    return value


def spread_of(embeddings: Float[Tensor, "l d"], sample: Sample) -> Float[Tensor, ...]:
    """Return the standard deviation of a sample's embeddings; of an image with a text, of pixels and of words by themselves."""
    count = len(embeddings) if sample.picture is None else sample.picture.cells
    if sample.picture is None or count == len(embeddings):
        return embeddings.std()
    words = embeddings[count:]
    width = int(words.any(0).nonzero().max()) + 1 if bool(words.any()) else 1  # rows of cells may be wider
    spreads = embeddings[:count, : sample.picture.width].std(), words[:, :width].std()
    return torch.stack(spreads).repeat_interleave(torch.tensor([count, len(words)], device=embeddings.device))[:, None]
