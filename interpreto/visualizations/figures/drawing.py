"""Figures of panels: what all figures share, and a layout whose cost grows linearly with the panels."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.cells import cell_len, set_cell_size

from interpreto.errors import InputError
from interpreto.renderable import visible

WIDEST, TALLEST = 22.0, 500.0
"""Inches of a figure at most; matplotlib writes no image of 65,536 pixels or more."""
GAP, BAR = 0.12, 0.12  # inches around each panel, and of a color bar
_PICTURES = re.compile("[\u2400-\u2421]")  # of control characters, which matplotlib's own font lacks


class Drawing(Figure):
    """A figure that a notebook shows, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png", dpi=110)
        return written.getvalue()


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        width: Inches, with names and titles.
        height: Inches, with names and titles.
        draw: Draws on the axes; returns what a color bar explains, or None.
        label: The color bar's label.
    """

    width: float
    height: float
    draw: Callable[[Axes], ScalarMappable | None]
    label: str = ""


def arrange(rows: Sequence[Sequence[Panel]]) -> Drawing:
    """Draw rows of panels below each other; rows wider than `WIDEST` are wrapped.

    matplotlib's own layouts solve for all axes at once, which takes minutes for fifty texts. Here each panel is measured
    alone and moved to its place.

    Raises:
        InputError: The figure would be taller than `TALLEST`.
    """
    wrapped = [part for row in rows for part in _wrapped(row)]
    width = max(sum(panel.width for panel in row) for row in wrapped)
    height = sum(max(panel.height for panel in row) for row in wrapped)
    if height > TALLEST:
        count = sum(len(row) for row in rows)
        raise InputError(
            f"`explanations`: {count} panels make a figure {height:.0f} inches tall, and an image holds {TALLEST:.0f}; "
            "pass fewer, or write a page with `to_html`."
        )
    figure = Drawing(figsize=(width, height))
    top = height
    for row in wrapped:
        tall = max(panel.height for panel in row)
        left = 0.0
        for panel in row:
            _placed(figure, panel, left, top)
            left += panel.width
        top -= tall
    return figure


def _wrapped(row: Sequence[Panel]) -> list[list[Panel]]:
    lines: list[list[Panel]] = [[]]
    for panel in row:
        if lines[-1] and sum(other.width for other in lines[-1]) + panel.width > WIDEST:
            lines.append([])
        lines[-1].append(panel)
    return lines


def _placed(figure: Drawing, panel: Panel, left: float, top: float) -> None:
    """Draw a panel, with its names and titles inside of a cell whose upper left corner is given in inches."""
    width, height = (float(size) for size in figure.get_size_inches())
    axes = figure.add_axes((left / width, (top - panel.height) / height, panel.width / width, panel.height / height))
    shown = panel.draw(axes)
    west, south, east, north = _margins(axes)
    bar = None
    if shown is not None:
        bar = figure.add_axes((0.0, 0.0, BAR / width, panel.height / height), label="<colorbar>")
        figure.colorbar(shown, cax=bar).set_label(panel.label, fontsize="small")
        as_is(bar)
        _, below, beside, above = _margins(bar)
        south, east, north = max(south, below), max(east, 0.1 + BAR + beside), max(north, above)
    wide = max(panel.width - 2 * GAP - west - east, 0.5)
    tall = max(panel.height - 2 * GAP - south - north, 0.3)
    x, y = left + GAP + west, top - panel.height + GAP + south
    axes.set_position((x / width, y / height, wide / width, tall / height))
    _fit_titles(axes, panel.width - 2 * GAP - west)
    if bar is not None:
        bar.set_position(((x + wide + 0.1) / width, y / height, BAR / width, tall / height))


def _margins(axes: Axes) -> tuple[float, float, float, float]:
    """Return the inches that names take left, below, right and above; above, that titles take too."""
    assert axes.figure is not None
    box, outer = axes.get_window_extent(), axes.get_tightbbox(for_layout_only=True)
    if outer is None:
        return 0.0, 0.0, 0.0, 0.0
    found = (box.x0 - outer.x0, box.y0 - outer.y0, outer.x1 - box.x1, outer.y1 - box.y1)
    left, below, right, above = (max(float(size), 0.0) / axes.figure.dpi for size in found)
    return left, below, right, above


def _fit_titles(axes: Axes, inches: float) -> None:
    """Shorten title and note so that both fit next to each other."""
    assert axes.figure is not None
    written = {text.get_text(): text for text in axes.findobj(Text) if isinstance(text, Text)}
    title, note = written.get(axes.get_title(loc="left")), written.get(axes.get_title(loc="right"))
    sizes = [
        text.get_window_extent().width / axes.figure.dpi if text is not None and text.get_text() else 0.0
        for text in (title, note)
    ]
    room = max(inches - sizes[1] - 0.1, 0.6 * inches)
    rooms = (room, inches - min(sizes[0], room) - 0.1)
    for text, size, most in zip((title, note), sizes, rooms, strict=True):
        if text is not None and size > most:
            text.set_text(short_name(text.get_text(), max(int(cell_len(text.get_text()) * most / size) - 1, 1)))


def titled(axes: Axes, title: str, note: str) -> None:
    """Set a title on the left and a note on the right."""
    axes.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    axes.set_title(note, loc="right", fontsize="small", color="#606060")
    as_is(axes)


def as_is(axes: Axes) -> None:
    """Draw all texts as they are: a dollar sign begins no formula."""
    for text in axes.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_usetex(False)


def short_name(text: str, length: int) -> str:
    """Return a text on one line, without control characters, of at most so many character cells."""
    shown = _PICTURES.sub("\ufffd", " ".join(visible(text).split())) or repr(text)
    return shown if cell_len(shown) <= length else set_cell_size(shown, length - 1).rstrip() + "…"


def every_nth(count: int, most: int) -> range:
    """Return the places of names on an axis: all of them, or every second, third, … of more than ``most``."""
    return range(0, count, 1 + (count - 1) // most)
