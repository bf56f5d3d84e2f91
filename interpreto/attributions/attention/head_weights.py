"""Attention of all layers and heads, added up with a weight for each head; and the weights that predict ablations best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.attributions.attention.chains import times
from interpreto.errors import OptionError
from interpreto.models.attention import AttentionMap
from interpreto.models.attention_flow import Flow, Rows

STEPS = 500
RATE = 0.02  # of a step, as a share of the weight of a head when all have the same


class WeightedFlow(Flow):
    """Add up the attention of all heads with a weight each; of an encoder-decoder, that of the decoder and cross-attention.

    Args:
        weights: Weight of each head of each layer, in the order of computation; None: the same for all, 1 in sum.
    """

    def __init__(self, weights: Float[Tensor, "m h"] | None) -> None:
        self._weights, self._seen = weights, 0
        self._sums: dict[str, Tensor] = {}
        self._heads = 0

    def see(self, layer: AttentionMap) -> None:
        if layer.kind == "encoder":
            return
        found = layer.weights.to(torch.promote_types(layer.weights.dtype, torch.float32))
        self._heads += found.shape[1]
        if self._weights is None:
            own = torch.ones(found.shape[1])
        else:
            if self._seen >= len(self._weights) or found.shape[1] != self._weights.shape[1]:
                raise self._mismatch(found.shape[1])
            own = self._weights[self._seen]
        added = torch.einsum("bhqk,h->bqk", found, own.to(found))
        self._sums[layer.kind] = self._sums[layer.kind] + added if layer.kind in self._sums else added
        self._seen += 1

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        if self._weights is not None and self._seen != len(self._weights):
            raise self._mismatch(self._weights.shape[1])
        scale = 1 / self._heads if self._weights is None else 1.0
        cross = self._sums.get("cross")
        return Rows(times(read, self._sums["self"]) * scale, None if cross is None else times(read, cross) * scale)

    def _mismatch(self, heads: int) -> OptionError:
        assert self._weights is not None
        return OptionError(
            f"`weights`: got {tuple(self._weights.shape)} for layers and heads, and the model's layer {self._seen + 1} has "
            f"{heads} heads; pass weights that were fitted on this model."
        )


class HeadsFlow(Flow):
    """Keep what the queries that are read look at, for each head of each layer; for one text.

    Args:
        read: Share of each query in the score.
    """

    def __init__(self, read: Float[Tensor, " q"]) -> None:
        self._read = read
        self.found: list[Float[Tensor, "h k"]] = []

    def see(self, layer: AttentionMap) -> None:
        if layer.kind != "self":
            raise OptionError("`fit`: the model has two stacks, and weights are fitted for one; use the mean of its heads.")
        places = self._read.nonzero()[:, 0]
        rows = layer.weights[0][:, places].float().cpu()
        self.found.append(torch.einsum("hqk,q->hk", rows, self._read[places]))

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        return Rows(torch.zeros_like(read))


@dataclass(frozen=True, eq=False)
class Ablations:
    """One answer, with parts of its context removed.

    Attributes:
        features: Attention of the answer to each unit, for each head of each layer.
        present: 1 where a unit is present.
        scores: Score of the answer under each.
    """

    features: Float[Tensor, "m h u"]
    present: Float[Tensor, "p u"]
    scores: Float[Tensor, " p"]


def fitted(examples: Sequence[Ablations], *, positive: bool = False, steps: int = STEPS) -> Float[Tensor, "m h"]:
    """Return the weights of heads whose sums over the present units correlate best with the scores, on average.

    Gradient ascent from equal weights; the sizes of the result sum to 1. Examples whose scores are all the same teach nothing.

    Args:
        examples: At least one.
        positive: No weight is below 0.
        steps: Steps of the ascent.

    Raises:
        OptionError: no example has two scores that differ.
    """
    shape = examples[0].features.shape[:2]
    designs, targets = [], []
    for each in examples:
        sums = each.present.double() @ each.features.double().flatten(0, 1).T
        own = each.scores.double() - each.scores.double().mean()
        if float(own.norm()) > 1e-9 * max(1.0, float(each.scores.abs().max())):
            designs.append(sums - sums.mean(0))
            targets.append(own / own.norm())
    if not designs:
        raise OptionError("`inputs`: nothing that was removed from them changed a score, so there is nothing to learn from.")
    groups = torch.arange(len(designs)).repeat_interleave(torch.tensor([*map(len, designs)]))
    design, target = torch.cat(designs), torch.cat(targets)
    count = shape[0] * shape[1]
    weights = torch.full((count,), 1 / count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=RATE / count)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            (-correlation(design @ weights, target, groups, len(designs))).backward()
            optimizer.step()
            if positive:
                with torch.no_grad():
                    weights.clamp_(min=0)
    found = weights.detach()
    return (found / found.abs().sum().clamp(min=torch.finfo(torch.float64).tiny)).reshape(shape).float()


def correlation(
    predicted: Float[Tensor, " n"], targets: Float[Tensor, " n"], groups: Int[Tensor, " n"], count: int
) -> Float[Tensor, ""]:
    """Return the mean over groups of the correlation of centered predictions with centered targets of norm 1."""
    zeros = predicted.new_zeros(count)
    products = zeros.index_add(0, groups, predicted * targets)
    norms = zeros.index_add(0, groups, predicted.square()).clamp(min=1e-24).sqrt()
    return (products / norms).mean()
