"""Encode explanations for a page: the data that its script draws, and a static view for where scripts are stripped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interpreto.attributions.output import AttributionOutput, unit_name
from interpreto.visualizations.html.encoding import json_number, json_numbers, packed, to_json
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import colored_text, heading, note, table
from interpreto.visualizations.passages import joins, sentence_starts, split_at_code, untorn
from interpreto.visualizations.text_layout import (
    CROWD,
    Segment,
    adds_up,
    answer_start,
    blocks,
    chances,
    clipped,
    color_scale,
    format_number,
    group_by_text,
    is_generation,
    noise,
    prefers_robust,
    ranked_rows,
    ranked_units,
    reference_name,
    robust_scale,
    score_name,
    score_unit,
    segments_of,
    shown_rows,
    text_scale,
    total,
    value_unit,
    whole_answer,
    without_noise,
)

CARDS = ("attributions.js", "passage.js", "account.js", "heatmap.js", "compare.js", "export.js", "card.js")
"""Scripts that define the class ``Card``."""
LOOK = Look([*CARDS, "cards.js"])
TOP = 5  # units in the table of the static view
LISTED = 5  # classes of the static view
_PER_ROW = ("labels", "values", "errors", "scores", "references", "residuals", "sums", "addsUp", "noise")


def page_of(explanations: Sequence[AttributionOutput]) -> Page:
    """Return the page of explanations, a card per text."""
    groups = group_by_text(explanations)
    static = "".join(_static(explanation) for group in groups for explanation in group)
    return Page(LOOK, to_json([[described(explanation) for explanation in group] for group in groups]), static)


def described(explanation: AttributionOutput) -> dict[str, Any]:
    """Return what the script reads; the row of a whole answer follows the rows of its tokens."""
    data = _facts(explanation) | _text(explanation) | _rows(explanation)
    data["order"] = ranked_rows(explanation)
    data["clipped"] = prefers_robust(explanation)
    data["chances"] = json_numbers(chances(explanation))
    sequence = whole_answer(explanation)
    if sequence is not None:
        total_row = _rows(sequence)
        data["whole"] = len(explanation.target_labels)
        data["scales"] += total_row["scales"]
        data["robust"] += total_row["robust"]
        for name in _PER_ROW:
            if data[name] is not None:
                data[name] = [*data[name], *(total_row[name] or [None])]
    return data


def _text(explanation: AttributionOutput) -> dict[str, Any]:
    """Return the text in segments, what its blocks are, and where its sentences begin."""
    cut = untorn(segments_of(explanation))
    answer = answer_start(cut)
    parts = split_at_code(cut, explanation.text)
    segments = [segment for segment, _ in parts]
    data: dict[str, Any] = {"segments": [_segment(parts, i) for i in range(len(parts))], "blocks": blocks(segments)}
    data["answered"] = answer < len(cut)
    if is_generation(explanation):
        units = [segment.unit for segment in cut[:answer] if segment.unit is not None]
        data["prompt"] = max(units, default=-1) + 1
    if len(explanation.elements) >= CROWD:
        starts = sentence_starts(explanation)
        if 3 <= len(starts) <= len(explanation.elements) // 2:
            data["sentences"] = [[unit, " ".join(text.split())[:90]] for unit, text in starts]
    return data


def _segment(parts: Sequence[tuple[Segment, int]], i: int) -> list[Any]:
    """Return a segment as a list, with marks at its end where it has any: 1, 2 for code, 4, 8 for letters that join others."""
    segment, marks = parts[i]
    if segment.unit is not None and not segment.named:
        if i and not parts[i - 1][0].named and joins(parts[i - 1][0].text, segment.text):
            marks += 4
        if i + 1 < len(parts) and not parts[i + 1][0].named and joins(segment.text, parts[i + 1][0].text):
            marks += 8
    return [segment.text, segment.unit, int(segment.named), segment.row, *([marks] if marks else [])]


def _facts(explanation: AttributionOutput) -> dict[str, Any]:
    replacement = explanation.replacement
    facts: list[tuple[str, Any]] = [
        ("Method", explanation.method),
        ("Granularity", explanation.granularity),
        ("Score", explanation.inference_mode),
        ("Task", explanation.model_task),
        ("Pooling", explanation.granularity_aggregation_strategy),
        ("Baseline", explanation.baseline),
        ("Activations of", explanation.hook_point),
        ("Replacement", f"token {replacement}" if isinstance(replacement, int) else replacement),
        ("Sampling", explanation.stopped),
    ]
    return {
        "elements": explanation.elements,
        "signed": explanation.signed,
        "unit": value_unit(explanation),
        "scoreUnit": score_unit(explanation),
        "reference": reference_name(explanation),
        "start": reference_name(explanation).removeprefix("score with ").removeprefix("score of "),
        "outcome": score_name(explanation).removeprefix("score of "),
        "baseline": "all removed" if explanation.baseline is None else "baseline",
        "rises": "probability" if "prob" in score_unit(explanation) else "score",
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
        "robust": [json_number(robust_scale(drawn))],
    }


def _static(explanation: AttributionOutput) -> str:
    """Return the text with inline colors and the largest values: of a generation the whole answer, else of five classes."""
    rows, rest = shown_rows(explanation, most=LISTED)
    parts = []
    for i, (shown, row) in enumerate(rows):
        values, unit = shown.attributions[row].tolist(), value_unit(shown)
        score = f"{format_number(float(shown.base_scores[row]))} {score_unit(shown)}"
        parts.append(heading(shown.target_labels[row], f"{score} · {shown.method}"))
        if i == 0:
            scale = text_scale(shown)
            weights = [clipped(value, scale) for value in values]
            parts.append(colored_text(segments_of(shown), weights, signed=shown.signed))
        names = [(shown.elements[j], format_number(values[j], sign=shown.signed)) for j in ranked_units(shown, row)[:TOP]]
        parts.append(table([(name, value) for name, value in names], f"value ({unit})"))
    return "".join([*parts, note(rest) if rest else ""])
