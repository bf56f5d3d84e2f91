"""Conditions on explanations of a data set: those that columns of the files tell, and functions of whole explanations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from interpreto.attributions.output import AttributionOutput

Columns = Mapping[str, list[Any]]
Test = Callable[[Columns, int], bool]
READ = {"label": ("targets",), "method": ("method",), "containing": ("units",), "correct": ("prediction", "label")}
"""Columns that each condition reads."""


@dataclass(frozen=True)
class Conditions:
    """Conditions that explanations fulfill.

    Attributes:
        columns: Columns that the tests read.
        tests: Functions of the columns and a row.
        predicates: Functions of an explanation.
    """

    columns: tuple[str, ...] = ()
    tests: tuple[Test, ...] = ()
    predicates: tuple[Callable[[AttributionOutput], bool], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tests or self.predicates)

    @property
    def count(self) -> int:
        """Return the number of conditions."""
        return len(self.tests) + len(self.predicates)

    def also(self, predicate: Callable[[AttributionOutput], bool] | None, asked: Mapping[str, Any]) -> Conditions:
        """Return these conditions and others.

        Args:
            predicate: A function of an explanation; None: there is none.
            asked: Values by the names of `READ`; None: nothing is asked.
        """
        found = self if predicate is None else replace(self, predicates=(*self.predicates, predicate))
        for name, value in asked.items():
            if value is not None:
                columns = tuple(dict.fromkeys((*found.columns, *READ[name])))
                found = replace(found, columns=columns, tests=(*found.tests, _test(name, value)))
        return found

    def keep(self, columns: Columns, row: int) -> bool:
        """Return True if a row fulfills the conditions on columns."""
        return all(test(columns, row) for test in self.tests)

    def fulfilled(self, explanation: AttributionOutput) -> bool:
        """Return True if an explanation fulfills the conditions on explanations."""
        return all(predicate(explanation) for predicate in self.predicates)


def _test(name: str, value: Any) -> Test:
    if name == "label":
        return lambda columns, row: value in columns["targets"][row]
    if name == "method":
        return lambda columns, row: columns["method"][row] == value
    if name == "containing":
        sought = value.strip().casefold()
        return lambda columns, row: any(unit.strip().casefold() == sought for unit in columns["units"][row])
    return lambda columns, row: _correct(columns, row) is value


def _correct(columns: Columns, row: int) -> bool | None:
    label, prediction = columns["label"][row], columns["prediction"][row]
    return None if label is None or prediction is None else label == prediction
