"""Changes of activations by concepts, each a function of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

Rows = Float[Tensor, "n d"]


@dataclass(frozen=True, eq=False)
class Step(ABC):
    """A change of the activations at one place.

    Attributes:
        split_point: Where.
        at: Which tokens; see `Steering`.
    """

    split_point: str
    at: str

    @abstractmethod
    def __call__(self, rows: Rows, texts: Tensor) -> Rows:
        """Return changed rows; ``texts`` is the number of the text, within the batch, that each row is of."""

    @property
    def rows_of_its_own(self) -> int | None:
        """Return the number of texts of a batch that it is made for; None: any."""
        return None

    @property
    def first_written(self) -> int:
        """Return the first column that it may change: those before are only read."""
        return 0


@dataclass(frozen=True, eq=False)
class Add(Step):
    """h + α·s·û, with an α for all texts or one for each; the concepts whose direction û is are known where they matter."""

    direction: Float[Tensor, " d"]
    strengths: Float[Tensor, " b"]
    unit: float
    explainer: Any = None
    weights: Float[Tensor, " c"] | None = None

    def __call__(self, rows: Rows, texts: Tensor) -> Rows:
        strengths = self.strengths.to(rows)
        each = strengths[texts] if len(strengths) > 1 else strengths.expand(len(rows))
        return rows + self.unit * each[:, None] * self.direction.to(rows)

    @property
    def rows_of_its_own(self) -> int | None:
        return len(self.strengths) if len(self.strengths) > 1 else None


@dataclass(frozen=True, eq=False)
class Recode(Step):
    """h + decode(z′) − decode(z), with one concept of z at a value, or multiplied: what concepts do not explain stays."""

    explainer: Any
    concepts: tuple[int, ...]
    value: float | None
    factor: float

    def __call__(self, rows: Rows, texts: Tensor) -> Rows:
        codes = self.explainer.encode_activations(rows)
        changed = codes.clone()
        chosen = list(self.concepts)
        changed[:, chosen] = codes[:, chosen] * self.factor if self.value is None else self.value
        return rows + self.explainer.displacement(codes, rows)(changed).to(rows)

    @property
    def first_written(self) -> int:
        return int(getattr(self.explainer, "first_written", 0))


@dataclass(frozen=True, eq=False)
class ProjectOut(Step):
    """h without its part in the span of some directions."""

    basis: Float[Tensor, "k d"]

    def __call__(self, rows: Rows, texts: Tensor) -> Rows:
        basis = self.basis.to(rows)
        return rows - (rows @ basis.T) @ basis


@dataclass(frozen=True, eq=False)
class Apply(Step):
    """A function of rows, such as a fitted `Erasure`."""

    function: Any

    def __call__(self, rows: Rows, texts: Tensor) -> Rows:
        return self.function(rows)


@dataclass(frozen=True, eq=False)
class AddToEach(Step):
    """h + v, with a vector of its own for each text of a batch."""

    vectors: Float[Tensor, "b d"]

    def __call__(self, rows: Rows, texts: Tensor) -> Rows:
        return rows + self.vectors.to(rows)[texts]

    @property
    def rows_of_its_own(self) -> int | None:
        return len(self.vectors)


@dataclass(frozen=True, eq=False)
class ForText(Step):
    """A step for one text of a batch of so many."""

    step: Step
    text: int
    batch: int

    def __call__(self, rows: Rows, texts: Tensor) -> Rows:
        own = texts == self.text
        if not bool(own.any()):
            return rows
        changed = rows.clone()
        changed[own] = self.step(rows[own], torch.zeros_like(texts[own])).to(rows)
        return changed

    @property
    def rows_of_its_own(self) -> int | None:
        return self.batch


@dataclass(frozen=True, eq=False)
class Redirected(Step):
    """As far as another step moves each row, but in a random direction."""

    step: Step
    seed: int

    def __call__(self, rows: Rows, texts: Tensor) -> Rows:
        lengths = (self.step(rows, texts).to(rows) - rows).norm(dim=1, keepdim=True)
        first = self.step.first_written
        drawn = random_direction(rows.shape[1] - first, Generator().manual_seed(self.seed)).to(rows)
        return rows + lengths * torch.cat([drawn.new_zeros(first), drawn])


def random_direction(width: int, draws: Generator) -> Float[Tensor, " d"]:
    """Return a vector of length 1 whose direction is equally likely everywhere."""
    drawn = torch.randn(width, generator=draws)
    return drawn / drawn.norm()


def orthonormal(directions: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    """Return an orthonormal basis of the span of directions."""
    _, sizes, basis = torch.linalg.svd(directions.double(), full_matrices=False)
    return basis[sizes > 1e-6 * sizes[0]].float()
