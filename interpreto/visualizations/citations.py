"""Sources of an answer, drawn: each part of the answer is linked to its places in the documents."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interpreto.attributions.citations import Citations
from interpreto.renderable import visible
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.dots import Dot, DotRenderer
from interpreto.visualizations.html.citations import citations_fragment, citations_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Sources of the answer"


@dataclass(frozen=True, eq=False)
class CitationsRenderer(Renderer):
    """Draw the sources of an answer."""

    citations: Citations

    def page(self, title: str | None = None) -> str:
        """Return a page without a script: the answer, its sources, and the documents, with links between them."""
        return citations_page(TITLE if title is None else title, self.citations)

    def fragment(self) -> str:
        """Return the same as one element."""
        return citations_fragment(self.citations)

    def text(self) -> str:
        """Return a line per source, under each part of the answer."""
        lines = [self.citations.documents.question]
        for part, label in enumerate(self.citations.explanation.target_labels):
            lines.append(f"• {label.strip()}")
            found = self.citations.sources(part)
            lines += [f"    [{s.document + 1}] {s.name}: {' '.join(s.text.split())}  {s.value:+.2f}" for s in found]
            lines += [] if found else ["    no source speaks for it"]
        return visible("\n".join(lines))

    def figure(self) -> Figure:
        """Return the values of the sources of the first part."""
        nothing = (math.nan, math.nan)
        dots = [
            Dot(f"[{source.document + 1}] {source.text[:40]}", source.value, *nothing, (), True, ())
            for source in self.citations.sources()
        ]
        label = self.citations.explanation.inference_mode.replace("_", "-")
        return figures("dots").draw_dots(DotRenderer(TITLE, label, "", (), dots))


def renderer(citations: Citations) -> CitationsRenderer:
    """Return the renderer of the sources of an answer."""
    return CitationsRenderer(citations)
