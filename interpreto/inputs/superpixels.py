"""Superpixels: connected segments of similar color (SLIC), in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

ROUNDS = 10
SHIFTS = ((0, 1), (0, -1), (1, 1), (1, -1))
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def slic(image: Any, count: int, compactness: float) -> Any:
    """Return the segment of each pixel.

    Pixels are clustered by color in CIELAB and by place; clusters begin on a regular grid, so that nothing is random. Parts
    of a cluster that are smaller than a quarter of the mean segment join a neighbor.

    Args:
        image: ``(h, w, 3)`` of bytes.
        count: Number of segments, about.
        compactness: Weight of distance against color.

    Returns:
        ``(h, w)`` whole numbers.
    """
    h, w = image.shape[:2]
    step = max(1.0, (h * w / count) ** 0.5)
    m, n = max(1, round(h / step)), max(1, round(w / step))
    rows, columns = np.mgrid[:h, :w]
    places = np.stack([rows, columns], -1).reshape(-1, 2) * (compactness / step)
    points = np.concatenate([lab(image).reshape(-1, 3), places], 1)
    starts = [(int((i + 0.5) * h / m), int((j + 0.5) * w / n)) for i in range(m) for j in range(n)]
    centers = points[[i * w + j for i, j in starts]]
    nearest = np.zeros(len(points), int)
    for _ in range(ROUNDS):
        nearest = ((centers**2).sum(1) - 2 * points @ centers.T).argmin(1)
        sizes = np.bincount(nearest, minlength=len(centers))
        sums = np.stack([np.bincount(nearest, column, len(centers)) for column in points.T], 1)
        centers = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centers)
    return _joined(_components(nearest.reshape(h, w)), step**2 / 4)


def lab(image: Any) -> Any:
    """Return the colors of an image of bytes in CIELAB."""
    values = np.asarray(image, dtype=np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ.T / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def _components(labels: Any) -> Any:
    """Return the connected part of each pixel: the smallest number of a pixel that equal neighbors lead to."""
    part = np.arange(labels.size).reshape(labels.shape)
    while True:
        before = part
        for axis, shift in SHIFTS:
            same = _shifted(labels, axis, shift) == labels
            part = np.where(same, np.minimum(part, _shifted(part, axis, shift)), part)
        part = part.ravel()[part]  # a shortcut to where the smallest number of the part came from
        if (part == before).all():
            return part


def _joined(part: Any, smallest: float) -> Any:
    """Return the parts, where small ones have joined a large neighbor."""
    sizes = np.bincount(part.ravel(), minlength=part.size)
    small = sizes[part] < smallest
    while small.any() and not small.all():
        for axis, shift in SHIFTS:
            takes = small & ~_shifted(small, axis, shift)
            part, small = np.where(takes, _shifted(part, axis, shift), part), small & ~takes
    return part


def _shifted(values: Any, axis: int, shift: int) -> Any:
    """Return the values of neighbors; at the edge, those of the pixel itself."""
    moved = np.roll(values, shift, axis)
    edge = 0 if shift == 1 else -1
    index = (edge, slice(None)) if axis == 0 else (slice(None), edge)
    moved[index] = values[index]
    return moved
