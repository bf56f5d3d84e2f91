"""Suspected label errors in any medium: a table of texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from interpreto.training.label_errors import LabelErrors
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.label_errors import SCORES, page_of, row_of
from interpreto.visualizations.html.page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 72


@dataclass(frozen=True, eq=False)
class LabelErrorsRenderer(Renderer):
    """Draw suspected label errors."""

    found: LabelErrors

    @cached_property
    def _page(self) -> Page:
        return page_of(self.found)

    def page(self, title: str | None = None) -> str:
        """Return a page with the table."""
        return self._page.document("Suspected label errors" if title is None else title)

    def fragment(self) -> str:
        """Return the table in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return a line per text."""
        lines = [f"{len(self.found)} of {self.found.n} texts, by {SCORES.get(self.found.by, self.found.by)}"]
        for i in range(len(self.found)):
            text, label, suggestion, score, *_ = row_of(self.found, i)
            text = " ".join(text.split())
            lines.append(f"{score:>8}  {label} → {suggestion}: {text if len(text) <= WIDTH else text[: WIDTH - 1] + '…'}")
        return "\n".join(lines)

    def figure(self) -> Figure:
        """Return the scores as bars, a text for each."""
        return figures("data_map").draw_errors(self.found)


def renderer(found: LabelErrors) -> LabelErrorsRenderer:
    """Return the renderer of suspected label errors."""
    return LabelErrorsRenderer(found)
