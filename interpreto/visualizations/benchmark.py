"""Benchmarks in any medium: methods by metrics, with intervals, winners and curves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from interpreto.metrics.benchmark_table import BenchmarkTable
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.benchmark import page_of
from interpreto.visualizations.html.page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class BenchmarkRenderer(Renderer):
    """Draw the table of a benchmark."""

    table: BenchmarkTable

    @cached_property
    def _page(self) -> Page:
        return page_of(self.table)

    def page(self, title: str | None = None) -> str:
        """Return a page with the table and the curves."""
        return self._page.document("Benchmark" if title is None else title)

    def fragment(self) -> str:
        """Return the table and the curves in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return the table as lines."""
        return str(self.table)

    def figure(self) -> Figure:
        """Return a panel per metric: a point and an interval per method."""
        return figures("benchmark").draw_benchmark(self.table)


def renderer(table: BenchmarkTable) -> BenchmarkRenderer:
    """Return the renderer of a benchmark."""
    return BenchmarkRenderer(table)
