"""Correlations of few numbers; NaN where one side is constant, or varies by no more than rounding."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.rounding import noise_of

__all__ = ["kendall", "mean_ranks", "noise_of", "pearson", "spearman"]

EXACT = 1e-12
"""Relative difference that sums of equal numbers may have."""


def pearson(x: Float[Tensor, "*b n"], y: Float[Tensor, "*b n"], noise: float = 0.0) -> Float[Tensor, "*b"]:
    """Return the product-moment correlation along the last dimension; NaN too where ``y`` spans no more than ``noise``."""
    (x, flat_x), (y, flat_y) = _centered(x, 0.0), _centered(y, noise)
    lengths = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return ((x * y).sum(-1) / lengths).clamp(-1, 1).masked_fill(flat_x | flat_y, torch.nan)


def _centered(values: Float[Tensor, "*b n"], noise: float) -> tuple[Float[Tensor, "*b n"], Bool[Tensor, "*b"]]:
    """Return values less their mean, in units of the largest, and where all values are the same."""
    values = values.double()
    largest = values.abs().amax(-1, keepdim=True)
    flat = (values.amax(-1) - values.amin(-1)) <= (EXACT * largest[..., 0]).clamp(min=noise)
    values = values / largest.where(largest > 0, torch.ones_like(largest))
    return values - values.mean(-1, keepdim=True), flat


def mean_ranks(values: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """Return ranks from 1 on, those of equal values averaged."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below + (equal + 1) / 2.0


def spearman(x: Float[Tensor, "*b n"], y: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """Return the correlation of ranks.

    References:
        Spearman, 1904, https://doi.org/10.2307/1412159.
    """
    return pearson(mean_ranks(x), mean_ranks(y))


def kendall(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """Return Kendall's τ-b: concordant less discordant pairs, over the pairs that are not tied."""
    i, j = torch.triu_indices(len(x), len(x), 1)
    a, b = (x[i] - x[j]).sign().double(), (y[i] - y[j]).sign().double()
    pairs = (a.abs().sum() * b.abs().sum()).sqrt()
    return float((a * b).sum() / pairs) if pairs > 0 else float("nan")
