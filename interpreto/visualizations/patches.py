"""Concepts of images as crops of their top patches, and as maps over images."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.top_patches import TopPatches, concept_maps
from interpreto.errors import InputError
from interpreto.validation import check_count
from interpreto.visualizations.display import figures, save_figure

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
    margin = 0 if margin == 0 else check_count(margin, "margin")
    found = TopPatches(concept_explainer, k, per_image=per_image).interpret(inputs, concepts_indices)
    if not any(found.values()):
        raise InputError("`inputs`: no concept is above 0 in any of these images; there is nothing to draw.")
    overlays = []
    if over is not None:
        splitter: Any = concept_explainer.own_splitter()
        pictures = [sample.picture for sample in splitter.samples(over)]
        overlays = list(zip(pictures, concept_maps(concept_explainer, over), strict=True))
    called = {concept: (names or {}).get(concept, f"concept {concept}") for concept in found}
    figure = figures("patches").draw(found, called, margin, overlays)
    if path is not None:
        save_figure(figure, path)
    return figure
