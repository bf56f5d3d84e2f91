"""Steerings compared, in any medium: texts, dose and response, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interpreto.concepts.steering.comparison import SteeringComparison
from interpreto.visualizations.display import Renderer, figures
from interpreto.visualizations.html.steering import steering_fragment, steering_page
from interpreto.visualizations.terminal.steering import to_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "What a model writes when it is steered"


@dataclass(frozen=True, eq=False)
class SteeringRenderer(Renderer):
    """Draw a comparison of steerings."""

    found: SteeringComparison

    def page(self, title: str | None = None) -> str:
        """Return a page with the drawing, a table of numbers and all texts."""
        return steering_page(TITLE if title is None else title, self.found)

    def fragment(self) -> str:
        """Return the drawing as SVG, the numbers and the texts."""
        return steering_fragment(self.found)

    def text(self) -> str:
        """Return a line per steering, and the texts of the first prompts."""
        return to_lines(self.found)

    def figure(self) -> Figure:
        """Return effect and fluency on two axes."""
        return figures("steering").draw_steering(self.found)


def renderer(found: SteeringComparison) -> SteeringRenderer:
    """Return the renderer of a comparison."""
    return SteeringRenderer(found)
