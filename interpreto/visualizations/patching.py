"""Parts × tokens of activation patching in any medium."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from interpreto.concepts.circuits.patching_output import PatchingOutput
from interpreto.errors import InputError
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.html.patching import page_of
from interpreto.visualizations.terminal.patching import patching_to_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class PatchingRenderer(Renderer):
    """Draw what parts of one or several pairs of texts do."""

    outputs: Sequence[PatchingOutput]

    @cached_property
    def _page(self) -> Page:
        return page_of(self.outputs)

    def page(self, title: str | None = None) -> str:
        """Return a page with a table of parts × tokens per pair."""
        return self._page.document("What each part carries" if title is None else title)

    def fragment(self) -> str:
        """Return the tables in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return a line for each of the largest cells."""
        return "\n\n".join(patching_to_text(output) for output in self.outputs)

    def figure(self) -> Figure:
        """Return parts × tokens, a panel per direction."""
        return figures("patching").draw_patching(self.outputs)


def renderer(outputs: PatchingOutput | Sequence[PatchingOutput]) -> PatchingRenderer:
    """Return the renderer of one or several results of activation patching.

    Raises:
        InputError: They are something else, or there are none.
    """
    found = [outputs] if isinstance(outputs, PatchingOutput) else list(outputs)
    for i, output in enumerate(found):
        if not isinstance(output, PatchingOutput):
            raise InputError(f"`outputs[{i}]`: got {type(output).__name__}; pass what ActivationPatching returns.")
    if not found:
        raise InputError("`outputs`: there is nothing in it; pass what ActivationPatching returns.")
    return PatchingRenderer(found)
