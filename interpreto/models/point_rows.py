"""Rows of points: samples whose embeddings are given, and the results at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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


def padded_points(points: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "b l d"]:
    """Return points of unequal lengths or widths as one tensor, which has no graph."""
    if all(point.shape == points[0].shape for point in points):
        return torch.stack(list(points)).detach()
    width = max(point.shape[1] for point in points)
    wide = [torch.nn.functional.pad(point, (0, width - point.shape[1])) for point in points]
    return pad_sequence(wide, batch_first=True).detach()


def start_of(variants: EmbeddingVariants, i: int) -> Float[Tensor, "l d"]:
    """Return where the direction of a point comes from; the point itself where it has none."""
    along = variants.direction
    return variants.points[i] if along is None else variants.points[i] - along[i if len(along) > 1 else 0]


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
) -> Iterator[tuple[int, list[int], list[int]]]:
    """Yield the chosen rows of a batch by sample: its number, the points, and their places in the batch."""
    found: dict[int, tuple[list[int], list[int]]] = {}
    for b in chosen:
        sample, copy = places[picked[b]]
        copies, inside = found.setdefault(sample, ([], []))
        copies.append(copy)
        inside.append(b)
    for sample, (copies, inside) in found.items():
        yield sample, copies, inside
