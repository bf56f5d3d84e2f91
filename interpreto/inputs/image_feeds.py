"""Images as processors of chats arrange them: where each number of the tiles or rows of patches comes from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import InputError
from interpreto.inputs.image_files import load_pil
from interpreto.inputs.pictures import REPLACEMENTS, Feed, Picture, blurred
from interpreto.inputs.regions import Regions, checked_map

BAND = 255  # pixels whose place one image of bytes tells
LEAST_SHARE = 0.5  # of a number that must come from the image, or it is padding
LONGEST_SIDE = 448  # of the image as it is shown, and cut into regions
SIZES = 16  # of images, whose places are kept

Run = Callable[[Any], Mapping[str, Tensor]]
"""Takes an image of PIL to what the model is given of it, its ``pixel_values`` among others."""


class ImageFeeds:
    """Make pictures of images that a processor resizes, cuts into tiles, or flattens to rows of patches.

    The processor is not taken apart: images that are black, white, or whose bytes tell the place of each pixel go through it
    once per size, and tell of each number where it comes from. The numbers of replacements are those that it makes of the
    replaced image.

    Args:
        run: Runs the processor on an image.
        regions: Cuts images into units.
    """

    def __init__(self, run: Run, regions: Regions) -> None:
        self._run, self._regions = run, regions
        self._places: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._lock = threading.Lock()

    def picture(self, image: Any, name: str, file: str, most: int) -> Picture:
        """Return an image as a model reads it.

        Args:
            image: An image of PIL, upright, in three bytes per pixel.
            name: How messages call it.
            file: Its name.
            most: Numbers that a cell has at most.

        Raises:
            InputError: the processor's numbers do not come from the pixels alone.
        """
        made = self._run(image)
        values = made["pixel_values"]
        rows, columns = self._places_of(image.size, values.numel())
        small = _shown(image)
        seen = np.array(small)
        units = torch.from_numpy(checked_map(self._regions(seen), seen.shape[:2], file or name))
        (w, h), (wide, high) = small.size, image.size
        there = rows >= 0
        row, column = (rows * h // high).clamp(0, h - 1), (columns * w // wide).clamp(0, w - 1)
        of_numbers = torch.where(there, units[row, column], -1)
        units, of_numbers = _read_alone(units, of_numbers)
        others = {kind: self._numbers(_replaced(image, kind), values) for kind in REPLACEMENTS[1:] if kind != "zero"}
        inputs = {key: value for key, value in made.items() if key != "pixel_values"}
        feed = Feed(tuple(values.shape), of_numbers[None], others, inputs, most)
        return Picture(values.reshape(1, 1, -1), units.numpy(), seen, file, feed)

    def _numbers(self, image: Any, like: Tensor) -> Float[Tensor, "1 1 n"]:
        found = self._run(image)["pixel_values"]
        if found.shape != like.shape:
            raise InputError(
                f"`inputs`: the processor makes {tuple(like.shape)} numbers of an image, and {tuple(found.shape)} of another "
                "one of its size; explained are processors that resize, crop, cut and normalize."
            )
        return found.reshape(1, 1, -1).float()

    def _places_of(self, size: tuple[int, int], count: int) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """Return the row and the column of the pixel that each number comes from; -1 where it is padding."""
        with self._lock:
            if size not in self._places:
                if len(self._places) >= SIZES:
                    del self._places[next(iter(self._places))]
                self._places[size] = self._measured(size)
            found = self._places[size]
        if len(found[0]) != count:
            raise InputError(
                f"`inputs`: the processor makes {count} numbers of an image, and {len(found[0])} of another one of its size; "
                "explained are processors that resize, crop, cut and normalize."
            )
        return found

    def _measured(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        width, height = size
        black, white = (self._flat(np.full((height, width), value)) for value in (0, 255))
        scale = white - black
        inside = scale.abs() > LEAST_SHARE * scale.abs().max()
        if not bool(inside.any()):
            raise InputError(
                "`inputs`: the processor makes the same of a black and of a white image; nothing can be explained."
            )
        places = []
        for axis, side in enumerate((height, width)):
            place = torch.zeros_like(black)
            for start in range(0, side, BAND):
                ramp = (np.arange(side) - start).clip(0, BAND)
                ramp = ramp[:, None] if axis == 0 else ramp[None]
                place += (self._flat(np.broadcast_to(ramp, (height, width))) - black) / scale * BAND
            places.append(torch.where(inside, place.nan_to_num().round().long().clamp(0, side - 1), -1))
        return places[0], places[1]

    def _flat(self, gray: Any) -> Float[Tensor, " n"]:
        image = load_pil().Image.fromarray(np.ascontiguousarray(gray.astype(np.uint8))).convert("RGB")
        return self._run(image)["pixel_values"].flatten().double()


def _shown(image: Any) -> Any:
    """Return an image as it is shown and cut into regions: smaller where it is large."""
    longest = max(image.size)
    if longest <= LONGEST_SIDE:
        return image
    return image.resize(tuple(max(1, round(side * LONGEST_SIDE / longest)) for side in image.size))


def _read_alone(units: Int[Tensor, "h w"], of_numbers: Int[Tensor, " n"]) -> tuple[Int[Tensor, "h w"], Int[Tensor, " n"]]:
    """Return units without those that the model sees nothing of, as where its processor crops."""
    seen = of_numbers[of_numbers >= 0].unique()
    if not len(seen):
        raise InputError("`granularity`: the model sees nothing of the units of the image; cut it into others.")
    number = torch.full((int(units.max()) + 2,), -1)  # the last is of those in none, -1
    number[seen] = torch.arange(len(seen))
    return number[units], number[of_numbers]


def _replaced(image: Any, kind: str) -> Any:
    """Return an image whose pixels are all replaced, as `Picture` replaces those of images that models read whole."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    mean = pixels.mean((1, 2), keepdim=True)
    if kind == "mean":
        found = mean.expand_as(pixels)
    elif kind == "blur":
        found = blurred(pixels)
    else:
        drawn = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
        found = mean + drawn * pixels.std((1, 2), keepdim=True, unbiased=False)
    bytes_ = found.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return load_pil().Image.fromarray(bytes_)
