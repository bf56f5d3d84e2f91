"""Cut images into regions, which are the units of their explanations: patches, grids, superpixels, or a function of yours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from interpreto.choices import Choice
from interpreto.errors import InputError, OptionError
from interpreto.inputs.superpixels import slic
from interpreto.validation import check_count, shown

RegionMap = Any
"""An array ``(h, w)`` of whole numbers: pixels with the same number are one unit, pixels with a negative one are in none."""
Regions = Callable[[Any], RegionMap]
"""Takes the image that the model reads, ``(h, w, 3)`` of bytes, to the region of each pixel."""


class ImageGranularity(Choice):
    """Size of the units of an image.

    ``PATCH``: the squares that a vision transformer cuts the image into; of other models, squares of 16 pixels, or of an
    eighth of the shorter side where that is less. ``GRID``: 7 rows of 7 rectangles. ``SUPERPIXEL``: about 50 segments of
    similar color. Other sizes: the functions `patches`, `grid` and `superpixels`; any function from an image to the region
    of each pixel is accepted too, such as those of ``skimage.segmentation``.
    """

    PATCH = "patch"
    GRID = "grid"
    SUPERPIXEL = "superpixel"


@dataclass(frozen=True)
class patches:  # noqa: N801  # called like a function
    """Cut an image into squares.

    Args:
        size: Side of the squares in pixels; those at the right and lower edges are cut where the image ends.

    Examples:
        >>> import numpy
        >>> patches(2)(numpy.zeros((4, 5, 3))).tolist()[0]
        [0, 0, 1, 1, 2]
    """

    size: int

    def __post_init__(self) -> None:
        check_count(self.size, "size")

    def __call__(self, image: Any) -> RegionMap:
        """Return the region of each pixel."""
        rows, columns = (np.arange(side) // self.size for side in image.shape[:2])
        return rows[:, None] * (columns[-1] + 1) + columns


@dataclass(frozen=True)
class grid:  # noqa: N801  # called like a function
    """Cut an image into rows and columns of rectangles whose sides differ by a pixel at most.

    Args:
        rows: Number of rows.
        columns: Number of columns; None: as many.

    Examples:
        >>> import numpy
        >>> grid(1, 2)(numpy.zeros((1, 5, 3))).tolist()
        [[0, 0, 0, 1, 1]]
    """

    rows: int
    columns: int | None = None

    def __post_init__(self) -> None:
        check_count(self.rows, "rows")
        check_count(self.columns or 1, "columns")

    def __call__(self, image: Any) -> RegionMap:
        """Return the region of each pixel."""
        (h, w), (m, n) = image.shape[:2], (self.rows, self.columns or self.rows)
        if m > h or n > w:
            raise OptionError(f"`granularity`: got a grid of {m} × {n} for an image of {h} × {w} pixels; pass fewer.")
        return (np.arange(h) * m // h)[:, None] * n + np.arange(w) * n // w


@dataclass(frozen=True)
class superpixels:  # noqa: N801  # called like a function
    """Cut an image into connected segments of similar color (SLIC).

    Args:
        count: Number of segments, about.
        compactness: Weight of distance against color; large: segments are nearly squares.

    References:
        Achanta et al., IEEE TPAMI 2012, https://doi.org/10.1109/TPAMI.2012.120.
    """

    count: int = 50
    compactness: float = 10.0

    def __post_init__(self) -> None:
        check_count(self.count, "count")

    def __call__(self, image: Any) -> RegionMap:
        """Return the region of each pixel."""
        return slic(image, self.count, self.compactness)


def regions_of(granularity: ImageGranularity | Regions, patch: int | None) -> Regions:
    """Return the function that cuts images.

    Args:
        granularity: Size of the units, or a function.
        patch: Side of the model's patches; None: it has none.
    """
    if not isinstance(granularity, ImageGranularity):
        return granularity
    if granularity is ImageGranularity.GRID:
        return grid(7)
    if granularity is ImageGranularity.SUPERPIXEL:
        return superpixels()
    return _model_patches if patch is None else patches(patch)


def _model_patches(image: Any) -> RegionMap:
    return patches(max(1, min(16, min(image.shape[:2]) // 8)))(image)


def checked_map(found: Any, shape: tuple[int, int], name: str) -> Any:
    """Return a region map with regions numbered by their first pixel, -1 for pixels in none, and whether it is a lattice.

    Args:
        found: What the function returned.
        shape: Height and width of the image.
        name: Of the input, for messages.

    Raises:
        InputError: it is no map of whole numbers of that shape, or has no region.
    """
    values = np.asarray(found)
    if values.shape != shape or values.dtype.kind not in "iub":
        raise InputError(
            f"`granularity`: for {name} the function returned {shown(values.dtype.name)} of shape {values.shape}; it must "
            f"return whole numbers of shape {shape}, the region of each pixel, negative for pixels in none."
        )
    values = values.astype(np.int64)
    numbers, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    kept = numbers >= 0
    if not kept.any():
        raise InputError(f"`granularity`: for {name} the function returned no region; there is nothing to explain.")
    order = np.full(len(numbers), -1)
    order[kept] = np.argsort(np.argsort(first[kept]))
    return order[inverse.reshape(shape)]


def region_names(regions: Any) -> list[str]:
    """Return a name for each region: row and column where regions are the rectangles of a grid, else a number."""
    count = int(regions.max()) + 1
    where = [np.unique(np.concatenate([[0], np.flatnonzero(np.diff(regions, axis=a).any(1 - a)) + 1])) for a in (0, 1)]
    corners = regions[np.ix_(*where)]
    if corners.size == count and (corners.ravel() == np.arange(count)).all():
        columns = len(where[1])
        return [f"row {i // columns + 1}, column {i % columns + 1}" for i in range(count)]
    return [f"segment {i + 1}" for i in range(count)]
