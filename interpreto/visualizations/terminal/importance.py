"""Mean attributions over many texts in a terminal."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from interpreto.attributions.global_importance import GlobalImportance
from interpreto.visualizations.importance_layout import element_of, surest_first, unit_of
from interpreto.visualizations.terminal.console import BAR, Lines, bars, one_line
from interpreto.visualizations.text_layout import format_number

UNITS, TARGETS, COLUMN = 10, 5, 24
"""Units of a class, classes, and cells of a name, at most."""


def importance_to_text(importance: GlobalImportance, *, width: int | None = None, color: bool | None = None) -> str:
    """Return bars of the units with the surest effects, per class, with their intervals and numbers of texts.

    Args:
        importance: What to show.
        width: Cells per line; None is the width of the terminal.
        color: Write ANSI codes; None: if standard output takes colors and NO_COLOR is not set.
    """
    lines = Lines(width, color)
    for i, target in enumerate(importance.targets[:TARGETS]):
        if i:
            lines.add_blank()
        rows = surest_first(importance, target, UNITS)
        about = f"{element_of(importance)}s by their mean effect in {unit_of(importance)} over {importance.n_texts} texts"
        lines.add(Text.assemble((one_line(target), "bold"), f"  {about} · {importance.method}"))
        names = [one_line(row.unit) for row in rows]
        column = min(max(map(cell_len, names), default=0), COLUMN)
        largest = max((abs(row.mean) for row in rows), default=0.0) or 1.0
        marks = ["█" * round(BAR * abs(row.mean) / largest) for row in rows]
        amounts = [
            f"{format_number(row.mean, sign=True)}  95 % from {format_number(row.low, sign=True)} to "
            f"{format_number(row.high, sign=True)}  {row.n_texts} text{'s' * (row.n_texts != 1)}"
            for row in rows
        ]
        lines.add(*bars(names, column, marks, [row.mean for row in rows], amounts))
    if len(importance.targets) > TARGETS:
        lines.add(Text(f"+{len(importance.targets) - TARGETS} more classes"))
    return str(lines)
