"""Concepts of images drawn for print with matplotlib: their top patches as crops, and maps over an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from interpreto.visualizations.figures.attributions import RISING
from interpreto.visualizations.figures.drawing import Drawing, Panel, arrange, titled
from interpreto.visualizations.figures.images import bare
from interpreto.visualizations.text_layout import format_number

SIDE = 1.5


def draw(
    patches: Mapping[int, Sequence[Any] | None], names: Mapping[int, str], margin: int, overlays: Sequence[Any]
) -> Drawing:
    """Return a figure with a row per concept: the crops of its top patches, then its map over each of some images.

    Args:
        patches: Of each concept, as `TopPatches` finds them.
        names: Of each concept.
        margin: Pixels of the image around each crop.
        overlays: Pairs of a picture and the maps ``(c, h, w)`` of all concepts over it.
    """
    rows = []
    for concept, found in patches.items():
        crops = [
            Panel(SIDE, SIDE + 0.4, partial(_crop, patch, margin, names[concept] if not i else ""))
            for i, patch in enumerate(found or [])
        ]
        maps = [Panel(SIDE + 0.9, SIDE + 0.4, partial(_map, *overlay, concept), "amount") for overlay in overlays]
        if crops or maps:
            rows.append([*crops, *maps])
    return arrange(rows)


def _crop(patch: Any, margin: int, name: str, axes: Axes) -> None:
    axes.imshow(patch.crop(margin), interpolation="nearest")
    bare(axes)
    titled(axes, name, "" if name else format_number(patch.activation))


def _map(picture: Any, maps: Any, concept: int, axes: Axes) -> ScalarMappable:
    gray = picture.shown.float().mean(-1) / 255
    axes.imshow(0.35 + 0.65 * gray.numpy(), cmap="gray", vmin=0, vmax=1)
    values = np.ma.masked_invalid(maps[concept].numpy())
    heat = axes.imshow(values, cmap=RISING, vmin=0.0, vmax=max(float(values.max()), 1e-12), alpha=0.7, interpolation="nearest")
    bare(axes)
    return heat
