"""Encode explanations of images for a page: the image in the place that a text has, all else as for texts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from interpreto.attributions.output import AttributionOutput
from interpreto.inputs.pictures import Picture
from interpreto.visualizations.html.attributions import CARDS, described
from interpreto.visualizations.html.encoding import to_json
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import heading, table
from interpreto.visualizations.text_layout import format_number, ranked_units, score_unit, value_unit

LOOK = Look([*("picture.js" if name == "passage.js" else name for name in CARDS), "cards.js"], ["picture.css"])
TOP = 5  # units in the table of the static view
NONE = 2**16 - 1
"""Region of pixels that are in no unit."""


def page_of(groups: Sequence[Sequence[AttributionOutput]]) -> Page:
    """Return the page of explanations of images, a card per image."""
    data = [[described(explanation) | _picture(explanation) for explanation in group] for group in groups]
    return Page(LOOK, to_json(data), "".join(_static(explanation) for group in groups for explanation in group))


def _picture(explanation: AttributionOutput) -> dict[str, Any]:
    """Return the image and the unit of each pixel; the text, which names the units, is left out."""
    picture = explanation.sample.picture
    assert picture is not None
    return {"picture": encoded(picture), "said": spoken(explanation), "segments": [], "blocks": []}


def spoken(explanation: AttributionOutput) -> list[tuple[str, int | None]]:
    """Return the text that goes with an image, in parts, each with its unit; None where it is in none."""
    sample, parts = explanation.sample, []
    start = len(sample.text) - len(sample.said)
    for unit in range(sample.words, len(sample.units)):
        begin, end = sample.units.spans[unit]
        parts += [(sample.text[start:begin], None), (sample.text[begin:end] or sample.units.texts[unit], unit)]
        start = end
    return [(text, unit) for text, unit in [*parts, (sample.text[start:], None)] if text]


def encoded(picture: Picture) -> dict[str, Any]:
    """Return an image as a page reads it: bytes, and numbers of 16 bits, in base64."""
    regions = picture.regions.numpy()
    height, width = regions.shape
    numbers = np.where(regions < 0, NONE, regions).astype("<u2")
    return {
        "name": picture.name,
        "width": width,
        "height": height,
        "rgb": base64.b64encode(picture.shown.numpy().tobytes()).decode(),
        "regions": base64.b64encode(numbers.tobytes()).decode(),
    }


def _static(explanation: AttributionOutput) -> str:
    """Return the largest values, for where scripts are stripped."""
    values, unit = explanation.attributions[0].tolist(), value_unit(explanation)
    score = f"{format_number(float(explanation.base_scores[0]))} {score_unit(explanation)}"
    names = [
        (explanation.elements[j], format_number(values[j], sign=explanation.signed)) for j in ranked_units(explanation, 0)[:TOP]
    ]
    return heading(explanation.target_labels[0], f"{score} · {explanation.method}") + table(names, f"value ({unit})")


def group_by_image(explanations: Sequence[AttributionOutput]) -> list[list[AttributionOutput]]:
    """Return explanations by image, in order; other units of one image are next to each other too."""
    found: dict[tuple[bytes, str], list[AttributionOutput]] = {}
    for explanation in explanations:
        picture = explanation.sample.picture
        assert picture is not None
        found.setdefault((picture.pixels.numpy().tobytes(), explanation.sample.said), []).append(explanation)
    return list(found.values())
