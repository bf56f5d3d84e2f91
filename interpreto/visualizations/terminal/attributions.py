"""Attributions in a terminal, in color where it can, in plain text where it cannot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import TargetError
from interpreto.renderable import visible
from interpreto.visualizations.text_layout import (
    Piece,
    adds_up,
    answer_at,
    answered,
    number,
    pieces,
    ranked,
    scale,
    score_unit,
    total,
    value_unit,
    whole,
    with_rows,
)

TARGETS = 5
TOP = 5
BAR = 16  # cells of a full bar
FOR, AGAINST, PALE = (240, 138, 42), (92, 158, 235), (250, 246, 240)
FAINT = 0.05  # below this share of the largest magnitude, a unit keeps the terminal's own colors


def to_text(
    explanation: AttributionOutput, *, width: int | None = None, color: bool | None = None, target: int | None = None
) -> str:
    """An explanation as lines for a terminal: label and score, the text, its largest elements, what is left over.

    Of a generation, the whole answer: the sum of its rows, or the first row where a method's magnitudes do not add up.

    Args:
        explanation: What to show.
        width: Cells of a line; None: as wide as the terminal.
        color: Whether to color by ANSI codes; else values stand in brackets. None: where standard output takes colors.
        target: The row of a generation's token; of classes, the row to begin with, of which up to five are shown.

    Raises:
        TargetError: when there is no such row.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> explanation = Occlusion(*demo.load_classifier())("A gorgeous film.")[0]
        >>> print(to_text(explanation, width=60, color=False).split(chr(10))[0])  # doctest: +ELLIPSIS
        positive  ... logit
    """
    count = len(explanation.target_labels)
    if target is not None and not 0 <= target < count:
        raise TargetError(f"`target`: got {target} for an explanation of {count} rows; pass one of 0..{count - 1}, or None.")
    console, colored = _console(width, color)
    views, rest = _views(explanation, target)
    for part, row in views:
        console.print(_heading(part, row))
        console.print(_text(part, row, colored), soft_wrap=False)
        for line in [*_top(part, row, console.width), *_sum(part, row)]:
            console.print(line, no_wrap=True, overflow="ellipsis")
        console.print()
    if rest:
        console.print(Text(rest, style="dim"))
    console.print(_facts(explanation))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip("\n").split("\n"))


def _views(explanation: AttributionOutput, target: int | None) -> tuple[list[tuple[AttributionOutput, int]], str]:
    """The rows to show, each of an explanation, and what is said of the others."""
    count = len(explanation.target_labels)
    if answered(explanation):
        sequence = whole(explanation)
        if target is not None or sequence is None:
            shown, what = (explanation, target or 0), f"row {(target or 0) + 1} of {count}"
        else:
            shown, what = (sequence, 0), f"the sum of {count} rows"
        return [shown], f"{what}, one for each part of the answer: target=0 to target={count - 1}" if count > 1 else ""
    shown = range(target or 0, min((target or 0) + TARGETS, count))
    hidden = count - shown.stop
    return [(explanation, row) for row in shown], f"+{hidden} more" if hidden else ""


def _console(width: int | None, color: bool | None) -> tuple[Console, bool]:
    """What lines are written to, and whether in colors."""
    screen = Console(force_jupyter=False)
    if color is None:
        color = screen.color_system is not None and not screen.no_color
    console = Console(
        file=io.StringIO(),
        width=width or screen.width,
        color_system=_colors() if color else None,
        force_terminal=color,
        force_jupyter=False,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    return console, color


def _colors() -> Literal["standard", "256", "truecolor"]:
    """What the terminal can show; 256 colors when it does not say."""
    found = Console(force_terminal=True, force_jupyter=False).color_system
    return "truecolor" if found == "truecolor" else "standard" if found == "standard" else "256"


def _heading(explanation: AttributionOutput, target: int) -> Text:
    label = visible(explanation.target_labels[target]).replace("\n", " ")
    score = f"{number(float(explanation.base_scores[target]))} {score_unit(explanation)}"
    return Text.assemble((label, "bold"), "  ", score)


def _text(explanation: AttributionOutput, target: int, color: bool) -> Text:
    """The text with its units colored, or followed by their values; the answer on a line of its own, its token marked."""
    top, line = scale(explanation), Text()
    row = explanation.attributions[target].tolist()
    cut = with_rows(pieces(explanation), explanation.target_spans)
    answer = answer_at(cut)
    several = len(explanation.target_labels) > 1
    for i, piece in enumerate(cut):
        if i == answer and i:
            line.append(f"{'' if line.plain.endswith(chr(10)) else chr(10)}→{'' if piece.text[:1].isspace() else ' '}", "dim")
        own = several and piece.row == target
        begins, ends = (own and not _continues(cut, i, i + step, "row") for step in (-1, 1))
        shown = f"{'⟦' if begins else ''}{_shown(piece)}{'⟧' if ends else ''}"
        if piece.unit is None:
            line.append(shown, "bold" if own else "dim")
            continue
        value = row[piece.unit]
        style = _style(value / top if top else 0.0, explanation.signed) if color else None
        line.append(shown, "bold" if own and style is None else style)
        if not color and not _continues(cut, i, i + 1, "unit"):
            line.append(f"[{number(value, sign=explanation.signed)}]")
    return line


def _continues(cut: Sequence[Piece], i: int, j: int, name: Literal["row", "unit"]) -> bool:
    """Whether two pieces are parts of one row or unit."""
    return 0 <= j < len(cut) and getattr(cut[i], name) == getattr(cut[j], name)


def _shown(piece: Piece) -> str:
    return f" {visible(piece.text)} " if piece.named else visible(piece.text)


def _style(weight: float, signed: bool) -> Style | None:
    """Dark letters on a background from pale to full, as `weight` goes from 0 to 1; None for what hardly weighs."""
    weight = weight if signed else max(weight, 0.0)
    if not abs(weight) >= FAINT:  # also where it is NaN
        return None
    end = FOR if weight > 0 else AGAINST
    red, green, blue = (round(pale + (full - pale) * min(abs(weight), 1.0)) for pale, full in zip(PALE, end, strict=True))
    return Style(color="#16181d", bgcolor=f"rgb({red},{green},{blue})")


def _top(explanation: AttributionOutput, target: int, width: int) -> list[Text]:
    """The largest elements, each with a bar and its value."""
    row, errors = explanation.attributions[target], explanation.standard_error
    order = ranked(explanation, target)[:TOP]
    names = [" ".join(visible(explanation.elements[unit]).split()) for unit in order]
    column = max([min(cell_len(name), max(width // 3, 8)) for name in names], default=0)
    top, lines = scale(explanation), []
    for unit, name in zip(order, names, strict=True):
        value = float(row[unit])
        error = "" if errors is None else f" ± {number(float(errors[target, unit]))}"
        name = name if cell_len(name) <= column else set_cell_size(name, column - 1) + "…"  # noqa: PLW2901  (the same name, cut)
        bar = "█" * round(BAR * min(abs(value) / top, 1.0)) if top else ""
        tint = "rgb(230,126,34)" if value > 0 else "rgb(66,133,214)"
        amount = f"{number(value, sign=explanation.signed):>9}{error}"
        lines.append(Text.assemble("  ", set_cell_size(name, column), "  ", (f"{bar or '▏':<{BAR}}", tint), amount))
    return lines


def _sum(explanation: AttributionOutput, target: int) -> list[Text]:
    """How reference, attributions and residual make the score."""
    if explanation.reference_scores is None or explanation.residual is None:
        return []
    name = "f(baseline)" if explanation.baseline is not None else "f(all removed)"
    residual = number(float(explanation.residual[target]), sign=True)
    reference = number(float(explanation.reference_scores[target]))
    if not adds_up(explanation, target):
        return [Text(f"  {name} {reference}, residual {residual}", "dim")]
    score, attributed = number(float(explanation.base_scores[target])), number(total(explanation, target), sign=True)
    return [Text(f"  f(x) {score} = {name} {reference}, attributions {attributed}, residual {residual}", "dim")]


def _facts(explanation: AttributionOutput) -> Text:
    facts = [explanation.method, f"{explanation.granularity.replace('_', ' ')}s", f"values in {value_unit(explanation)}"]
    if explanation.baseline is not None:
        facts.append(f"baseline {explanation.baseline}")
    if explanation.replacement is not None:
        facts.append(f"replacement {explanation.replacement}")
    return Text(" · ".join(facts), "dim")
