"""Pictures: images as a model reads them, cut into cells of pixels that take the place of tokens.

The id of a cell names its picture by content, so that a sample's ids alone say what the model reads, as those of a text do. A
picture is found by its ids for as long as anything holds it.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

from interpreto.errors import InputError
from interpreto.inputs.regions import checked_map, region_names

PLACE_BITS, KIND_BITS = 20, 4
NAMED = 1 << (63 - PLACE_BITS - KIND_BITS)
"""An id is the name of the picture, the kind of its pixels, and the number of the cell, from the highest bits to the lowest."""
REPLACEMENTS = ("own", "mean", "blur", "zero", "noise")
"""Kinds of pixels: the picture's own, and what may take their place."""
BLUR = 11, 5.0
"""Side and standard deviation of the Gaussian filter, for images of 224 pixels; others in proportion."""
COARSE, ALIKE = 8, 0.9
"""Rows and columns of the shades that tell parts of an image apart, and the least correlation of those of the same part."""

_alive: weakref.WeakValueDictionary[int, Picture] = weakref.WeakValueDictionary()
_guard = threading.Lock()


@dataclass(frozen=True, eq=False)
class Feed:
    """Numbers of an image in another order than its pixels: as tiles, or as rows of patches.

    Attributes:
        shape: Of the ``pixel_values`` that the numbers form.
        regions: The unit of each number, ``(1, n)``; negative for numbers in none, such as padding.
        others: The numbers of the replacements, ``(1, 1, n)``, by the names of `REPLACEMENTS`.
        inputs: Other inputs of the model that belong to the image, as its processor made them.
        most: Numbers that a cell has at most.
    """

    shape: tuple[int, ...]
    regions: Int[Tensor, "1 n"]
    others: Mapping[str, Float[Tensor, "1 1 n"]]
    inputs: Mapping[str, Tensor]
    most: int


class Picture:
    """One image as a model reads it.

    Args:
        pixels: What the model is given, ``(c, h, w)``; with a feed, its numbers ``(1, 1, n)``.
        regions: The unit of each pixel of the shown image, ``(h, w)``; negative for pixels in none.
        shown: The image as a viewer sees it, ``(h, w, 3)`` of bytes; None: made of the pixels.
        name: The file, or another name for messages; empty: none.
        feed: Where the model's numbers lie in another order than the pixels; None: they do not.

    Attributes:
        names: A name for each unit.
        number: Name of the picture within ids.
    """

    def __init__(
        self,
        pixels: Float[Tensor, "c h w"],
        regions: Any,
        shown: Any = None,
        name: str = "",
        feed: Feed | None = None,
    ) -> None:
        self.pixels, self.feed = pixels.detach().cpu().float().contiguous(), feed
        self.shown = as_bytes(self.pixels) if shown is None else torch.as_tensor(np.ascontiguousarray(shown))
        h, w = self.shown.shape[:2] if feed is not None else self.pixels.shape[1:]
        self.regions = torch.from_numpy(checked_map(regions, (int(h), int(w)), name or "an image"))
        self.name, self.names = name, tuple(region_names(self.regions.numpy()))
        self._cell, self._owner = cut_into_cells(
            (self.regions if feed is None else feed.regions).flatten(), self.units, None if feed is None else feed.most
        )
        if self.cells >= 1 << PLACE_BITS:
            raise InputError(f"`granularity`: {self.cells:,} units are too many; pass fewer than {1 << PLACE_BITS:,}.")
        self._tables: dict[tuple[int, str], Tensor] = {}
        self._equal: Picture | None = None  # the one that is found by its ids; held, so that it stays
        self.number = self._registered()

    def _registered(self) -> int:
        """Return a free number that follows from the content, or that of an equal picture."""
        digest = hashlib.blake2b(self.pixels.numpy().tobytes(), digest_size=8)
        digest.update(self.regions.numpy().tobytes())
        if self.feed is not None:
            digest.update(self.feed.regions.numpy().tobytes())
        number = int.from_bytes(digest.digest(), "little") % NAMED
        with _guard:
            while (other := _alive.get(number)) is not None and not self.equals(other):
                number = (number + 1) % NAMED
            self._equal = _alive.setdefault(number, self)
            if self._equal is self:
                self._equal = None  # nothing holds itself
        return number

    def equals(self, other: Picture) -> bool:
        """Return True if a model reads the same in both, in the same units."""
        if not torch.equal(self.pixels, other.pixels) or not torch.equal(self.regions, other.regions):
            return False
        if self.feed is None or other.feed is None:
            return self.feed is other.feed
        return (self.feed.shape, self.feed.most) == (other.feed.shape, other.feed.most) and torch.equal(
            self.feed.regions, other.feed.regions
        )

    def __reduce__(self) -> Any:
        return Picture, (self.pixels, self.regions.numpy(), self.shown.numpy(), self.name, self.feed)

    @property
    def units(self) -> int:
        """Return the number of units."""
        return len(self.names)

    @property
    def cells(self) -> int:
        """Return the number of cells: one per unit, or several of a feed, and those of pixels in none, if there are any."""
        return len(self._owner)

    @property
    def ids(self) -> Int[Tensor, " l"]:
        """Return the ids of the cells."""
        return (self.number << (PLACE_BITS + KIND_BITS)) + torch.arange(self.cells)

    @property
    def index(self) -> Int[Tensor, " l"]:
        """Return the unit of each cell; -1 for a cell of pixels that are in none."""
        return self._owner

    @cached_property
    def places(self) -> Int[Tensor, " p"]:
        """Return where each pixel is among the slots of the cells, all of which have as many as the largest."""
        return self._cell * self.slots + ranks(self._cell)

    @property
    def slots(self) -> int:
        """Return the number of pixels of the largest cell."""
        return int(torch.bincount(self._cell).max())

    @cached_property
    def width(self) -> int:
        """Return how many numbers a cell has: its pixels' channels, filled with zeros to those of the largest cell."""
        return self.slots * len(self.pixels)

    def table(self, kind: int, device: torch.device) -> Float[Tensor, "l d"]:
        """Return the cells with pixels of a kind."""
        key = kind, str(device)
        if key not in self._tables:
            self._tables[key] = self.to_cells(self.of_kind(kind)).to(device)
        return self._tables[key]

    def to_cells(self, pixels: Float[Tensor, "c h w"]) -> Float[Tensor, "l d"]:
        """Return the cells of pixels, zero in slots that hold none."""
        table = pixels.new_zeros(self.cells * (self.width // len(pixels)), len(pixels))
        table[self.places] = pixels.flatten(1).T
        return table.view(self.cells, self.width)

    def to_pixels(self, cells: Float[Tensor, "b l d"]) -> Float[Tensor, "b c h w"]:
        """Return the pixels of cells."""
        c, h, w = self.pixels.shape
        flat = cells[:, : self.cells, : self.width].reshape(len(cells), -1, c)
        return flat[:, self.places.to(cells.device)].transpose(1, 2).reshape(len(cells), c, h, w)

    def drawn(self, kinds: Int[Tensor, "b l"], device: torch.device) -> Float[Tensor, "b c h w"]:
        """Return images whose cells have pixels of kinds; what `to_pixels` makes of their rows of the table, in one step."""
        key = -1, str(device)
        if key not in self._tables:
            self._tables[key] = self._cell.to(device)
        cell, kinds = self._tables[key], kinds.to(device)
        out = self.pixels.to(device).expand(len(kinds), *self.pixels.shape)
        for kind in kinds.unique().tolist():
            if kind:
                there = (kinds == kind).to(out.dtype).index_select(1, cell).view(-1, 1, *self.regions.shape)
                other = self.of_kind(kind).to(device).contiguous()
                out = torch.lerp(out, other, there)  # at weights of 0 and 1 a choice, and three times as fast as `where`
        return out

    def of_kind(self, kind: int) -> Float[Tensor, "c h w"]:
        """Return an image of one of `REPLACEMENTS`."""
        name, x = REPLACEMENTS[kind], self.pixels
        if self.feed is not None and name in self.feed.others:
            return self.feed.others[name]
        if name == "mean":
            return x.mean((1, 2), keepdim=True).expand_as(x)
        if name == "blur":
            return blurred(x)
        if name == "noise":
            drawn = torch.randn(x.shape, generator=Generator().manual_seed(self.number))
            return x.mean((1, 2), keepdim=True) + drawn * x.std((1, 2), keepdim=True, unbiased=False)
        return torch.zeros_like(x) if name == "zero" else x

    def summed(self, pixels: Float[Tensor, "t h w"]) -> Float[Tensor, "t l"]:
        """Return the sum over the shown pixels of each unit, and then of those in none, if there are any."""
        unit = torch.where(self.regions < 0, self.units, self.regions).flatten()
        return pixels.new_zeros(len(pixels), int(unit.max()) + 1).index_add(1, unit, pixels.flatten(1))

    def pooled(self, pixels: Float[Tensor, "t h w"]) -> Float[Tensor, "t l"]:
        """Return the mean over the shown pixels of each unit, and then of those in none, if there are any."""
        return self.summed(pixels) / self.summed(torch.ones_like(pixels[:1]))

    def spread(self, values: Float[Tensor, "*b u"]) -> Float[Tensor, "*b h w"]:
        """Return values of units at their pixels, NaN at pixels in none."""
        none = values.new_full((*values.shape[:-1], 1), torch.nan)
        return torch.cat([values, none], -1)[..., self.regions]

    def carried(self, values: Float[Tensor, "t u"], other: Picture) -> Float[Tensor, "t u2"]:
        """Return values of units as values of the units of another picture of the same image, of any size.

        A value is spread evenly over the pixels of its unit, and summed over the pixels of the other's.
        """
        if torch.equal(self.regions, other.regions):
            return values
        sizes = torch.bincount(self.regions[self.regions >= 0], minlength=self.units)
        density = self.spread(values.double() / sizes).nan_to_num()
        (h, w), shape = self.regions.shape, other.regions.shape
        rows, columns = _overlaps(h, shape[0]), _overlaps(w, shape[1])
        return other.summed(rows @ density @ columns.T)[:, : other.units].to(values)

    def shows_what(self, other: Picture) -> bool:
        """Return False where two pictures show different parts of an image, by their coarse shades of gray."""
        seen = [F.adaptive_avg_pool2d(each.shown.double().mean(2)[None], COARSE).flatten() for each in (self, other)]
        a, b = (each - each.mean() for each in seen)
        size = float(a.norm() * b.norm())
        return size < len(a) or float(a @ b) / size > ALIKE  # hardly any shades: nothing tells them apart


def ranks(groups: Int[Tensor, " p"]) -> Int[Tensor, " p"]:
    """Return the place of each item within its group, in order."""
    sizes, order = torch.bincount(groups), groups.argsort(stable=True)
    found = torch.empty_like(groups)
    found[order] = torch.arange(len(groups)) - (sizes.cumsum(0) - sizes)[groups[order]]
    return found


def cut_into_cells(unit: Int[Tensor, " p"], units: int, most: int | None) -> tuple[Int[Tensor, " p"], Int[Tensor, " l"]]:
    """Return the cell of each pixel, and the unit of each cell; cells of pixels in none come last, with -1.

    Args:
        unit: Of each pixel; negative in none.
        units: Number of units.
        most: Pixels that a cell has at most; None: all of its unit.
    """
    owner = torch.where(unit < 0, units, unit)
    sizes = torch.bincount(owner, minlength=units)
    if most is None:
        cell, parts = owner, torch.ones_like(sizes)
    else:
        parts = (sizes + most - 1) // most
        cell = (parts.cumsum(0) - parts)[owner] + ranks(owner) // most
    found = torch.repeat_interleave(torch.arange(len(parts)), parts)
    return cell, torch.where(found < units, found, -1)


def _overlaps(n: int, m: int) -> Float[Tensor, "m n"]:
    """Return which share of each of ``n`` equal parts of a side lies in each of ``m`` equal parts."""
    ours = torch.arange(n + 1, dtype=torch.float64) / n
    theirs = torch.arange(m + 1, dtype=torch.float64)[:, None] / m
    return (torch.minimum(ours[1:], theirs[1:]) - torch.maximum(ours[:-1], theirs[:-1])).clamp(min=0) * n


def picture_of(number: int) -> Picture:
    """Return the picture of that number.

    Raises:
        InputError: nothing holds it any longer.
    """
    found = _alive.get(number)
    if found is None:
        raise InputError("`inputs`: the image of these ids is gone; explain the image itself, or a saved explanation of it.")
    return found


def parts_of(ids: Int[Tensor, "*b"]) -> tuple[Int[Tensor, "*b"], Int[Tensor, "*b"], Int[Tensor, "*b"]]:
    """Return the numbers of pictures, the kinds and the numbers of cells that ids consist of."""
    return ids >> (PLACE_BITS + KIND_BITS), (ids >> PLACE_BITS) & ((1 << KIND_BITS) - 1), ids & ((1 << PLACE_BITS) - 1)


def of_kind(ids: Int[Tensor, "*b"], name: str) -> Int[Tensor, "*b"]:
    """Return the ids of the same cells with pixels of one of `REPLACEMENTS`."""
    return ids + (REPLACEMENTS.index(name) << PLACE_BITS)


def as_bytes(pixels: Float[Tensor, "c h w"]) -> Tensor:
    """Return pixels of any range as an image of bytes ``(h, w, 3)``, the least black and the largest white."""
    low, high = pixels.min(), pixels.max()
    scaled = (pixels - low) / (high - low).clamp(min=1e-12) * 255
    colors = scaled if len(scaled) == 3 else scaled.mean(0, keepdim=True).expand(3, -1, -1)
    return colors.round().to(torch.uint8).permute(1, 2, 0).contiguous()


def blurred(pixels: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
    """Return pixels under a Gaussian filter; the edges are continued."""
    side, std = BLUR
    scale = min(pixels.shape[1:]) / 224
    half = max(1, round(side // 2 * scale))
    t = torch.arange(-half, half + 1, dtype=pixels.dtype)
    weights = torch.exp(-(t**2) / (2 * max(std * scale, 0.5) ** 2))
    weights, c = weights / weights.sum(), len(pixels)
    x = F.pad(pixels[None], (half, half, half, half), mode="replicate")
    x = F.conv2d(x, weights.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
    return F.conv2d(x, weights.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)[0]
