"""Curves of metrics in any medium: scores while units are removed, the mean over texts, in the band of random orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.metrics.result import MetricResult
from interpreto.visualizations.curve_layout import Curve, read_curves
from interpreto.visualizations.display import Renderer, check_backend, figures
from interpreto.visualizations.html.curves import curve_fragment, curve_page
from interpreto.visualizations.terminal.curves import to_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Curve", "CurveRenderer", "plot_curves", "renderer"]


@dataclass(frozen=True, eq=False)
class CurveRenderer(Renderer):
    """Draw curves of one metric."""

    metric: str
    label: str
    curves: Sequence[Curve]

    @property
    def compared(self) -> Sequence[Curve]:
        """Return the curves; a single one without a band is next to the line of random orders of units that add up."""
        return [*self.curves, self.curves[0].chance()] if len(self.curves) == 1 and self.curves[0].low is None else self.curves

    def page(self, title: str | None = None) -> str:
        """Return a page with the curves and a table of their areas."""
        return curve_page(self.metric if title is None else title, self.label, self.compared)

    def fragment(self) -> str:
        """Return the curves as SVG, and a table of their areas."""
        return curve_fragment(self.label, self.compared)

    def text(self) -> str:
        """Return a line of bars per curve."""
        return to_lines(self.label, self.curves)

    def figure(self) -> Figure:
        """Return the curves on one pair of axes."""
        return figures("curves").draw_curves(self.label, self.compared)


def renderer(results: MetricResult | Mapping[str, MetricResult]) -> CurveRenderer:
    """Return the renderer of curves.

    Raises:
        InputError: There is nothing to draw, or results are of different metrics or of one without curves.
    """
    return CurveRenderer(*read_curves(results))


def plot_curves(
    results: MetricResult | Mapping[str, MetricResult], path: str | PathLike[str] | None = None, *, backend: str = "auto"
) -> Any:
    """Draw the mean curve over texts of one metric, such as `Deletion`, for each method.

    Args:
        results: Results of one metric with curves, by the name of their method. A random baseline of a `Benchmark` is drawn
            as the band that its draws span.
        path: File to write as well: a page, or matplotlib's figure in the format of the file's suffix.
        backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"``; ``"auto"`` is the notebook whose kernel runs this, else
            the terminal.

    Returns:
        The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

    Raises:
        FileError: The file cannot be written.
        InputError: There is nothing to draw, or results are of different metrics or of one without curves.
        OptionError: The backend is unknown or its package is not installed.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> from interpreto.metrics import Deletion
        >>> from interpreto.visualizations import plot_curves
        >>> model, tokenizer = demo.load_classifier()
        >>> result = Deletion(model, tokenizer).run(Occlusion(model, tokenizer)("A gorgeous, moving film."))
        >>> figure = plot_curves({"Occlusion": result}, backend="matplotlib")
        >>> figure.axes[0].get_ylabel()
        'probability (Deletion)'
    """
    check_backend(backend)
    return renderer(results).show(path, backend=backend)
