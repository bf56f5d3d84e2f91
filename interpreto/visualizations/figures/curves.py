"""Curves of metrics drawn for print with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from interpreto.visualizations.curve_layout import AXIS, COLORS, GRID, Curve
from interpreto.visualizations.figures.drawing import Drawing


def draw_curves(label: str, curves: Sequence[Curve]) -> Figure:
    """Return a figure with all curves, a band where a curve has one."""
    figure = Drawing(figsize=(5.6, 3.6), layout="constrained")
    axes, grid = figure.add_subplot(), np.linspace(0, 1, GRID)
    for i, curve in enumerate(curves):
        color = COLORS[i % len(COLORS)]
        if curve.low is not None and curve.high is not None:
            axes.fill_between(grid, curve.low, curve.high, color=color, alpha=0.22, linewidth=0)
        style = "--" if i >= len(COLORS) or curve.low is not None else "-"
        axes.plot(grid, curve.mean, style, color=color, label=curve.name)
    axes.set_xlabel(AXIS)
    axes.set_ylabel(label)
    axes.set_xlim(0, 1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False)
    return figure
