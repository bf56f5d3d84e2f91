"""Data of the page that shows layers × tokens, and a static table for where scripts are stripped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interpreto.concepts.lenses.output import LensOutput
from interpreto.visualizations.html.encoding import json_numbers, to_json
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import heading, table

LOOK = Look(("lens.js",), ("lens.css",), "lens")
STATIC = 16
"""Tokens of a text in the static table: its last."""


def page_of(outputs: Sequence[LensOutput]) -> Page:
    """Return the page of one or several texts."""
    data = {"texts": [lens_data(output) for output in outputs]}
    return Page(LOOK, to_json(data), "".join(map(lens_static, outputs)))


def lens_data(output: LensOutput) -> dict[str, Any]:
    """Return the data of one text."""
    return {
        "text": output.text,
        "method": output.method,
        "tokens": list(output.tokens),
        "layers": list(output.layers),
        "answers": output.target_labels,
        "labels": {str(i): label for i, label in output.labels.items()},
        "ids": output.ids.tolist(),
        "chances": [[json_numbers(cell) for cell in row] for row in output.probabilities],
        "answer": [json_numbers(row) for row in output.target_probabilities],
        "ranks": output.target_ranks.tolist(),
        "divergence": [json_numbers(row) for row in output.divergence],
    }


def lens_static(output: LensOutput) -> str:
    """Return a table of the likeliest output of each cell, the last layer first."""
    first = max(0, len(output.tokens) - STATIC)
    rows = [
        (output.layers[row], *(output.labels[int(i)] for i in output.ids[row, first:, 0]))
        for row in reversed(range(len(output.layers)))
    ]
    return heading(output.text, f"by {output.method}, layer by layer") + table(rows, *output.tokens[first:])
