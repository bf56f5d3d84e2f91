"""Choice of what is drawn of a grid of parts × tokens."""

from __future__ import annotations

from interpreto.concepts.circuits.patching_output import PatchingOutput
from interpreto.rounding import noise_of

ROWS = 60
"""Parts of a grid that are drawn at most: those with the largest changes, in the order of the model."""


def rows_of(output: PatchingOutput, most: int = ROWS) -> list[int]:
    """Return the parts that are drawn, in the order of the model."""
    largest = sum(values.abs().amax(1) for values in output.changes.values())
    order = largest.argsort(descending=True, stable=True)[:most].tolist()  # type: ignore[union-attr]  # there is a direction
    return sorted(order)


def has_gap(output: PatchingOutput) -> bool:
    """Return True if the metrics of the two texts differ by more than rounding, so that changes are shares of the gap."""
    return abs(output.gap) > noise_of(output.clean_score, output.corrupt_score)


def said(direction: str) -> str:
    """Return what a direction is, in words."""
    return "clean into corrupt" if direction == "denoise" else "corrupt into clean"
