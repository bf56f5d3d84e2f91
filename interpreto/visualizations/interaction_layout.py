"""Layout of interactions that all media share: which are drawn, and how strongly."""

from __future__ import annotations

import math
from dataclasses import dataclass

from interpreto.attributions.aggregations.base import NORMAL
from interpreto.attributions.games.indices import Coalition
from interpreto.attributions.interaction_output import InteractionOutput

KINDS = ("network", "arcs")
TARGETS = 6
"""Targets that a page or a figure shows at most."""


@dataclass(frozen=True)
class Drawn:
    """Interactions of one target, as they are drawn.

    Attributes:
        label: Name of the target.
        single: Value of each unit; NaN where it has none.
        links: Interactions of two or more units, first those that are surely strong.
        scale: Largest magnitude of a link.
        single_scale: Largest magnitude of a single value.
    """

    label: str
    single: tuple[float, ...]
    links: tuple[tuple[Coalition, float], ...]
    scale: float
    single_scale: float


def drawn(output: InteractionOutput, target: int, most: int) -> Drawn:
    """Return what is drawn of a target: all units, and the ``most`` strongest interactions that are no chance of the draw."""
    row = output.values[target].tolist()
    errors = [0.0] * len(row) if output.standard_error is None else output.standard_error[target].nan_to_num().tolist()
    pairs = zip(row, errors, strict=True)
    least = [0.0 if math.isnan(value) else max(abs(value) - NORMAL * error, 0.0) for value, error in pairs]
    single = tuple(value for coalition, value in zip(output.coalitions, row, strict=True) if len(coalition) == 1)
    noise = 1e-6 * _largest(row)
    order = sorted((i for i, c in enumerate(output.coalitions) if len(c) > 1 and least[i] > noise), key=lambda i: -least[i])
    kept = tuple((output.coalitions[i], row[i]) for i in order[:most])
    return Drawn(output.target_labels[target], single, kept, _largest([v for _, v in kept]), _largest(list(single)))


def _largest(values: list[float]) -> float:
    return max((abs(value) for value in values if not math.isnan(value)), default=0.0) or 1.0


def title_of(output: InteractionOutput) -> str:
    """Return what the values are."""
    return f"{output.index} of order {output.order}, {'exact' if output.exact else 'estimated'}"
