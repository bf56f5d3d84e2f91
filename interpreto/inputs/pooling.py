"""Activations of tokens to activations of units and back, for all texts of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy

Strategy = GranularityAggregationStrategy


@dataclass(frozen=True, eq=False)
class BatchUnits:
    """The units of a batch of texts that are padded on the right, numbered through from the first text to the last.

    Attributes:
        index: The unit of each token, ``-1`` for tokens in none and for padding.
        counts: Units of each text.

    Examples:
        >>> import torch
        >>> units = BatchUnits.of([torch.tensor([-1, 0, 0, -1]), torch.tensor([0, 1])], [1, 2])
        >>> units.index
        tensor([[-1,  0,  0, -1],
                [ 1,  2, -1, -1]])
        >>> units.pool(torch.arange(8.0).reshape(2, 4, 1), GranularityAggregationStrategy.MEAN)[:, 0]
        tensor([1.5000, 4.0000, 5.0000])
    """

    index: Int[Tensor, "b l"]
    counts: tuple[int, ...]

    @staticmethod
    def of(indices: Sequence[Tensor], counts: Sequence[int]) -> BatchUnits:
        """Return the units of texts whose own indices ``(l,)`` count from zero."""
        padded = pad_sequence(list(indices), batch_first=True, padding_value=-1)
        before = torch.tensor([0, *counts[:-1]]).cumsum(0)
        return BatchUnits(torch.where(padded >= 0, padded + before[:, None], -1), tuple(counts))

    @staticmethod
    def of_samples(samples: Sequence[Sample]) -> BatchUnits:
        return BatchUnits.of([sample.units.index for sample in samples], [len(sample.units) for sample in samples])

    def __len__(self) -> int:
        return sum(self.counts)

    def pool(self, hidden: Float[Tensor, "b l d"], strategy: Strategy) -> Float[Tensor, "u d"]:
        """Reduce tokens to their units; in float32 where a sum would lose digits. Differentiable."""
        index = self.index.flatten()
        inside = (index >= 0).nonzero()[:, 0].to(hidden.device)
        owner = index.to(hidden.device)[inside]
        values = hidden.flatten(0, 1).index_select(0, inside)
        if len(values) == len(self):  # one token a unit
            if torch.equal(owner, torch.arange(len(owner), device=owner.device)):
                return values
            return values.new_zeros(len(self), values.shape[1]).index_copy(0, owner, values)
        if strategy not in (Strategy.MEAN, Strategy.SUM):
            return strategy(values.T, owner, len(self)).T
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        total = wide.new_zeros(len(self), values.shape[1]).index_add(0, owner, wide)
        if strategy is Strategy.MEAN:
            total = total / torch.bincount(owner, minlength=len(self))[:, None]
        return total.to(hidden.dtype)

    def spread(self, values: Float[Tensor, "u d"], hidden: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Return ``hidden`` with every token of a unit replaced by the unit's value. Differentiable in both."""
        index = self.index.to(hidden.device)
        return torch.where((index >= 0)[..., None], values.to(hidden)[index.clamp(min=0)], hidden)


def stretches(first: Int[Tensor, " n"], counts: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Return numbers ``first, first + 1, ...`` of each stretch, ``counts`` of them, one stretch after the other.

    Examples:
        >>> import torch
        >>> stretches(torch.tensor([5, 0]), torch.tensor([2, 3]))
        tensor([5, 6, 0, 1, 2])
    """
    return (first - counts.cumsum(0) + counts).repeat_interleave(counts) + torch.arange(int(counts.sum()))
