"""Clouds of words drawn for print with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from interpreto.visualizations.cloud_layout import HEIGHT, WIDTH, Cloud
from interpreto.visualizations.figures.drawing import Drawing

COLUMNS = 3


def draw_clouds(clouds: Sequence[Cloud]) -> Figure:
    """Return a figure with a panel for each cloud."""
    columns = min(COLUMNS, len(clouds))
    rows = -(-len(clouds) // columns)
    figure = Drawing(figsize=(WIDTH / 72 * columns, (HEIGHT + 24) / 72 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels:
        axes.set_axis_off()
    for axes, cloud in zip(panels, clouds, strict=False):
        axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), title=cloud.name)
        for word in cloud.words:
            axes.text(word.x, word.y, word.text, fontsize=word.size * 0.9, ha="center", va="baseline", parse_math=False)
    return figure
