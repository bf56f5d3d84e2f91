"""Codes of rows in a fixed dictionary: least squares that are non-negative, or as sparse as an L1 penalty makes them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.methods.supports import LeastSquares, exchange

BLOCK = 32  # atoms whose correlations are kept up to date together: a product of matrices between blocks, not of vectors
CHECK_EVERY = 7  # sweeps: what rows take in most dictionaries of activations
ROWS = 32768  # encoded at a time
SWEEPS = 7 * CHECK_EVERY  # after which the atoms that a row uses are searched for exactly, from those that it uses then
SMALL = 512  # most atoms for that
MILD = 30.0  # condition of the atoms' Gram matrix up to which float32 has digits enough
SLOW = 100.0  # condition of the atoms' Gram matrix above which sweeps take long


class Penalty(NamedTuple):
    """What a code costs beyond the squared error: ``l1`` times its magnitude, and whether it may be negative."""

    l1: float = 0.0
    signed: bool = False


NON_NEGATIVE = Penalty()


def encode(
    rows: Float[Tensor, "n d"],
    dictionary: Float[Tensor, "c d"],
    penalty: Penalty = NON_NEGATIVE,
    tolerance: float = 1e-5,
    max_sweeps: int = 500,
) -> Float[Tensor, "n c"]:
    """The codes z of least ½‖x − zD‖² + l1·|z|₁, each row to its own optimum; differentiable in the rows.

    Gradients are those of the optimum, not of the path to it: where a row's codes are not zero they solve a linear system.

    Args:
        rows: What is encoded.
        dictionary: One atom a row.
        penalty: See `Penalty`.
        tolerance: On how far one more sweep would move a code, relative to the row's largest.
        max_sweeps: After which a row is left as it is.

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


@torch.no_grad()
def _solve(rows: Tensor, dictionary: Tensor, penalty: Penalty, tolerance: float, max_sweeps: int) -> Tensor:
    # In float64, but for atoms that are far from collinear: the condition of the atoms is squared in their Gram matrix, and
    # what float32 rounds away depends on the shape of the product, so on the other rows of a batch.
    gram = dictionary.double() @ dictionary.double().T
    squares = LeastSquares.of(gram) if penalty == NON_NEGATIVE and len(gram) <= SMALL else None
    mild = squares is not None and squares.condition <= MILD
    dtype = torch.float32 if mild and rows.dtype != torch.float64 else torch.float64
    atoms, gram = dictionary.to(dtype), gram.to(dtype)
    codes = [
        _solve_columns(atoms @ part.to(dtype).T, gram, squares, penalty, tolerance=tolerance, max_sweeps=max_sweeps).T.to(rows)
        for part in rows.split(ROWS)
    ]
    return torch.cat(codes).contiguous() if codes else rows.new_zeros(0, len(dictionary))


def _solve_columns(
    correlations: Tensor, gram: Tensor, squares: LeastSquares | None, penalty: Penalty, *, tolerance: float, max_sweeps: int
) -> Tensor:
    """Codes ``(c, n)``: by coordinate descent, and by exchanges of atoms where that is slow.

    A column leaves when it has converged, whatever the others do.
    """
    slow = squares is not None and SLOW < squares.condition < math.inf  # then least squares with all atoms are a better start
    if squares is not None and squares.inverse is not None:
        codes = (squares.inverse.to(correlations) @ correlations).clamp_min_(0)
    else:
        codes = torch.zeros_like(correlations)
    open_columns = torch.arange(codes.shape[1], device=codes.device)
    part, done = codes, 0  # all columns, until some have converged
    while done < max_sweeps and len(open_columns):
        if squares is not None and (done == SWEEPS or (slow and done == 0)):
            used = part.T > 0 if done else torch.ones_like(part.T, dtype=torch.bool)
            found, exact = exchange(used, correlations.T.double(), squares)
            codes[:, open_columns[exact]] = found[exact].T.to(codes)
            open_columns, part, correlations = open_columns[~exact], part[:, ~exact], correlations[:, ~exact]
        for _ in range(CHECK_EVERY):
            sweep(part, correlations, gram, penalty)
        done += CHECK_EVERY
        if part is not codes:
            codes[:, open_columns] = part
        far = _distance(part, correlations, gram, penalty) > tolerance
        open_columns, part, correlations = open_columns[far], part[:, far], correlations[:, far]
    return codes


def sweep(codes: Tensor, correlations: Tensor, gram: Tensor, penalty: Penalty = NON_NEGATIVE) -> None:
    """One pass of exact coordinate descent over the codes ``(c, n)``, in place.

    Args:
        codes: Changed.
        correlations: Of the atoms with the rows, ``(c, n)``.
        gram: Of the atoms with each other, ``(c, c)``.
        penalty: See `Penalty`.

    References:
        Cichocki & Phan, 2009 (hierarchical alternating least squares), https://doi.org/10.1587/transfun.E92.A.708.
    """
    diagonal = gram.diagonal()
    inverse = torch.where(diagonal > 0, 1 / diagonal, 0.0)
    others = (gram * inverse[:, None]).fill_diagonal_(0.0)  # what a code of each atom takes from each other atom's code
    steps = inverse.tolist()
    for start in range(0, len(codes), BLOCK):
        block = slice(start, start + BLOCK)
        inside = others[block, block].clone()
        left = correlations[block]
        if len(codes) > BLOCK:  # what the codes of other blocks leave
            outside = gram[block].clone()
            outside[:, block] = 0.0
            left = torch.addmm(left, outside, codes, alpha=-1)
        current = codes[block]
        for code, own, taken, step in zip(current.unbind(0), left.unbind(0), inside.unbind(0), steps[block], strict=True):
            if step == 0.0:  # an atom of zeros has any code
                continue
            best = torch.addmv(own, current.T, taken, beta=step, alpha=-1)
            if penalty == NON_NEGATIVE:
                torch.clamp_min(best, 0.0, out=code)
            else:
                code.copy_(_shrink(best, penalty, step))


def _shrink(code: Tensor, penalty: Penalty, inverse: Tensor | float) -> Tensor:
    threshold = penalty.l1 * inverse
    if not penalty.signed:
        return (code - threshold).clamp_min_(0)
    return code.sign() * (code.abs() - threshold).clamp_min_(0)


def _distance(codes: Tensor, correlations: Tensor, gram: Tensor, penalty: Penalty) -> Tensor:
    """How far each column is from where no coordinate moves, ``(n,)``, relative to its largest code."""
    diagonal = gram.diagonal()[:, None]
    inverse = torch.where(diagonal > 0, 1 / diagonal, 0.0)
    moved = _shrink(torch.addmm(correlations, gram, codes, alpha=-1).mul_(inverse).add_(codes), penalty, inverse)
    scale = diagonal.sqrt()
    largest = (codes.abs() * scale).amax(0).clamp_min(torch.finfo(codes.dtype).tiny)
    return moved.sub_(codes).abs_().mul_(scale).amax(0) / largest


class _Optimum(torch.autograd.Function):
    """The optimum, and its gradient: on the atoms in use, codes are (D_S D_Sᵀ)⁻¹(D_S x − l1·sign)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, dictionary: Tensor, penalty: Penalty, limits: tuple[float, int]) -> Tensor:
        codes = _solve(rows, dictionary, penalty, *limits)
        ctx.save_for_backward(codes != 0, dictionary)
        return codes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        used, dictionary = ctx.saved_tensors
        wide = dictionary.double()
        back = LeastSquares.of(wide @ wide.T).on(gradients[0].double(), used)
        return (back @ wide).to(dictionary), None, None, None
