"""Activation patching in a terminal: a line for each of the largest cells."""

from __future__ import annotations

from rich.text import Text

from interpreto.concepts.circuits.patching_output import PatchingOutput
from interpreto.visualizations.patching_layout import has_gap, said
from interpreto.visualizations.terminal.console import BAR, Lines, bars, one_line

CELLS = 8
"""Cells that are shown of each direction."""


def patching_to_text(output: PatchingOutput, *, width: int | None = None, color: bool | None = None) -> str:
    """Return the largest cells of each direction: part, token, and how far the metric moves.

    Args:
        output: What to show.
        width: Cells per line; None is the width of the terminal.
        color: Write ANSI codes; None: if standard output takes colors and NO_COLOR is not set.
    """
    lines = Lines(width, color)
    lines.add(Text.assemble((one_line(output.clean), "bold")))
    lines.add(Text(f"corrupt: {one_line(output.corrupt)}"))
    lines.add(
        Text(f"{one_line(output.metric)}: {output.clean_score:.3g} clean, {output.corrupt_score:.3g} corrupt · {output.method}")
    )
    shares = has_gap(output)
    for direction in output.directions:
        cells = output.top(CELLS, direction)
        lines.add(Text(said(direction), "dim"))
        if not cells:
            lines.add(Text("  nothing changes"))
            continue
        names = [f"{part} at {one_line(output.tokens[token])!r}" for part, token, _ in cells]
        gap = output.gap if direction == "denoise" else -output.gap
        values = [change / gap if shares else change for *_, change in cells]
        largest = max(map(abs, values))
        marks = ["█" * max(1, round(BAR * abs(value) / largest)) for value in values]
        amounts = [f"{value:+.0%}" if shares else f"{value:+.3g}" for value in values]
        lines.add(*bars(names, max(map(len, names)), marks, values, amounts))
        if direction in output.agreement:
            lines.add(Text(f"  Spearman with exact patching of the largest cells: {output.agreement[direction]:.2f}"))
    return str(lines)
