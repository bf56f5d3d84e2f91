"""Circuits in any medium: a layered graph, the largest nodes, and always the curve over the number of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from interpreto.concepts.circuits.circuit import Circuit
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.circuits import page_of
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.terminal.circuits import circuit_to_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class CircuitRenderer(Renderer):
    """Draw one circuit."""

    circuit: Circuit

    @cached_property
    def _page(self) -> Page:
        return page_of(self.circuit)

    def page(self, title: str | None = None) -> str:
        """Return a page with the graph, whose nodes tell their edges, and the curve."""
        return self._page.document("What the output goes through" if title is None else title)

    def fragment(self) -> str:
        """Return the graph and the curve in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return a line for each of the largest nodes, and the curve."""
        return circuit_to_text(self.circuit)

    def figure(self) -> Figure:
        """Return the graph, and the curve next to it."""
        return figures("circuits").draw_circuit(self.circuit)


def renderer(circuit: Circuit) -> CircuitRenderer:
    """Return the renderer of a circuit."""
    return CircuitRenderer(circuit)
