"""Interactions of units in any medium: arcs over the text, a network, and the strongest as a list."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text

from interpreto.attributions.interaction_output import InteractionOutput
from interpreto.validation import check_choice, check_count
from interpreto.visualizations.display import Renderer, check_backend, figures
from interpreto.visualizations.html.interactions import interactions_page
from interpreto.visualizations.interaction_layout import KINDS, TARGETS, drawn, title_of
from interpreto.visualizations.terminal.console import BAR, Lines, bars, one_line
from interpreto.visualizations.text_layout import format_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LISTED, COLUMN = 10, 36
"""Interactions of a target, and cells of their names, in a terminal."""


@dataclass(frozen=True, eq=False)
class InteractionRenderer(Renderer):
    """Draw the interactions of one text.

    Attributes:
        output: The interactions.
        kinds: Pictures of a figure: ``"network"`` and ``"arcs"``.
        most: Interactions that are drawn for each target, the strongest.
    """

    output: InteractionOutput
    kinds: tuple[str, ...] = KINDS
    most: int = 20

    def page(self, title: str | None = None) -> str:
        """Return a page with arcs over the units and a table, per target; it has no script."""
        return interactions_page(self.output, self.most).document("What words do together" if title is None else title)

    def fragment(self) -> str:
        """Return one element for a notebook."""
        return interactions_page(self.output, self.most).fragment()

    def text(self) -> str:
        """Return bars of the strongest interactions."""
        lines = Lines(None, None)
        for target in range(min(len(self.output.target_labels), TARGETS)):
            found = drawn(self.output, target, LISTED)
            lines.add(Text.assemble((one_line(found.label), "bold"), f"  interactions · {title_of(self.output)}"))
            names = [" + ".join(one_line(self.output.elements[i]) for i in coalition) for coalition, _ in found.links]
            marks = ["█" * round(BAR * abs(value) / found.scale) for _, value in found.links]
            amounts = [format_number(value, sign=True) for _, value in found.links]
            column = min(max(map(cell_len, names), default=0), COLUMN)
            lines.add(*bars(names, column, marks, [value for _, value in found.links], amounts))
        return str(lines)

    def figure(self) -> Figure:
        """Return a panel per kind and target."""
        return figures("interactions").draw_interactions(self.output, self.kinds, self.most)


def renderer(output: InteractionOutput) -> InteractionRenderer:
    """Return the renderer of interactions."""
    return InteractionRenderer(output)


def plot_interactions(
    interactions: InteractionOutput,
    path: str | PathLike[str] | None = None,
    *,
    kind: str | None = None,
    most: int = 20,
    backend: str = "auto",
) -> Any:
    """Draw which units act together: orange lines where they support the target, blue where they speak against it.

    Args:
        interactions: One of those that `ShapleyInteractions` returns.
        path: File to write as well: a page, or matplotlib's figure in the format of the file's suffix.
        kind: Picture of a figure: ``"network"`` (units on a circle) or ``"arcs"`` (units in the order of the text); None: both.
        most: Interactions that are drawn for each target, the strongest.
        backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"``; ``"auto"`` is the notebook whose kernel runs this, else
            the terminal.

    Returns:
        The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

    Raises:
        FileError: The file cannot be written.
        OptionError: An option is unknown, or the backend's package is not installed.

    Examples:
        >>> from interpreto import ShapleyInteractions, demo, plot_interactions
        >>> found = ShapleyInteractions(*demo.load_classifier())("Not a good film.")[0]
        >>> len(plot_interactions(found, backend="matplotlib").axes)
        2
    """
    check_backend(backend)
    kinds = KINDS if kind is None else (check_choice(kind, "kind", KINDS),)
    return InteractionRenderer(interactions, kinds, check_count(most, "most")).show(path, backend=backend)
