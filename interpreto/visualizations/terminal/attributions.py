"""Attributions in a terminal, with colors or as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.text import Text

from interpreto.attributions.output import AttributionOutput, unit_name
from interpreto.errors import OptionError, TargetError
from interpreto.renderable import visible
from interpreto.visualizations.passages import excerpt
from interpreto.visualizations.terminal.console import BAR, Lines, background, bars, one_line, segment_text
from interpreto.visualizations.text_layout import (
    Segment,
    adds_up,
    answer_start,
    clipped,
    color_scale,
    format_number,
    ranked_units,
    reference_name,
    score_name,
    score_unit,
    segments_of,
    shown_rows,
    text_scale,
    total,
    value_unit,
)

TOP = 5  # units with bars


def to_text(
    explanation: AttributionOutput,
    *,
    width: int | None = None,
    color: bool | None = None,
    target: int | None = None,
    colour: bool | None = None,
) -> str:
    """Return an explanation as lines for a terminal: label and score, the text, its largest units, the residual.

    The class with the highest score is first, the runner-up follows. A generation is shown as a whole: the sum of its rows,
    or the first row where a method's magnitudes do not add up. Of a text of more than 120 units, the passages that hold the
    units with bars are printed; of an image, the bars alone.

    Args:
        explanation: What to show.
        width: Cells per line; None is the width of the terminal.
        color: Color by ANSI codes instead of writing values in brackets; None: if standard output takes colors and the
            environment does not set NO_COLOR.
        target: The one row to show: a class, or a token of a generation.
        colour: Old spelling of ``color``.

    Returns:
        Lines, without control characters other than ANSI codes.

    Raises:
        OptionError: Both spellings of ``color`` are given.
        TargetError: There is no such row.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> explanation = Occlusion(*demo.load_classifier())("A gorgeous film.")[0]
        >>> print(to_text(explanation, width=60, color=False).split(chr(10))[0])  # doctest: +ELLIPSIS
        positive  ... logits
    """
    if color is not None and colour is not None:
        raise OptionError("`colour` is the old spelling of `color`; pass one of them.")
    count = len(explanation.target_labels)
    if target is not None and not 0 <= target < count:
        raise TargetError(f"`target`: got {target} for an explanation of {count} rows; pass one of 0..{count - 1}, or None.")
    lines = Lines(width, colour if color is None else color)
    rows, rest = shown_rows(explanation, target)
    for shown, row in rows:
        lines.add_text(_heading(shown, row))
        if explanation.sample.picture is None:
            lines.add_text(_text(shown, row, lines.color))
        lines.add(*_top(shown, row, lines.width))
        for line in _sum(shown, row):
            lines.add_text(line)
        lines.add_blank()
    if rest:
        lines.add_text(Text(rest, style="dim"))
    lines.add_text(_facts(explanation))
    return str(lines)


def _heading(explanation: AttributionOutput, target: int) -> Text:
    label = visible(explanation.target_labels[target]).replace("\n", " ")
    score = f"{format_number(float(explanation.base_scores[target]))} {one_line(score_unit(explanation))}"
    return Text.assemble((label, "bold"), "  ", score)


def _text(explanation: AttributionOutput, target: int, color: bool) -> Text:
    """Return the text with its units colored or followed by values; the answer begins a line, its token is marked."""
    top, line = text_scale(explanation), Text()
    row = explanation.attributions[target].tolist()
    segments = excerpt(explanation, segments_of(explanation), ranked_units(explanation, target)[:TOP])
    answer = answer_start(segments)
    several = len(explanation.target_labels) > 1
    for i, segment in enumerate(segments):
        if i == answer and i:
            gap = "" if segment.text[:1].isspace() else " "
            line.append(f"{'' if line.plain.endswith(chr(10)) else chr(10)}→{gap}", "dim")
        own = several and segment.row == target
        begins, ends = (own and not _continues(segments, i, i + step, "row") for step in (-1, 1))
        shown = f"{'⟦' if begins else ''}{segment_text(segment)}{'⟧' if ends else ''}"
        if segment.unit is None:
            line.append(shown, "bold" if own else "dim")
            continue
        value = row[segment.unit]
        style = background(clipped(value, top), signed=explanation.signed) if color else None
        line.append(shown, "bold" if own and style is None else style)
        if not color and not _continues(segments, i, i + 1, "unit"):
            line.append(f"[{format_number(value, sign=explanation.signed)}]")
    return line


def _continues(segments: Sequence[Segment], i: int, j: int, name: Literal["row", "unit"]) -> bool:
    """Return whether two segments belong to one row or unit."""
    return 0 <= j < len(segments) and getattr(segments[i], name) == getattr(segments[j], name)


def _top(explanation: AttributionOutput, target: int, width: int) -> list[Text]:
    """Return the largest units, each with a bar and its value."""
    errors, top = explanation.standard_error, color_scale(explanation)
    order = ranked_units(explanation, target)[:TOP]
    names = [one_line(explanation.elements[unit]) for unit in order]
    column = max([min(cell_len(name), max(width // 3, 8)) for name in names], default=0)
    values = [float(explanation.attributions[target, unit]) for unit in order]
    marks = ["█" * round(BAR * min(abs(value) / top, 1.0)) if top else "" for value in values]
    amounts = [f"{format_number(value, sign=explanation.signed):>9}" for value in values]
    if errors is not None:
        own = [float(errors[target, unit]) for unit in order]
        amounts = [
            f"{amount} ± {format_number(error)}" if error else amount for amount, error in zip(amounts, own, strict=True)
        ]
    return bars(names, column, marks, values, amounts)


def _sum(explanation: AttributionOutput, target: int) -> list[Text]:
    """Return how reference, attributions and residual make the score."""
    if explanation.reference_scores is None or explanation.residual is None:
        return []
    residual = format_number(float(explanation.residual[target]), sign=True)
    start = f"{reference_name(explanation)} {format_number(float(explanation.reference_scores[target]))}"
    if not adds_up(explanation, target):
        return [Text(f"  {start}, residual {residual}", "dim")]
    end = f"{score_name(explanation)} {format_number(float(explanation.base_scores[target]))}"
    parts = f"{unit_name(explanation.granularity)} {format_number(total(explanation, target), sign=True)}"
    return [Text(f"  {start} → {end}: {parts}, residual {residual}", "dim")]


def _facts(explanation: AttributionOutput) -> Text:
    facts = [explanation.method, unit_name(explanation.granularity), f"values in {value_unit(explanation)}"]
    if explanation.baseline is not None:
        facts.append(f"baseline {explanation.baseline}")
    if explanation.hook_point is not None:
        facts.append(f"activations of {explanation.hook_point}")
    if explanation.replacement is not None:
        facts.append(f"replacement {explanation.replacement}")
    if explanation.stopped is not None:
        facts.append(explanation.stopped)
    return Text(" · ".join(map(one_line, facts)), "dim")
