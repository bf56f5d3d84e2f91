"""Lenses in a terminal: a line per layer."""

from __future__ import annotations

from rich.text import Text

from interpreto.concepts.lenses.output import LensOutput
from interpreto.visualizations.terminal.console import Lines, bars, one_line

OUTPUTS = 3
"""Likeliest outputs of a layer that are shown."""
SHORT = 8
"""Cells of a bar."""


def lens_to_text(output: LensOutput, token: int = -1, *, width: int | None = None, color: bool | None = None) -> str:
    """Return a line per layer: the probability and rank of the followed output at one token, and the likeliest outputs.

    Args:
        output: What to show.
        token: Number of the token.
        width: Cells per line; None is the width of the terminal.
        color: Write ANSI codes; None: if standard output takes colors and NO_COLOR is not set.
    """
    lines = Lines(width, color)
    followed = one_line(output.target_labels[token])
    where = (
        ""
        if len(output.tokens) == 1
        else f" {'in place of' if output.is_aligned else 'after'} {one_line(output.tokens[token])!r}"
    )
    lines.add(Text.assemble((one_line(output.text), "bold")))
    lines.add(Text(f"probability and rank of {followed!r}{where} · {output.method}"))
    chances, ranks = output.target_probabilities[:, token].tolist(), output.ranks(token)
    names = ["layer " + name if name.isdigit() else name for name in output.layers]
    marks = ["█" * round(SHORT * chance) for chance in chances]
    amounts = []
    for row, (chance, rank) in enumerate(zip(chances, ranks, strict=True)):
        likeliest = ", ".join(one_line(name) for name, _ in output.top(row, token)[:OUTPUTS])
        amounts.append(f"{chance:6.1%}  rank {rank:<5} {likeliest}")
    lines.add(*bars(names[::-1], max(map(len, names)), marks[::-1], chances[::-1], amounts[::-1]))
    return str(lines)
