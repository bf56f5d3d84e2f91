"""Steerings compared, drawn for print with matplotlib."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpreto.concepts.steering.comparison import SteeringComparison
from interpreto.visualizations.figures.drawing import Drawing, as_is, short_name
from interpreto.visualizations.html.steering import COLOR, GRAY
from interpreto.visualizations.steering_layout import Panel, panels, places


def draw_steering(found: SteeringComparison) -> Figure:
    """Return a figure with effect and fluency over the steerings, the controls in gray."""
    figure = Drawing(figsize=(7.2, 3.2), layout="constrained")
    for axes, panel in zip(figure.subplots(1, 2), panels(found), strict=True):
        _draw(axes, panel, found)
    return figure


def _draw(axes: Axes, panel: Panel, found: SteeringComparison) -> None:
    at, chosen = places(found), found.suggest()
    for line in panel.controls:
        axes.plot(at, line.values, color=GRAY, alpha=0.4, linewidth=0.9)
    for place, low, high in zip(at, panel.low, panel.high, strict=False):
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([place, place], [low, high], color=COLOR, alpha=0.55, linewidth=2)
    axes.plot(at, panel.line.values, color=COLOR, marker="o", markerfacecolor="white")
    if chosen is not None:
        axes.plot([at[chosen]], [panel.line.values[chosen]], "o", color=COLOR)
    axes.set_xticks(at, [short_name(name, 12) for name in found.names])
    axes.set_title(short_name(panel.title, 44), loc="left", fontsize="medium")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    as_is(axes)
