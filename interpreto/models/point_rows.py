"""Rows of points: samples whose embeddings are given, and the results at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.inputs.samples import EmbeddingVariants, Sample
from interpreto.models.gradients import GradientReducer

Aim = Callable[[Sample, Float[Tensor, "r k"]], tuple[Sample, Float[Tensor, "r t"]]]
"""Takes a sample and its outputs, those of the input first, to the sample with its targets, and their scores."""


@dataclass(eq=False)
class AtInput:
    """Results for a sample at its input.

    Attributes:
        variants: With their targets, once these are known.
        scores: Scores ``(1, t)`` at each point, by its number; of paired rules ``(2, t)``, with those of its baseline.
        reducer: Holds the gradients.
    """

    variants: EmbeddingVariants
    scores: dict[int, Tensor] = field(default_factory=dict)
    reducer: GradientReducer | None = None

    @property
    def ends(self) -> Float[Tensor, "r t"]:
        """Return the scores at the input, then at the baselines."""
        points = [self.scores[i] for i in sorted(self.scores)]
        return torch.cat([points[0][:1], *(scores[1:] for scores in points)])


@dataclass(frozen=True, eq=False)
class PointRows:
    """Points of samples, a row each.

    Attributes:
        variants: The samples' points.
        places: Number of each row's sample, and of its point.
        reached: Scores that are done of each row, so that rows of a batch that is cut in its middle go on where they were.
    """

    variants: Sequence[EmbeddingVariants]
    places: list[tuple[int, int]]
    reached: list[int]

    @staticmethod
    def of(variants: Sequence[EmbeddingVariants]) -> PointRows:
        places = [(j, i) for j, v in enumerate(variants) for i in range(len(v.points))]
        return PointRows(variants, places, [0] * len(places))


def padded_points(parts: Sequence[Float[Tensor, "_ _ _"]]) -> Float[Tensor, "b l d"]:
    """Return points of unequal lengths or widths, some of each sample, as one new tensor, which has no graph."""
    if all(part.shape[1:] == parts[0].shape[1:] for part in parts):
        return torch.cat(list(parts)).detach()
    length, width = (max(part.shape[dim] for part in parts) for dim in (1, 2))
    together, start = parts[0].new_zeros(sum(map(len, parts)), length, width), 0
    for part in parts:
        together[start : start + len(part), : part.shape[1], : part.shape[2]] = part.detach()
        start += len(part)
    return together


def runs_of(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, slice]]:
    """Yield the points that follow each other in one sample: its number, and theirs."""
    sample, first, end = -1, 0, 0
    for j, i in places:
        if (j, i) != (sample, end):
            if end > first:
                yield sample, slice(first, end)
            sample, first = j, i
        end = i + 1
    if end > first:
        yield sample, slice(first, end)


def starts_of(variants: EmbeddingVariants, points: slice) -> Float[Tensor, "b l d"]:
    """Return where the directions of some points come from; the points themselves where they have none."""
    along = variants.direction
    if along is None:
        return variants.points[points]
    return variants.points[points] - (along if len(along) == 1 else along[points])


def directions_of(scores: Float[Tensor, "b t"], block: range, counts: Mapping[int, int]) -> Float[Tensor, "k b t"]:
    """Return, for each score of a block, the direction that sums it over the rows that have it.

    Args:
        scores: Of all rows.
        block: Numbers of scores.
        counts: The rows that are asked, each with its number of scores.
    """
    directions = scores.new_zeros(len(block), *scores.shape)
    for i, k in enumerate(block):
        directions[i, [row for row, count in counts.items() if k < count], k] = 1.0
    return directions


def by_sample(
    picked: list[int], chosen: list[int], places: list[tuple[int, int]]
) -> Iterator[tuple[int, list[int], list[int] | slice]]:
    """Yield the chosen rows of a batch by sample: its number, the points, and their places in the batch.

    Places that follow each other are a slice, which costs no copy.
    """
    found: dict[int, tuple[list[int], list[int]]] = {}
    for b in chosen:
        sample, copy = places[picked[b]]
        copies, inside = found.setdefault(sample, ([], []))
        copies.append(copy)
        inside.append(b)
    for sample, (copies, inside) in found.items():
        follow = inside[-1] - inside[0] == len(inside) - 1
        yield sample, copies, slice(inside[0], inside[-1] + 1) if follow else inside
