"""Reports in any medium: a page for colleagues, a fragment for notebooks, a summary for a terminal, a figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from interpreto.metrics.report import Report
from interpreto.renderable import visible
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.html.report import page_of, title_of
from interpreto.visualizations.report_summary import summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class ReportRenderer(Renderer):
    """Draw a report."""

    report: Report

    @cached_property
    def _page(self) -> Page:
        return page_of(self.report)

    def page(self, title: str | None = None) -> str:
        """Return the whole report as a page."""
        return self._page.document(title_of(self.report) if title is None else title)

    def fragment(self) -> str:
        """Return the whole report in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return the summary."""
        found = [f"{about}. {said}" for about, said in summary(self.report)]
        return visible("\n".join([title_of(self.report), *found, *self.report.remarks]))

    def figure(self) -> Figure:
        """Return the words that matter, by class."""
        return figures("importance").draw_importance(self.report.importance)


def renderer(report: Report) -> ReportRenderer:
    """Return the renderer of a report."""
    return ReportRenderer(report)
