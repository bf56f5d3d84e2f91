"""Sparse linear surrogates: the lasso that ContextCite fits on ablated contexts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import NORMAL, Aggregator, Estimate, by_reach
from interpreto.attributions.aggregations.linear_regression import WeightedFit
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Targets
from interpreto.validation import is_number, shown

SWEEPS = 10_000
PRECISION = 1e-12  # of coordinate descent, as a share of the largest coefficient
LEAST = 0.05  # share of a row's residual that is taken to be its own

Matrix = Any
"""An array of numpy, in float64."""


class LassoAggregator(Aggregator):
    """Fit a sparse linear surrogate on the presence of units: ``min ½ mean (y − b − zᵀw)² + l1 ‖w‖₁``.

    ``y`` is the score divided by the number of tokens that it sums, and ``z`` the standardized presence of the units, so that
    one penalty serves answers of any length; the coefficients are scaled back to the score. Solved in float64.

    Args:
        l1: Weight of the penalty. 0: least squares.

    References:
        Tibshirani, 1996, https://doi.org/10.1111/j.2517-6161.1996.tb02080.x; Cohen-Wang et al., NeurIPS 2024,
        https://arxiv.org/abs/2409.00729. Standard errors: MacKinnon and White, 1985,
        https://doi.org/10.1016/0304-4076(85)90158-7, for the coefficients that are kept.
    """

    def __init__(self, l1: float = 0.01) -> None:
        if not is_number(l1) or not 0 <= l1 < math.inf:
            raise OptionError(f"`l1`: got {shown(l1)}; pass a number from 0 on.")
        self.l1 = l1

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        assert variants.sample.targets is not None
        tokens = tokens_of(variants.sample.targets)
        found = by_reach(scores.double() / tokens, variants, self._fit)
        error = None if found.standard_error is None else found.standard_error * tokens[:, None]
        return Estimate(found.values * tokens[:, None], error)

    def _fit(self, scores: Float[Tensor, "p t"], mask: Float[Tensor, "p m"]) -> Estimate:
        present = 1 - mask.double()
        if not self.l1:
            design = torch.cat([present, torch.ones(len(present), 1, dtype=torch.float64)], dim=1)
            fit = WeightedFit(
                design, scores, torch.ones(len(present), dtype=torch.float64), "l1=0 needs more than there are units"
            )
            return Estimate(fit.coefficients[:-1].T, fit.standard_error(torch.arange(len(present)))[:-1].T)
        found, error = sparse_fit(present, scores, self.l1)
        return Estimate(found.T, error.T)


def tokens_of(targets: Targets) -> Float[Tensor, " t"]:
    """Return how many outputs each score combines: of the score of an answer, its tokens."""
    counts = torch.zeros(len(targets), dtype=torch.float64)
    for readout in targets.readouts:
        counts += 1 if readout.weights is None else (readout.weights != 0).sum(1)
    return counts.clamp(min=1)


def sparse_fit(
    present: Float[Tensor, "p m"], scores: Float[Tensor, "p t"], l1: float
) -> tuple[Float[Tensor, "m t"], Float[Tensor, "m t"]]:
    """Return the coefficients of the lasso on standardized columns and their standard errors, in the units of the columns.

    Args:
        present: Presence of the units; a unit that is always present, or never, gets 0.
        scores: Responses.
        l1: Weight of the penalty, of the scale of a mean square over a coefficient.
    """
    spread = present.std(0, unbiased=False)
    moves = spread > 0
    design = ((present - present.mean(0)) / spread.where(moves, torch.ones_like(spread))) * moves
    centered = scores - scores.mean(0)
    gram, moment = design.T @ design / len(design), design.T @ centered / len(design)
    found = [lasso(gram.numpy(), column.numpy(), l1) for column in moment.T]
    errors = [sparse_errors(design.numpy(), column.numpy(), own, l1) for column, own in zip(centered.T, found, strict=True)]
    scale = spread.where(moves, torch.ones_like(spread))[:, None]
    return torch.from_numpy(np.stack(found, 1)) / scale, torch.from_numpy(np.stack(errors, 1)) / scale


def sparse_errors(design: Matrix, scores: Matrix, found: Matrix, l1: float) -> Matrix:
    """Return standard errors of the coefficients of a lasso, as estimates of those of all rows that could be drawn.

    A coefficient that is kept solves linear equations with the others that are, whose residuals are weighed up by what each
    row bears on them. One that is zero stays zero as long as its pull is below the penalty: its interval ends where the upper
    end of its pull's does, and it has no error where that is below the penalty too.

    Args:
        design: Standardized columns, ``(p, m)``.
        scores: Centered responses, ``(p,)``.
        found: Coefficients, ``(m,)``.
        l1: Weight of the penalty.
    """
    rows, kept = len(scores), found != 0
    own, others = design[:, kept], design[:, ~kept]
    inverse = np.linalg.pinv(own.T @ own / rows)
    borne = 1 / rows + np.einsum("pk,kl,pl->p", own, inverse, own) / rows
    residuals = scores - design @ found
    weighed = residuals / np.clip(1 - borne, LEAST, None)
    errors = np.zeros_like(found)
    errors[kept] = _of_mean((own @ inverse) * weighed[:, None])
    pull = np.abs(others.T @ residuals) / rows
    beyond = others - own @ (inverse @ own.T @ others / rows)
    errors[~kept] = np.clip(pull + NORMAL * _of_mean(beyond * weighed[:, None]) - l1, 0, None) / NORMAL
    return errors


def _of_mean(values: Matrix) -> Matrix:
    """Return the standard errors of the means of columns."""
    return np.sqrt(np.square(values - values.mean(0)).sum(0)) / len(values)


def lasso(gram: Matrix, moment: Matrix, l1: float) -> Matrix:
    """Minimize ``½ wᵀGw − cᵀw + l1 ‖w‖₁`` by coordinate descent over the active set; the result is then made exact.

    Args:
        gram: G, ``(m, m)``.
        moment: c, ``(m,)``.
        l1: Weight of the sum of sizes, above 0.
    """
    found, rest = np.zeros_like(moment), moment.copy()  # rest is c − Gw
    usable = np.flatnonzero(np.diag(gram) > 0)
    active: Matrix = usable
    for _ in range(SWEEPS):
        moved = _sweep(gram, rest, found, active, l1)
        if moved > PRECISION * max(float(np.abs(found).max(initial=0.0)), 1e-300):
            active = np.flatnonzero(found)
            continue
        if len(active) == len(usable):
            break
        active = usable  # what was zero may have become worth it
    return _polished(gram, moment, found, l1)


def _sweep(gram: Matrix, rest: Matrix, found: Matrix, active: Matrix, l1: float) -> float:
    """Minimize over each coefficient in turn, and return the largest change."""
    largest = 0.0
    for j in active:
        pull = rest[j] + gram[j, j] * found[j]
        new = math.copysign(max(abs(pull) - l1, 0.0), pull) / gram[j, j]
        if new != found[j]:
            rest -= gram[:, j] * (new - found[j])
            largest = max(largest, abs(new - found[j]))
            found[j] = new
    return largest


def _polished(gram: Matrix, moment: Matrix, found: Matrix, l1: float) -> Matrix:
    """Return the exact minimum for the signs that were found, where these are right: the equations are linear then."""
    kept = np.flatnonzero(found)
    if not len(kept):
        return found
    signs = np.sign(found[kept])
    solution, _, rank, _ = np.linalg.lstsq(gram[np.ix_(kept, kept)], moment[kept] - l1 * signs, rcond=None)
    if rank < len(kept) or (np.sign(solution) != signs).any():
        return found
    exact = np.zeros_like(found)
    exact[kept] = solution
    return exact
