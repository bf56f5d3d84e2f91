"""Components of a logit drawn for print with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpreto.visualizations.colors import ATTRIBUTIONS
from interpreto.visualizations.figures.drawing import Panel, arrange, short_name, titled

COLORS = tuple(tuple(part / 255 for part in color) for color in ATTRIBUTIONS)


def draw_components(names: Sequence[str], values: Sequence[float], title: str) -> Figure:
    """Return a bar per component, the first at the top."""

    def draw(axes: Axes) -> None:
        axes.barh(range(len(names)), values, 0.6, color=[COLORS[0 if value >= 0 else 1] for value in values])
        axes.axvline(0, color="#808080", linewidth=0.8)
        axes.set_yticks(range(len(names)), [short_name(name, 24) for name in names], fontsize="small")
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel("logit", fontsize="small")
        titled(axes, short_name(title, 40), "by component")

    return arrange([[Panel(5.2, 1.0 + 0.22 * max(len(names), 2), draw)]])
