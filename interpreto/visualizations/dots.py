"""Rows of estimates in any medium: a dot with its interval, over the dots that chance gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.dots import dot_fragment, dot_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Dot:
    """One estimate.

    Attributes:
        name: What it is of.
        value: The estimate.
        low: Lower end of its interval; NaN where there is none.
        high: Upper end.
        chance: Estimates where there is nothing to find.
        filled: The estimate is told from chance.
        notes: A text for each column of the table.
    """

    name: str
    value: float
    low: float
    high: float
    chance: tuple[float, ...]
    filled: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DotRenderer(Renderer):
    """Draw rows of estimates."""

    title: str
    label: str
    guide: str
    heads: tuple[str, ...]
    dots: Sequence[Dot]

    def page(self, title: str | None = None) -> str:
        """Return a page with the drawing and a table of the numbers."""
        return dot_page(self.title if title is None else title, self)

    def fragment(self) -> str:
        """Return the drawing as SVG, and the table."""
        return dot_fragment(self)

    def text(self) -> str:
        """Return a line per estimate."""
        width = max(len(dot.name) for dot in self.dots)
        lines = [f"{self.label}: {', '.join(self.heads)}"]
        for dot in self.dots:
            mark = "●" if dot.filled else "○"
            span = "" if math.isnan(dot.low) else f" [{dot.low:+.3f}, {dot.high:+.3f}]"
            lines.append(f"{mark} {dot.name.ljust(width)}  {dot.value:+.3f}{span}  {'  '.join(dot.notes)}")
        return "\n".join(lines)

    def figure(self) -> Figure:
        """Return the estimates on one axis."""
        return figures("dots").draw_dots(self)
