"""Attributions drawn for print with matplotlib: bars of the largest units, heat maps of generations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize

from interpreto.attributions.output import AttributionOutput, unit_name
from interpreto.errors import InputError
from interpreto.visualizations.figures.drawing import Drawing, Panel, arrange, every_nth, short_name, titled
from interpreto.visualizations.text_layout import (
    adds_up,
    color_scale,
    format_number,
    group_by_text,
    is_generation,
    ranked_rows,
    ranked_units,
    reference_name,
    score_name,
    score_unit,
    value_unit,
    without_noise,
)

TOP = 10  # bars per target
TARGETS = 4  # targets per class
LABELS = 80  # names per axis
FOR, AGAINST, ABSENT = "#d9730d", "#2a6fc9", "#d8d8d8"
DIVERGING = LinearSegmentedColormap.from_list("interpreto", [AGAINST, "#ffffff", FOR]).with_extremes(bad=ABSENT)
RISING = LinearSegmentedColormap.from_list("interpreto_rising", ["#ffffff", FOR]).with_extremes(bad=ABSENT)


def draw_waterfalls(explanations: Sequence[AttributionOutput]) -> Drawing:
    """Return a figure with a panel per text and method: from the reference to the score of the first row, unit by unit.

    Raises:
        InputError: The values of an explanation do not add up to its score.
    """
    panels = []
    for explanation in map(without_noise, explanations):
        row = ranked_rows(explanation)[0]
        if not adds_up(explanation, row):
            raise InputError(
                f"`explanations`: values of {explanation.method} do not add up to the score, so that no waterfall leads to it; "
                "pass those of KernelShap or IntegratedGradients, or leave `kind` out."
            )
        count = min(TOP, explanation.attributions.shape[1]) + 4
        panels.append([Panel(6.4, 1.1 + 0.27 * count, partial(_waterfall, explanation, row))])
    return arrange(panels)


def draw(explanations: Sequence[AttributionOutput]) -> Drawing:
    """Return a figure with a row of axes per text: bars for each class and method, a heat map for each generation.

    No state of pyplot is used, and texts are drawn as they are, dollar signs too. matplotlib warns of letters that its font
    lacks; ``matplotlib.rcParams["font.family"]`` names others.

    Raises:
        InputError: The figure would be too tall for an image.
    """
    groups = group_by_text(without_noise(explanation) for explanation in explanations)
    return arrange([row for group in groups for row in _panels(group)])


def _panels(group: Sequence[AttributionOutput]) -> list[list[Panel]]:
    """Return rows of panels: the methods of a class next to each other, generations below each other."""
    maps = [e for e in group if is_generation(e) and len(e.target_labels) > 1]
    rest = [(e, ranked_rows(e)[:TARGETS]) for e in group if not any(e is other for other in maps)]
    rows = [
        [_bar_panel(e, order[place]) for e, order in rest if place < len(order)]
        for place in range(max((len(order) for _, order in rest), default=0))
    ]
    return [*rows, *([_map_panel(e)] for e in maps)]


def _bar_panel(explanation: AttributionOutput, target: int) -> Panel:
    count = min(TOP, explanation.attributions.shape[1])
    return Panel(4.8, 1.1 + 0.27 * count, partial(_bars, explanation, target))


def _map_panel(explanation: AttributionOutput) -> Panel:
    t, g = explanation.attributions.shape
    size = min(max(6.4, 2.2 + 0.27 * g), 22.0), min(max(1.4, 0.27 * t), 16.0) + 1.9
    return Panel(*size, partial(_heat_map, explanation), value_unit(explanation))


def _bars(explanation: AttributionOutput, target: int, axes: Axes) -> None:
    units = ranked_units(explanation, target)[:TOP]
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
    axes.set_yticks(range(len(units)), [short_name(explanation.elements[unit], 24) for unit in units])
    axes.set_ylim(len(units) - 0.5, -0.5)
    axes.axvline(0, color="#404040", linewidth=0.8)
    axes.set_xlabel(value_unit(explanation))
    top = color_scale(explanation) or 1.0
    axes.set_xlim(-1.05 * top if explanation.signed else 0, 1.05 * top)
    axes.locator_params(axis="x", nbins=5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    score = f"{format_number(float(explanation.base_scores[target]))} {score_unit(explanation)}"
    titled(axes, f"{short_name(explanation.target_labels[target], 30)}: {score}", short_name(explanation.method, 30))


def _waterfall(explanation: AttributionOutput, target: int, axes: Axes) -> None:
    assert explanation.reference_scores is not None and explanation.residual is not None
    units = ranked_units(explanation, target)
    values = explanation.attributions[target].double()
    rest = units[TOP:]
    steps = [(short_name(explanation.elements[unit], 24), float(values[unit])) for unit in units[:TOP]]
    if rest:
        steps.append((f"{len(rest)} other {unit_name(explanation.granularity, len(rest))}", float(values[rest].sum())))
    steps.append(("residual", float(explanation.residual[target])))
    here = float(explanation.reference_scores[target])
    names = [reference_name(explanation), *(name for name, _ in steps), score_name(explanation)]
    axes.plot([here], [0], marker="|", markersize=12, color="#202020")
    for place, (_, size) in enumerate(steps, start=1):
        axes.barh(place, size, left=here, color=FOR if size >= 0 else AGAINST, height=0.72)
        here += size
    axes.plot([here], [len(names) - 1], marker="|", markersize=12, color="#202020")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(score_unit(explanation))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    titled(axes, short_name(explanation.target_labels[target], 30), short_name(explanation.method, 30))


def _heat_map(explanation: AttributionOutput, axes: Axes) -> ScalarMappable:
    top = color_scale(explanation) or 1.0
    t, g = explanation.attributions.shape
    image = axes.imshow(
        torch.where(explanation.attributions.isfinite(), explanation.attributions, torch.nan).numpy(),
        cmap=DIVERGING if explanation.signed else RISING,
        norm=Normalize(-top if explanation.signed else 0.0, top),
        aspect="auto",
        interpolation="nearest",
    )
    columns, rows = every_nth(g, LABELS), every_nth(t, LABELS)
    names = [short_name(explanation.elements[i], 16) for i in columns]
    axes.set_xticks(columns, names, rotation=50, ha="right", rotation_mode="anchor")
    axes.set_yticks(rows, [short_name(explanation.target_labels[i], 16) for i in rows])
    axes.tick_params(length=0)
    axes.set_ylabel("answer")
    begins = min(span[0] for span in explanation.target_spans if span is not None)
    own = next((i for i, span in enumerate(explanation.spans) if span[0] >= begins), None)
    if own:
        axes.axvline(own - 0.5, color="#404040", linewidth=0.8, linestyle=":")  # where the answer begins
    for spine in axes.spines.values():
        spine.set_visible(False)
    note = "gray: not seen by the token" if explanation.attributions.isnan().any() else ""
    titled(axes, short_name(explanation.method, 60), note)
    return image
