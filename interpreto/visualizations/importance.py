"""Mean attributions over many texts in any medium: bars with intervals over the single occurrences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.attributions.global_importance import GlobalImportance
from interpreto.attributions.output import AttributionOutput
from interpreto.visualizations.display import Renderer, check_backend, figures
from interpreto.visualizations.html.importance import page_of
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.importance_layout import element_of, read_importance
from interpreto.visualizations.terminal.importance import importance_to_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class ImportanceRenderer(Renderer):
    """Draw the importances of units over many texts."""

    importance: GlobalImportance

    @cached_property
    def _page(self) -> Page:
        return page_of(self.importance)

    def page(self, title: str | None = None) -> str:
        """Return a page with a chart per class."""
        return self._page.document(f"Which {element_of(self.importance)}s matter" if title is None else title)

    def fragment(self) -> str:
        """Return the chart in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return bars of the units with the surest effects, per class."""
        return importance_to_text(self.importance)

    def figure(self) -> Figure:
        """Return bars with intervals over the single occurrences, per class."""
        return figures("importance").draw_importance(self.importance)


def renderer(importance: GlobalImportance) -> ImportanceRenderer:
    """Return the renderer of importances."""
    return ImportanceRenderer(importance)


def plot_importance(
    explanations: GlobalImportance | Sequence[AttributionOutput],
    path: str | PathLike[str] | None = None,
    *,
    by: str | Callable[[str], str] = "unit",
    min_count: int | None = None,
    backend: str = "auto",
) -> Any:
    """Show which units matter over many texts: bars with intervals over a dot for each occurrence, per class.

    Args:
        explanations: Explanations of many texts, or what their ``importance()`` returns.
        path: File to write as well: a page, where a click on a unit shows its sentences, or matplotlib's figure in the
            format of the file's suffix.
        by: What is counted together: ``"unit"``, ``"word"``, ``"exact"`` or a function; see `Explanations.importance`.
        min_count: Texts that a unit must occur in; None: three of fifty texts or more, two of ten or more, else one.
        backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"``; ``"auto"`` is the notebook whose kernel runs this,
            else the terminal.

    Returns:
        The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

    Raises:
        FileError: The file cannot be written.
        InputError: There are no explanations, or something else.
        OptionError: An option is unknown, or the backend's package is not installed.

    Examples:
        >>> from interpreto import Occlusion, demo, plot_importance
        >>> explanations = Occlusion(*demo.load_classifier())(["A dull film.", "A dull plot."], "negative")
        >>> plot_importance(explanations, by="word", min_count=2)  # doctest: +ELLIPSIS
        negative ...
    """
    check_backend(backend)
    return renderer(read_importance(explanations, by, min_count)).show(path, backend=backend)
