"""Encode concepts of images for a page: their top patches as crops, and their maps over the images that these lie in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.interpretations.top_patches import ConceptPatch
from interpreto.inputs.pictures import Picture
from interpreto.visualizations.html.encoding import json_number, packed, to_json
from interpreto.visualizations.html.images import encoded
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import heading, table
from interpreto.visualizations.text_layout import format_number

LOOK = Look(
    ["chooser.js", "patches.js"],
    ["picture.css", "concepts.css", "dashboard.css", "patches.css"],
    name="concepts dashboard patches",
)


@dataclass(frozen=True, eq=False)
class PatchView:
    """Concepts of images.

    Attributes:
        patches: Top patches of each concept, the largest first; None: it is above 0 in none.
        names: Of each concept.
        margin: Pixels of the image around each crop.
        images: Images that maps are drawn over, by their number among the inputs; negative: of another list.
        amounts: Of all concepts in the units of these images.
    """

    patches: Mapping[int, Sequence[ConceptPatch] | None]
    names: Mapping[int, str]
    margin: int
    images: Mapping[int, Picture]
    amounts: Mapping[int, Float[Tensor, "u c"]]


def page_of(view: PatchView) -> Page:
    """Return the page: a list of concepts, and one of them in detail."""
    places = {number: place for place, number in enumerate(view.images)}
    data = {
        "margin": view.margin,
        "images": [
            {**encoded(picture), "title": _title(number, picture), "units": picture.names}
            for number, picture in view.images.items()
        ],
        "concepts": [
            {
                "id": concept,
                "name": view.names[concept],
                "peak": json_number(found[0].activation) if found else 0,
                "patches": [
                    [places[one.image], one.picture.names.index(one.unit), json_number(one.activation), list(one.box)]
                    for one in found or ()
                ],
                "maps": packed_maps(view, concept),
            }
            for concept, found in view.patches.items()
        ],
    }
    return Page(LOOK, to_json(data), _static(view))


def packed_maps(view: PatchView, concept: int) -> list[str]:
    """Return the amounts of a concept in the units of each image."""
    return [(packed(view.amounts[number][:, concept][None]) or [""])[0] for number in view.images]


def _title(number: int, picture: Picture) -> str:
    return picture.name or (f"image {number}" if number >= 0 else f"further image {-number}")


def _static(view: PatchView) -> str:
    """Return a table of the concepts, for where scripts are stripped."""
    rows = [
        (view.names[concept], *((_title(found[0].image, found[0].picture), found[0].unit) if found else ("", "")))
        + ((format_number(found[0].activation),) if found else ("0",))
        for concept, found in view.patches.items()
    ]
    return heading("Concepts", f"of {len(view.images)} images") + table(rows, "top image", "top patch", "activation")
