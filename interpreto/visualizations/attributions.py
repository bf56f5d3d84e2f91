"""Attributions as HTML: a page of its own, or a fragment for notebooks; and the one call that shows them anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError
from interpreto.visualizations.display import Look, check_backend, drawing, fragment, goes_to_notebook, show_html, write_page
from interpreto.visualizations.html.attributions import payload
from interpreto.visualizations.terminal.attributions import to_text

LOOK = Look(["attributions.js"])


def to_html(
    explanations: Sequence[AttributionOutput], path: str | PathLike[str] | None = None, *, title: str | None = None
) -> str:
    """A self-contained page with a card for each text; several explanations of one text stand side by side in it.

    Args:
        explanations: What to show, in order.
        path: Where to write the page too, as UTF-8.
        title: The page's heading; None: ``"Attributions"``.

    Raises:
        InputError: when there is nothing to show, or something else than explanations.
    """
    return write_page(LOOK, payload(_checked(explanations)), "Attributions" if title is None else title, path)


def to_fragment(explanations: Sequence[AttributionOutput]) -> str:
    """The same cards in one element, for a notebook; it may stand any number of times in one page."""
    return fragment(LOOK, payload(_checked(explanations)))


def plot_attributions(
    explanations: AttributionOutput | Sequence[AttributionOutput],
    path: str | PathLike[str] | None = None,
    *,
    backend: str = "auto",
) -> Any:
    """Show explanations: in a notebook as HTML, elsewhere in the terminal; or draw them for print.

    Args:
        explanations: What to show; those of one text stand side by side.
        path: Where to write too: the page, or matplotlib's figure in the format of the file's suffix.
        backend: ``"auto"`` shows in the notebook whose kernel runs this, else in the terminal; ``"notebook"`` and
            ``"terminal"`` say which. ``"matplotlib"`` draws: bars of the largest units, or a heat map of a generation.

    Returns:
        The ``matplotlib.figure.Figure``, where that was asked; else None.

    Raises:
        InputError: when there is nothing to show, or something else than explanations.
        OptionError: when the backend is unknown or its package is not installed.

    Examples:
        >>> from interpreto import Occlusion, demo, plot_attributions
        >>> explanations = Occlusion(*demo.load_classifier())("A gorgeous, moving film.")
        >>> plot_attributions(explanations)  # doctest: +ELLIPSIS
        positive ...
    """
    shown = _checked([explanations] if isinstance(explanations, AttributionOutput) else explanations)
    check_backend(backend)
    if backend == "matplotlib":
        figure = drawing("figures.attributions").draw(shown)
        if path is not None:
            figure.savefig(path)
        return figure
    if path is not None:
        to_html(shown, path)
    if goes_to_notebook(backend):
        show_html(to_fragment(shown))
    else:
        print("\n\n".join(to_text(explanation) for explanation in shown))
    return None


def _checked(explanations: Iterable[Any]) -> list[AttributionOutput]:
    shown = list(explanations)
    if not shown:
        raise InputError("`explanations`: got none; pass at least one AttributionOutput.")
    for i, explanation in enumerate(shown):
        if not isinstance(explanation, AttributionOutput):
            raise InputError(f"`explanations[{i}]`: got {type(explanation).__name__}; pass a list of AttributionOutput.")
    return shown
