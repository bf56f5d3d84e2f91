"""Interactions of the units of one input: what units contribute together, beyond what each contributes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.games.indices import Coalition
from interpreto.attributions.games.interactions import EFFICIENT, INDICES
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.serialization import packed, unpacked
from interpreto.attributions.tables import load_pandas
from interpreto.errors import FileError, OptionError
from interpreto.renderable import Renderable, visible
from interpreto.storage import read_file, write_file
from interpreto.validation import check_choice, check_count, is_whole, shown

if TYPE_CHECKING:
    import pandas

FORMAT = "interpreto.interactions/1"


@dataclass(frozen=True, eq=False)
class InteractionOutput(Renderable):
    """Interactions of units for each target.

    Attributes:
        explanation: The values of single units, with the text, the targets and their scores.
        coalitions: Numbers of the units of each interaction, in ascending order; smaller ones first.
        values: ``(t, s)`` in the units of the scores; NaN where a target cannot depend on a unit.
        index: Definition of the values: ``"k-SII"``, ``"SII"``, ``"STII"``, ``"FSII"`` or ``"BII"``.
        order: Largest number of units in an interaction.
        exact: The values follow from all coalitions of units; else they are estimates.
        standard_error: ``(t, s)`` of estimates; 0 where the values are exact; None: not known.
    """

    _subject: ClassVar[str] = "interactions"

    explanation: AttributionOutput
    coalitions: tuple[Coalition, ...]
    values: Float[Tensor, "t s"]
    index: str
    order: int
    exact: bool
    standard_error: Float[Tensor, "t s"] | None = None

    @property
    def elements(self) -> list[str]:
        """Texts of the units."""
        return self.explanation.elements

    @property
    def target_labels(self) -> list[str]:
        """Name of each target."""
        return self.explanation.target_labels

    @property
    def text(self) -> str:
        """Text that the model read."""
        return self.explanation.text

    @property
    def residual(self) -> Float[Tensor, " t"] | None:
        """``(t,)`` f(x) − f(everything masked) − sum of the values, of an index that sums to that; None of others."""
        reference = self.explanation.reference_scores
        if self.index not in EFFICIENT or reference is None:
            return None
        return (self.explanation.base_scores - reference - self.values.nansum(1)).float()

    def value(self, *units: int, target: int = 0) -> float:
        """Return the value of some units together.

        Args:
            *units: Their numbers, in any order.
            target: Row of the target.

        Raises:
            OptionError: There is no interaction of these units.
        """
        place = self._places.get(tuple(sorted(units)))
        if place is None:
            raise OptionError(
                f"`units`: got {units}; pass 1 to {self.order} different numbers from 0 to {len(self.elements) - 1}."
            )
        return float(self.values[self._row(target), place])

    @property
    def _places(self) -> dict[Coalition, int]:
        return {coalition: i for i, coalition in enumerate(self.coalitions)}

    def _row(self, target: int) -> int:
        if not is_whole(target) or not -len(self.values) <= target < len(self.values):
            raise OptionError(f"`target`: got {shown(target)}; there are {len(self.values)} targets.")
        return target

    def matrix(self, target: int = 0) -> Float[Tensor, "u u"]:
        """Return the interactions of pairs, symmetric, with the values of single units on the diagonal.

        Args:
            target: Row of the target.

        Returns:
            ``(u, u)`` in the units of the scores; zeros off the diagonal for ``order=1``.
        """
        row, found = self.values[self._row(target)], torch.zeros(len(self.elements), len(self.elements))
        for coalition, value in zip(self.coalitions, row.tolist(), strict=True):
            first, last = coalition[0], coalition[-1]
            if len(coalition) <= 2:
                found[first, last] = found[last, first] = value
        return found

    def top_pairs(self, k: int = 5, target: int = 0, order: int = 2) -> list[tuple[tuple[str, ...], float]]:
        """Return the interactions of largest magnitude.

        Args:
            k: Number of interactions at most.
            target: Row of the target.
            order: Number of units in each: 2 for pairs, 3 for triples.

        Returns:
            Texts of the units, and the value; the largest first, equal ones in the order of the text.

        Raises:
            OptionError: No interactions of that order were computed.
        """
        return self._ranked(k, target, (check_count(order, "order", most=self.order),))

    def top(self, k: int = 5, target: int = 0) -> list[tuple[tuple[str, ...], float]]:
        """Return the interactions of two or more units of largest magnitude, of every order.

        Args:
            k: Number of interactions at most.
            target: Row of the target.
        """
        return self._ranked(k, target, tuple(range(2, self.order + 1)))

    def _ranked(self, k: int, target: int, orders: tuple[int, ...]) -> list[tuple[tuple[str, ...], float]]:
        row = self.values[self._row(target)].tolist()
        found = [(c, v) for c, v in zip(self.coalitions, row, strict=True) if len(c) in orders and not math.isnan(v)]
        found.sort(key=lambda pair: -abs(pair[1]))
        return [(tuple(self.elements[i] for i in c), v) for c, v in found[: check_count(k, "k")]]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row per target and interaction. Needs pandas (``pip install pandas``).

        Returns:
            Columns ``target``, ``order`` (number of units), ``units`` (their numbers), ``elements`` (their texts), ``value``,
            ``standard_error``.

        Raises:
            OptionError: pandas is not installed.
        """
        pandas, rows = load_pandas(), []
        for i, label in enumerate(self.target_labels):
            for j, coalition in enumerate(self.coalitions):
                error = None if self.standard_error is None else float(self.standard_error[i, j])
                texts = tuple(self.elements[unit] for unit in coalition)
                rows.append((label, len(coalition), coalition, texts, float(self.values[i, j]), error))
        return pandas.DataFrame(rows, columns=["target", "order", "units", "elements", "value", "standard_error"])

    def save(self, path: str | PathLike[str]) -> None:
        """Write one safetensors file, with everything that is not a tensor as JSON in its header.

        Args:
            path: Where to write; what was there is replaced once the new file is complete.

        Raises:
            FileError: The file cannot be written.
        """
        tensors, facts = packed(self.explanation.sample, *self.explanation.parts())
        own = {"values": self.values, "errors": self.standard_error}
        written = {f"explanation.{name}": value for name, value in tensors.items()}
        written |= {f"interactions.{name}": value for name, value in own.items() if value is not None}
        about = {"index": self.index, "order": self.order, "exact": self.exact, "coalitions": list(self.coalitions)}
        write_file(path, FORMAT, written, {"explanation": facts, "interactions": about})

    @staticmethod
    def load(path: str | PathLike[str]) -> InteractionOutput:
        """Read what `save` wrote. Nothing in the file is run.

        Raises:
            FileError: The file is missing, holds something else, or its parts do not fit each other.
        """
        tensors, facts = read_file(path, FORMAT, "interactions")
        parts = {name.removeprefix("explanation."): v for name, v in tensors.items() if name.startswith("explanation.")}
        if not isinstance(facts.get("explanation"), dict):
            raise FileError(f"`path`: {str(path)!r} holds interactions without their explanation.")
        explanation = AttributionOutput(**unpacked(parts, facts["explanation"], path))
        own = {name.removeprefix("interactions."): v for name, v in tensors.items() if name.startswith("interactions.")}
        about = facts.get("interactions")
        try:
            return _read(explanation, own, about if isinstance(about, dict) else {})
        except (KeyError, TypeError, ValueError, OptionError) as error:
            raise FileError(f"`path`: {str(path)!r} holds inconsistent interactions ({error}).") from error

    def __repr__(self) -> str:
        best = ", ".join(f"{' + '.join(map(repr, units))} {value:+.3g}" for units, value in self.top(3))
        kind = "exact" if self.exact else "estimated"
        return visible(f"InteractionOutput({self.index} of order {self.order}, {kind}, {self.target_labels}: {best})").replace(
            "\n", "␊"
        )


def _read(explanation: AttributionOutput, tensors: dict[str, Tensor], about: dict[str, Any]) -> InteractionOutput:
    """Return interactions out of the parts of a file, checked.

    Raises:
        KeyError, TypeError, ValueError, OptionError: a part is missing, or does not fit the others.
    """
    coalitions = tuple(tuple(coalition) for coalition in about["coalitions"])
    order, u = check_count(about["order"], "order"), len(explanation.elements)
    for coalition in coalitions:
        inside = all(is_whole(i) and 0 <= i < u for i in coalition)
        if not inside or sorted(set(coalition)) != list(coalition) or not 1 <= len(coalition) <= order:
            raise ValueError(f"interaction {coalition!r:.40} of {u} units")
    shape = (len(explanation.target_labels), len(coalitions))
    for name, value in tensors.items():
        if name not in ("values", "errors") or value.shape != shape or not value.is_floating_point():
            raise ValueError(f"tensor {name!r:.40}")
        if bool(value.isinf().any()):
            raise ValueError(f"tensor {name!r} is not finite")
    if not isinstance(about["exact"], bool):
        raise TypeError("`exact` is no flag")
    return InteractionOutput(
        explanation,
        coalitions,
        tensors["values"],
        check_choice(about["index"], "index", INDICES),
        order,
        about["exact"],
        tensors.get("errors"),
    )
