"""Training dynamics in any medium: the data map, and the most forgotten texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from interpreto.training.dynamics import TrainingDynamics
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.data_map import page_of
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.training_layout import DataMap, read_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 72


@dataclass(frozen=True, eq=False)
class DataMapRenderer(Renderer):
    """Draw a record of a training."""

    drawn: DataMap

    @cached_property
    def _page(self) -> Page:
        return page_of(self.drawn)

    def page(self, title: str | None = None) -> str:
        """Return a page with the data map and the most forgotten texts."""
        return self._page.document("Data map" if title is None else title)

    def fragment(self) -> str:
        """Return the data map and the most forgotten texts in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return the numbers, and a line per forgotten text."""
        drawn = self.drawn
        lines = [f"{drawn.n} texts, {drawn.epochs} epochs: {drawn.never} never learned, {drawn.once} forgotten at least once"]
        for one in drawn.forgotten:
            text = " ".join(one.text.split())
            lines.append(f"{one.events:3}× {one.label}: {text if len(text) <= WIDTH else text[: WIDTH - 1] + '…'}")
        return "\n".join(lines)

    def figure(self) -> Figure:
        """Return the data map."""
        return figures("data_map").draw_map(self.drawn)


def renderer(record: TrainingDynamics) -> DataMapRenderer:
    """Return the renderer of a record."""
    return DataMapRenderer(read_map(record))
