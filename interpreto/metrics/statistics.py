"""Correlations of few numbers; NaN where one side is constant."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def pearson(x: Float[Tensor, "*b n"], y: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """Product-moment correlation along the last dimension."""
    x, y = x.double(), y.double()
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    sizes = x.square().sum(-1).sqrt() * y.square().sum(-1).sqrt()
    return torch.where(sizes > 1e-14, (x * y).sum(-1) / sizes.clamp(min=1e-300), torch.nan)


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
