"""How a module lays a batch's activations out: found once a port, on one text, where no two axes can be confused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from interpreto.errors import ModelError
from interpreto.models.hook_points import HookPoint

Axes = Literal["b l d", "l b d", "(b l) d", "b d"]


@dataclass(frozen=True)
class Layout:
    """The axes of a module's activations; XLNet's blocks put the tokens first, a pooler has none."""

    axes: Axes

    @property
    def has_tokens(self) -> bool:
        return self.axes != "b d"

    def read(self, value: Tensor, b: int) -> Tensor:
        """As ``(b, l, d)``, or ``(b, d)`` where there are no tokens."""
        if self.axes == "l b d":
            return value.transpose(0, 1)
        return value.reshape(b, -1, value.shape[-1]) if self.axes == "(b l) d" else value

    def write(self, hidden: Tensor) -> Tensor:
        """Back to what the model goes on with."""
        if self.axes == "l b d":
            return hidden.transpose(0, 1)
        return hidden.flatten(0, 1) if self.axes == "(b l) d" else hidden


def find_layout(value: Tensor, length: int, port: HookPoint) -> Layout:
    """The layout of what a port gives for one text of ``length`` tokens, at least two."""
    shapes: dict[tuple[int, ...], Axes] = {(1, length): "b l d", (length, 1): "l b d", (length,): "(b l) d", (1,): "b d"}
    axes = shapes.get(tuple(value.shape[:-1]))
    if axes is None:
        raise ModelError(
            f"`split_points`: {port.name!r} gives shape {tuple(value.shape)} for one text of {length} tokens, and not one "
            "vector a token or a text; choose another module."
        )
    return Layout(axes)
