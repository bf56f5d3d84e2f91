"""Reduces gradients as they come, so that copies × targets × tokens × width is never held."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interpreto.inputs.samples import EmbeddingVariants


class GradientReducer(ABC):
    """Takes the gradients of one sample's copies, some copies and one target at a time."""

    def __init__(self, variants: EmbeddingVariants, t: int) -> None:
        self.variants, self.t = variants, t

    @abstractmethod
    def add(self, copies: list[int], target: int, gradients: Float[Tensor, "b l d"]) -> None: ...

    @abstractmethod
    def result(self) -> Any:
        """What an aggregator reads, on the CPU."""


class ContractedGradients(GradientReducer):
    """One number a token, ``(p, t, l)``: the gradient along the variants' direction, or its L2 norm without one."""

    def __init__(self, variants: EmbeddingVariants, t: int) -> None:
        super().__init__(variants, t)
        p, length, _ = variants.points.shape
        self.values = variants.points.new_zeros(p, t, length)

    def add(self, copies: list[int], target: int, gradients: Float[Tensor, "b l d"]) -> None:
        self.values[copies, target] = contracted(self.variants, copies, gradients)

    def result(self) -> Float[Tensor, "p t l"]:
        return self.values.cpu()


def contracted(variants: EmbeddingVariants, copies: list[int], gradients: Float[Tensor, "b l d"]) -> Float[Tensor, "b l"]:
    if variants.direction is None:
        return gradients.norm(dim=-1)
    direction = variants.direction if len(variants.direction) == 1 else variants.direction[copies]
    return (gradients * direction).sum(-1)


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of gradient vectors over copies, in ``j`` groups of copies.

    The vectors are the gradients, or gradient ⊙ direction where the variants have one.

    Attributes:
        count: Copies in each group.
        mean: Mean vector.
        spread: Sum over copies and width of squared distances to the group's mean.
        square: Sum over copies and width of squares.
    """

    count: Float[Tensor, " j"]
    mean: Float[Tensor, "j t l d"]
    spread: Float[Tensor, "j t l"]
    square: Float[Tensor, "j t l"]


class GradientMoments(GradientReducer):
    """Moments of the gradient vectors by groups of copies, updated batch by batch (Chan et al., 1983)."""

    GROUPS = 8

    def __init__(self, variants: EmbeddingVariants, t: int) -> None:
        super().__init__(variants, t)
        p, length, d = variants.points.shape
        j = min(p, self.GROUPS)
        zeros = variants.points.new_zeros
        self.count = zeros(j, t)
        self.mean, self.spread, self.square = zeros(j, t, length, d), zeros(j, t, length), zeros(j, t, length)

    def add(self, copies: list[int], target: int, gradients: Float[Tensor, "b l d"]) -> None:
        direction = self.variants.direction
        if direction is not None:
            gradients = gradients * (direction if len(direction) == 1 else direction[copies])
        j = len(self.count)
        for group in range(j):
            if inside := [b for b, copy in enumerate(copies) if copy % j == group]:
                self._merge(group, target, gradients[inside])

    def _merge(self, group: int, target: int, vectors: Float[Tensor, "b l d"]) -> None:
        at, n, m = (group, target), len(vectors), float(self.count[group, target])
        mean = vectors.mean(0)
        step = mean - self.mean[at]
        self.spread[at] += (vectors - mean).square().sum((0, -1)) + step.square().sum(-1) * (n * m / (n + m))
        self.square[at] += vectors.square().sum((0, -1))
        self.mean[at] += step * (n / (n + m))
        self.count[at] += n

    def result(self) -> Moments:
        return Moments(self.count[:, 0].cpu(), self.mean.cpu(), self.spread.cpu(), self.square.cpu())
