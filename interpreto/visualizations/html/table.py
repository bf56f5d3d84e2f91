"""Encode the table of a data set: one row per text, which opens its card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interpreto.attributions.output import AttributionOutput
from interpreto.visualizations.html.dataset import dataset_page
from interpreto.visualizations.html.encoding import json_number
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.html.static import table
from interpreto.visualizations.table_layout import TextRow, has_confidence, score_name, text_rows
from interpreto.visualizations.text_layout import format_number, group_by_text

STATIC = 20
"""Rows of the static table."""


def page_of(explanations: Sequence[AttributionOutput]) -> Page:
    """Return the page of many texts."""
    groups = group_by_text(explanations)
    rows = text_rows(groups)
    return dataset_page(
        groups, {"table": table_part(rows, score_name(groups), percent=has_confidence(groups))}, table_static(rows)
    )


def table_part(rows: Sequence[TextRow], score: str, *, percent: bool = False, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the data of the table.

    Args:
        rows: A row per text; the position is that of its explanations in the page.
        score: Name of the last column.
        percent: Whether scores are shares, which are written in percent.
        classes: Names of the classes, in the order of filters; names that rows have besides follow.
    """
    names = list(dict.fromkeys([*classes, *(name for row in rows for name in (row.prediction, row.label) if name is not None)]))
    number = {name: i for i, name in enumerate(names)}
    return {
        "kind": "table",
        "classes": names,
        "score": score,
        "percent": percent,
        "rows": [
            [
                row.position,
                row.target,
                None if row.prediction is None else number[row.prediction],
                None if row.label is None else number[row.label],
                json_number(row.score),
            ]
            for row in rows
        ],
    }


def table_static(rows: Sequence[TextRow]) -> str:
    """Return the first rows as a table."""
    cells = [(row.text, row.prediction or "–", row.label or "–", format_number(row.score)) for row in rows[:STATIC]]
    return table(cells, "prediction", "true label", "score")
