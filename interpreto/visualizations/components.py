"""Components of a logit in any medium: a bar for each, in the order of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from interpreto.concepts.lenses.components import LogitComponents
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import heading, table
from interpreto.visualizations.terminal.console import BAR, Lines, bars, one_line
from interpreto.visualizations.text_layout import format_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOKENS = 12
"""Last tokens of a text in the table of a page."""


@dataclass(frozen=True, eq=False)
class ComponentsRenderer(Renderer):
    """Draw the components of the logits of one text."""

    output: LogitComponents

    @property
    def _page(self) -> Page:
        output = self.output
        first = max(0, len(output.tokens) - TOKENS)
        heads = [
            f"{one_line(output.tokens[i])} → {one_line(output.target_labels[i])}" for i in range(first, len(output.tokens))
        ]
        rows = [
            (name, *(format_number(float(value), sign=True) for value in output.values[first:, i]))
            for i, name in enumerate(output.components)
        ]
        rows.append(("sum", *(format_number(float(value), sign=True) for value in output.logits[first:])))
        body = heading(output.text, "logit of each token's target by component") + table(rows, *heads)
        return Page(
            Look(()), "{}", body=f'<div class="scroll wide" tabindex="0" role="group" aria-label="Components">{body}</div>'
        )

    def page(self, title: str | None = None) -> str:
        """Return a page with a table of components × tokens."""
        return self._page.document("What adds to the logit" if title is None else title)

    def fragment(self) -> str:
        """Return the table in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return a bar per component, at the last token."""
        output, lines = self.output, Lines(None, None)
        lines.add(Text.assemble((one_line(output.text), "bold")))
        lines.add(Text(f"logit of {one_line(output.target_labels[-1])!r} after {one_line(output.tokens[-1])!r} by component"))
        values = output.values[-1].tolist()
        largest = max(map(abs, values), default=0.0) or 1.0
        marks = ["█" * round(BAR * abs(value) / largest) for value in values]
        amounts = [format_number(value, sign=True) for value in values]
        lines.add(*bars(output.components, max(map(len, output.components)), marks, values, amounts))
        lines.add(Text(f"  sum {format_number(float(output.logits[-1]), sign=True)}"))
        return str(lines)

    def figure(self) -> Figure:
        """Return bars of the components at the last token."""
        output = self.output
        title = f"{one_line(output.tokens[-1])} → {one_line(output.target_labels[-1])}"
        return figures("components").draw_components(output.components, output.values[-1].tolist(), title)


def renderer(output: LogitComponents) -> ComponentsRenderer:
    """Return the renderer of the components of a logit."""
    return ComponentsRenderer(output)
