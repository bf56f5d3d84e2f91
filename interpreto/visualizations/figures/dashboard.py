"""A dashboard of concepts drawn for print with matplotlib: how much the most important matter, and how often each is active."""

from __future__ import annotations

from functools import partial

from matplotlib.axes import Axes

from interpreto.concepts.dashboard import ConceptDashboard
from interpreto.visualizations.figures.concepts import MORE
from interpreto.visualizations.figures.drawing import Drawing, Panel, arrange, short_name, titled

NAMED = 30  # concepts, the most important


def draw_dashboard(dashboard: ConceptDashboard) -> Drawing:
    """Return a figure of importance and density of the most important concepts."""
    order = dashboard.ranked()[:NAMED]
    high = 1.4 + 0.24 * len(order)
    return arrange(
        [[Panel(5.6, high, partial(_importances, dashboard, order)), Panel(2.6, high, partial(_densities, dashboard, order))]]
    )


def _importances(dashboard: ConceptDashboard, order: list[int], axes: Axes) -> None:
    sizes = dashboard.importances.amax(0)
    names = [f"{dashboard.profiles[place].concept}  {dashboard.profiles[place].name}" for place in order]
    axes.barh(range(len(order)), [float(sizes[place]) for place in order], color=MORE, height=0.72)
    axes.set_yticks(range(len(order)), [short_name(name, 36) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(short_name(f"importance, {dashboard.about.unit}", 60))
    titled(axes, f"{len(dashboard.profiles)} concepts", f"{dashboard.texts} texts")


def _densities(dashboard: ConceptDashboard, order: list[int], axes: Axes) -> None:
    axes.barh(
        range(len(order)), [100 * dashboard.profiles[place].density for place in order], color=MORE, alpha=0.4, height=0.72
    )
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.set_xlabel(f"{dashboard.about.granularity}s above 0 (%)")
