"""Rows of estimates drawn for print with matplotlib."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from interpreto.visualizations.figures.drawing import Drawing
from interpreto.visualizations.html.dots import COLOR

if TYPE_CHECKING:
    from interpreto.visualizations.dots import DotRenderer


def draw_dots(drawn: DotRenderer) -> Figure:
    """Return a figure with a row for each estimate, the first on top."""
    figure = Drawing(figsize=(5.6, 0.8 + 0.35 * len(drawn.dots)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color="0.6", linewidth=0.8)
    for i, dot in enumerate(drawn.dots):
        axes.scatter(dot.chance, [i] * len(dot.chance), color="0.5", alpha=0.3, s=14, linewidths=0)
        if not math.isnan(dot.low):
            axes.plot([dot.low, dot.high], [i, i], color=COLOR)
        axes.scatter([dot.value], [i], s=45, zorder=3, edgecolors=COLOR, facecolors=COLOR if dot.filled else "white")
    axes.set_yticks(range(len(drawn.dots)), [dot.name for dot in drawn.dots])
    axes.set_ylim(len(drawn.dots) - 0.5, -0.5)
    axes.set_xlabel(drawn.label)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
