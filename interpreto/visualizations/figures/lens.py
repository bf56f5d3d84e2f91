"""Layers × tokens with the likeliest output of each cell, drawn for print with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from interpreto.concepts.lenses.output import LensOutput
from interpreto.visualizations.colors import ATTRIBUTIONS, PALE
from interpreto.visualizations.figures.drawing import Panel, arrange, short_name, titled

TEXTS, TOKENS, CELL, WIDEST = 4, 24, 0.28, 12
"""Texts and tokens of a text, at most; inches of a row, and characters of a cell."""
COLORS = LinearSegmentedColormap.from_list("lens", [tuple(part / 255 for part in end) for end in (PALE, ATTRIBUTIONS[0])])


def draw_lens(outputs: Sequence[LensOutput]) -> Figure:
    """Return a panel per text, the last layer at the top; of a long text, its last tokens."""
    panels = []
    for output in outputs[:TEXTS]:
        tokens = min(len(output.tokens), TOKENS)
        panels.append([Panel(2.0 + 0.75 * tokens, 1.3 + CELL * len(output.layers), _drawer(output, tokens))])
    return arrange(panels)


def _drawer(output: LensOutput, tokens: int):
    def draw(axes: Axes) -> None:
        first, rows = len(output.tokens) - tokens, len(output.layers)
        chances = output.target_probabilities[:, first:].flip(0).numpy()
        axes.imshow(chances, vmin=0.0, vmax=1.0, cmap=COLORS, aspect="auto")
        for y in range(rows):
            for x in range(tokens):
                likeliest = output.labels[int(output.ids[rows - 1 - y, first + x, 0])]
                axes.text(x, y, short_name(likeliest, WIDEST), ha="center", va="center", fontsize="x-small", color="#16181d")
        names = [short_name(token, WIDEST) for token in output.tokens[first:]]
        if tokens > 1:
            axes.set_xticks(range(tokens), names, fontsize="x-small", rotation=45, ha="right")
        else:
            axes.set_xticks([])
        axes.set_yticks(range(rows), output.layers[::-1], fontsize="small")
        axes.set_ylabel("layer", fontsize="small")
        axes.tick_params(length=0)
        titled(axes, short_name(output.text, 60), f"{output.method}: probability of the answer")

    return draw
