"""Alignment of concepts with labels that people give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from interpreto.concepts.activation_store import ActivationStore
from interpreto.concepts.base import AnyActivations
from interpreto.errors import InputError, OptionError
from interpreto.metrics.concepts.base import ConceptMetric
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_choice, check_count, check_probability, check_seed

ASSIGNMENTS = ("largest", "quantile")
CURVE = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class AlignedConcept:
    """A concept and the label that most of its units have.

    Attributes:
        concept: Its number.
        label: The label.
        precision: Share of the concept's units that have the label.
        recall: Share of the label's units that have the concept.
        size: Number of the concept's units.
        base: Share of all units that have the label.
    """

    concept: int
    label: str
    precision: float
    recall: float
    size: int
    base: float


class HumanAlignment(ConceptMetric):
    """Share of the concepts whose units have one human label: alignment as ConceptX measures it.

    A concept is aligned with a label if at least a share θ of its units have it. Frequent labels fill some concepts by
    chance: ``details["control"]`` is the share of aligned concepts where labels are permuted over the units, and concepts
    keep their sizes.

    Args:
        concept_explainer: A fitted concept explainer.
        theta: Share of a concept's units that one label needs.
        assign: Units of a concept: ``"largest"``: those where it is the largest of all; ``"quantile"``: those where
            it is above its own quantile, and above 0.
        quantile: The quantile.
        min_size: Number of units that a concept needs to be counted.
        n_controls: Number of permutations.
        batch_size: Rows that are encoded together; only memory depends on it.
        random_state: Seed of the permutations.

    Examples:
        >>> import torch
        >>> from interpreto.concepts import KMeansConcepts
        >>> rows = torch.tensor([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]])
        >>> concepts = KMeansConcepts(None, nb_concepts=2).fit(rows)
        >>> HumanAlignment(concepts).compute(rows, ["verb", "verb", "noun", "noun"])
        1.0

    References:
        Sajjad et al., NAACL 2022, https://arxiv.org/abs/2206.13289.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)

    def __init__(
        self,
        concept_explainer: Any,
        theta: float = 0.9,
        *,
        assign: str = "largest",
        quantile: float = 0.95,
        min_size: int = 2,
        n_controls: int = 20,
        batch_size: int = 8192,
        random_state: int = 0,
    ) -> None:
        super().__init__(concept_explainer, batch_size=batch_size)
        self.theta = check_probability(theta, "theta", zero=False)
        self.assign = check_choice(assign, "assign", ASSIGNMENTS)
        self.quantile = check_probability(quantile, "quantile", one=False)
        self.min_size, self.n_controls = check_count(min_size, "min_size"), check_count(n_controls, "n_controls", 0)
        self.random_state = check_seed(random_state)
        self.config = {"theta": theta, "assign": assign, "quantile": quantile, "min_size": min_size}

    def run(
        self,
        activations: AnyActivations,
        labels: Sequence[str | None] | Mapping[str, str] | Callable[[str], str | None],
        units: Sequence[str] | None = None,
    ) -> MetricResult:
        """Return the share of aligned concepts.

        Args:
            activations: ``(n, d)``, a dictionary of them by split point, or an `ActivationStore`.
            labels: The label of each row, None where it has none; or a function or a mapping from a unit's text to it, such
                as `surface_label`.
            units: Texts of the rows, for a function or a mapping; a store knows them.

        Returns:
            ``per_sample``: 1 for each counted concept that is aligned, else 0. ``details``: ``control``; ``concepts``, the
            `AlignedConcept` of each; ``curve`` and ``control_curve``, shares by θ.

        Raises:
            InputError: there is not one label for each row.
        """
        rows = self.read(activations)
        if isinstance(activations, ActivationStore) and units is None and not isinstance(labels, Sequence):
            units = [unit.text for unit in activations.units()]
        given = _labels(labels, units, rows.n)
        names = sorted({label for label in given if label is not None})
        if not names:
            raise InputError("`labels`: there is none that is not None; pass a label for each row.")
        numbers = {name: i for i, name in enumerate(names)}
        ids = torch.tensor([-1 if label is None else numbers[label] for label in given])
        codes = torch.cat([coded.codes.cpu() for coded in self.coded(rows)])
        members = [places for places in self._members(codes) if len(places) >= self.min_size]
        if not members:
            raise OptionError(f"`min_size`: no concept has {self.min_size} units; pass a smaller one, or more rows.")
        counts = _counts(ids, members, len(names))
        concepts = self._aligned(counts, ids, [len(places) for places in members], names, codes)
        precision = torch.tensor([concept.precision for concept in concepts], dtype=torch.float64)
        generator, control = Generator().manual_seed(self.random_state), []
        for _ in range(self.n_controls):
            moved = _counts(ids[torch.randperm(len(ids), generator=generator)], members, len(names))
            control.append(moved.amax(1) / torch.tensor([len(places) for places in members]))
        chance = torch.cat(control) if control else torch.full((1,), torch.nan)
        aligned = (precision >= self.theta).double()
        return self.result(
            float(aligned.mean()),
            len(aligned),
            per_sample=aligned,
            control=_share(chance, self.theta),
            concepts=tuple(concepts),
            curve={theta: _share(precision, theta) for theta in CURVE},
            control_curve={theta: _share(chance, theta) for theta in CURVE},
        )

    def _members(self, codes: Float[Tensor, "n c"]) -> list[Tensor]:
        """Return the rows of each concept."""
        if self.assign == "largest":
            owners = torch.where(codes.amax(1) > 0, codes.argmax(1), -1)
            return [(owners == k).nonzero()[:, 0] for k in range(codes.shape[1])]
        limits = codes.double().quantile(self.quantile, 0)
        return [((codes[:, k] > limits[k]) & (codes[:, k] > 0)).nonzero()[:, 0] for k in range(codes.shape[1])]

    def _aligned(
        self, counts: Int[Tensor, "m z"], ids: Int[Tensor, " n"], sizes: list[int], names: list[str], codes: Tensor
    ) -> list[AlignedConcept]:
        numbers = [k for k, places in enumerate(self._members(codes)) if len(places) >= self.min_size]
        totals, found = torch.bincount(ids[ids >= 0], minlength=len(names)), []
        for k, row, size in zip(numbers, counts, sizes, strict=True):
            best = int(row.argmax())
            hits, total = int(row[best]), int(totals[best])
            found.append(AlignedConcept(k, names[best], hits / size, hits / total, size, total / len(ids)))
        return found


def surface_label(unit: str) -> str:
    """Return what can be seen of a unit without knowing the language: a label for `HumanAlignment`.

    Examples:
        >>> [surface_label(unit) for unit in ["film", "NATO", "Paris", "1984", "...", "don't", "3D"]]
        ['lower', 'upper', 'capitalized', 'number', 'punctuation', 'mixed', 'mixed']
    """
    text = unit.strip()
    if not any(character.isalnum() for character in text):
        return "punctuation"
    if all(character.isdigit() or character in ".,:/" for character in text):
        return "number"
    if not text.isalpha():
        return "mixed"
    if text.isupper() and len(text) > 1:
        return "upper"
    return "lower" if text.islower() else "capitalized"


def _labels(labels: Any, units: Sequence[str] | None, n: int) -> list[str | None]:
    if isinstance(labels, Mapping) or callable(labels):
        if units is None:
            raise InputError("`units`: a function of units needs their texts; pass one for each row, or an ActivationStore.")
        labels = [labels.get(unit) if isinstance(labels, Mapping) else labels(unit) for unit in units]
    found = [None if label is None else str(label) for label in labels]
    if len(found) != n:
        raise InputError(f"`labels`: got {len(found)} for {n} rows; pass one for each.")
    return found


def _counts(ids: Int[Tensor, " n"], members: Sequence[Tensor], z: int) -> Int[Tensor, "m z"]:
    """Return how many units of each concept have each label."""
    return torch.stack([torch.bincount(ids[places][ids[places] >= 0], minlength=z) for places in members])


def _share(precision: Float[Tensor, " m"], theta: float) -> float:
    return float("nan") if bool(precision.isnan().any()) else float((precision >= theta - 1e-12).double().mean())
