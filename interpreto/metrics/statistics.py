"""Correlations of few numbers; NaN where one side is constant, or moves by no more than it is rounded."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.inputs.rounding import noise_of

__all__ = ["kendall", "mean_ranks", "noise_of", "pearson", "spearman"]

EXACT = 1e-12  # of the largest: what sums of equal numbers may differ by


def pearson(x: Float[Tensor, "*b n"], y: Float[Tensor, "*b n"], noise: float = 0.0) -> Float[Tensor, "*b"]:
    """Product-moment correlation along the last dimension; NaN too where y spans no more than ``noise``."""
    (x, flat_x), (y, flat_y) = _centred(x, 0.0), _centred(y, noise)
    lengths = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return ((x * y).sum(-1) / lengths).clamp(-1, 1).masked_fill(flat_x | flat_y, torch.nan)


def _centred(values: Float[Tensor, "*b n"], noise: float) -> tuple[Float[Tensor, "*b n"], Bool[Tensor, "*b"]]:
    """Values less their mean, in units of the largest, and where they are all the same."""
    values = values.double()
    largest = values.abs().amax(-1, keepdim=True)
    flat = (values.amax(-1) - values.amin(-1)) <= (EXACT * largest[..., 0]).clamp(min=noise)
    values = values / largest.where(largest > 0, torch.ones_like(largest))
    return values - values.mean(-1, keepdim=True), flat


def mean_ranks(values: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """Ranks from 1, those of equals averaged."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below + (equal + 1) / 2.0


def spearman(x: Float[Tensor, "*b n"], y: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """Correlation of ranks (Spearman, 1904)."""
    return pearson(mean_ranks(x), mean_ranks(y))


def kendall(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """Kendall's τ-b: pairs in agreement less those that are not, over the pairs that are not tied."""
    i, j = torch.triu_indices(len(x), len(x), 1)
    a, b = (x[i] - x[j]).sign().double(), (y[i] - y[j]).sign().double()
    pairs = (a.abs().sum() * b.abs().sum()).sqrt()
    return float((a * b).sum() / pairs) if pairs > 0 else float("nan")
