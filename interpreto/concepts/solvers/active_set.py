"""Exact non-negative least squares by active sets: block principal pivoting, and Lawson and Hanson's method."""

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
    """Least squares restricted to an active set of atoms, one set per row.

    The system that is solved for a row has the size of the active set or of its complement, whichever is smaller: the
    complement corrects the solution with all atoms.

    Attributes:
        gram: Gram matrix of the atoms, in float64; with a ridge where there is no inverse.
        inverse: Its inverse; None if it is ill-conditioned.
        condition: The Gram matrix's condition number; infinite where there is no inverse.
    """

    gram: Float[Tensor, "c c"]
    inverse: Float[Tensor, "c c"] | None
    condition: float

    @staticmethod
    def of(gram: Float[Tensor, "c c"]) -> LeastSquares:
        """Factorize a Gram matrix: with its inverse if that can be trusted, else with a ridge."""
        wide = gram.double()
        factor, failed = torch.linalg.cholesky_ex(wide)
        values = torch.linalg.eigvalsh(wide).tolist()
        if not failed and 0 < values[-1] <= CONDITION * values[0]:
            return LeastSquares(wide, torch.cholesky_inverse(factor), values[-1] / values[0])
        ridge = RIDGE * wide.diagonal().mean().expand(len(wide))
        return LeastSquares(wide + torch.diag(ridge), None, math.inf)

    def on(self, correlations: Float[Tensor, "n c"], used: Bool[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Solve each row's normal equations on its active set; zero on the other atoms.

        Args:
            correlations: Inner products of the rows with the atoms.
            used: Active set of each row.

        Returns:
            Codes ``(n, c)``.
        """
        if self.inverse is None:
            return _restricted(self.gram, correlations, used)
        most = 2 * used.sum(1) > used.shape[1]
        whole = correlations @ self.inverse
        corrected = whole - _restricted(self.inverse, whole, ~used & most[:, None]) @ self.inverse
        few = _restricted(self.gram, correlations, used & ~most[:, None])
        return torch.where(used, torch.where(most[:, None], corrected, few), 0.0)

    def bound(self, correlations: Float[Tensor, "n c"]) -> Float[Tensor, "n 1"]:
        """Return a bound on the rounding error of the correlations of residuals, ``(n, 1)``."""
        return min(max(ROUNDING * self.condition, 1e-12), 1e-7) * correlations.abs().amax(1, keepdim=True)


def _restricted(matrix: Tensor, values: Tensor, chosen: Tensor) -> Float[Tensor, "n c"]:
    """Solve, for each row, the system of the chosen rows and columns of the matrix; zero elsewhere."""
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
    """Yield groups of rows with similar counts, as many as are solved at a time, and the largest count of each group."""
    low, high, most = 0, 1, int(counts.max()) if len(counts) else 0
    while low < most:
        rows = ((counts > low) & (counts <= high)).nonzero()[:, 0]
        yield from ((part, high) for part in rows.split(max(1, PAIRS // high**2)) if len(part))
        low, high = high, min(most, high + 1 + high // 3)


def _places(chosen: Bool[Tensor, "m c"], size: int) -> tuple[Int[Tensor, "m k"], Bool[Tensor, "m k"]]:
    """Return the columns chosen in each row, padded to one size, and a mask of those that are not padding."""
    rows, columns = chosen.nonzero(as_tuple=True)
    index = columns.new_zeros(len(chosen), size)
    index[rows, (chosen.cumsum(1) - 1)[chosen]] = columns
    return index, torch.arange(size, device=chosen.device) < chosen.sum(1, keepdim=True)


def exchange(
    start: Float[Tensor, "n c"], correlations: Float[Tensor, "n c"], squares: LeastSquares, *, whole: bool = True
) -> tuple[Float[Tensor, "n c"], Bool[Tensor, " n"]]:
    """Solve non-negative least squares by block principal pivoting.

    From an initial active set per row, exchange all atoms that violate the optimality conditions, until none does.

    Args:
        start: Initial codes, none of them negative; their support is the initial active set.
        correlations: Inner products of the rows with the atoms, in float64.
        squares: Least squares on the atoms.
        whole: Solve rows whose active sets cycle by exchanging one atom at a time, which takes longer.

    Returns:
        Codes ``(n, c)``, and which rows were solved ``(n,)``; codes of the others are zero.

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
    """Solve non-negative least squares by the active set method, which changes one atom at a time.

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
