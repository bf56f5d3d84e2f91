"""Matrices of layers, and their products from the first layer up."""

from __future__ import annotations

from collections import deque

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.validation import is_whole, shown

Heads = str | int
"""Reduction of a layer's heads to one map: ``"mean"``, ``"max"``, or the number of the only head that counts."""


class Chain:
    """Multiply the matrices of a stack's layers, from the first up.

    Args:
        start: First layer that takes part; negative ones count from the last.

    Attributes:
        count: Layers added so far.
    """

    def __init__(self, start: int = 0) -> None:
        self.start, self.count = start, 0
        self._product: Tensor | None = None
        self._recent: deque[Tensor] = deque(maxlen=-start if start < 0 else 0)

    def add(self, matrix: Float[Tensor, "b l l"]) -> None:
        """Add the next layer's matrix."""
        if self.start < 0:
            self._recent.append(matrix)
        elif self.count >= self.start:
            self._product = matrix if self._product is None else matrix @ self._product
        self.count += 1

    def through(self, row: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        """Return a row of the last layer's queries, taken down to the tokens; itself where no layer takes part."""
        if self.start < 0:
            for matrix in reversed(self._recent):
                row = times(row, matrix)
            return row
        return row if self._product is None else times(row, self._product)


def times(row: Float[Tensor, "b q"], matrix: Float[Tensor, "b q k"]) -> Float[Tensor, "b k"]:
    """Return the product of a row and a matrix, for each row of a batch."""
    return torch.einsum("bq,bqk->bk", row.to(matrix), matrix)


def identity_like(matrix: Float[Tensor, "*b q k"]) -> Float[Tensor, "q k"]:
    """Return the identity of a matrix's size."""
    return torch.eye(matrix.shape[-2], matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def check_layer(start: int, layers: int, name: str = "start_layer") -> None:
    """Raise an `OptionError` unless a stack has that layer."""
    if not -layers <= start < layers:
        raise OptionError(
            f"`{name}`: got {start}, and the model has {layers} layers of attention; pass {-layers} to {layers - 1}."
        )


def check_number(value: object, option: str) -> int:
    """Return the number of a layer, which may be negative.

    Raises:
        OptionError: it is no whole number.
    """
    if not is_whole(value):
        raise OptionError(f"`{option}`: got {shown(value)}; pass a layer's number; negative ones count from the last.")
    return int(value)  # type: ignore[call-overload]  # whole, as checked


def check_heads(heads: object) -> Heads:
    """Return how heads are reduced.

    Raises:
        OptionError: it is neither a way nor a number.
    """
    if is_whole(heads):
        return int(heads)  # type: ignore[call-overload]  # whole
    if isinstance(heads, str) and heads in ("mean", "max"):
        return heads
    raise OptionError(f"`heads`: got {shown(heads)}; pass 'mean', 'max' or the number of a head.")


def reduce_heads(weights: Float[Tensor, "b h q k"], heads: Heads) -> Float[Tensor, "b q k"]:
    """Return one map per layer, in float32 at least.

    Raises:
        OptionError: there is no such head.
    """
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
    if heads == "mean":
        return weights.mean(1)
    if heads == "max":
        return weights.amax(1)
    assert isinstance(heads, int)
    if not -weights.shape[1] <= heads < weights.shape[1]:
        raise OptionError(f"`heads`: got {heads}, and a layer has {weights.shape[1]}; pass 'mean', 'max' or a head's number.")
    return weights[:, heads]
