"""The dashboard of concepts in any medium: a page, a fragment for notebooks, lines for a terminal, a figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from interpreto.concepts.dashboard import ConceptDashboard
from interpreto.renderable import visible
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.dashboard import page_of
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.terminal.dashboard import dashboard_to_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class DashboardRenderer(Renderer):
    """Draw the concepts of a dashboard."""

    dashboard: ConceptDashboard

    @cached_property
    def _page(self) -> Page:
        return page_of(self.dashboard)

    def page(self, title: str | None = None) -> str:
        """Return a page with a list of concepts and one of them in detail."""
        return self._page.document("Concepts" if title is None else visible(title))

    def fragment(self) -> str:
        """Return the same in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return a line per concept, the most important first."""
        return dashboard_to_text(self.dashboard)

    def figure(self) -> Figure:
        """Return densities and importances of the concepts, the most important with their names."""
        return figures("dashboard").draw_dashboard(self.dashboard)


def renderer(dashboard: ConceptDashboard) -> DashboardRenderer:
    """Return the renderer of a dashboard."""
    return DashboardRenderer(dashboard)
