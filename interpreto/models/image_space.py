"""The space of an image's cells: what their pixels are, where a baseline's name points, and what may replace them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import InputError, OptionError
from interpreto.inputs.pictures import REPLACEMENTS, of_kind
from interpreto.inputs.samples import Readout, Sample
from interpreto.models.embeddings import Baseline, InputSpace
from interpreto.models.forward import Forward
from interpreto.models.rows import Rows, plain_rows
from interpreto.validation import shown

IMAGE_REPLACEMENTS = REPLACEMENTS[1:]
"""``mean``: the image's mean color. ``blur``: the image out of focus. ``zero``: the mean color of the data that the processor
normalizes by. ``noise``: random colors with the image's mean and spread."""

NO_VOCABULARY = "`model`: this method looks other words of the vocabulary up, and images have none; use another one."


class PictureSpace(InputSpace):
    """Look up the pixels of cells, and baselines of them."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def embed(self, sample: Sample) -> Float[Tensor, "l d"]:
        """Return the pixels of a sample's cells."""
        return self.rows(sample.input_ids, sample)

    def rows(self, ids: Int[Tensor, " l"], sample: Sample) -> Float[Tensor, "l d"]:
        """Return the pixels of other ids in the places of a sample's cells."""
        if sample.picture is None:
            raise InputError("`inputs`: got a sample of a text, and the model reads images.")
        return self.forward.embeddings.embed(ids)

    def table(self, ids: Int[Tensor, " l"]) -> Float[Tensor, "l d"]:
        """Return the pixels of cells of any image."""
        return self.forward.embeddings.embed(ids)

    def baseline(self, value: Baseline, embeddings: Float[Tensor, "l d"], sample: Sample | None = None) -> Float[Tensor, "l d"]:
        """Return the baseline that an option asks for, for every cell."""
        if isinstance(value, str):
            assert sample is not None, "a name is of the sample's image"
            return self.rows(of_kind(sample.input_ids, value), sample).to(embeddings)
        value = torch.as_tensor(value, dtype=embeddings.dtype, device=embeddings.device)
        if value.ndim and sample is not None and sample.picture is not None and value.shape == sample.picture.pixels.shape:
            return sample.picture.to_cells(value.cpu()).to(embeddings)
        if value.ndim and value.shape != embeddings.shape:
            wanted = "" if sample is None or sample.picture is None else f", an image {tuple(sample.picture.pixels.shape)}"
            raise OptionError(
                f"`baseline`: got shape {tuple(value.shape)}; pass a number{wanted} or {tuple(embeddings.shape)}."
            )
        return value.expand_as(embeddings)

    @property
    def size(self) -> int:
        """Raise: images have no vocabulary.

        Raises:
            OptionError: always.
        """
        raise OptionError(NO_VOCABULARY)


@dataclass(frozen=True, eq=False)
class PictureReplacement:
    """Replacement of the pixels of masked units; see `IMAGE_REPLACEMENTS`."""

    name: str
    token_id: None = None
    vector: None = None

    def rows(self, sample: Sample, mask: Float[Tensor, "r u"], readout: Readout | None = None) -> Rows:
        """Return the perturbed inputs of ``sample`` under ``mask``."""
        plain = plain_rows(sample, len(mask), readout)
        masked = sample.units.spread(mask).bool()
        return replace(plain, ids=torch.where(masked, of_kind(plain.ids, self.name), plain.ids))


def read_image_replacement(value: Any) -> PictureReplacement:
    """Return the replacement of an option; ``auto`` is the image's mean color.

    Raises:
        OptionError: there is no such replacement.
    """
    if value == "auto":
        return PictureReplacement("mean")
    if value not in IMAGE_REPLACEMENTS:
        raise OptionError(
            f"`replacement`: got {shown(value)}; units of an image are replaced by "
            f"{', '.join(map(repr, IMAGE_REPLACEMENTS))}; pass one of these."
        )
    return PictureReplacement(value)
