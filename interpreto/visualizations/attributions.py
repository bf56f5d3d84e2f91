"""Attributions in any medium: a page, a fragment for notebooks, lines for a terminal, a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError
from interpreto.visualizations.display import Renderer, check_backend, figures
from interpreto.visualizations.html.attributions import page_of
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.terminal.attributions import to_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class AttributionRenderer(Renderer):
    """Draw explanations; those of one text are next to each other."""

    explanations: Sequence[AttributionOutput]

    @cached_property
    def _page(self) -> Page:
        return page_of(self.explanations)

    def page(self, title: str | None = None) -> str:
        """Return a page with a card per text."""
        return self._page.document("Attributions" if title is None else title)

    def fragment(self) -> str:
        """Return the cards in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return the explanations below each other."""
        return "\n\n".join(to_text(explanation) for explanation in self.explanations)

    def figure(self) -> Figure:
        """Return bars of the largest units per class, heat maps of generations."""
        return figures("attributions").draw(self.explanations)


def renderer(explanations: AttributionOutput | Iterable[AttributionOutput]) -> AttributionRenderer:
    """Return the renderer of explanations.

    Raises:
        InputError: There is nothing to show, or something other than explanations.
    """
    shown: list[Any] = [explanations] if isinstance(explanations, AttributionOutput) else list(explanations)
    if not shown:
        raise InputError("`explanations`: got none; pass at least one AttributionOutput.")
    for i, explanation in enumerate(shown):
        if not isinstance(explanation, AttributionOutput):
            raise InputError(f"`explanations[{i}]`: got {type(explanation).__name__}; pass a list of AttributionOutput.")
    return AttributionRenderer(shown)


def to_html(
    explanations: AttributionOutput | Sequence[AttributionOutput],
    path: str | PathLike[str] | None = None,
    *,
    title: str | None = None,
) -> str:
    """Return a self-contained page with a card per text; explanations of one text share a card.

    Args:
        explanations: What to show, in order.
        path: File to write the page to as well, as UTF-8.
        title: The page's heading; None is ``"Attributions"``.

    Returns:
        The HTML of the page.

    Raises:
        FileError: The file cannot be written.
        InputError: There is nothing to show, or something other than explanations.
    """
    return renderer(explanations).to_html(path, title=title)


def to_fragment(explanations: AttributionOutput | Sequence[AttributionOutput]) -> str:
    """Return the cards of `to_html` in one element for a notebook; a page may hold any number of them.

    Raises:
        InputError: There is nothing to show, or something other than explanations.
    """
    return renderer(explanations).fragment()


def plot_attributions(
    explanations: AttributionOutput | Sequence[AttributionOutput],
    path: str | PathLike[str] | None = None,
    *,
    backend: str = "auto",
) -> Any:
    """Show explanations: as HTML in a notebook, as text in a terminal, or as a figure for print.

    Args:
        explanations: What to show; explanations of one text are next to each other.
        path: File to write as well: the page, or matplotlib's figure in the format of the file's suffix.
        backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"`` (bars of the largest units, or a heat map of a
            generation); ``"auto"`` is the notebook whose kernel runs this, else the terminal.

    Returns:
        The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

    Raises:
        FileError: The file cannot be written.
        InputError: There is nothing to show, or something other than explanations.
        OptionError: The backend is unknown or its package is not installed.

    Examples:
        >>> from interpreto import Occlusion, demo, plot_attributions
        >>> explanations = Occlusion(*demo.load_classifier())("A gorgeous, moving film.")
        >>> plot_attributions(explanations)  # doctest: +ELLIPSIS
        positive ...
    """
    check_backend(backend)
    return renderer(explanations).show(path, backend=backend)
