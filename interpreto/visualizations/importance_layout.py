"""Layout of mean attributions that all media share: which units are shown, in which order, with how many occurrences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from interpreto.attributions.explanations import Explanations
from interpreto.attributions.global_importance import GlobalImportance, Occurrence, UnitImportance, least_count
from interpreto.attributions.output import AttributionOutput, unit_name
from interpreto.errors import InputError
from interpreto.visualizations.text_layout import value_unit


def read_importance(
    explanations: GlobalImportance | Sequence[AttributionOutput], by: str | Callable[[str], str], min_count: int | None
) -> GlobalImportance:
    """Return importances as they are, or compute them.

    Args:
        explanations: Importances, or explanations.
        by: See `global_importance`.
        min_count: Texts that a unit must occur in; None: three of fifty or more, two of ten or more, else one.

    Raises:
        InputError: There are no explanations, or something else.
    """
    if isinstance(explanations, GlobalImportance):
        return explanations
    found = [explanations] if isinstance(explanations, AttributionOutput) else list(explanations)
    for i, explanation in enumerate(found):
        if not isinstance(explanation, AttributionOutput):
            raise InputError(f"`explanations[{i}]`: got {type(explanation).__name__}; pass a list of AttributionOutput.")
    return Explanations(found).importance(by, least_count(len(found)) if min_count is None else min_count)


def is_signed(importance: GlobalImportance) -> bool:
    """Return whether values say a direction; else they are magnitudes."""
    return all(explanation.signed for explanation in importance.explanations)


def unit_of(importance: GlobalImportance) -> str:
    """Return the unit of the values."""
    if importance.normalized:
        return "share of the text"
    return value_unit(importance.explanations[0]) if importance.explanations else "score"


def element_of(importance: GlobalImportance) -> str:
    """Return the singular name of the units."""
    names = {unit_name(explanation.granularity, 1) for explanation in importance.explanations}
    return names.pop() if len(names) == 1 else "unit"


def surest_first(importance: GlobalImportance, target: str, most: int) -> list[UnitImportance]:
    """Return the units of a target, those first whose interval is furthest from 0, then by the magnitude of the mean."""
    return sorted(importance.of(target), key=lambda row: (-row.least, -abs(row.mean), row.unit))[:most]


def spread(occurrences: Sequence[Occurrence], most: int) -> list[Occurrence]:
    """Return at most so many occurrences, evenly spread."""
    n = len(occurrences)
    return list(occurrences) if n <= most else [occurrences[i * n // most] for i in range(most)]
