"""Explanations of images drawn for print with matplotlib: heat maps over the image, methods next to each other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from interpreto.attributions.output import AttributionOutput
from interpreto.visualizations.figures.attributions import AGAINST, DIVERGING, FOR, RISING
from interpreto.visualizations.figures.drawing import Drawing, Panel, arrange, short_name, titled
from interpreto.visualizations.text_layout import color_scale, format_number, ranked_rows, score_unit, value_unit

SIDE, TARGETS = 2.6, 4
OUTLINED = 100
"""Units up to which their edges are drawn."""
HALF = 0.5
"""Share of the largest size from which on a unit is within the contour."""


def draw(groups: Sequence[Sequence[AttributionOutput]]) -> Drawing:
    """Return a figure with a row per image and target: the image, then each method's heat map over it.

    Raises:
        InputError: The figure would be too tall for an image.
    """
    return arrange([row for group in groups for row in _rows(group)])


def _rows(group: Sequence[AttributionOutput]) -> list[list[Panel]]:
    orders = [(e, ranked_rows(e)[:TARGETS]) for e in group]
    rows = []
    for place in range(max(len(order) for _, order in orders)):
        shown = [(e, order[place]) for e, order in orders if place < len(order)]
        panels = [panel for e, row in shown for panel in _panels(e, row)]
        rows.append([Panel(SIDE + 0.3, SIDE + 0.6, partial(_image, group[0])), *panels])
    return rows


def _panels(explanation: AttributionOutput, target: int) -> list[Panel]:
    """Return the heat map of an explanation, and the words of the text that goes with the image."""
    heat = Panel(SIDE + 1.1, SIDE + 0.6, partial(_map, explanation, target), value_unit(explanation))
    count = len(explanation.elements) - explanation.sample.words
    return [heat, Panel(SIDE + 1.0, 1.1 + 0.27 * count, partial(_words, explanation, target))] if count else [heat]


def _words(explanation: AttributionOutput, target: int, axes: Axes) -> None:
    """Draw a bar per unit of the text, in the order of the text."""
    first = explanation.sample.words
    values = explanation.attributions[target, first:].nan_to_num().tolist()
    axes.barh(range(len(values)), values, color=[FOR if value >= 0 else AGAINST for value in values], height=0.72)
    axes.set_yticks(range(len(values)), [short_name(name, 18) for name in explanation.elements[first:]])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.axvline(0, color="#404040", linewidth=0.8)
    top = color_scale(explanation) or 1.0
    axes.set_xlim(-1.05 * top if explanation.signed else 0, 1.05 * top)
    axes.set_xlabel(value_unit(explanation))
    axes.locator_params(axis="x", nbins=4)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    titled(axes, "text", "")


def _image(explanation: AttributionOutput, axes: Axes) -> None:
    picture = explanation.sample.picture
    assert picture is not None
    axes.imshow(picture.shown.numpy())
    bare(axes)
    titled(axes, short_name(picture.name or "image", 24), "")


def _map(explanation: AttributionOutput, target: int, axes: Axes) -> ScalarMappable:
    picture, values = explanation.sample.picture, explanation.attributions[target]
    assert picture is not None
    top = color_scale(explanation) or 1.0
    gray = picture.shown.float().mean(-1) / 255
    axes.imshow(0.35 + 0.65 * gray.numpy(), cmap="gray", vmin=0, vmax=1)
    spread = picture.spread(torch.where(values.isfinite(), values, torch.nan)).numpy()
    heat = axes.imshow(
        np.ma.masked_invalid(spread),
        cmap=DIVERGING if explanation.signed else RISING,
        norm=Normalize(-top if explanation.signed else 0.0, top),
        alpha=0.7,
        interpolation="nearest",
    )
    if picture.units <= OUTLINED:
        _edges(picture.regions.numpy(), axes, 0.4)
    sizes = values.abs().nan_to_num()
    if float(sizes.max()) > 0:
        _edges(picture.spread((sizes >= HALF * sizes.max()).float()).nan_to_num().numpy(), axes, 1.4)
    bare(axes)
    score = f"{format_number(float(explanation.base_scores[target]))} {score_unit(explanation)}"
    titled(axes, short_name(explanation.method, 22), f"{short_name(explanation.target_labels[target], 14)}: {score}")
    return heat


def _edges(regions: np.ndarray, axes: Axes, width: float) -> None:
    """Draw the edges between pixels of different regions."""
    rows, columns = np.nonzero(regions[:, 1:] != regions[:, :-1])
    axes.vlines(columns + 0.5, rows - 0.5, rows + 0.5, color="#ffffff", linewidth=width)
    rows, columns = np.nonzero(regions[1:] != regions[:-1])
    axes.hlines(rows + 0.5, columns - 0.5, columns + 0.5, color="#ffffff", linewidth=width)


def bare(axes: Axes) -> None:
    """Take ticks and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
