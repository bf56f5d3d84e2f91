"""Changes of activations by concepts, each a function of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

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


@dataclass(frozen=True, eq=False)
class Add(Step):
    """h + α·s·û, with an α for all texts or one for each."""

    direction: Float[Tensor, " d"]
    strengths: Float[Tensor, " b"]
    unit: float

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


def orthonormal(directions: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    """Return an orthonormal basis of the span of directions."""
    _, sizes, basis = torch.linalg.svd(directions.double(), full_matrices=False)
    return basis[sizes > 1e-6 * sizes[0]].float()
