"""Layouts of batches: what a module gives becomes activations of whole rows, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from interpreto.errors import ModelError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.hook_points import TOLD_APART, HookPoint, Layout, find_layout
from interpreto.models.padding import put_back, taken
from interpreto.models.stacks import stretch, told_apart


class Layouts:
    """Bring what modules give into the form ``(b, l, d)``, or ``(b, d)`` where there are no tokens, and back.

    Args:
        value_at: Returns what a module gives for a batch.
    """

    def __init__(self, value_at: Callable[[HookPoint, Sequence[SplitInput]], Tensor]) -> None:
        self._value_at = value_at
        self._found: dict[str, Layout] = {}

    def of(self, point: HookPoint, rows: Sequence[SplitInput]) -> Layout:
        """Return how a module lays a batch out: found once, on one row given twice."""
        if point.name not in self._found:
            row = told_apart(max(rows, key=len))
            start, end = stretch(point, [row])
            value = self._value_at(point, [row] * TOLD_APART[0])
            self._found[point.name] = find_layout(value, int(end - start), point)
        return self._found[point.name]

    def known(self, point: HookPoint) -> Layout:
        """Return the layout of a point that has been found before."""
        return self._found[point.name]

    def in_place(self, point: HookPoint, value: Tensor, rows: Sequence[SplitInput]) -> Tensor:
        """Return what a module gives as activations of whole rows."""
        start, end = stretch(point, rows)
        hidden = self.of(point, rows).read(value, len(rows))
        if len(hidden) != len(rows) or (hidden.ndim == 3 and hidden.shape[1] != int((end - start).max())):
            raise ModelError(
                f"`split_points`: {point.name!r} gives shape {tuple(value.shape)} for {len(rows)} texts of at most "
                f"{int((end - start).max())} tokens, which is not one vector per token or per text; choose another module."
            )
        return hidden if hidden.ndim == 2 or not rows[0].source else put_back(start, end, max(map(len, rows)))(hidden, 0.0)

    def as_given(self, point: HookPoint, hidden: Tensor, rows: Sequence[SplitInput]) -> Tensor:
        """Return activations of whole rows as the module gives them."""
        layout = self.of(point, rows)
        if layout.shared:
            raise ModelError(
                f"`split_points`: {point.name!r} gives one row of activations for the whole batch, which cannot be edited for "
                "each text; choose the module that reads it."
            )
        if hidden.ndim == 3 and rows[0].source:
            hidden = taken(*stretch(point, rows))(hidden, 0.0)
        return layout.write(hidden)
