"""Data of the page that shows parts × tokens of activation patching, and a static table for where scripts are stripped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interpreto.concepts.circuits.patching_output import PatchingOutput
from interpreto.visualizations.html.encoding import json_number, json_numbers, to_json
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import heading, table
from interpreto.visualizations.patching_layout import has_gap, rows_of, said

LOOK = Look(("patching.js",), ("lens.css", "patching.css"), "patching")
STATIC = 10
"""Cells in the static table: the largest."""


def page_of(outputs: Sequence[PatchingOutput]) -> Page:
    """Return the page of one or several pairs."""
    data = {"pairs": [patching_data(output) for output in outputs]}
    return Page(LOOK, to_json(data), "".join(map(patching_static, outputs)))


def patching_data(output: PatchingOutput) -> dict[str, Any]:
    """Return the data of one pair."""
    rows, shares = rows_of(output), has_gap(output)
    grids = {}
    for direction in output.directions:
        values = output.effects(direction) if shares else output.changes[direction]
        grids[direction] = [json_numbers(values[row]) for row in rows]
    return {
        "clean": output.clean,
        "corrupt": output.corrupt,
        "tokens": list(output.tokens),
        "others": list(output.corrupt_tokens),
        "parts": [output.parts[row] for row in rows],
        "count": len(output.parts),
        "metric": output.metric,
        "scores": [json_number(output.clean_score), json_number(output.corrupt_score)],
        "grids": grids,
        "shares": shares,
        "method": output.method,
        "agreement": {name: json_number(value) for name, value in output.agreement.items()},
    }


def patching_static(output: PatchingOutput) -> str:
    """Return a table of the largest cells of each direction."""
    parts = []
    for direction in output.directions:
        cells = output.top(STATIC, direction)
        rows = [(part, output.tokens[token], f"{change:+.3f}") for part, token, change in cells]
        parts.append(heading(output.clean, f"{said(direction)}, {output.metric}") + table(rows, "token", "change"))
    return "".join(parts)
