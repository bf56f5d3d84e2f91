"""Correlations of few numbers; NaN where one side is constant, or varies by no more than rounding."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.intervals import student_quantile
from interpreto.rounding import noise_of

__all__ = ["auc", "auc_difference", "kendall", "mean_ranks", "noise_of", "pearson", "spearman"]

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


def auc(scores: Float[Tensor, " n"], positive: Bool[Tensor, " n"]) -> float:
    """Return the probability that a positive has a larger score than a negative; ties count half, and so does a NaN.

    NaN where there are no positives or no negatives.

    Examples:
        >>> auc(torch.tensor([3.0, 1.0, 1.0]), torch.tensor([True, True, False]))
        0.75
        >>> auc(torch.tensor([torch.nan, 0.0]), torch.tensor([True, False]))
        0.5
    """
    wins, _ = _placements(scores, positive)
    return float(wins.mean()) if len(wins) and len(wins) < len(scores) else float("nan")


def auc_difference(
    scores: Float[Tensor, " n"], others: Float[Tensor, " n"], positive: Bool[Tensor, " n"], level: float = 0.95
) -> tuple[float, float]:
    """Return a confidence interval of the AUC of one score less that of another one on the same samples.

    The variance is DeLong's: that of the share of negatives below each positive, and of positives above each negative. NaN
    where there are fewer than two positives or negatives.

    Args:
        scores: One score of each sample.
        others: The other score.
        positive: Which samples are positive.
        level: Nominal coverage, in (0, 1).

    References:
        DeLong, DeLong and Clarke-Pearson, Biometrics 1988, https://doi.org/10.2307/2531595.
    """
    n, m = int(positive.sum()), int((~positive).sum())
    if n < 2 or m < 2:
        return float("nan"), float("nan")
    pairs = zip(_placements(scores, positive), _placements(others, positive), strict=True)
    wins, losses = (mine - theirs for mine, theirs in pairs)
    error = float((wins.var() / n + losses.var() / m).sqrt())
    half = student_quantile(level, min(n, m) - 1) * error
    return float(wins.mean()) - half, float(wins.mean()) + half


def _placements(scores: Float[Tensor, " n"], positive: Bool[Tensor, " n"]) -> tuple[Float[Tensor, " p"], Float[Tensor, " m"]]:
    """Return the share of negatives below each positive, and of positives above each negative; ties and NaN count half."""
    values = scores.double()
    above, below = values[positive], values[~positive]
    ordered, reverse = below[~below.isnan()].sort().values, above[~above.isnan()].sort().values
    wins = (torch.searchsorted(ordered, above) + torch.searchsorted(ordered, above, right=True)).double() / 2
    losses = len(reverse) - (torch.searchsorted(reverse, below) + torch.searchsorted(reverse, below, right=True)).double() / 2
    wins = wins + (len(below) - len(ordered)) / 2
    losses = losses + (len(above) - len(reverse)) / 2
    wins = torch.where(above.isnan(), len(below) / 2, wins) / max(len(below), 1)
    losses = torch.where(below.isnan(), len(above) / 2, losses) / max(len(above), 1)
    return wins, losses
