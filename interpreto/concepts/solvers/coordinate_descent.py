"""Coordinate descent on the codes of many rows at once, for a fixed dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 32  # atoms whose targets are kept up to date together: a product of matrices between blocks, not of vectors


class Penalty(NamedTuple):
    """Penalty of a code next to the squared error: ``l1`` times its magnitude, and whether it may be negative."""

    l1: float = 0.0
    signed: bool = False


NON_NEGATIVE = Penalty()


class Descent:
    """Exact coordinate descent: a sweep minimizes over the code of every atom in turn, given the others.

    Codes and targets are ``(c, n)``. A *target* is the minimizer of a code if all others were zero.

    Args:
        gram: Gram matrix of the atoms.
        penalty: Penalty of the codes.

    References:
        Cichocki & Phan, 2009 (hierarchical alternating least squares), https://doi.org/10.1587/transfun.E92.A.708.
    """

    def __init__(self, gram: Float[Tensor, "c c"], penalty: Penalty = NON_NEGATIVE) -> None:
        squares = gram.diagonal()
        self.penalty = penalty
        self.norms = squares.sqrt()[:, None]
        self.inverse = torch.where(squares > 0, 1 / squares, 0.0)[:, None]
        self.taken = (gram * -self.inverse).fill_diagonal_(0.0)
        self.thresholds = penalty.l1 * self.inverse
        self._zero = (squares == 0).tolist()  # an atom of zeros has any code: what it has, it keeps

    def targets(self, correlations: Float[Tensor, "c n"]) -> Float[Tensor, "c n"]:
        """Return the targets from the inner products of atoms and rows."""
        return correlations * self.inverse

    def sweep(self, codes: Float[Tensor, "c n"], targets: Float[Tensor, "c n"]) -> None:
        """Run one pass over the atoms; changes ``codes``."""
        best = codes.new_empty(codes.shape[1])
        for block, left in self._blocks(codes, targets):
            inside, others = self.taken[block, block], codes[block].T
            atoms = range(block.start, block.stop)
            for i, code, own, taken in zip(atoms, codes[block].unbind(0), left.unbind(0), inside.unbind(0), strict=True):
                if self._zero[i]:
                    continue
                torch.addmv(own, others, taken, out=best)
                if self.penalty == NON_NEGATIVE:
                    torch.clamp_min(best, 0.0, out=code)
                else:
                    code.copy_(_shrink(best, self.penalty, self.thresholds[i]))

    def distance(self, codes: Float[Tensor, "c n"], targets: Float[Tensor, "c n"]) -> Float[Tensor, " n"]:
        """Return how far one more update would move each column, ``(n,)``, relative to its largest code."""
        moved = _shrink(torch.addmm(targets, self.taken, codes), self.penalty, self.thresholds)
        far = moved.sub_(codes).mul_(self.norms).abs_().amax(0)
        largest = torch.mul(codes, self.norms, out=moved).abs_().amax(0)
        return far / largest.clamp_min_(torch.finfo(codes.dtype).tiny)

    def _blocks(self, codes: Tensor, targets: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield blocks of atoms, and their targets minus the contribution of the other blocks."""
        for start in range(0, len(codes), BLOCK):
            block = slice(start, min(start + BLOCK, len(codes)))
            if len(codes) <= BLOCK:
                yield block, targets
                return
            outside = self.taken[block].clone()
            outside[:, block] = 0.0
            yield block, torch.addmm(targets[block], outside, codes)


def _shrink(code: Tensor, penalty: Penalty, threshold: Tensor) -> Tensor:
    """Apply the proximal operator of the penalty to unpenalized codes, in place."""
    if penalty.signed:
        return code.sub_(code.clamp(-threshold, threshold))
    return code.sub_(threshold).clamp_min_(0) if penalty.l1 else code.clamp_min_(0)
