"""Layers × heads as a heat map, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def draw_attention(rows: Sequence[tuple[str, Sequence[float]]]) -> Figure:
    """Return a heat map of the heads of each layer, the first layer at the top."""
    heads = max(len(values) for _, values in rows)
    table = np.full((len(rows), heads), np.nan)
    for i, (_, values) in enumerate(rows):
        table[i, : len(values)] = values
    figure = Figure(figsize=(1.5 + 0.5 * heads, 1.2 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table, vmin=0.0, vmax=1.0, cmap="Oranges", aspect="auto")
    axes.set_xticks(range(heads), [str(i + 1) for i in range(heads)])
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_xlabel("head")
    figure.colorbar(image, label="largest weight, mean over tokens")
    return figure
