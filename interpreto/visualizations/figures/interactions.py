"""Interactions of units drawn for print with matplotlib: a network, and arcs over the text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc

from interpreto.attributions.interaction_output import InteractionOutput
from interpreto.visualizations.colors import ATTRIBUTIONS
from interpreto.visualizations.figures.drawing import Panel, arrange, as_is, short_name, titled
from interpreto.visualizations.interaction_layout import TARGETS, Drawn, drawn, title_of

COLORS = tuple(tuple(part / 255 for part in color) for color in ATTRIBUTIONS)
WIDEST_LINE, LARGEST_DOT = 6.0, 260.0  # points, square points


def draw_interactions(output: InteractionOutput, kinds: Sequence[str], most: int) -> Figure:
    """Return a row of panels per target, one for each kind of picture."""
    rows = []
    for target in range(min(len(output.target_labels), TARGETS)):
        found, names = drawn(output, target, most), [short_name(element, 14) for element in output.elements]
        panels = {
            "network": lambda found=found, names=names: Panel(4.6, 4.6, _network(output, found, names)),
            "arcs": lambda found=found, names=names: Panel(max(4.0, 0.55 * len(names) + 1), 4.6, _arcs(output, found, names)),
        }
        rows.append([panels[kind]() for kind in kinds])
    return arrange(rows)


def _color(value: float) -> tuple[float, ...]:
    return COLORS[0 if value >= 0 else 1]


def _network(output: InteractionOutput, found: Drawn, names: Sequence[str]) -> Callable[[Axes], None]:
    """Draw units on a circle, larger where they matter alone, with lines between those that act together."""

    def draw(axes: Axes) -> None:
        n = len(names)
        angles = [math.pi / 2 - 2 * math.pi * i / max(n, 1) for i in range(n)]
        places = [(math.cos(angle), math.sin(angle)) for angle in angles]
        for coalition, value in reversed(found.links):
            corners = [places[i] for i in coalition]
            style = {"color": _color(value), "alpha": 0.25 + 0.6 * abs(value) / found.scale}
            if len(corners) == 2:
                width = WIDEST_LINE * abs(value) / found.scale
                axes.plot(*zip(*corners, strict=True), linewidth=width, solid_capstyle="round", zorder=1, **style)
            else:
                axes.fill(*zip(*corners, strict=True), color=style["color"], alpha=0.3 * style["alpha"], linewidth=0, zorder=0)
        for (x, y), value, name in zip(places, found.single, names, strict=True):
            share = 0.0 if math.isnan(value) else abs(value) / found.single_scale
            axes.scatter([x], [y], s=20 + LARGEST_DOT * share, color=[_color(value)], edgecolors="white", zorder=2)
            side = "center" if abs(x) < 0.2 else "left" if x > 0 else "right"
            axes.text(1.16 * x, 1.16 * y, name, ha=side, va="center", fontsize="small", zorder=3)
        axes.set_xlim(-1.7, 1.7)
        axes.set_ylim(-1.35, 1.35)
        axes.set_aspect("equal")
        axes.axis("off")
        titled(axes, short_name(found.label, 24), title_of(output))

    return draw


def _arcs(output: InteractionOutput, found: Drawn, names: Sequence[str]) -> Callable[[Axes], None]:
    """Draw units in the order of the text with bars of their own values, and arcs between those that act together."""

    def draw(axes: Axes) -> None:
        n = len(names)
        highest = max((c[-1] - c[0] for c, _ in found.links), default=1) / 2
        for coalition, value in reversed(found.links):
            width = max(0.4, WIDEST_LINE * abs(value) / found.scale)
            for a, b in pairwise(coalition):
                arc = Arc(((a + b) / 2, 0), b - a, b - a, theta1=0, theta2=180, color=_color(value), linewidth=width, alpha=0.6)
                axes.add_patch(arc)
        values = np.nan_to_num(np.array(found.single, dtype=float))
        axes.bar(
            range(n), -0.9 * np.abs(values) / found.single_scale, 0.5, color=[_color(value) for value in values], alpha=0.8
        )
        axes.set_xticks(range(n), names, rotation=45, ha="right", fontsize="small")
        axes.set_yticks([])
        axes.set_xlim(-0.7, n - 0.3)
        axes.set_ylim(-1.0, highest + 0.4)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
        titled(axes, short_name(found.label, 24), title_of(output))
        as_is(axes)

    return draw
