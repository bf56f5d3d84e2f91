"""Images with texts as one input: the cells of the image come first, then the tokens of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from interpreto.errors import InputError, OptionError
from interpreto.inputs.forms import is_pictured, iterated
from interpreto.inputs.image_processors import ImageProcessor
from interpreto.inputs.images import ImageReader, is_image
from interpreto.inputs.regions import ImageGranularity
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.text import InputReader, TokenizedInput
from interpreto.inputs.units import Granularity
from interpreto.validation import shown

ACCEPTED = "an image and a text, (image, text), or a list of these"
BETWEEN = "\n"  # the names of the image's units, and the text


class ImageTextProcessor:
    """The processor of a model that reads images and texts; takes the tokenizer's place.

    Args:
        images: Makes the model's pixels.
        tokenizer: The tokenizer of its texts.

    Attributes:
        mask_token_id: None, as units of images have no tokens; so are the others of its kind.
    """

    mask_token_id = unk_token_id = pad_token_id = None

    def __init__(self, images: ImageProcessor, tokenizer: Any) -> None:
        self.images, self.tokenizer = images, tokenizer


class PicturedReader:
    """Read pairs of an image and a text.

    Args:
        processor: Makes pixels and tokens.
        granularity: Size of the units: of one side, where the other keeps its default, or a pair of both.
        reader: Reads texts.

    Attributes:
        granularity: As it is recorded: units of both kinds have no name of their own.
        text_granularity: Of the texts.
    """

    takes_many = False
    granularity = None

    def __init__(self, processor: ImageTextProcessor, granularity: Any, reader: InputReader) -> None:
        of_images, self.text_granularity = read_both(granularity)
        self._images, self._texts = ImageReader(processor.images, of_images), reader
        self.special_ids = reader.special_ids

    def __call__(self, inputs: Any, roles: Sequence[str] | None = None, first: int = 0) -> list[TokenizedInput]:
        """Return the pairs of one input, or of a list of inputs.

        Raises:
            InputError: an input is no pair of an image and a text.
        """
        if roles is not None:
            raise OptionError(f"`roles`: got {shown(roles)}, but the input is an image with a text; only chats have roles.")
        if is_pictured(inputs):
            return [self._read(inputs, "`inputs`")]
        if is_image(inputs):
            raise InputError(f"`inputs`: got an image alone, or a text ({shown(inputs)}); pass {ACCEPTED}.")
        found = [self._read(item, f"`inputs[{i}]`") for i, item in enumerate(iterated(inputs), first)]
        if not found:
            raise InputError(f"`inputs`: got nothing to explain ({shown(inputs)}); pass {ACCEPTED}.")
        return found

    def _read(self, item: Any, name: str) -> TokenizedInput:
        if not is_pictured(item):
            raise InputError(f"{name}: got {shown(item)}; pass {ACCEPTED}.")
        image, text = item
        seen = self._images(image)
        if len(seen) != 1:
            raise InputError(f"{name}: got {len(seen)} images with one text; pass {ACCEPTED}.")
        return joined(seen[0], replace(self._texts([text])[0], extras={}))


def joined(image: TokenizedInput, text: TokenizedInput) -> TokenizedInput:
    """Return an image and a text as one input; its units are the image's, and those that the text is cut into later.

    Other inputs of the text's tokens are zero at cells.
    """
    cells, count = replace(image.tokens, segments=()), len(image.input_ids)
    ids = torch.cat([image.input_ids, text.input_ids])
    extras = {name: torch.cat([values.new_zeros(count), values]) for name, values in text.extras.items()}
    return TokenizedInput(cells.followed_by(text.tokens, BETWEEN), ids, extras, units=image.units, picture=image.picture)


def after(tokens: Tokens, count: int) -> Tokens:
    """Return the tokens behind the first ``count``, of the same text."""
    return Tokens(
        tokens.text, tokens.offsets[count:], tokens.names[count:], tokens.frozen[count:], tokens.segments, tokens.fixed[count:]
    )


def read_both(granularity: Any) -> tuple[Any, Any]:
    """Return the granularities of images and of texts.

    Raises:
        OptionError: it is a function, which could be of either.
    """
    if isinstance(granularity, tuple):
        of_images, of_texts = granularity
        if isinstance(of_images, Granularity) or isinstance(of_texts, ImageGranularity):
            raise OptionError(
                f"`granularity`: got ({shown(of_images)}, {shown(of_texts)}); pass that of images first, such as "
                "('grid', 'word')."
            )
        return of_images, of_texts
    if isinstance(granularity, ImageGranularity):
        return granularity, Granularity.WORD
    if isinstance(granularity, Granularity):
        return ImageGranularity.PATCH, granularity
    raise OptionError(
        f"`granularity`: got {shown(granularity)}, and an input has an image and a text; pass both, such as (function, 'word')."
    )
