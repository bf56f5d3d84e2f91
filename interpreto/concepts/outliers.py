"""Outliers among activations: few rows that hold most of the variance, as attention sinks do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from interpreto.concepts.activations import ROWS, Activations, ActivationSource

FAR = 10.0  # median distances from the center, beyond which a row may be an outlier
FEW = 0.1  # largest fraction of the rows that are called outliers
MOST_ROWS = 1 << 20  # measured, of rows that are not in memory
MOST = 0.5  # least share of the variance that they hold


@dataclass(frozen=True, eq=False)
class Spread:
    """Center and scale of the ordinary rows of activations.

    Rows are outliers where they are farther than 10 median distances from the center, are at most a tenth of all rows, and
    hold more than half of the variance: the first tokens of texts, for instance, on which attention heads park what they do
    not use. Where there are none, center and scale are those of all rows.

    Attributes:
        center: Mean of the ordinary rows, in float64.
        scale: Root mean square distance of the ordinary rows from the center, in the unit of the activations.
        cut: Distance from the center beyond which a row is an outlier; infinite where there is none.
        variance: Mean squared distance of all rows from their own mean.
        outliers: Number of outliers.
        share: Share of all squared distances from the center that the outliers hold, ``[0, 1]``.

    References:
        Sun et al., 2024 (massive activations), https://arxiv.org/abs/2402.17762; Xiao et al., 2024 (attention sinks),
        https://arxiv.org/abs/2309.17453.
    """

    center: Float[Tensor, " d"]
    scale: float
    cut: float
    variance: float
    outliers: int = 0
    share: float = 0.0

    def ordinary(self, rows: Float[Tensor, "b d"]) -> Bool[Tensor, " b"]:
        """Return which rows are no outliers."""
        if math.isinf(self.cut):
            return torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        return (rows.double() - self.center.to(rows.device)).norm(dim=1) <= self.cut


def measure_spread(activations: Activations) -> Spread:
    """Measure center, scale and outliers of activations, a batch in memory at a time.

    Of more than a million rows that are not in memory, a million are measured, drawn by a fixed seed.
    """
    everything, activations = activations.n, some_of(activations)
    mean = activations.mean()
    some = next(activations.batches(ROWS, Generator().manual_seed(0)))
    median = some.double().median(0).values  # of each dimension: no outlier moves it
    total, distances = 0.0, []
    for rows in activations.batches():
        total += float((rows.double() - mean).square().sum())
        distances.append((rows.double() - median).norm(dim=1))
    variance = total / activations.n
    cut = FAR * float(torch.cat(distances).median())
    if not _dominate(torch.cat(distances), cut):
        return Spread(mean, variance**0.5, math.inf, variance)
    center = _mean_within(activations, median, cut)
    from_center = torch.cat([(rows.double() - center).norm(dim=1) for rows in activations.batches()])
    far = from_center > cut
    scale = float(from_center[~far].square().mean().sqrt())
    if scale == 0:
        return Spread(mean, variance**0.5, math.inf, variance)
    share = float(from_center[far].square().sum() / from_center.square().sum())
    return Spread(center, scale, cut, variance, round(int(far.sum()) * everything / activations.n), share)


def some_of(activations: Activations) -> Activations:
    """Return at most a million rows, drawn by a fixed seed where there are more that are not in memory."""
    if isinstance(activations.source, Tensor) or activations.n <= MOST_ROWS:
        return activations
    return Activations(_Drawn(activations.source, MOST_ROWS), activations.device)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Rows of a source, as many as are asked for: the first of a shuffled reading."""

    source: ActivationSource
    count: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.count, self.source.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.source.dtype

    def batches(self, size: int, generator: Generator | None = None) -> Iterator[Tensor]:
        """Yield the rows, in the one order that they are drawn in."""
        left = self.count
        for rows in self.source.batches(size, Generator().manual_seed(0)):
            yield rows[:left]
            left -= len(rows)
            if left <= 0:
                return

    def read(self) -> Tensor:
        return torch.cat(list(self.batches(ROWS)))


def _dominate(distances: Float[Tensor, " n"], cut: float) -> bool:
    """Return whether the rows beyond a distance are few and hold most of the squared distances."""
    far = distances > cut
    squares = distances.square()
    few = 0 < int(far.sum()) <= FEW * len(distances)
    return cut > 0 and few and bool(squares[far].sum() > MOST * squares.sum())


def _mean_within(activations: Activations, center: Float[Tensor, " d"], cut: float) -> Float[Tensor, " d"]:
    """Return the mean of the rows that are within a distance of a center."""
    total, count = torch.zeros_like(center), 0
    for rows in activations.batches():
        near = rows.double()[(rows.double() - center).norm(dim=1) <= cut]
        total, count = total + near.sum(0), count + len(near)
    return total / count
