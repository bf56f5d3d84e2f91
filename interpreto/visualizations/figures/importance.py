"""Mean attributions over many texts drawn for print with matplotlib."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpreto.attributions.global_importance import GlobalImportance, UnitImportance
from interpreto.visualizations.colors import ATTRIBUTIONS
from interpreto.visualizations.figures.drawing import Panel, arrange, short_name, titled
from interpreto.visualizations.importance_layout import spread, surest_first, unit_of

UNITS, OCCURRENCES, TARGETS = 15, 300, 6
"""Units of a class, occurrences of a unit, and classes, at most."""
BINS, LANES = 80, 9
COLORS = tuple(tuple(part / 255 for part in color) for color in ATTRIBUTIONS)


def draw_importance(importance: GlobalImportance) -> Figure:
    """Return a panel per class: bars with 95 % intervals over a dot for each occurrence."""
    panels = []
    for target in importance.targets[:TARGETS]:
        rows = surest_first(importance, target, UNITS)
        panels.append(Panel(5.2, 1.0 + 0.3 * max(len(rows), 2), _drawer(importance, target, rows)))
    return arrange([panels])


def _drawer(importance: GlobalImportance, target: str, rows: list[UnitImportance]):
    def draw(axes: Axes) -> None:
        for y, row in enumerate(rows):
            color = COLORS[0 if row.mean >= 0 else 1]
            axes.barh(y, row.mean, 0.5, color=color, alpha=0.4)
            values = np.array([place.value for place in spread(row.occurrences, OCCURRENCES)])
            axes.scatter(values, y + swarm(values), s=5, c=[COLORS[0 if v >= 0 else 1] for v in values], linewidths=0, zorder=2)
            if row.low == row.low:
                ends = [[row.mean - row.low], [row.high - row.mean]]
                axes.errorbar(row.mean, y, xerr=ends, color="#202020", capsize=2.5, linewidth=1.2, zorder=3)
        axes.axvline(0, color="#808080", linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(rows)), [f"{short_name(row.unit, 20)} ({row.n_texts})" for row in rows], fontsize="small")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(f"effect, in {unit_of(importance)}", fontsize="small")
        axes.tick_params(axis="x", labelsize="small")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        titled(axes, short_name(target, 40), f"{importance.method}, {importance.n_texts} texts")

    return draw


def swarm(values: np.ndarray) -> np.ndarray:
    """Return a height for each dot, within ±0.36, so that dots of almost equal values lie above and below each other.

    Examples:
        >>> swarm(np.array([1.0, 1.0, 5.0, 1.0])).round(2).tolist()
        [0.0, -0.09, 0.0, 0.09]
    """
    span = float(np.ptp(values)) if len(values) else 0.0
    bins = np.zeros(len(values), dtype=int) if span == 0 else np.round((values - values.min()) / span * BINS).astype(int)
    seen: dict[int, int] = {}
    heights = np.zeros(len(values))
    for i, own in enumerate(bins.tolist()):
        lane = seen.get(own, 0) % LANES
        seen[own] = seen.get(own, 0) + 1
        heights[i] = (-1 if lane % 2 else 1) * ((lane + 1) // 2) * 0.09
    return heights
