"""Fits of linear probes: weights and biases from rows and 0/1 labels, in float64, each concept apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

ProbeFit = Literal["logistic", "ridge", "lda", "mean_difference", "centroids"]
FITS: tuple[str, ...] = get_args(ProbeFit)
PENALIZED = ("logistic", "ridge", "lda")
"""Fits with a penalty ``l2``."""
STEPS = 100  # of Newton's method, which takes 5 to 15
SMALL = 1e-10  # largest entry of a gradient at a minimum, in units of the labels


@dataclass(frozen=True, eq=False)
class LinearScores:
    """Linear scores of concepts: ``rows @ weights.T + bias``.

    Attributes:
        weights: ``(c, d)``.
        bias: ``(c,)``.
    """

    weights: Float[Tensor, "c d"]
    bias: Float[Tensor, " c"]

    def __call__(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return rows @ self.weights.T + self.bias


def fit_scores(
    fit: str, rows: Float[Tensor, "n d"], labels: Float[Tensor, "n c"], l2: float = 0.0, *, standardize: bool = True
) -> LinearScores:
    """Fit linear scores of concepts.

    Args:
        fit: One of `FITS`.
        rows: Activations, in float64.
        labels: 1 where a row has the concept, else 0; each column holds both.
        l2: Penalty. ``"logistic"``: mean loss + ½ l2 |w|²; ``"ridge"``: mean squared error + l2 |w|²; ``"lda"``: the
            covariance within classes, plus l2 times its mean diagonal on the diagonal. Not used by the others.
        standardize: Center and scale the columns first, for the penalized fits but ``"lda"``; the scores are of the rows as
            they are.
    """
    if fit in ("mean_difference", "centroids", "lda"):
        solve: Callable[..., LinearScores] = {"mean_difference": mean_difference, "centroids": centroids, "lda": lda}[fit]
        return solve(rows, labels, l2) if fit == "lda" else solve(rows, labels)
    center = rows.mean(0)
    scale = rows.std(0, correction=0) if standardize else torch.ones_like(center)
    scale = torch.where(scale > 0, scale, 1.0)
    given, basis = _reduced((rows - center) / scale)
    found = ridge(given, labels, l2) if fit == "ridge" else logistic(given, labels, l2)
    weights = (found.weights if basis is None else found.weights @ basis.T) / scale
    return LinearScores(weights, found.bias - weights @ center)


def class_means(rows: Float[Tensor, "n d"], labels: Float[Tensor, "n c"]) -> tuple[Float[Tensor, "c d"], Float[Tensor, "c d"]]:
    """Return the mean of the rows with each concept, and of those without it."""
    return labels.T @ rows / labels.sum(0)[:, None], (1 - labels).T @ rows / (1 - labels).sum(0)[:, None]


def mean_difference(rows: Float[Tensor, "n d"], labels: Float[Tensor, "n c"]) -> LinearScores:
    """Return the difference of the means, zero midway between them."""
    positive, negative = class_means(rows, labels)
    weights = positive - negative
    return LinearScores(weights, -(weights * (positive + negative)).sum(1) / 2)


def centroids(rows: Float[Tensor, "n d"], labels: Float[Tensor, "n c"]) -> LinearScores:
    """Return half of what the squared distance to a concept's mean falls short of the mean one: the nearest has most.

    A single concept is compared with the mean of the rows without it.
    """
    if labels.shape[1] == 1:
        return mean_difference(rows, labels)
    center = rows.mean(0)
    means = class_means(rows, labels)[0] - center
    squares = means.square().sum(1)
    weights = means - means.mean(0)
    return LinearScores(weights, (squares.mean() - squares) / 2 - weights @ center)


def lda(rows: Float[Tensor, "n d"], labels: Float[Tensor, "n c"], l2: float) -> LinearScores:
    """Return log-odds of Gaussian classes with one covariance, pooled within them; singular ones by least squares."""
    positive, negative = class_means(rows, labels)
    found = []
    for y, one, other in zip(labels.T, positive, negative, strict=True):
        centered = rows - torch.where(y[:, None] > 0, one, other)
        covariance = centered.T @ centered / len(rows)
        covariance.diagonal().add_(l2 * covariance.diagonal().mean())
        found.append(torch.linalg.lstsq(covariance, (one - other)[:, None], driver="gelsd" if rows.is_cpu else None).solution)
    weights = torch.cat(found, 1).T
    share = labels.mean(0)
    return LinearScores(weights, (share / (1 - share)).log() - (weights * (positive + negative)).sum(1) / 2)


def ridge(rows: Float[Tensor, "n d"], labels: Float[Tensor, "n c"], l2: float) -> LinearScores:
    """Return least squares on labels of ±1, with a penalty on the weights of columns that are centered already."""
    signs = 2 * labels - 1
    gram = rows.T @ rows / len(rows)
    gram.diagonal().add_(l2)
    right = rows.T @ (signs - signs.mean(0)) / len(rows)
    solution = torch.linalg.solve(gram, right) if l2 > 0 else torch.linalg.pinv(gram, hermitian=True) @ right
    return LinearScores(solution.T, signs.mean(0))


def logistic(rows: Float[Tensor, "n d"], labels: Float[Tensor, "n c"], l2: float) -> LinearScores:
    """Return the log-odds of least penalized loss, by Newton's method with halved steps."""
    ones = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    penalty = torch.full((ones.shape[1],), l2, dtype=rows.dtype, device=rows.device)
    penalty[-1] = 0.0
    found = torch.stack([_newton(ones, y, penalty) for y in labels.T])
    return LinearScores(found[:, :-1], found[:, -1])


def _newton(rows: Float[Tensor, "n k"], y: Float[Tensor, " n"], penalty: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Return the weights of least mean logistic loss + ½ Σ penalty w²."""

    def loss(at: Tensor) -> float:
        return float(binary_cross_entropy_with_logits(rows @ at, y) + (penalty * at.square()).sum() / 2)

    weights = torch.zeros_like(penalty)
    weights[-1] = (y.mean() / (1 - y.mean())).log()
    best = loss(weights)
    for _ in range(STEPS):
        chance = (rows @ weights).sigmoid()
        gradient = rows.T @ (chance - y) / len(rows) + penalty * weights
        if float(gradient.abs().max()) <= SMALL:
            break
        curvature = (rows * (chance * (1 - chance))[:, None]).T @ rows / len(rows)
        curvature.diagonal().add_(penalty + 1e-12)
        step = torch.linalg.solve(curvature, gradient)
        found = next((at for i in range(30) for at in [weights - step / 2**i] if loss(at) <= best), None)
        if found is None:  # rounding: the loss is at its least
            break
        weights, best = found, loss(found)
    return weights


def _reduced(rows: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor | None]:
    """Return rows in a basis of their own where they are fewer than columns: penalized weights lie in their span."""
    if len(rows) >= rows.shape[1]:
        return rows, None
    left, sizes, right = torch.linalg.svd(rows, full_matrices=False)
    return left * sizes, right.T
