"""Concepts of images as crops of their top patches, and as maps over images."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.top_patches import TopPatches, concept_amounts
from interpreto.errors import InputError
from interpreto.renderable import visible
from interpreto.storage import check_writable, replacing
from interpreto.validation import check_count
from interpreto.visualizations.display import figures, save_figure
from interpreto.visualizations.html.patches import PatchView, page_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_patches(
    concept_explainer: ConceptExplainer,
    inputs: Any,
    concepts_indices: Any = "all",
    *,
    over: Any = None,
    k: int = 5,
    per_image: int = 1,
    margin: int = 0,
    names: Mapping[int, str] | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw concepts of an image model: a row per concept, with its top patches as crops, and its maps over images.

    Args:
        concept_explainer: Fitted concepts of patches, or of places of maps.
        inputs: Images among which the top patches are found.
        concepts_indices: Which concepts, in the order of the rows: a number, several, or ``"all"``.
        over: Images over which the concepts' maps are drawn; None: there are none.
        k: Patches per concept.
        per_image: Most patches of one image.
        margin: Pixels of the image around each crop.
        names: Names of concepts by number; others are called by it.
        path: File to write as well, in the format of its suffix.

    Returns:
        The figure of matplotlib.

    Raises:
        InputError: no concept is above 0 in any image.
        OptionError: matplotlib is not installed.

    References:
        Fel et al., CVPR 2023, https://arxiv.org/abs/2211.10154.
    """
    view = _viewed(concept_explainer, inputs, concepts_indices, over, k, per_image, margin, names)
    overlays = [(view.images[n], view.images[n].spread(view.amounts[n].T)) for n in view.images if n < 0]
    figure = figures("patches").draw(view.patches, view.names, view.margin, overlays)
    if path is not None:
        save_figure(figure, path)
    return figure


def patches_to_html(
    concept_explainer: ConceptExplainer,
    inputs: Any,
    concepts_indices: Any = "all",
    *,
    over: Any = None,
    k: int = 5,
    per_image: int = 1,
    margin: int = 0,
    names: Mapping[int, str] | None = None,
    path: str | PathLike[str] | None = None,
    title: str | None = None,
) -> str:
    """Return a page of concepts of an image model: a list, the crops of one, and its map over an image that is chosen.

    Args:
        concept_explainer: Fitted concepts of patches, or of places of maps.
        inputs: Images among which the top patches are found.
        concepts_indices: Which concepts: a number, several, or ``"all"``.
        over: Further images over which maps are drawn; None: only those in which the top patches lie.
        k: Patches per concept.
        per_image: Most patches of one image.
        margin: Pixels of the image around each crop.
        names: Names of concepts by number; others are called by it.
        path: File to write the page to as well, as UTF-8.
        title: The page's heading; None is ``"Concepts"``.

    Returns:
        The page, which loads nothing.

    Raises:
        InputError: no concept is above 0 in any image.
        FileError: the file cannot be written.

    References:
        Fel et al., CVPR 2023, https://arxiv.org/abs/2211.10154.
    """
    file = None if path is None else check_writable(path)
    view = _viewed(concept_explainer, inputs, concepts_indices, over, k, per_image, margin, names)
    page = page_of(view).document("Concepts" if title is None else visible(title))
    if file is not None:
        with replacing(file) as partial:
            partial.write_text(page, encoding="utf-8", newline="\n")
    return page


def _viewed(  # noqa: PLR0917  # the options of a call
    explainer: ConceptExplainer,
    inputs: Any,
    concepts_indices: Any,
    over: Any,
    k: int,
    per_image: int,
    margin: int,
    names: Mapping[int, str] | None,
) -> PatchView:
    """Return the top patches, and the amounts of all concepts in the images that they lie in and in further ones."""
    margin = 0 if margin == 0 else check_count(margin, "margin")
    found = TopPatches(explainer, k, per_image=per_image).interpret(inputs, concepts_indices)
    if not any(found.values()):
        raise InputError("`inputs`: no concept is above 0 in any of these images; there is nothing to draw.")
    images = {patch.image: patch.picture for each in found.values() for patch in each or ()}
    images = dict(sorted(images.items()))
    amounts = dict(zip(images, concept_amounts(explainer, [one.pixels for one in images.values()]), strict=True))
    if over is not None:
        splitter: Any = explainer.own_splitter()
        for number, (sample, rows) in enumerate(zip(splitter.samples(over), concept_amounts(explainer, over), strict=True), 1):
            images[-number], amounts[-number] = sample.picture, rows
    called = {concept: (names or {}).get(concept, f"concept {concept}") for concept in found}
    return PatchView(found, called, margin, images, amounts)
