"""Parts × tokens of activation patching, drawn for print with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from interpreto.concepts.circuits.patching_output import PatchingOutput
from interpreto.visualizations.colors import ATTRIBUTIONS, PALE
from interpreto.visualizations.figures.drawing import Panel, arrange, short_name, titled
from interpreto.visualizations.patching_layout import has_gap, rows_of, said

PAIRS, TOKENS, CELL, WIDEST = 4, 32, 0.22, 14
"""Pairs and tokens of a pair, at most; inches of a row, and characters of a token."""
_ENDS = (ATTRIBUTIONS[1], PALE, ATTRIBUTIONS[0])
COLORS = LinearSegmentedColormap.from_list("patching", [tuple(part / 255 for part in end) for end in _ENDS])


def draw_patching(outputs: Sequence[PatchingOutput]) -> Figure:
    """Return a row of panels per pair, one for each direction, the last part at the top; of a long text, its last tokens."""
    panels = []
    for output in outputs[:PAIRS]:
        tokens, rows = min(len(output.tokens), TOKENS), rows_of(output)
        width, height = 2.6 + 0.45 * tokens, 1.5 + CELL * len(rows)
        label = "share of the gap" if has_gap(output) else output.metric
        panels.append([Panel(width, height, _drawer(output, way, tokens, rows), label) for way in output.directions])
    return arrange(panels)


def _drawer(output: PatchingOutput, way: str, tokens: int, rows: list[int]) -> Callable[[Axes], ScalarMappable]:
    def draw(axes: Axes) -> ScalarMappable:
        first = len(output.tokens) - tokens
        values = (output.effects(way) if has_gap(output) else output.changes[way])[rows][:, first:].flip(0)
        largest = max(1e-12, float(values.abs().max()))
        image = axes.imshow(values.numpy(), vmin=-largest, vmax=largest, cmap=COLORS, aspect="auto")
        pairs = list(zip(output.tokens, output.corrupt_tokens, strict=True))[first:]
        names = [short_name(a if a == b else f"{a}/{b}", WIDEST) for a, b in pairs]
        axes.set_xticks(range(tokens), names, fontsize="x-small", rotation=45, ha="right")
        axes.set_yticks(range(len(rows)), [output.parts[row] for row in reversed(rows)], fontsize="x-small")
        axes.tick_params(length=0)
        titled(axes, short_name(output.metric, 40), f"{said(way)}, {output.method}")
        return image

    return draw
