"""Encode rows in a fixed dictionary: non-negative least squares, or least squares with an L1 penalty."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.scales import power_of_two
from interpreto.concepts.solvers.active_set import LeastSquares, exchange
from interpreto.concepts.solvers.coordinate_descent import NON_NEGATIVE, Descent, Penalty

CHECK_EVERY = 7  # sweeps at most
ROWS = 32768  # encoded at a time
SWEEPS = 7 * CHECK_EVERY  # after which the atoms that a row uses are searched for exactly, from those that it uses then
SMALL = 512  # most atoms for that
MILD = 12.0  # condition of the atoms' Gram matrix up to which float32 has digits enough
SLOW = 40.0  # condition of the atoms' Gram matrix above which sweeps take long, so rows of small systems are solved at once
DEPENDENT = 1e-3  # of the tolerance is what is asked where atoms are dependent
SYSTEM = 24  # a small system: so many atoms, or a third of them


def encode(
    rows: Float[Tensor, "n d"],
    dictionary: Float[Tensor, "c d"],
    penalty: Penalty = NON_NEGATIVE,
    tolerance: float = 1e-5,
    max_sweeps: int = 500,
) -> Float[Tensor, "n c"]:
    """Minimize ½‖x − zD‖² + l1·|z|₁ over the codes z of each row; differentiable in the rows.

    Gradients are implicit, those of the optimum: on its active set, a row's codes solve a linear system.

    Args:
        rows: Rows to encode.
        dictionary: Atoms, one per row.
        penalty: Penalty of the codes, and their sign.
        tolerance: Stop when one more sweep would move no code by more than this fraction of the row's largest.
        max_sweeps: Maximum number of sweeps.

    Returns:
        Codes ``(n, c)``, in the dtype of the rows.

    Examples:
        >>> import torch
        >>> encode(torch.tensor([[3.0, -1.0]]), torch.eye(2))
        tensor([[3., 0.]])
        >>> encode(torch.tensor([[3.0, -1.0]]), torch.eye(2), Penalty(l1=0.5, signed=True))
        tensor([[ 2.5000, -0.5000]])
    """
    if torch.is_grad_enabled() and rows.requires_grad:
        return _Optimum.apply(rows, dictionary.detach(), penalty, (tolerance, max_sweeps))  # type: ignore[no-any-return]  (untyped)
    return _solve(rows.detach(), dictionary.detach(), penalty, tolerance, max_sweeps)


def _rescaled(rows: Tensor, dictionary: Tensor, penalty: Penalty) -> tuple[Tensor, Tensor, Penalty]:
    """Divide atoms and rows by a power of two, which leaves the codes as they are and keeps squares of atoms in range."""
    scale = power_of_two(dictionary)
    if 2.0**-40 < scale < 2.0**40:
        return rows, dictionary, penalty
    return rows / scale, dictionary / scale, Penalty(penalty.l1 / scale / scale, penalty.signed)


@torch.no_grad()
def _solve(rows: Tensor, dictionary: Tensor, penalty: Penalty, tolerance: float, max_sweeps: int) -> Tensor:
    # In float64, but for atoms that are far from collinear: the condition of the atoms is squared in their Gram matrix, and
    # what float32 rounds away depends on the shape of the product, so on the other rows of a batch.
    rows, dictionary, penalty = _rescaled(rows, dictionary, penalty)
    gram = dictionary.double() @ dictionary.double().T
    squares = LeastSquares.of(gram) if penalty == NON_NEGATIVE and len(gram) <= SMALL else None
    mild = squares is not None and squares.condition <= MILD
    dtype = torch.float32 if mild and rows.dtype != torch.float64 else torch.float64
    descent = Descent(gram.to(dtype), penalty)
    atoms = descent.inverse * dictionary.to(dtype)
    codes = rows.new_empty(len(rows), len(dictionary))
    for part, out in zip(rows.split(ROWS), codes.split(ROWS), strict=True):
        targets = atoms @ part.to(dtype).T
        out.copy_(_solve_columns(targets, descent, squares, tolerance=tolerance, max_sweeps=max_sweeps).T)
    return codes


def _solve_columns(
    targets: Tensor, descent: Descent, squares: LeastSquares | None, *, tolerance: float, max_sweeps: int
) -> Tensor:
    """Compute codes ``(c, n)`` by coordinate descent, and by active sets where that is slow.

    A column leaves when it has converged, whatever the others do.
    """
    if squares is not None and squares.inverse is not None:
        codes = (squares.inverse * squares.gram.diagonal()).to(targets).mm(targets).clamp_min_(0)
    else:
        codes = torch.zeros_like(targets)
    condition = math.inf if squares is None else squares.condition
    every, search_at = _sweeps_expected(condition, tolerance), math.inf if squares is None else SWEEPS
    if squares is not None and condition > SLOW:  # an optimum may be far from where a sweep moves little
        dependent = squares.inverse is None
        tolerance *= DEPENDENT if dependent else SLOW / condition
        search_at = SWEEPS if dependent else every
    open_columns = torch.arange(codes.shape[1], device=codes.device)
    part, done = codes, 0  # all columns, until some have converged
    while done < max_sweeps and len(open_columns):
        sweeps = min(every, max_sweeps - done)
        for _ in range(sweeps):
            descent.sweep(part, targets)
        done += sweeps
        if part is not codes:
            codes[:, open_columns] = part
        far = descent.distance(part, targets) > tolerance
        if squares is not None and done >= search_at:
            last = done >= SWEEPS
            search = far.nonzero()[:, 0] if last else _of_small_systems(part)
            correlations = (targets[:, search] * descent.norms.square()).T.double()
            found, exact = exchange(part[:, search].T.double(), correlations, squares, whole=last)
            codes[:, open_columns[search[exact]]] = found[exact].T.to(codes)
            far[search], search_at = ~exact, math.inf if last else SWEEPS
        open_columns, part, targets = open_columns[far], part[:, far], targets[:, far]
    return codes


def _of_small_systems(codes: Float[Tensor, "c n"]) -> Int[Tensor, " m"]:
    """Return the columns whose active set, or its complement, is so small that solving costs less than many sweeps."""
    used = (codes > 0).sum(0)
    return (torch.minimum(used, len(codes) - used) <= max(SYSTEM, len(codes) // 3)).nonzero()[:, 0]


def _sweeps_expected(condition: float, tolerance: float) -> int:
    """Return the sweeps before the first check of convergence: one does about what 3.3 steps of steepest descent do."""
    if condition <= 1.0:
        return 1
    decay = math.log1p(2 / (condition - 1))
    return CHECK_EVERY if decay == 0 else max(1, min(math.ceil(math.log(1 / tolerance) / (3.3 * decay)), CHECK_EVERY))


class _Optimum(torch.autograd.Function):
    """The optimum, and its implicit gradient: on the active set S, codes are (D_S D_Sᵀ)⁻¹(D_S x − l1·sign)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, dictionary: Tensor, penalty: Penalty, limits: tuple[float, int]) -> Tensor:
        codes = _solve(rows, dictionary, penalty, *limits)
        ctx.save_for_backward(codes != 0, dictionary)
        return codes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        used, dictionary = ctx.saved_tensors
        scale = power_of_two(dictionary)
        wide = dictionary.double() / scale
        back = LeastSquares.of(wide @ wide.T).on(gradients[0].double(), used)
        return (back @ wide / scale).to(dictionary), None, None, None
