"""Explanations as the data that a page's script draws: JSON in ASCII, values as base64."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.text_layout import (
    adds_up,
    answer_at,
    blocks,
    grouped,
    pieces,
    scale,
    score_unit,
    total,
    value_unit,
    whole,
    with_rows,
)

LOOK = Look(["attributions.js"])
_PER_ROW = ("labels", "values", "errors", "scores", "references", "residuals", "sums", "addsUp")
_UNSAFE = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def page_of(explanations: Sequence[AttributionOutput]) -> Page:
    """Return the page of explanations, a card per text."""
    return Page(LOOK, payload(explanations))


def payload(explanations: Sequence[AttributionOutput]) -> str:
    """The data of a page: a list of groups, which are lists of explanations of one text.

    It is ASCII, and no part of it can end the element that it stands in.
    """
    data = [[_described(explanation) for explanation in group] for group in grouped(explanations)]
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def _described(explanation: AttributionOutput) -> dict[str, Any]:
    """What the script reads; the row of a whole answer follows those of its tokens."""
    cut = with_rows(pieces(explanation), explanation.target_spans)
    data = _facts(explanation) | _rows(explanation)
    data |= {"pieces": [[p.text, p.unit, int(p.named), p.row] for p in cut], "blocks": blocks(cut)}
    data["answered"] = answer_at(cut) < len(cut)
    sequence = whole(explanation)
    if sequence is not None:
        total_row = _rows(sequence)
        data["whole"] = len(explanation.target_labels)
        data["scales"].append(total_row["scales"][0])
        for name in _PER_ROW:
            if data[name] is not None:
                data[name] = [*data[name], *(total_row[name] or [None])]
    return data


def _facts(explanation: AttributionOutput) -> dict[str, Any]:
    replacement = explanation.replacement
    facts: list[tuple[str, Any]] = [
        ("Method", explanation.method),
        ("Granularity", explanation.granularity),
        ("Score", explanation.inference_mode),
        ("Task", explanation.model_task),
        ("Pooling", explanation.granularity_aggregation_strategy),
        ("Baseline", explanation.baseline),
        ("Replacement", f"token {replacement}" if isinstance(replacement, int) else replacement),
    ]
    return {
        "elements": explanation.elements,
        "signed": explanation.signed,
        "unit": value_unit(explanation),
        "scoreUnit": score_unit(explanation),
        "reference": "baseline" if explanation.baseline is not None else "all removed",
        "element": "unit" if explanation.granularity == "custom" else explanation.granularity.replace("_", " "),
        "facts": [(name, str(value).replace("_", " ")) for name, value in facts if value is not None],
    }


def _rows(explanation: AttributionOutput) -> dict[str, Any]:
    rows = range(len(explanation.target_labels))
    return {
        "labels": explanation.target_labels,
        "values": _packed(explanation.attributions),
        "errors": _packed(explanation.standard_error),
        "scores": _numbers(explanation.base_scores),
        "references": _numbers(explanation.reference_scores),
        "residuals": _numbers(explanation.residual),
        "sums": [_number(total(explanation, row)) for row in rows],
        "addsUp": [adds_up(explanation, row) for row in rows],
        "scales": [_number(scale(explanation))],
    }


def _packed(values: Tensor | None) -> list[str] | None:
    """Each row as base64 of little-endian float32: a page decodes the rows that it is asked to show."""
    if values is None:
        return None
    rows = values.detach().to("cpu", torch.float32).numpy().astype("<f4")
    return [base64.b64encode(row.tobytes()).decode() for row in rows]


def _numbers(values: Tensor | None) -> list[float | int | None] | None:
    return None if values is None else [_number(value) for value in values.tolist()]


def _number(value: float) -> float | int | None:
    """Five significant digits; None for NaN and infinity, of which JSON has none."""
    if value - value != 0:
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
