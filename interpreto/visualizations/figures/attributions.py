"""Attributions drawn for print with matplotlib: bars of the largest units, heat maps of generations."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from interpreto.attributions.output import AttributionOutput
from interpreto.renderable import visible
from interpreto.visualizations.text_layout import answered, grouped, number, ranked, scale, score_unit, value_unit

TOP = 10  # bars of a target
TARGETS = 4  # targets of a class
LABELS = 80  # names beside an axis; of more, every second or third is written
FOR, AGAINST, ABSENT = "#d9730d", "#2a6fc9", "#d8d8d8"
DIVERGING = LinearSegmentedColormap.from_list("interpreto", [AGAINST, "#ffffff", FOR]).with_extremes(bad=ABSENT)
RISING = LinearSegmentedColormap.from_list("interpreto_rising", ["#ffffff", FOR]).with_extremes(bad=ABSENT)
_PICTURES = re.compile("[\u2400-\u2421]")  # of control characters, which matplotlib's own font lacks


class Drawing(Figure):
    """A figure that a notebook shows, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png", dpi=110)
        return written.getvalue()


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        explanation: What it shows.
        target: The row whose largest units it shows as bars; None: all rows as a heat map.
    """

    explanation: AttributionOutput
    target: int | None

    @property
    def size(self) -> tuple[float, float]:
        """Inches."""
        t, g = self.explanation.attributions.shape
        if self.target is None:
            return min(max(6.4, 2.2 + 0.27 * g), 22.0), min(max(1.2, 0.27 * t), 16.0) + 1.6
        return 4.8, 1.1 + 0.27 * min(TOP, g)

    def draw(self, axes: Axes) -> None:
        if self.target is None:
            _heat_map(self.explanation, axes)
        else:
            _bars(self.explanation, self.target, axes)


def draw(explanations: Sequence[AttributionOutput]) -> Figure:
    """A figure with a row of axes for each text: bars for each class and method, a heat map for each generation.

    Nothing of pyplot's state is used, and texts are drawn as they are, dollar signs too. matplotlib warns of letters that
    its font lacks; ``matplotlib.rcParams["font.family"]`` names others.
    """
    rows = [row for group in grouped(explanations) for row in _panels(group)]
    heights = [max(panel.size[1] for panel in row) for row in rows]
    width = max(sum(panel.size[0] for panel in row) for row in rows)
    figure = Drawing(figsize=(width, sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    grid = figure.add_gridspec(len(rows), 1, height_ratios=heights)
    for place, row in enumerate(rows):
        cell = grid[place]
        assert isinstance(cell, SubplotSpec)
        parts = cell.subgridspec(1, len(row))
        for column, panel in enumerate(row):
            panel.draw(figure.add_subplot(parts[0, column]))
    return figure


def _panels(group: Sequence[AttributionOutput]) -> list[list[Panel]]:
    """Rows of axes: the methods of a class side by side, so that each row is a class; generations below each other."""
    maps = [e for e in group if answered(e) and len(e.target_labels) > 1]
    rest = [e for e in group if not any(e is other for other in maps)]
    bars = [
        [Panel(e, target) for e in rest if target < len(e.target_labels)]
        for target in range(max((min(TARGETS, len(e.target_labels)) for e in rest), default=0))
    ]
    return [*bars, *([Panel(e, None)] for e in maps)]


def _bars(explanation: AttributionOutput, target: int, axes: Axes) -> None:
    units = ranked(explanation, target)[:TOP]
    values = explanation.attributions[target]
    errors = explanation.standard_error
    sizes = [float(values[unit]) for unit in units]
    axes.barh(
        range(len(units)),
        sizes,
        xerr=None if errors is None else [float(errors[target, unit]) for unit in units],
        color=[FOR if size >= 0 else AGAINST for size in sizes],
        error_kw={"linewidth": 1, "capsize": 2},
        height=0.72,
    )
    axes.set_yticks(range(len(units)), [_name(explanation.elements[unit], 24) for unit in units])
    axes.set_ylim(len(units) - 0.5, -0.5)
    axes.axvline(0, color="#404040", linewidth=0.8)
    axes.set_xlabel(value_unit(explanation))
    top = scale(explanation)
    if top:
        axes.set_xlim(-1.05 * top if explanation.signed else 0, 1.05 * top)
    axes.locator_params(axis="x", nbins=5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    score = f"{number(float(explanation.base_scores[target]))} {score_unit(explanation)}"
    _titled(axes, f"{_name(explanation.target_labels[target], 30)}: {score}", explanation.method)


def _heat_map(explanation: AttributionOutput, axes: Axes) -> None:
    top = scale(explanation) or 1.0
    t, g = explanation.attributions.shape
    image = axes.imshow(
        torch.where(explanation.attributions.isfinite(), explanation.attributions, torch.nan).numpy(),
        cmap=DIVERGING if explanation.signed else RISING,
        norm=Normalize(-top if explanation.signed else 0.0, top),
        aspect="auto",
        interpolation="nearest",
    )
    columns, rows = range(0, g, 1 + (g - 1) // LABELS), range(0, t, 1 + (t - 1) // LABELS)
    axes.set_xticks(
        columns, [_name(explanation.elements[i], 16) for i in columns], rotation=50, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(rows, [_name(explanation.target_labels[i], 16) for i in rows])
    axes.tick_params(length=0)
    axes.set_ylabel("answer")
    begins = min(span[0] for span in explanation.target_spans if span is not None)
    own = next((i for i, span in enumerate(explanation.spans) if span[0] >= begins), None)
    if own:
        axes.axvline(own - 0.5, color="#404040", linewidth=0.8, linestyle=":")  # where the answer begins
    for spine in axes.spines.values():
        spine.set_visible(False)
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, label=value_unit(explanation), pad=0.01, fraction=0.04)
    _titled(axes, explanation.method, "grey: not seen by the token" if explanation.attributions.isnan().any() else "")


def _titled(axes: Axes, title: str, note: str) -> None:
    axes.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    axes.set_title(note, loc="right", fontsize="small", color="#606060")
    for text in axes.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)  # a dollar sign in a text is no formula
        text.set_usetex(False)


def _name(text: str, length: int) -> str:
    shown = _PICTURES.sub("\ufffd", " ".join(visible(text).split())) or repr(text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"
