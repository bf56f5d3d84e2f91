"""Units of images whose activations are read: places, class tokens, or whole images."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interpreto.concepts.splitters.granularities import ActivationGranularity, Unit
from interpreto.errors import InputError, OptionError
from interpreto.inputs.pictures import Picture
from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Units
from interpreto.validation import shown

OF_PLACES = (ActivationGranularity.TOKEN, ActivationGranularity.WORD)


class ImageUnitReader:
    """Cut images into the units that rows of activations represent.

    Args:
        unit: ``TOKEN``, or ``WORD``: each patch, or each place of a map. ``CLS_TOKEN``: the class token. ``ALL_TOKENS``: both.
            ``SAMPLE``: the mean over the image's places.

    Raises:
        OptionError: it is a unit of texts.
    """

    def __init__(self, unit: Unit) -> None:
        if unit not in (*OF_PLACES, *(ActivationGranularity[n] for n in ("CLS_TOKEN", "ALL_TOKENS", "SAMPLE"))):
            raise OptionError(
                f"`activation_granularity`: got {shown(unit)}, which texts have; of images, pass 'token' (each patch or "
                "place), 'cls_token', 'all_tokens' or 'sample'."
            )
        self.unit = unit

    def row(self, encoding: TokenizedInput, position: int) -> SplitInput:
        """Return an image's cells and the unit of each."""
        units = self.units(encoding, position)
        return SplitInput(encoding.input_ids, units.index, len(units), {}, held=encoding.picture)

    def units(self, encoding: TokenizedInput, position: int, part: Any = None) -> Units:
        """Return the units of an image.

        Raises:
            InputError: the model has no class token.
        """
        picture = encoding.picture
        assert picture is not None
        extra = len(encoding.input_ids) - picture.cells
        index, names = self._index(picture, extra, position)
        spans = tuple((name, name + 1) for name in range(len(names)))
        return Units(index, names, spans)

    def _index(self, picture: Picture, extra: int, position: int) -> tuple[Int[Tensor, " l"], tuple[str, ...]]:
        nothing, u = torch.full((extra,), -1), picture.units
        classes = ("class token", *(f"register {i}" for i in range(1, extra)))[:extra]
        if self.unit in OF_PLACES:
            return torch.cat([picture.index, nothing]), picture.names
        if self.unit is ActivationGranularity.SAMPLE:
            return torch.cat([picture.index.clamp(max=0), nothing]), (picture.name or "image",)
        if self.unit is ActivationGranularity.ALL_TOKENS:
            return torch.cat([picture.index, u + torch.arange(extra)]), picture.names + classes
        if not extra:
            raise InputError(f"`inputs[{position}]`: the model has no class token; use TOKEN or SAMPLE.")
        nothing[0] = 0
        return torch.cat([torch.full_like(picture.index, -1), nothing]), classes[:1]
