"""Activations of image models by place: rows of patches, or of the places of maps, with class tokens after them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import InputError, ModelError
from interpreto.inputs.image_processors import ImageProcessor
from interpreto.inputs.images import ImageReader
from interpreto.inputs.pictures import Picture, parts_of, picture_of
from interpreto.inputs.regions import grid
from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.text import TokenizedInput
from interpreto.models.forward import Forward
from interpreto.models.hook_points import HookPoint
from interpreto.models.images import MOST_EXTRA, USUAL, ImageModel
from interpreto.models.interventions import Tracing


@dataclass(frozen=True)
class Places:
    """Where the activations of an image belong.

    Attributes:
        rows: Rows of places.
        columns: Places of a row.
        patch: Sides of the model's patches in pixels; None: places are equal parts of the image.
        extra: Class tokens and registers, which the model has before the patches.
    """

    rows: int
    columns: int
    patch: tuple[int, int] | None = None
    extra: int = 0

    def regions(self, h: int, w: int) -> Any:
        """Return the place of each pixel, -1 for those that no patch holds."""
        if self.patch is None:
            return grid(self.rows, self.columns)(np.empty((h, w, 3)))
        at = [np.arange(side) // own for side, own in zip((h, w), self.patch, strict=True)]
        inside = (at[0] < self.rows)[:, None] & (at[1] < self.columns)
        return np.where(inside, at[0][:, None] * self.columns + at[1], -1)

    def layout(self, picture: Picture, ndim: int) -> PlacesLayout:
        """Return how a module lays such images out, whose activations have so many axes."""
        return PlacesLayout(self, picture.cells - picture.units, ndim)


@dataclass(frozen=True)
class PlacesLayout:
    """Bring what a module gives for images into rows of places, and back.

    Attributes:
        places: Those of an image.
        rest: 1 if there is a cell of pixels that are in no place, else 0.
        ndim: Axes of what the module gives: 4 for maps, 3 for tokens, 2 for one vector per image.
        shared: False: every image has activations of its own.
    """

    places: Places
    rest: int
    ndim: int
    shared: bool = False
    axes: str = "b l d"

    def read(self, value: Tensor, b: int) -> Tensor:
        """Return activations ``(b, l, d)`` of the places, then of the rest, then of class tokens; one vector as it is."""
        if self.ndim == 2:
            return value
        if self.ndim == 4:
            value = value.flatten(2).transpose(1, 2)
        first, k = value[:, self.places.extra :], self.places.extra
        return torch.cat([first, value.new_zeros(len(value), self.rest, value.shape[2]), value[:, :k]], 1)

    def write(self, hidden: Tensor) -> Tensor:
        """Return activations as the module gives them."""
        if self.ndim == 2:
            return hidden
        count = self.places.rows * self.places.columns
        value = torch.cat([hidden[:, count + self.rest :], hidden[:, :count]], 1)
        if self.ndim == 3:
            return value
        return value.transpose(1, 2).unflatten(2, (self.places.rows, self.places.columns))


class PlacesReader:
    """Read images, cut into the places that a model's activations have at some hook points.

    Args:
        forward: Runs an `ImageModel`.
        tracing: Reads its activations.
        processor: Makes the model's pixels.
        points: Where activations are read.
    """

    takes_many = False
    max_length = None
    special_ids: frozenset[int] = frozenset()

    def __init__(self, forward: Forward, tracing: Tracing, processor: ImageProcessor, points: Sequence[HookPoint]) -> None:
        self.forward, self.tracing, self.processor, self.points = forward, tracing, processor, list(points)
        self._found: dict[tuple[int, int], tuple[Places, list[int]]] = {}
        self._images = ImageReader(processor, lambda shown: self.places(*shown.shape[:2])[0].regions(*shown.shape[:2]))

    def __call__(self, inputs: Any, roles: Sequence[str] | None = None, first: int = 0) -> list[TokenizedInput]:
        """Return images with a cell per place, and ids of the class tokens after them."""
        return [self._extended(image) for image in self._images(inputs, roles, first)]

    @property
    def probe(self) -> Float[Tensor, "c h w"]:
        """Return an empty image, of the size of the last that was read; before, of the size that the config names."""
        size = next(reversed(self._found), None) or getattr(self.forward.model.config, "image_size", None) or USUAL
        h, w = size if isinstance(size, (list, tuple)) else (size, size)
        return torch.zeros(self.processor.channels or 3, h, w)

    def _extended(self, image: TokenizedInput) -> TokenizedInput:
        assert image.picture is not None
        extra = self.places(*image.picture.regions.shape)[0].extra
        if not extra:
            return image
        tokens, end = image.tokens, len(image.tokens.text)
        tokens = replace(
            tokens,
            offsets=tokens.offsets + ((end, end),) * extra,
            names=tokens.names + ("class token",) * extra,
            frozen=tokens.frozen + (True,) * extra,
        )
        return replace(image, tokens=tokens, input_ids=torch.cat([image.input_ids, image.input_ids[:1].expand(extra)]))

    def places(self, h: int, w: int) -> tuple[Places, list[int]]:
        """Return the places of an image of that size, and the number of axes at each hook point; measured once per size.

        Raises:
            ModelError: a module gives no map and no row of patches, or hook points have places of their own.
        """
        if (h, w) not in self._found:
            pixels = torch.zeros(self.processor.channels or 3, h, w)
            picture = Picture(pixels, np.zeros((h, w), dtype=np.int64))
            with self.forward.session(), torch.no_grad():
                given = {"input_ids": picture.ids[None], "attention_mask": torch.ones(1, 1)}
                values, _ = self.tracing.read(self.points, given, stop=True)
            found = [self._of_value(value, point, h, w) for value, point in zip(values, self.points, strict=True)]
            with_places = [each for each, value in zip(found, values, strict=True) if value.ndim > 2]
            if len(set(with_places)) > 1:
                shapes = ", ".join(f"{each.rows} × {each.columns}" for each in with_places)
                raise ModelError(
                    f"`split_points`: {', '.join(repr(p.name) for p in self.points)} have places of their own ({shapes}); make "
                    "a splitter for each."
                )
            self._found[h, w] = (with_places or found)[0], [value.ndim for value in values]
        return self._found[h, w]

    def _of_value(self, value: Tensor, point: HookPoint, h: int, w: int) -> Places:
        """Return the places of what a module gave for one image."""
        if value.ndim == 4 and len(value) == 1:
            return Places(int(value.shape[2]), int(value.shape[3]))
        if value.ndim == 2 and len(value) == 1:
            return Places(1, 1)
        if value.ndim == 3 and len(value) == 1:
            model: Any = self.forward.model
            count, patch = int(value.shape[1]), model.config.patch_size
            if patch is not None:
                sides = tuple(patch) if isinstance(patch, (list, tuple)) else (patch, patch)
                rows, columns = h // sides[0], w // sides[1]
                if 0 <= count - rows * columns <= MOST_EXTRA:
                    return Places(rows, columns, (int(sides[0]), int(sides[1])), count - rows * columns)
            if (side := math.isqrt(count)) ** 2 == count and h == w:
                return Places(side, side)
        raise ModelError(
            f"`split_points`: {point.name!r} gives shape {tuple(value.shape)} for an image of {h} × {w} pixels, which is no "
            "map (1, d, rows, columns), no row of patches (1, tokens, d) and no vector (1, d); choose another module."
        )


class PlacesLayouts:
    """Bring what modules give for images into the form ``(b, l, d)``, or ``(b, d)``; as `Layouts` does for texts.

    Args:
        reader: Knows the places of an image.
    """

    def __init__(self, reader: PlacesReader) -> None:
        self._reader = reader
        self._last: dict[str, PlacesLayout] = {}

    def of(self, point: HookPoint, rows: Sequence[SplitInput]) -> PlacesLayout:
        """Return how a module lays images of the size of the first out."""
        picture = picture_of(int(parts_of(rows[0].input_ids[:1])[0]))
        places, axes = self._reader.places(*picture.regions.shape)
        names = [own.name for own in self._reader.points]
        if point.name not in names:
            raise ModelError(f"`split_points`: {point.name!r} is none of the splitter's ({', '.join(map(repr, names))}).")
        self._last[point.name] = places.layout(picture, axes[names.index(point.name)])
        return self._last[point.name]

    def known(self, point: HookPoint) -> PlacesLayout:
        """Return the layout of a point that has been found before."""
        return self._last[point.name]

    def in_place(self, point: HookPoint, value: Tensor, rows: Sequence[SplitInput]) -> Float[Tensor, "b ..."]:
        """Return what a module gives as activations of the places of images."""
        hidden = self.of(point, rows).read(value, len(rows))
        if len(hidden) != len(rows) or (hidden.ndim == 3 and hidden.shape[1] != len(rows[0])):
            raise InputError(
                f"`inputs`: {point.name!r} gives shape {tuple(value.shape)} for {len(rows)} images of {len(rows[0])} places; "
                "pass images of one size together."
            )
        return hidden

    def as_given(self, point: HookPoint, hidden: Tensor, rows: Sequence[SplitInput]) -> Tensor:
        """Return activations of the places of images as the module gives them."""
        return self.of(point, rows).write(hidden)


def explained_by(model: Any) -> Any:
    """Return the model whose modules a user names: the one that a model of images holds."""
    return model.explained if isinstance(model, ImageModel) else model
