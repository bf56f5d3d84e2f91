"""Layers × tokens in any medium: what a model would answer after each of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.concepts.lenses.output import LensOutput
from interpreto.errors import InputError
from interpreto.visualizations.display import Renderer, check_backend, figures
from interpreto.visualizations.html.lens import page_of
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.terminal.lens import lens_to_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class LensRenderer(Renderer):
    """Draw the layers of one or several texts."""

    outputs: Sequence[LensOutput]

    @cached_property
    def _page(self) -> Page:
        return page_of(self.outputs)

    def page(self, title: str | None = None) -> str:
        """Return a page with a table of layers × tokens per text."""
        return self._page.document("What each layer would answer" if title is None else title)

    def fragment(self) -> str:
        """Return the tables in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return a line per layer: its likeliest outputs at the last token."""
        return "\n\n".join(lens_to_text(output) for output in self.outputs)

    def figure(self) -> Figure:
        """Return layers × tokens, with the likeliest output in each cell."""
        return figures("lens").draw_lens(self.outputs)


def renderer(outputs: LensOutput | Sequence[LensOutput]) -> LensRenderer:
    """Return the renderer of one or several results of a lens.

    Raises:
        InputError: They are something else, or there are none.
    """
    found = [outputs] if isinstance(outputs, LensOutput) else list(outputs)
    for i, output in enumerate(found):
        if not isinstance(output, LensOutput):
            raise InputError(f"`outputs[{i}]`: got {type(output).__name__}; pass what a lens returns, such as LogitLens.")
    if not found:
        raise InputError("`outputs`: there is nothing in it; pass what a lens returns, such as LogitLens.")
    return LensRenderer(found)


def plot_lens(
    outputs: LensOutput | Sequence[LensOutput],
    path: str | PathLike[str] | None = None,
    *,
    align: bool = False,
    backend: str = "auto",
) -> Any:
    """Draw what a model would answer after each layer: layers × tokens, the likeliest output in each cell.

    Args:
        outputs: What `LogitLens` or `TunedLens` returns, or one of these results.
        path: File to write as well: a page, where each cell shows its likeliest outputs, or matplotlib's figure in the
            format of the file's suffix.
        align: Show each answer at the next token, which it is a prediction of; False: at the token after which it is given.
        backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"``; ``"auto"`` is the notebook whose kernel runs this, else
            the terminal.

    Returns:
        The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

    Raises:
        FileError: The file cannot be written.
        InputError: They are no results of a lens.
        OptionError: The backend is unknown or its package is not installed.

    Examples:
        >>> from interpreto import LogitLens, demo, plot_lens
        >>> outputs = LogitLens(*demo.load_classifier())("A gorgeous, moving film.")
        >>> plot_lens(outputs, backend="matplotlib").axes[0].get_ylabel()
        'layer'
    """
    check_backend(backend)
    drawn = renderer(outputs)
    return (LensRenderer([output.aligned() for output in drawn.outputs]) if align else drawn).show(path, backend=backend)
