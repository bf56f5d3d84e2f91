"""Which atoms a non-negative code uses, found exactly: least squares on a set of atoms for each row, and exchanges of atoms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PAIRS = 1 << 23  # of atoms, over rows, whose systems are solved at a time
PIVOTS = 10  # exchanges of all atoms on the wrong side, before they are exchanged one by one
RIDGE = 1e-9  # of the mean squared norm of the atoms, which may be collinear
ROUNDING = 2e-16  # of a number in float64, enlarged by the condition
CONDITION = 1e8  # of the Gram matrix, up to which its inverse is trusted


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """Least squares on some of the atoms, others in each row.

    A row's system has the size of the smaller of two sets: the atoms that it uses, or those that it does not, by which the
    solution with all atoms is corrected.

    Attributes:
        gram: Of the atoms with each other, in float64; with a ridge where there is no inverse.
        inverse: Of it; None where it is too near to singular.
        condition: The Gram matrix's condition number; infinite where there is no inverse.
    """

    gram: Float[Tensor, "c c"]
    inverse: Float[Tensor, "c c"] | None
    condition: float

    @staticmethod
    def of(gram: Float[Tensor, "c c"]) -> LeastSquares:
        """With the inverse if it can be trusted, else with a ridge."""
        wide = gram.double()
        factor, failed = torch.linalg.cholesky_ex(wide)
        values = torch.linalg.eigvalsh(wide).tolist()
        if not failed and 0 < values[-1] <= CONDITION * values[0]:
            return LeastSquares(wide, torch.cholesky_inverse(factor), values[-1] / values[0])
        ridge = RIDGE * wide.diagonal().mean().expand(len(wide))
        return LeastSquares(wide + torch.diag(ridge), None, math.inf)

    def on(self, correlations: Float[Tensor, "n c"], used: Bool[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Each row's correlations through the inverse of the Gram matrix of the atoms that it uses; zero on the others."""
        if self.inverse is None:
            return _restricted(self.gram, correlations, used)
        most = 2 * used.sum(1) > used.shape[1]
        whole = correlations @ self.inverse
        corrected = whole - _restricted(self.inverse, whole, ~used & most[:, None]) @ self.inverse
        few = _restricted(self.gram, correlations, used & ~most[:, None])
        return torch.where(used, torch.where(most[:, None], corrected, few), 0.0)

    def bound(self, correlations: Float[Tensor, "n c"]) -> Float[Tensor, "n 1"]:
        """What is rounding in the correlations of residuals, ``(n, 1)``."""
        return min(max(ROUNDING * self.condition, 1e-12), 1e-7) * correlations.abs().amax(1, keepdim=True)


def _restricted(matrix: Tensor, values: Tensor, chosen: Tensor) -> Float[Tensor, "n c"]:
    """Each row's values through the inverse of the matrix's rows and columns that it has chosen; zero elsewhere."""
    found = torch.zeros_like(values)
    for rows, size in _alike(chosen.sum(1)):
        index, valid = _places(chosen[rows], size)
        systems = matrix[index[:, :, None], index[:, None, :]].mul_(valid[:, :, None] & valid[:, None, :])
        systems.diagonal(dim1=1, dim2=2).add_((~valid).to(systems.dtype))
        factors, _ = torch.linalg.cholesky_ex(systems)
        right = values[rows].gather(1, index) * valid
        solved = torch.cholesky_solve(right[..., None], factors)[..., 0]
        found[rows] = torch.zeros_like(values[rows]).scatter_add(1, index, solved)  # what fills up adds zero to the first
    return found


def _alike(counts: Int[Tensor, " n"]) -> Iterator[tuple[Int[Tensor, " m"], int]]:
    """Rows whose counts are alike, as many as are solved at a time, and the largest count that they may have."""
    low, high, most = 0, 1, int(counts.max()) if len(counts) else 0
    while low < most:
        rows = ((counts > low) & (counts <= high)).nonzero()[:, 0]
        yield from ((part, high) for part in rows.split(max(1, PAIRS // high**2)) if len(part))
        low, high = high, min(most, high + 1 + high // 3)


def _places(chosen: Bool[Tensor, "m c"], size: int) -> tuple[Int[Tensor, "m k"], Bool[Tensor, "m k"]]:
    """The columns chosen in each row, filled up to one size, and which of them are not filling."""
    rows, columns = chosen.nonzero(as_tuple=True)
    index = columns.new_zeros(len(chosen), size)
    index[rows, (chosen.cumsum(1) - 1)[chosen]] = columns
    return index, torch.arange(size, device=chosen.device) < chosen.sum(1, keepdim=True)


def exchange(
    start: Float[Tensor, "n c"], correlations: Float[Tensor, "n c"], squares: LeastSquares, *, whole: bool = True
) -> tuple[Float[Tensor, "n c"], Bool[Tensor, " n"]]:
    """Exact non-negative codes, and for which rows they were found.

    From the atoms that each row uses, exchange all that are on the wrong side, until none is.

    Args:
        start: Codes to begin with, none of them negative.
        correlations: Of the rows with the atoms, in float64.
        squares: Of the atoms.
        whole: Solve rows whose sets go round in circles by exchanging one atom after the other, which takes longer.

    References:
        Kim & Park, 2011 (block principal pivoting), https://doi.org/10.1137/110821172.
    """
    codes = torch.zeros_like(correlations)
    exact = torch.zeros(len(codes), dtype=torch.bool, device=codes.device)
    rows, used = torch.arange(len(codes), device=codes.device), start > 0
    for _ in range(0 if squares.inverse is None else PIVOTS):  # sets of dependent atoms seldom settle so
        found = squares.on(correlations[rows], used)
        wrong = torch.where(used, found < 0, found @ squares.gram - correlations[rows] < -squares.bound(correlations[rows]))
        ready = ~wrong.any(1)
        codes[rows[ready]] = found[ready]
        exact[rows[ready]] = True
        rows, used = rows[~ready], (used ^ wrong)[~ready]
        if len(rows) == 0:
            break
    if len(rows) and whole:
        codes[rows], exact[rows] = _one_by_one(start[rows], correlations[rows], squares)
    return codes, exact


def _one_by_one(start: Tensor, correlations: Tensor, squares: LeastSquares) -> tuple[Tensor, Tensor]:
    """Exact codes: solve with the atoms in use, drop what turns negative on the way, take the atom that helps most, and again.

    References:
        Lawson & Hanson, 1974, https://doi.org/10.1137/1.9781611971217.
    """
    codes, exact = start.clone(), torch.zeros(len(start), dtype=torch.bool, device=start.device)
    rows = torch.arange(len(codes), device=codes.device)
    used, settled = codes > 0, torch.zeros_like(exact)
    for _ in range(3 * len(squares.gram)):
        help_ = torch.where(used, 0.0, correlations[rows] - codes[rows] @ squares.gram)
        done = settled & (help_ <= squares.bound(correlations[rows])).all(1)
        exact[rows[done]] = True
        rows, used, settled, help_ = rows[~done], used[~done], settled[~done], help_[~done]
        if len(rows) == 0:
            break
        added = torch.zeros_like(used).scatter_(1, help_.argmax(1, keepdim=True), True)
        used = used | (added & settled[:, None])
        found = squares.on(correlations[rows], used)
        falling = used & (found <= 0)
        reach = torch.where(falling, codes[rows] / (codes[rows] - found), 1.0).amin(1, keepdim=True)
        moved = codes[rows] + reach * (found - codes[rows])
        used = used & ~(falling & (moved <= 0) | falling & (codes[rows] / (codes[rows] - found) <= reach))
        codes[rows] = torch.where(used, moved, 0.0)
        settled = ~falling.any(1)
    return codes, exact
