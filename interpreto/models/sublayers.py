"""Follow what a block does with the output of its attention: the matrix, the residual connection, the normalization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.models.attention import PRODUCTS

ADDITIONS = frozenset({torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__, Tensor.add_, Tensor.__iadd__})
NORM_ARGUMENTS: tuple[str, ...] = ("input", "normalized_shape", "weight", "bias", "eps")
Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Projection:
    """The linear map of a layer's concatenated values to the width of the hidden states."""

    matrix: Float[Tensor, "d m"]
    bias: Float[Tensor, " d"] | None = None


@dataclass(frozen=True, eq=False)
class Normalization:
    """Layer normalization that the residual stream goes through behind the attention."""

    weight: Float[Tensor, " d"] | None
    bias: Float[Tensor, " d"] | None
    eps: float


class Sublayer:
    """Follows one layer's attention to where its block adds it to the residual stream.

    Args:
        inputs: Hidden states that the block begins with.
        width: Width of the concatenated values.

    Attributes:
        projection: What the values are multiplied by.
        projected: The product.
        addition: What is added to the residual stream: the product, or what a normalization makes of it.
    """

    def __init__(self, inputs: Tensor, width: int) -> None:
        self.inputs, self._width = inputs, width
        self.projection: Projection | None = None
        self.projected: Tensor | None = None
        self.addition: Tensor | None = None
        self._branch: Tensor | None = None
        self._summed: Tensor | None = None
        self._normalized: tuple[Tensor, Normalization] | None = None
        self._goes_on = False  # the residual stream goes on from the normalized sum

    @property
    def normalization(self) -> Normalization | None:
        """Return the normalization of the residual stream; None where it goes on from the sum as it is."""
        return self._normalized[1] if self._normalized is not None and self._goes_on else None

    def saw(self, function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any], value: Any) -> None:
        """Take a function that the block has called."""
        if self.projection is None:
            self.projection = projection_of(function, arguments, options, self._width)
            if self.projection is not None:
                self.projected = self._branch = value.detach()
        elif function is F.dropout and _same(arguments[0], self._branch):
            self._branch = value
        elif function is F.layer_norm and self._normalized is None and _same(arguments[0], self._summed):
            given = {**dict(zip(NORM_ARGUMENTS, arguments, strict=False)), **options}
            norm = Normalization(given.get("weight"), given.get("bias"), float(given.get("eps", 1e-5)))
            self._normalized = value, norm
        elif function in ADDITIONS and isinstance(arguments[0], Tensor) and isinstance(arguments[1], Tensor):
            self._added(arguments[0], arguments[1], value)

    def _added(self, a: Tensor, b: Tensor, value: Tensor) -> None:
        assert self.projected is not None
        if a.numel() != b.numel():
            return
        if self._summed is not None:
            normalized = None if self._normalized is None else self._normalized[0]
            self._goes_on = self._goes_on or _same(a, normalized) or _same(b, normalized)
        elif self.addition is None and (_same(a, self._branch) or _same(b, self._branch)):
            self.addition = self._branch
            if _same(a, self.inputs) or _same(b, self.inputs):
                self._summed = value

    def left(self, inputs: tuple[Any, ...], output: Any) -> None:
        """Take a module that has ended: a normalization of the product, before it is added."""
        waits = self.addition is None and self._branch is not None and bool(inputs) and _same(inputs[0], self._branch)
        if waits and isinstance(output, Tensor) and output.numel() == inputs[0].numel():
            self._branch = output


def _same(value: object, other: Tensor | None) -> bool:
    """Return True if two tensors are views of the same numbers; both are alive."""
    return (
        isinstance(value, Tensor)
        and other is not None
        and value.numel() == other.numel()
        and value.data_ptr() == other.data_ptr()
    )


def projection_of(function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any], width: int) -> Projection | None:
    """Return the linear map of vectors of a width that a function is; None if it is none."""
    if function is F.linear and arguments[0].shape[-1] == width == arguments[1].shape[1]:
        return Projection(arguments[1].detach(), _detached(arguments[2] if len(arguments) > 2 else options.get("bias")))
    if function in PRODUCTS and arguments[1].ndim == 2 and arguments[0].shape[-1] == width == len(arguments[1]):
        return Projection(arguments[1].detach().T)  # of Falcon
    if function is torch.addmm and arguments[1].shape[-1] == width == len(arguments[2]):
        return Projection(arguments[2].detach().T, _detached(arguments[0]))  # of a Conv1D
    if function is torch.einsum and len(arguments) == 3 and isinstance(arguments[2], nn.Parameter):
        matrix = arguments[2].detach().flatten(1)  # of XLNet
        return Projection(matrix) if matrix.shape[1] == width else None
    return None


def _detached(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach()
