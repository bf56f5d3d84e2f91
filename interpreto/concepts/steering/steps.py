"""Changes of activations by concepts, each a function of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.errors import ModelError

Rows = Float[Tensor, "n d"]


@dataclass(frozen=True, eq=False)
class Here:
    """Where in a pass a step is asked for rows.

    Attributes:
        place: The place that is written.
        seen: What the step's places held in this pass, as far as it has come: the same tokens, in the same order.
    """

    place: str
    seen: Mapping[str, Rows]

    def read(self, place: str) -> Rows:
        """Return what a place held in this pass.

        Raises:
            ModelError: the model has not reached it.
        """
        if place not in self.seen:
            raise ModelError(
                f"`steering`: what is written at {self.place!r} is read at {place!r}, which this pass has not reached; "
                "Steering.add and Steering.project_out need nothing that is read."
            )
        return self.seen[place]

    def at(self, rows: Tensor) -> Here:
        """Return it for some of the rows."""
        return Here(self.place, {place: own[rows] for place, own in self.seen.items()})


@dataclass(frozen=True, eq=False)
class Step(ABC):
    """A change of the activations at one place, or at several in the order in which a pass reaches them.

    Attributes:
        split_point: Where.
        at: Which tokens; see `Steering`.
    """

    split_point: str
    at: str

    @abstractmethod
    def __call__(self, rows: Rows, texts: Tensor, here: Here | None = None) -> Rows:
        """Return changed rows.

        Args:
            rows: Those of one pass, or some of them, at the place that is written.
            texts: Number of the text, within the batch, that each row is of.
            here: The place, and what was read; a step that reads and writes the same rows needs none.
        """

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the places that are read besides those that are written."""
        return ()

    @property
    def writes(self) -> tuple[str, ...]:
        """Return the places that are written."""
        return (self.split_point,)

    @property
    def rows_of_its_own(self) -> int | None:
        """Return the number of texts of a batch that it is made for; None: any."""
        return None


@dataclass(frozen=True, eq=False)
class Add(Step):
    """h + α·s·û, with an α for all texts or one for each; the concepts whose direction û is are known where they matter."""

    direction: Float[Tensor, " d"]
    strengths: Float[Tensor, " b"]
    unit: float
    explainer: Any = None
    weights: Float[Tensor, " c"] | None = None

    def __call__(self, rows: Rows, texts: Tensor, here: Here | None = None) -> Rows:
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

    def __call__(self, rows: Rows, texts: Tensor, here: Here | None = None) -> Rows:
        codes = self.explainer.encode_activations(rows)
        changed = codes.clone()
        chosen = list(self.concepts)
        changed[:, chosen] = codes[:, chosen] * self.factor if self.value is None else self.value
        return rows + self.explainer.displacement(codes, rows)(changed).to(rows)


@dataclass(frozen=True, eq=False)
class RecodeAcross(Step):
    """The same where codes are read at one place and written at others: h_m + Σ (z′ − z) D_m at each written place m.

    A code is read in the same pass, after what was changed before its place was reached. Codes of layers do not depend on
    each other: those of a layer are known as soon as its own place is reached.
    """

    explainer: Any
    concepts: tuple[int, ...]
    value: float | None
    factor: float

    def __call__(self, rows: Rows, texts: Tensor, here: Here | None = None) -> Rows:
        assert here is not None
        directions = self.explainer.directions(here.place)
        for concepts, places in self._groups().items():
            chosen = [c for c in concepts if here.place in self._reached(c)]
            if not chosen:
                continue
            read = torch.cat([here.read(place) for place in places], 1)
            codes = self.explainer.codes_of(chosen, read)
            changed = codes * self.factor if self.value is None else torch.full_like(codes, self.value)
            rows = rows + ((changed - codes) @ directions[chosen]).to(rows)
        return rows

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(place for places in self._groups().values() for place in places))

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(place for place in self.explainer.written if any(place in self._reached(c) for c in self.concepts))

    def _groups(self) -> dict[tuple[int, ...], tuple[str, ...]]:
        """Return the places that concepts read, by those that read the same."""
        found: dict[tuple[str, ...], list[int]] = {}
        for c in self.concepts:
            found.setdefault(self.explainer.read_by(c), []).append(c)
        return {tuple(own): places for places, own in found.items()}

    def _reached(self, concept: int) -> tuple[str, ...]:
        reached: tuple[str, ...] = self.explainer.written_by(concept)
        return reached


@dataclass(frozen=True, eq=False)
class ProjectOut(Step):
    """h without its part in the span of some directions."""

    basis: Float[Tensor, "k d"]

    def __call__(self, rows: Rows, texts: Tensor, here: Here | None = None) -> Rows:
        basis = self.basis.to(rows)
        return rows - (rows @ basis.T) @ basis


@dataclass(frozen=True, eq=False)
class Apply(Step):
    """A function of rows, such as a fitted `Erasure`."""

    function: Any

    def __call__(self, rows: Rows, texts: Tensor, here: Here | None = None) -> Rows:
        return self.function(rows)


@dataclass(frozen=True, eq=False)
class AddToEach(Step):
    """h + v, with a vector of its own for each text of a batch."""

    vectors: Float[Tensor, "b d"]

    def __call__(self, rows: Rows, texts: Tensor, here: Here | None = None) -> Rows:
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

    def __call__(self, rows: Rows, texts: Tensor, here: Here | None = None) -> Rows:
        own = texts == self.text
        if not bool(own.any()):
            return rows
        changed = rows.clone()
        changed[own] = self.step(rows[own], torch.zeros_like(texts[own]), here and here.at(own)).to(rows)
        return changed

    @property
    def reads(self) -> tuple[str, ...]:
        return self.step.reads

    @property
    def writes(self) -> tuple[str, ...]:
        return self.step.writes

    @property
    def rows_of_its_own(self) -> int | None:
        return self.batch


@dataclass(frozen=True, eq=False)
class Redirected(Step):
    """As far as another step moves each row, but in a random direction, another one at each place."""

    step: Step
    seed: int

    def __call__(self, rows: Rows, texts: Tensor, here: Here | None = None) -> Rows:
        lengths = (self.step(rows, texts, here).to(rows) - rows).norm(dim=1, keepdim=True)
        number = 0 if here is None else self.writes.index(here.place)
        drawn = random_direction(rows.shape[1], Generator().manual_seed((self.seed + 104729 * number) % 2**32))
        return rows + lengths * drawn.to(rows)

    @property
    def reads(self) -> tuple[str, ...]:
        return self.step.reads

    @property
    def writes(self) -> tuple[str, ...]:
        return self.step.writes


def random_direction(width: int, draws: Generator) -> Float[Tensor, " d"]:
    """Return a vector of length 1 whose direction is equally likely everywhere."""
    drawn = torch.randn(width, generator=draws)
    return drawn / drawn.norm()


def orthonormal(directions: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    """Return an orthonormal basis of the span of directions."""
    _, sizes, basis = torch.linalg.svd(directions.double(), full_matrices=False)
    return basis[sizes > 1e-6 * sizes[0]].float()
