"""Concepts drawn for print with matplotlib: bars of what they do, heat maps of all of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from interpreto.concepts.views import ConceptView, LocalConcepts
from interpreto.visualizations.figures.attributions import AGAINST, DIVERGING, FOR, Drawing, _name, _titled
from interpreto.visualizations.text_layout import number

OUTPUTS = 4  # with bars of their own
LABELS = 60  # names beside an axis; of more, every second or third is written
MORE, LESS = "#7b3fa0", "#2f8f46"
SIGNED = LinearSegmentedColormap.from_list("interpreto_concepts", [LESS, "#ffffff", MORE])
RISING = LinearSegmentedColormap.from_list("interpreto_concepts_rising", ["#ffffff", MORE])


def draw_concepts(view: ConceptView) -> Figure:
    """A figure: bars for each output, a heat map of concepts and outputs, and of a text its concepts unit by unit.

    Nothing of pyplot's state is used, and texts are drawn as they are, dollar signs too.
    """
    outputs = list(range(len(view.outputs)))
    if isinstance(view, LocalConcepts) and view.about.output == "class":
        outputs.sort(key=lambda output: -float(view.scores[output]))
    k, bars = len(view.shown), outputs[:OUTPUTS]
    local = isinstance(view, LocalConcepts)
    heights = [1.4 + 0.27 * k, *([1.8 + 0.27 * k] if len(outputs) > 1 else []), *([1.8 + 0.27 * k] if local else [])]
    width = max(4.6 * len(bars), min(4.2 + 0.5 * len(outputs), 18.0), min(4.2 + 0.3 * _units(view), 20.0))
    figure = Drawing(figsize=(width, sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    grid = figure.add_gridspec(len(heights), len(bars), height_ratios=heights)
    for column, output in enumerate(bars):
        _bars(view, output, figure.add_subplot(grid[0, column]))
    if len(outputs) > 1:
        _outputs(view, figure.add_subplot(grid[1, :]))
    if isinstance(view, LocalConcepts):
        _text(view, figure.add_subplot(grid[len(heights) - 1, :]))
    return figure


def signed_importances(view: ConceptView) -> Float[Tensor, "k t"]:
    """Importances of the shown concepts, negative where the effect is: what the heat map of outputs shows."""
    sizes, net = view.totals()
    shown = list(view.shown)
    return torch.where(net < 0, -sizes, sizes)[:, shown].T


def _units(view: ConceptView) -> int:
    return len(view.elements) if isinstance(view, LocalConcepts) else 0


def _bars(view: ConceptView, output: int, axes: Axes) -> None:
    """Importance pale, and within it the effect."""
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
    axes.set_xlabel(f"effect, {_name(view.about.unit, 60)}\npale: importance")
    top = float(sizes[:, list(view.shown)].max())
    if top:
        axes.set_xlim(-1.05 * top, 1.05 * top)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    score = f": {number(float(view.scores[output]))} {_name(view.score_unit, 30)}" if isinstance(view, LocalConcepts) else ""
    _titled(axes, f"{_name(view.outputs[output], 30)}{score}", "")


def _outputs(view: ConceptView, axes: Axes) -> None:
    values = signed_importances(view)
    _map(axes, values, DIVERGING, f"importance, {_name(view.about.unit, 60)}")
    _names(axes, list(view.outputs), [_concept(view, concept) for concept in view.shown])
    axes.set_xlabel(view.about.output)
    axes.set_ylabel("concept")
    _titled(axes, "Concepts and outputs", f"{_name(view.about.scale, 90)}; side: the effect's")


def _text(view: LocalConcepts, axes: Axes) -> None:
    values = view.activations[:, list(view.shown)].T
    _map(axes, values, SIGNED if bool((values < 0).any()) else RISING, "activation")
    _names(axes, list(view.elements), [_concept(view, concept) for concept in view.shown])
    axes.set_xlabel(_name(view.about.granularity, 30))
    axes.set_ylabel("concept")
    _titled(axes, "Concepts in the text", "")


def _map(axes: Axes, values: Float[Tensor, "k n"], colors: Colormap, label: str) -> None:
    top = float(values.abs().max()) or 1.0
    norm = Normalize(0.0 if colors is RISING else -top, top)
    image = axes.imshow(values.numpy(), cmap=colors, norm=norm, aspect="auto", interpolation="nearest")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    assert axes.figure is not None
    _as_is(axes.figure.colorbar(image, ax=axes, label=label, pad=0.01, fraction=0.04).ax)


def _as_is(axes: Axes) -> None:
    """A dollar sign in a text is no formula."""
    _titled(axes, "", "")


def _names(axes: Axes, columns: list[str], rows: list[str]) -> None:
    across, down = range(0, len(columns), 1 + (len(columns) - 1) // LABELS), range(0, len(rows), 1 + (len(rows) - 1) // LABELS)
    axes.set_xticks(across, [_name(columns[i], 16) for i in across], rotation=50, ha="right", rotation_mode="anchor")
    axes.set_yticks(down, [rows[i] for i in down])


def _concept(view: ConceptView, concept: int) -> str:
    label = view.labels.get(concept)
    return _name(f"{concept}  {view.name(concept)}" if label else view.name(concept), 32)
