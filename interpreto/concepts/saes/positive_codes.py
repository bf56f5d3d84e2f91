"""Training steps of autoencoders whose codes are positive pre-activations, on the processor, in closed form.

Of ``b`` rows with ``c`` codes, a step multiplies five times: pre-activations, reconstruction, and the gradients of codes, atoms
and encoder. Where most codes are zero, as they are after the first steps of a training, the last four are products of sparse
codes. Else they are computed for some concepts at a time, so that what is done with the codes in between finds them in the
cache; autograd goes through all of them a dozen times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.saes.memory import Memory
from interpreto.concepts.saes.sparse_codes import RATIO, SparseCodes, learn_sparse, not_zero

CODES = 1 << 22  # computed at a time


class Learned(NamedTuple):
    """A forward pass, whose gradients reach all weights.

    Attributes:
        codes: Codes of the rows; where most are zero, the others alone. They have no gradient.
        reconstruction: Reconstructions of the rows.
        sums: Sum of the codes of each row.
    """

    codes: Float[Tensor, "b c"] | SparseCodes
    reconstruction: Float[Tensor, "b e"]
    sums: Float[Tensor, " b"]


def learn_positive(
    rows: Float[Tensor, "b d"],
    encoder: tuple[Float[Tensor, "c d"], Float[Tensor, " c"], Float[Tensor, " d"]],
    decoder: tuple[Float[Tensor, "c e"], Float[Tensor, " e"]],
    memory: Memory,
    close: Callable[[Float[Tensor, "b c"]], None] | None = None,
) -> Learned:
    """Encode rows by their positive pre-activations, or some of these, and reconstruct.

    Args:
        rows: What is encoded.
        encoder: Weights, bias, and what is subtracted from the rows.
        decoder: Atoms and bias.
        memory: Lends the large tensors: codes and gradients.
        close: Sets some of the positive pre-activations to zero, in place; None: none.
    """
    weight, bias, center = encoder
    atoms, offset = decoder
    with torch.no_grad():
        centered = rows - center
        codes = memory.take(len(rows), len(weight), like=rows)
        for some in _parts(codes):
            torch.mm(centered, weight[some].T, out=codes[:, some])
            codes[:, some].add_(bias[some]).relu_()
        if close is not None:
            close(codes)
        chosen = _few(codes)
    if chosen is not None:
        memory.give_back([codes])
        found, reconstruction = learn_sparse(chosen, rows, encoder, decoder)
        return Learned(found._replace(values=found.values.detach()), reconstruction, found.sums())
    reconstruction, sums = _Dense.apply(weight, bias, center, atoms, offset, centered, codes, memory)
    return Learned(codes, reconstruction, sums)


def close_below(values: Float[Tensor, "b c"], least: Float[Tensor, ""]) -> None:
    """Set the positive numbers below another one to zero, in place."""
    torch.threshold_(values, float(least.nextafter(least.new_zeros(()))), 0.0)


def _parts(codes: Float[Tensor, "b c"]) -> Iterator[slice]:
    """Yield the concepts, some at a time."""
    rows, concepts = codes.shape
    size = max(1, CODES // rows)
    for start in range(0, concepts, size):
        yield slice(start, min(concepts, start + size))


def _few(codes: Float[Tensor, "b c"]) -> SparseCodes | None:
    """Return the codes that are not zero, where they are few enough for sparse products."""
    active = not_zero(codes).numpy()
    if RATIO * np.count_nonzero(active) > active.size:
        return None
    return SparseCodes.of_all(codes, torch.from_numpy(np.flatnonzero(active)))


class _Dense(torch.autograd.Function):
    """Reconstructions from codes, and the codes' sums, with the gradients of all weights."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        weight, _bias, center, atoms, offset, centered, codes, memory = inputs
        ctx.save_for_backward(weight, center, atoms, centered, codes)
        ctx.memory = memory
        return torch.addmm(offset, codes, atoms), codes.sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, _center, atoms, centered, codes = ctx.saved_tensors
        gradient, by_sums = gradients[0].contiguous(), gradients[1][:, None]
        for_weight, for_atoms = (ctx.memory.take(*matrix.shape, like=matrix) for matrix in (weight, atoms))
        for_bias = weight.new_empty(len(weight))
        space = weight.new_empty(min(codes.numel(), max(CODES, len(codes))))
        for some in _parts(codes):
            own = codes[:, some]
            for_codes = space[: own.numel()].view(own.shape)
            torch.mm(gradient, atoms[some].T, out=for_codes).add_(by_sums)
            torch.ops.aten.threshold_backward.grad_input(for_codes, own, 0, grad_input=for_codes)
            torch.sum(for_codes, 0, out=for_bias[some])
            torch.mm(for_codes.T, centered, out=for_weight[some])
            torch.mm(own.T, gradient, out=for_atoms[some])
        return for_weight, for_bias, -(for_bias @ weight), for_atoms, gradient.sum(0), None, None, None
