"""Read images of every form: the processor runs once, and the image that the model reads is cut into units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpreto.errors import InputError, OptionError
from interpreto.inputs.forms import iterated
from interpreto.inputs.image_files import ACCEPTED, is_pil, opened
from interpreto.inputs.image_processors import ImageProcessor, check_pixels
from interpreto.inputs.pictures import Picture
from interpreto.inputs.regions import ImageGranularity, Regions, regions_of
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Granularity, Units
from interpreto.validation import shown

BETWEEN = "; "  # names of units, in the text of a sample


class ImageReader:
    """Read images.

    Args:
        processor: Makes the model's pixels.
        granularity: Size of the units.

    Attributes:
        granularity: As it is recorded.

    Raises:
        OptionError: the granularity is one of texts.
    """

    takes_many = False
    special_ids: frozenset[int] = frozenset()

    def __init__(self, processor: ImageProcessor, granularity: Any) -> None:
        self.processor, self.granularity = processor, read_image_granularity(granularity)
        self._regions: Regions = regions_of(self.granularity, processor.patch)

    def __call__(self, inputs: Any, roles: Sequence[str] | None = None, first: int = 0) -> list[TokenizedInput]:
        """Return the images of one input, of a list of inputs, or of the rows of a batch.

        Args:
            inputs: What a user passes.
            roles: Of chats; images have none.
            first: Number of the first input among all, for messages.

        Raises:
            InputError: an input is no image, or can be read in more than one way.
        """
        if roles is not None:
            raise OptionError(f"`roles`: got {shown(roles)}, but the input is an image; only chats have roles.")
        if is_image(inputs):
            found = self._read(inputs, "`inputs`")
        else:
            items = enumerate(iterated(inputs), first)
            found = [one for i, item in items for one in self._read(item, f"`inputs[{i}]`")]
        if not found:
            raise InputError(f"`inputs`: got nothing to explain ({shown(inputs)}); pass {ACCEPTED}.")
        return found

    def _read(self, item: Any, name: str) -> list[TokenizedInput]:
        if isinstance(item, Mapping):
            if "pixel_values" not in item:
                raise InputError(f"{name}: got a mapping without 'pixel_values' ({shown(list(item))}); pass {ACCEPTED}.")
            item, name = torch.as_tensor(item["pixel_values"]), f"{name}['pixel_values']"
        if isinstance(item, Tensor) and item.dtype is not torch.uint8:
            if item.ndim not in (3, 4) or not item.numel():
                raise InputError(
                    f"{name}: got a tensor of shape {tuple(item.shape)}; pixel_values are (c, h, w) or (b, c, h, w)."
                )
            rows = item[None] if item.ndim == 3 else item
            return [self._cut(check_pixels(row, self.processor.channels, name), name, "") for row in rows]
        if isinstance(item, (np.ndarray, Tensor)) and item.ndim == 4:
            return [self._of_image(row, f"{name}, row {i}", "") for i, row in enumerate(item)]
        return [self._of_image(item, name, _file_name(item))]

    def _of_image(self, item: Any, name: str, file: str) -> TokenizedInput:
        return self._cut(self.processor(opened(item, name), name), name, file)

    def _cut(self, pixels: Tensor, name: str, file: str) -> TokenizedInput:
        """Return the pixels of one image with its units."""
        seen = self.processor.shown(pixels).numpy()
        return of_picture(Picture(pixels, self._regions(seen), seen, file), name)


def of_picture(picture: Picture, name: str = "`inputs`") -> TokenizedInput:
    """Return a picture as an input whose tokens are its cells; the text lists the names of the units."""
    offsets, start = [], 0
    for each in picture.names:
        offsets.append((start, start + len(each)))
        start += len(each) + len(BETWEEN)
    text, spans = BETWEEN.join(picture.names), tuple(offsets)
    owners = picture.index.tolist()
    nowhere = len(text), len(text)
    tokens = Tokens(
        text,
        tuple(nowhere if owner < 0 else spans[owner] for owner in owners),
        tuple("other pixels" if owner < 0 else picture.names[owner] for owner in owners),
        tuple(owner < 0 for owner in owners),
        ((0, len(text)),),
    )
    return TokenizedInput(tokens, picture.ids, {}, units=Units(picture.index, picture.names, spans), picture=picture)


def is_image(value: object) -> bool:
    """Return True for one image, or one batch of rows, rather than a list of images."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iufb"
    return isinstance(value, (str, Mapping, Tensor)) or hasattr(value, "__fspath__") or is_pil(value)


def _file_name(item: Any) -> str:
    place = item if isinstance(item, str) else getattr(item, "__fspath__", lambda: getattr(item, "filename", ""))()
    return str(place or "").replace("\\", "/").rsplit("/", 1)[-1]


def read_image_granularity(value: Any) -> ImageGranularity | Regions:
    """Return the granularity of images; the default of texts, words, is patches.

    Raises:
        OptionError: it is another one of texts.
    """
    if value is Granularity.WORD:
        return ImageGranularity.PATCH
    if isinstance(value, tuple):
        raise OptionError("`granularity`: got two, which inputs of an image and a text have; pass one.")
    if isinstance(value, Granularity):
        names = ", ".join(repr(member.value) for member in ImageGranularity)
        raise OptionError(
            f"`granularity`: got {value.value!r}, which texts have; of images, pass one of {names} or a function."
        )
    return value
