"""Histograms of many concepts at once, over rows that stream by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

BINS = 64  # per sign


@dataclass(frozen=True)
class Histogram:
    """Counts of one concept's activations by their size.

    Attributes:
        width: Width of a bin, in units of the activation; 0 where the concept is 0 everywhere.
        above: Counts of the bins ``(i·width, (i + 1)·width]`` above 0.
        below: Counts of their mirror images below 0; empty where no activation is negative.
        zeros: Number of activations that are exactly 0.
    """

    width: float
    above: tuple[int, ...]
    below: tuple[int, ...]
    zeros: int


class Histograms:
    """Count activations in bins that double their width when a larger activation comes, so that one pass is enough.

    Counts are exact: a bin that doubles is the union of two bins.

    Args:
        concepts: Number of concepts.

    Examples:
        >>> import torch
        >>> found = Histograms(concepts=1)
        >>> found.add(torch.tensor([[0.0], [1.0], [0.5]]))
        >>> found.add(torch.tensor([[2.0]]))
        >>> one = found.of(0)
        >>> one.width * len(one.above), sum(one.above), one.zeros, one.above[-1]
        (2.0, 3, 1, 1)
    """

    def __init__(self, concepts: int) -> None:
        self.rows = 0
        self._limits = torch.zeros(concepts, dtype=torch.double)
        self._counts = torch.zeros(concepts, 2, BINS, dtype=torch.long)

    def add(self, codes: Float[Tensor, "n c"]) -> None:
        """Count rows."""
        codes = codes.double()
        self.rows += len(codes)
        self._widen(codes.abs().amax(0) if len(codes) else torch.zeros_like(self._limits))
        owner = torch.arange(codes.shape[1]).expand_as(codes)
        limits = torch.where(self._limits > 0, self._limits, 1.0)
        bins = (codes.abs() / limits * BINS).ceil().long().clamp(1, BINS) - 1
        cells = ((owner * 2 + (codes < 0)) * BINS + bins)[codes != 0]
        self._counts += torch.bincount(cells, minlength=self._counts.numel()).view_as(self._counts)

    def of(self, concept: int) -> Histogram:
        """Return the counts of a concept, without the empty bins at both ends."""
        above, below = (_trimmed(counts) for counts in self._counts[concept])
        width = float(self._limits[concept]) / BINS
        return Histogram(width, above, below, self.rows - sum(above) - sum(below))

    def _widen(self, peaks: Float[Tensor, " c"]) -> None:
        """Double the bins of concepts until the largest activation fits."""
        self._limits = torch.where(self._limits > 0, self._limits, peaks)
        while bool((over := peaks > self._limits).any()):
            pairs: Int[Tensor, "k 2 b"] = self._counts[over].view(-1, 2, BINS // 2, 2).sum(-1)
            self._counts[over] = torch.cat([pairs, torch.zeros_like(pairs)], dim=-1)
            self._limits = torch.where(over, self._limits * 2, self._limits)


def _trimmed(counts: Int[Tensor, " b"]) -> tuple[int, ...]:
    filled = counts.nonzero()
    return tuple(counts[: int(filled[-1]) + 1].tolist()) if len(filled) else ()
