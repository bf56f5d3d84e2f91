"""Data maps and suspected label errors drawn for print with matplotlib."""

from __future__ import annotations

from matplotlib.figure import Figure

from interpreto.training.label_errors import LabelErrors
from interpreto.visualizations.figures.drawing import Drawing, as_is, short_name
from interpreto.visualizations.html.label_errors import SCORES
from interpreto.visualizations.training_layout import AXES, COLORS, REGIONS, STEPS, DataMap


def draw_map(drawn: DataMap) -> Figure:
    """Return a dot per text: confidence over variability, colored by the share of epochs predicted."""
    figure = Drawing(figsize=(6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for step, (color, name) in enumerate(zip(COLORS, STEPS, strict=True)):
        own = [dot for dot in drawn.dots if dot.step == step]
        axes.scatter([d.x for d in own], [d.y for d in own], s=9, color=color, alpha=0.6, linewidths=0, label=name)
    for x, y, name in REGIONS:
        axes.text(x, y, name, fontsize="small", fontweight="bold", va="center")
    axes.set_xlim(-0.01, 0.51)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(AXES[0])
    axes.set_ylabel(AXES[1])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(title="label predicted", frameon=False, fontsize="small", title_fontsize="small", loc="center left")
    return figure


def draw_errors(found: LabelErrors) -> Figure:
    """Return a bar per text, the most suspicious on top."""
    figure = Drawing(figsize=(7, 0.8 + 0.3 * max(len(found), 1)), layout="constrained")
    axes = figure.add_subplot()
    values = found.scores.clamp(max=1e6).tolist()  # infinity: never learned
    axes.barh(range(len(values)), values, color=COLORS[1])
    names = [f"{short_name(text, 48)} ({short_name(label, 16)})" for text, label in zip(found.texts, found.labels, strict=True)]
    axes.set_yticks(range(len(values)), names, fontsize="small")
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlabel(SCORES.get(found.by, found.by))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    as_is(axes)
    return figure
