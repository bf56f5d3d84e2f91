"""Encode mean attributions over many texts for a page, and a static table for where scripts are stripped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from interpreto.attributions.global_importance import GlobalImportance, Occurrence, UnitImportance
from interpreto.attributions.output import AttributionOutput
from interpreto.visualizations.html.dataset import dataset_page
from interpreto.visualizations.html.encoding import json_number, packed
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.html.static import heading, table
from interpreto.visualizations.importance_layout import element_of, is_signed, spread, surest_first, unit_of
from interpreto.visualizations.table_layout import mistakes
from interpreto.visualizations.text_layout import format_number

UNITS, OCCURRENCES, STATIC = 300, 120, 12
"""Units of a class, occurrences of a unit, and units of a class in the static table, at most."""


def page_of(importance: GlobalImportance) -> Page:
    """Return the page of importances: a chart per class, and the texts of each unit."""
    groups = group_positions(importance.explanations)
    part = importance_part(importance, groups, mistakes(importance.explanations))
    return dataset_page(grouped(importance.explanations, groups), {"importance": part}, importance_static(importance))


def group_positions(explanations: Sequence[AttributionOutput]) -> list[tuple[int, int]]:
    """Return for each explanation the position of its text among distinct texts, and its own among those of that text.

    An explanation that repeats an earlier one has its place.
    """
    texts: dict[str, int] = {}
    members: dict[str, dict[tuple[object, ...], int]] = {}
    places = []
    for own in explanations:
        known = members.setdefault(own.text, {})
        member = known.setdefault((own.method, *own.target_labels, own.attributions.numpy().tobytes()), len(known))
        places.append((texts.setdefault(own.text, len(texts)), member))
    return places


def grouped(explanations: Sequence[AttributionOutput], places: Sequence[tuple[int, int]]) -> list[list[AttributionOutput]]:
    """Return explanations by text, at the places of `group_positions`."""
    groups: list[list[AttributionOutput]] = [[] for _ in range(1 + max((group for group, _ in places), default=-1))]
    for explanation, (group, member) in zip(explanations, places, strict=True):
        if member == len(groups[group]):
            groups[group].append(explanation)
    return groups


def importance_part(
    importance: GlobalImportance, places: Sequence[tuple[int, int]], facts: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """Return the data of the chart.

    Args:
        importance: Importances with their explanations.
        places: Where the page has each explanation; see `group_positions`.
        facts: Remarks on texts that the model gets wrong, by explanation; their occurrences are rings.
    """
    remarks = facts or {}
    classes = []
    for target in importance.targets:
        rows = surest_first(importance, target, UNITS)
        texts = sum(target in explanation.target_labels for explanation in importance.explanations)
        units = [_unit(row, importance, places, remarks) for row in rows]
        classes.append({"name": target, "texts": texts, "units": units})
    first = importance.explanations[0] if importance.explanations else None
    return {
        "kind": "importance",
        "classes": classes,
        "signed": is_signed(importance),
        "unit": unit_of(importance),
        "element": element_of(importance),
        "minCount": importance.min_count,
        "order": "surest" if any(row.least for row in importance.rows) else "mean",
        "wrong": bool(remarks),
        "facts": [
            ("Method", importance.method),
            ("Texts", f"{importance.n_texts:,}"),
            *([("Score", first.inference_mode.replace("_", " "))] if first is not None else []),
        ],
    }


def _unit(
    row: UnitImportance, importance: GlobalImportance, places: Sequence[tuple[int, int]], remarks: Mapping[int, str]
) -> dict[str, Any]:
    chosen = spread(row.occurrences, OCCURRENCES)
    labels = {place.text_id: importance.explanations[place.text_id].target_labels.index(row.target) for place in chosen}
    wrong = [i for i, place in enumerate(chosen) if place.text_id in remarks]
    return {
        "unit": row.unit,
        "mean": json_number(row.mean),
        "low": json_number(row.low),
        "high": json_number(row.high),
        "least": json_number(row.least),
        "texts": row.n_texts,
        "count": row.n_occurrences,
        "values": (packed(torch.tensor([[place.value for place in chosen]])) or [""])[0],
        "places": [_place(place, places, labels[place.text_id], remarks) for place in chosen],
        **({"wrong": wrong} if wrong else {}),
    }


def _place(place: Occurrence, places: Sequence[tuple[int, int]], target: int, remarks: Mapping[int, str]) -> list[Any]:
    """Return where the page has the text, and what it says of it."""
    group, member = places[place.text_id]
    remark = remarks.get(place.text_id)
    return [group, member, target, list(place.units), *([remark] if remark else [])]


def importance_static(importance: GlobalImportance) -> str:
    """Return a table per class of the units with the surest effects."""
    parts = []
    for target in importance.targets[:8]:
        rows = surest_first(importance, target, STATIC)
        cells = [
            (row.unit, format_number(row.mean, sign=True), format_number(row.low), format_number(row.high), str(row.n_texts))
            for row in rows
        ]
        parts += [
            heading(target, f"by {importance.method}"),
            table(cells, f"mean ({unit_of(importance)})", "low", "high", "texts"),
        ]
    return "".join(parts)
