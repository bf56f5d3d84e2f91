"""Reducers of gradients, which take them as they come: points × targets × tokens × width is never held."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import CompletenessWarning
from interpreto.inputs.samples import EmbeddingVariants

ROUNDING = 64  # machine epsilons of the largest product that count as rounding


class GradientReducer(ABC):
    """Takes the gradients at one sample's points, some points and one target at a time.

    Attributes:
        before: Number of the sample's points before those that are asked for, where these are some of them.
    """

    before: int = 0

    def __init__(self, variants: EmbeddingVariants, t: int) -> None:
        self.variants, self.t = variants, t

    @staticmethod
    @abstractmethod
    def held(variants: EmbeddingVariants) -> int:
        """Return how many numbers are held per target."""

    @abstractmethod
    def add(self, copies: list[int], target: int, gradients: Float[Tensor, "b l d"]) -> None:
        """Add the gradients of one target at some points."""

    @abstractmethod
    def result(self) -> Any:
        """Return what an aggregator reads, on the CPU."""

    def first(self, count: int) -> Any:
        """Return the result of the first points, which alone were added."""
        return self.result()

    def warn_of_rounding(self) -> None:  # noqa: B027  # most have nothing to tell
        """Warn where the values are rounding errors."""


MakesReducer = Callable[[EmbeddingVariants, int], GradientReducer]
"""Makes the reducer of a sample's variants for a number of targets."""


class ContractedGradients(GradientReducer):
    """One number per token, ``(p, t, l)``: the gradient along the variants' direction, or its L2 norm without one."""

    def __init__(self, variants: EmbeddingVariants, t: int) -> None:
        super().__init__(variants, t)
        p, length, _ = variants.points.shape
        self.values = variants.points.new_zeros(p, t, length)
        self._scale = 0.0  # largest product of the lengths of a gradient and its direction

    @staticmethod
    def held(variants: EmbeddingVariants) -> int:
        return len(variants.points) * variants.points.shape[1]

    def add(self, copies: list[int], target: int, gradients: Float[Tensor, "b l d"]) -> None:
        self.values[copies, target] = contracted(self.variants, copies, gradients)
        if (along := self.variants.direction) is not None and len(self.values) == 1:
            free = self.variants.sample.units.free.to(gradients.device)
            products = gradients.norm(dim=-1) * (along if len(along) == 1 else along[copies]).norm(dim=-1)
            self._scale = max(self._scale, float((products * free).max()))

    def warn_of_rounding(self) -> None:
        """Warn where gradient · direction is 0 but for rounding: the model is blind to the embeddings' scale."""
        largest = float((self.values * self.variants.sample.units.free.to(self.values)).abs().max())
        if 0.0 < largest < ROUNDING * torch.finfo(self.values.dtype).eps * self._scale:
            warnings.warn(
                f"gradient × input of {self.variants.sample.text[:40]!r} is rounding ({largest:.1e}, where it could be "
                f"{self._scale:.1e}): the model normalizes its embeddings first, so their scale has no effect. "
                "Use IntegratedGradients, Saliency or a mask method.",
                CompletenessWarning,
                stacklevel=2,
            )

    def result(self) -> Float[Tensor, "p t l"]:
        return self.values.cpu()

    def first(self, count: int) -> Float[Tensor, "n t l"]:
        return self.values[:count].cpu()


def contracted(variants: EmbeddingVariants, copies: list[int], gradients: Float[Tensor, "b l d"]) -> Float[Tensor, "b l"]:
    """Return the gradients along the variants' direction, or their L2 norms without one."""
    if variants.direction is None:
        return gradients.norm(dim=-1)
    direction = variants.direction if len(variants.direction) == 1 else variants.direction[copies]
    return (gradients * direction).sum(-1)


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of gradient vectors over points, in ``j`` groups of points.

    The vectors are the gradients, or gradient ⊙ direction where the variants have one.

    Attributes:
        count: Points in each group.
        mean: Mean vector.
        spread: Sum over points and width of squared distances to the group's mean.
        square: Sum over points and width of squares.
    """

    count: Float[Tensor, " j"]
    mean: Float[Tensor, "j t l d"]
    spread: Float[Tensor, "j t l"]
    square: Float[Tensor, "j t l"]


class GradientMoments(GradientReducer):
    """Moments of the gradient vectors by groups of points, updated batch by batch (Chan et al., 1983)."""

    GROUPS = 8

    def __init__(self, variants: EmbeddingVariants, t: int) -> None:
        super().__init__(variants, t)
        p, length, d = variants.points.shape
        j = min(p, self.GROUPS)
        zeros = variants.points.new_zeros
        self.count = zeros(j, t)
        self.mean, self.spread, self.square = zeros(j, t, length, d), zeros(j, t, length), zeros(j, t, length)

    @staticmethod
    def held(variants: EmbeddingVariants) -> int:
        p, length, d = variants.points.shape
        return min(p, GradientMoments.GROUPS) * length * (d + 2)

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
