"""Attributions as HTML: a page of its own, or a fragment for notebooks; and the one call that shows them anywhere.

What comes from the user or the model reaches the page as JSON alone, which the script turns into text nodes. The page
lets only that script run (by its hash) and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import sys
from collections.abc import Iterable, Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path
from string import Template
from typing import Any

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError, OptionError
from interpreto.visualizations.payload import payload
from interpreto.visualizations.terminal import to_text

TITLE = "Attributions"
BACKENDS = ("auto", "notebook", "terminal", "matplotlib")


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
    script = _asset("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = Template(_asset("page.html")).substitute(
        title=_escaped(TITLE if title is None else title),
        style=_asset("style.css"),
        data=payload(_checked(explanations)),
        script=script,
        digest=digest,
    )
    if path is not None:
        Path(path).write_text(page, encoding="utf-8", newline="\n")
    return page


def to_fragment(explanations: Sequence[AttributionOutput]) -> str:
    """The same cards in one element, for a notebook; it may stand any number of times in one page."""
    return (
        f'<div class="interpreto"><style>{_asset("style.css")}</style>'
        f'<script type="application/json">{payload(_checked(explanations))}</script>'
        f"<script>{_asset('script.js')}</script></div>"
    )


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
    if backend not in BACKENDS:
        raise OptionError(f"`backend`: got {backend!r}; pass one of {', '.join(map(repr, BACKENDS))}.")
    if backend == "matplotlib":
        return _figure(shown, path)
    if path is not None:
        to_html(shown, path)
    if backend == "notebook" or (backend == "auto" and _in_notebook()):
        display = _display()
        display.display(display.HTML(to_fragment(shown)))
    else:
        print("\n\n".join(to_text(explanation) for explanation in shown))
    return None


def _figure(explanations: Sequence[AttributionOutput], path: str | PathLike[str] | None) -> Any:
    try:
        from interpreto.visualizations import static  # noqa: PLC0415  (matplotlib is optional)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise OptionError(
            '`backend`: "matplotlib" is not installed; run `pip install "interpreto[notebook]"`, or leave `backend` out.'
        ) from error
    figure = static.draw(explanations)
    if path is not None:
        figure.savefig(path)
    return figure


def _display() -> Any:
    try:
        from IPython import display  # noqa: PLC0415  (optional)  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise OptionError(
            '`backend`: "notebook" needs IPython; run `pip install "interpreto[notebook]"`, or leave `backend` out.'
        ) from error
    return display


def _in_notebook() -> bool:
    """Whether a kernel runs this, so that HTML can be shown."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _checked(explanations: Iterable[Any]) -> list[AttributionOutput]:
    shown = list(explanations)
    if not shown:
        raise InputError("`explanations`: got none; pass at least one AttributionOutput.")
    for i, explanation in enumerate(shown):
        if not isinstance(explanation, AttributionOutput):
            raise InputError(f"`explanations[{i}]`: got {type(explanation).__name__}; pass a list of AttributionOutput.")
    return shown


def _escaped(text: str) -> str:
    """Text for an element's content, whatever characters it has."""
    return html.escape(text.replace("\0", "\ufffd")).encode("utf-8", "replace").decode("utf-8")


def _asset(name: str) -> str:
    return (files("interpreto.visualizations") / "html" / name).read_text(encoding="utf-8")
