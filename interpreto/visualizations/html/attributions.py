"""Encode explanations for a page: the data that its script draws, and a static view for where scripts are stripped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interpreto.attributions.output import AttributionOutput, unit_name
from interpreto.visualizations.html.encoding import json_number, json_numbers, packed, to_json
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import colored_text, heading, note, table
from interpreto.visualizations.text_layout import (
    adds_up,
    answer_start,
    blocks,
    color_scale,
    format_number,
    group_by_text,
    noise,
    ranked_units,
    reference_name,
    score_unit,
    segments_of,
    shown_rows,
    total,
    value_unit,
    whole_answer,
    without_noise,
)

LOOK = Look(["attributions.js", "cards.js"])
TOP = 5  # units in the table of the static view
_PER_ROW = ("labels", "values", "errors", "scores", "references", "residuals", "sums", "addsUp", "noise")


def page_of(explanations: Sequence[AttributionOutput]) -> Page:
    """Return the page of explanations, a card per text."""
    groups = group_by_text(explanations)
    static = "".join(_static(explanation) for group in groups for explanation in group)
    return Page(LOOK, to_json([[described(explanation) for explanation in group] for group in groups]), static)


def described(explanation: AttributionOutput) -> dict[str, Any]:
    """Return what the script reads; the row of a whole answer follows the rows of its tokens."""
    segments = segments_of(explanation)
    data = _facts(explanation) | _rows(explanation)
    data |= {"segments": [[s.text, s.unit, int(s.named), s.row] for s in segments], "blocks": blocks(segments)}
    data["answered"] = answer_start(segments) < len(segments)
    sequence = whole_answer(explanation)
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
        "reference": reference_name(explanation),
        "element": unit_name(explanation.granularity, 1),
        "facts": [(name, str(value).replace("_", " ")) for name, value in facts if value is not None],
    }


def _rows(explanation: AttributionOutput) -> dict[str, Any]:
    drawn, rows = without_noise(explanation), range(len(explanation.target_labels))
    return {
        "labels": drawn.target_labels,
        "values": packed(drawn.attributions),
        "errors": packed(drawn.standard_error),
        "scores": json_numbers(drawn.base_scores),
        "references": json_numbers(drawn.reference_scores),
        "residuals": json_numbers(drawn.residual),
        "sums": json_numbers([total(drawn, row) for row in rows]),
        "addsUp": [adds_up(drawn, row) for row in rows],
        "noise": json_numbers(noise(explanation)),
        "scales": [json_number(color_scale(drawn))],
    }


def _static(explanation: AttributionOutput) -> str:
    """Return the text with inline colors and the largest values: of a generation the whole answer, else of five classes."""
    rows, rest = shown_rows(explanation)
    parts = []
    for i, (shown, row) in enumerate(rows):
        values, unit = shown.attributions[row].tolist(), value_unit(shown)
        score = f"{format_number(float(shown.base_scores[row]))} {score_unit(shown)}"
        parts.append(heading(shown.target_labels[row], f"{score} · {shown.method}"))
        if i == 0:
            scale = color_scale(shown)
            weights = [value / scale if scale else 0.0 for value in values]
            parts.append(colored_text(segments_of(shown), weights, signed=shown.signed))
        names = [(shown.elements[j], format_number(values[j], sign=shown.signed)) for j in ranked_units(shown, row)[:TOP]]
        parts.append(table([(name, value) for name, value in names], f"value ({unit})"))
    return "".join([*parts, note(rest) if rest else ""])
