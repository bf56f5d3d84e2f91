"""Lines for a terminal: a console that collects them, bars, and backgrounds of units."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from interpreto.renderable import visible
from interpreto.visualizations.colors import ATTRIBUTIONS, Color, blend
from interpreto.visualizations.marks import BRACKETS, Segment

BAR = 16
"""Cells of a full bar."""
POSITIVE, NEGATIVE = "rgb(230,126,34)", "rgb(66,133,214)"


class Lines:
    """Collects lines of text.

    Args:
        width: Cells per line; None is the width of the terminal.
        color: Write ANSI codes; None: if standard output takes colors and NO_COLOR is not set.
    """

    def __init__(self, width: int | None, color: bool | None) -> None:
        screen = Console(force_jupyter=False)
        self.color = screen.color_system is not None and not screen.no_color if color is None else color
        self.width = width or screen.width
        self._written = io.StringIO()
        self._console = Console(
            file=self._written,
            width=self.width,
            color_system=_color_system() if self.color else None,
            force_terminal=self.color,
            force_jupyter=False,
            no_color=not self.color,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def add(self, *lines: Text) -> None:
        """Add lines, each cut at the width."""
        for line in lines:
            self._console.print(line, no_wrap=True, overflow="ellipsis")

    def add_text(self, text: Text) -> None:
        """Add a text, wrapped at the width."""
        self._console.print(text, soft_wrap=False)

    def add_blank(self) -> None:
        """Add an empty line."""
        self._console.print()

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self._written.getvalue().rstrip("\n").split("\n"))


def _color_system() -> Literal["standard", "256", "truecolor"]:
    """Return the colors of the terminal; 256 when it does not say."""
    found = Console(force_terminal=True, force_jupyter=False).color_system
    return "truecolor" if found == "truecolor" else "standard" if found == "standard" else "256"


def background(weight: float, *, signed: bool = True, ends: tuple[Color, Color] = ATTRIBUTIONS) -> Style | None:
    """Return dark letters on the background of a weight, underlined for negative ones; None for one too faint for a color."""
    color = blend(weight, ends, signed=signed)
    if color is None:
        return None
    return Style(color="#16181d", bgcolor=f"rgb({color[0]},{color[1]},{color[2]})", underline=weight < 0 or None)


def bars(
    names: Sequence[str], column: int, marks: Sequence[str], values: Sequence[float], amounts: Sequence[str]
) -> list[Text]:
    """Return a line per name: the name, a bar and the amount.

    Args:
        names: Names on one line each.
        column: Cells for the longest name.
        marks: The bars' characters.
        values: Their sign chooses the bar's color.
        amounts: The values as text.
    """
    lines = []
    for name, mark, value, amount in zip(names, marks, values, amounts, strict=True):
        shown = name if cell_len(name) <= column else set_cell_size(name, column - 1) + "…"
        tint = NEGATIVE if value < 0 else POSITIVE
        lines.append(Text.assemble("  ", set_cell_size(shown, column), "  ", (f"{mark or '▏':<{BAR}}", tint), amount))
    return lines


def segment_text(segment: Segment) -> str:
    """Return a segment as it is printed; names are set off by spaces, but for the brackets around targets."""
    if segment.named and segment.text[:1] in BRACKETS:
        return visible(segment.text)
    return f" {visible(segment.text)} " if segment.named else visible(segment.text)


def one_line(text: str) -> str:
    """Return a text without line breaks and control characters."""
    return " ".join(visible(text).split()) or repr(text)
