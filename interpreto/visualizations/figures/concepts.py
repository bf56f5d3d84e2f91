"""Concepts drawn for print with matplotlib: bars of their effects, heat maps of all of them."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from torch import Tensor

from interpreto.concepts.views import ConceptView, LocalConcepts
from interpreto.visualizations.concept_layout import largest_effect, ordered_outputs, without_noise
from interpreto.visualizations.figures.attributions import AGAINST, DIVERGING, FOR
from interpreto.visualizations.figures.drawing import Drawing, Panel, arrange, every_nth, short_name, titled
from interpreto.visualizations.text_layout import format_number

OUTPUTS = 4  # with bars
LABELS = 60  # names per axis
MORE, LESS = "#7b3fa0", "#2f8f46"
SIGNED = LinearSegmentedColormap.from_list("interpreto_concepts", [LESS, "#ffffff", MORE])
RISING = LinearSegmentedColormap.from_list("interpreto_concepts_rising", ["#ffffff", MORE])


def draw_concepts(view: ConceptView) -> Drawing:
    """Return a figure: bars for each output, a heat map of concepts and outputs, and of one text its concepts per unit.

    No state of pyplot is used, and texts are drawn as they are, dollar signs too.
    """
    view = without_noise(view)
    outputs, k = ordered_outputs(view), len(view.shown)
    shown = outputs[:OUTPUTS]
    units = len(view.elements) if isinstance(view, LocalConcepts) else 0
    width = max(4.6 * len(shown), min(4.2 + 0.5 * len(outputs), 18.0), min(4.2 + 0.3 * units, 20.0))
    rows = [[Panel(width / len(shown), 1.4 + 0.27 * k, partial(_bars, view, output)) for output in shown]]
    if len(outputs) > 1:
        rows.append([Panel(width, 1.8 + 0.27 * k, partial(_outputs, view), f"importance, {short_name(view.about.unit, 60)}")])
    if isinstance(view, LocalConcepts):
        rows.append([Panel(width, 1.8 + 0.27 * k, partial(_text, view), "activation")])
    return arrange(rows)


def signed_importances(view: ConceptView) -> Float[Tensor, "k t"]:
    """Return the importances of the shown concepts, with the sign of the effect, as the heat map of outputs has them."""
    sizes, net = view.totals()
    return torch.where(net < 0, -sizes, sizes)[:, list(view.shown)].T


def _bars(view: ConceptView, output: int, axes: Axes) -> None:
    """Draw importances as pale bars and effects as full bars inside of them."""
    sizes, net = view.totals()
    order = view.ranked(output)
    effects = [float(net[output, concept]) for concept in order]
    colors = [FOR if effect >= 0 else AGAINST for effect in effects]
    whole = [float(sizes[output, concept]) * (-1 if effect < 0 else 1) for concept, effect in zip(order, effects, strict=True)]
    axes.barh(range(len(order)), whole, color=colors, alpha=0.3, height=0.72, label="importance")
    axes.barh(range(len(order)), effects, color=colors, height=0.72, label="effect")
    axes.set_yticks(range(len(order)), [_concept(view, concept) for concept in order])
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.axvline(0, color="#404040", linewidth=0.8)
    axes.set_xlabel(f"effect, {short_name(view.about.unit, 60)}\npale: importance")
    top = largest_effect(view)
    if top:
        axes.set_xlim(-1.05 * top, 1.05 * top)
    axes.locator_params(axis="x", nbins=5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    score = ""
    if isinstance(view, LocalConcepts) and view.has_scores:
        score = f": {format_number(float(view.scores[output]))} {short_name(view.score_unit, 30)}"
    titled(axes, f"{short_name(view.outputs[output], 30)}{score}", "")


def _outputs(view: ConceptView, axes: Axes) -> ScalarMappable:
    image = _map(axes, signed_importances(view), DIVERGING)
    _names(axes, list(view.outputs), [_concept(view, concept) for concept in view.shown])
    axes.set_xlabel(view.about.output)
    axes.set_ylabel("concept")
    titled(axes, "Concepts and outputs", f"{short_name(view.about.scale, 90)}; sign of the effect")
    return image


def _text(view: LocalConcepts, axes: Axes) -> ScalarMappable:
    values = view.activations[:, list(view.shown)].T
    image = _map(axes, values, SIGNED if bool((values < 0).any()) else RISING)
    _names(axes, list(view.elements), [_concept(view, concept) for concept in view.shown])
    axes.set_xlabel(short_name(view.about.granularity, 30))
    axes.set_ylabel("concept")
    titled(axes, "Concepts in the text", "")
    return image


def _map(axes: Axes, values: Float[Tensor, "k n"], colors: Colormap) -> ScalarMappable:
    top = float(values.abs().max()) or 1.0
    norm = Normalize(0.0 if colors is RISING else -top, top)
    image = axes.imshow(values.numpy(), cmap=colors, norm=norm, aspect="auto", interpolation="nearest")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return image


def _names(axes: Axes, columns: list[str], rows: list[str]) -> None:
    across, down = every_nth(len(columns), LABELS), every_nth(len(rows), LABELS)
    axes.set_xticks(across, [short_name(columns[i], 16) for i in across], rotation=50, ha="right", rotation_mode="anchor")
    axes.set_yticks(down, [rows[i] for i in down])


def _concept(view: ConceptView, concept: int) -> str:
    label = view.labels.get(concept)
    return short_name(f"{concept}  {view.name(concept)}" if label else view.name(concept), 32)
