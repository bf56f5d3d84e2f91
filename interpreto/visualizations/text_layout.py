"""What every view needs of an explanation: its text cut at the units, its largest value, how numbers are written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from interpreto.attributions.output import AttributionOutput
from interpreto.inputs.units import Span
from interpreto.models.modes import InferenceModes

SAME_CHARACTER = "·"  # stands for a token that shares its character with the token before, as bytes of an emoji do
_ROLES = "system|developer|user|human|assistant|model|bot|tool|inst|instruction|response"
_TURN = re.compile(rf"(?i:[<>\[|｜#][\s/]*(?:{_ROLES}))(?![a-z])|\b(?=[A-Z])(?i:{_ROLES})\s*:\s*$")  # how templates open one

Kind = Literal["text", "frozen", "message", "answer"]
"""What a stretch of the text is: all of it or a prompt, a template's, a message of a chat, the explained answer."""


@dataclass(frozen=True)
class Piece:
    """A stretch of what the model read.

    Attributes:
        text: Its characters, or a name for a unit that has none of its own.
        unit: The unit that it belongs to; None where nothing is attributed.
        named: Whether ``text`` is a name, such as ``[CLS]``, and no part of the text.
        row: The row that it is the target of; None where it is no target.
    """

    text: str
    unit: int | None = None
    named: bool = False
    row: int | None = None


def pieces(explanation: AttributionOutput) -> list[Piece]:
    """An explanation's text, cut at its units."""
    return cut(explanation.text, explanation.spans, explanation.elements)


def cut(text: str, spans: Sequence[Span], elements: Sequence[str]) -> list[Piece]:
    """A text from its first to its last character, cut at the units; the texts of unnamed pieces join to it.

    Examples:
        >>> [piece.text for piece in cut("A film", [(0, 1), (2, 6)], ["A", "film"])]
        ['A', ' ', 'film']
    """
    found: list[Piece] = []
    here = 0
    for unit, span in enumerate(spans):
        start, end = max(span[0], here), max(span[1], here)
        if start > here:
            found.append(Piece(text[here:start]))
        if end > start:
            found.append(Piece(text[start:end], unit))
        else:
            found.append(Piece(SAME_CHARACTER if span[0] < span[1] else elements[unit], unit, named=True))
        here = end
    return [*found, Piece(text[here:])] if here < len(text) else found


def with_rows(found: list[Piece], spans: list[tuple[int, int] | None]) -> list[Piece]:
    """The pieces cut at the targets of a generation too, each with the row that it is the target of.

    Targets that share their characters with the one before, as bytes do, get a piece that stands for them.
    """
    parts: list[Piece] = []
    here, row = 0, 0
    ordered = [(span, i) for i, span in enumerate(spans) if span is not None]
    for piece in found:
        if piece.named:
            parts.append(piece)
            continue
        end = here + len(piece.text)
        while here < end:
            while row < len(ordered) and ordered[row][0][1] <= here:
                if ordered[row][0][0] < here or ordered[row][0][0] == ordered[row][0][1]:
                    parts.append(Piece(SAME_CHARACTER, None, True, ordered[row][1]))
                row += 1
            inside = row < len(ordered) and ordered[row][0][0] <= here
            edge = ordered[row][0][1 if inside else 0] if row < len(ordered) else end
            stop = min(end, edge)
            text = piece.text[len(piece.text) - (end - here) : len(piece.text) - (end - stop)]
            parts.append(Piece(text, piece.unit, False, ordered[row][1] if inside else None))
            here = stop
            if inside and here == ordered[row][0][1]:
                row += 1
    return parts + [Piece(SAME_CHARACTER, None, True, i) for _, i in ordered[row:]]


def answer_at(parts: list[Piece]) -> int:
    """The first piece that is a target's; behind the last where none is."""
    return next((i for i, piece in enumerate(parts) if piece.row is not None), len(parts))


def blocks(found: list[Piece]) -> list[tuple[Kind, int]]:
    """How the pieces make blocks, each with its number of pieces: a text, or the turns of a chat, and then the answer.

    A chat is told by what its template writes: text in no unit that opens the turn of a role. What stands between the
    template's parts is a message.
    """
    answer = answer_at(found)
    frozen = [piece.unit is None and not piece.named and bool(piece.text.strip()) for piece in found[:answer]]
    parts: list[tuple[Kind, int]] = [("text", answer)] if answer else []
    if any(_TURN.search(piece.text) for piece, template in zip(found, frozen, strict=False) if template):
        parts = [("frozen" if template else "message", len(list(run))) for template, run in groupby(frozen)]
    return [*parts, ("answer", len(found) - answer)] if answer < len(found) else parts


def grouped(explanations: Iterable[AttributionOutput]) -> list[list[AttributionOutput]]:
    """The explanations of one text side by side, in the order in which the texts first appear."""
    groups: dict[str, list[AttributionOutput]] = {}
    for explanation in explanations:
        groups.setdefault(explanation.text, []).append(explanation)
    return list(groups.values())


def whole(explanation: AttributionOutput) -> AttributionOutput | None:
    """The rows of a generation as one; None where there is one anyway, or where they do not add up."""
    if not answered(explanation) or not explanation.signed or len(explanation.target_labels) == 1:
        return None
    return explanation.sequence()


def answered(explanation: AttributionOutput) -> bool:
    """Whether rows are parts of a generated text."""
    return any(span is not None for span in explanation.target_spans)


def scale(explanation: AttributionOutput) -> float:
    """The largest finite magnitude over all targets, where colors are fullest; 0 where there is none."""
    values = explanation.attributions if explanation.signed else explanation.attributions.clamp(min=0)
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def score_unit(explanation: AttributionOutput) -> str:
    """What f(x) is counted in."""
    named = {mode.value: mode.unit for mode in InferenceModes}
    return named.get(explanation.inference_mode, explanation.inference_mode)


def value_unit(explanation: AttributionOutput) -> str:
    """What an attribution is counted in; those without a sign are norms, variances or shares."""
    return score_unit(explanation) if explanation.signed else "magnitude"


def total(explanation: AttributionOutput, target: int) -> float:
    """The sum of a target's attributions."""
    return float(explanation.attributions[target].double().nansum())


def adds_up(explanation: AttributionOutput, target: int) -> bool:
    """Whether f(x) is the reference, the attributions and the residual together, up to rounding.

    Not so when the values of a unit's tokens were pooled by anything but their sum.
    """
    if explanation.reference_scores is None or explanation.residual is None:
        return False
    parts = [float(explanation.reference_scores[target]), total(explanation, target), float(explanation.residual[target])]
    score = float(explanation.base_scores[target])
    size = abs(score) + sum(map(abs, parts)) + float(explanation.attributions[target].abs().double().nansum())
    return abs(score - sum(parts)) <= 1e-5 * size


def ranked(explanation: AttributionOutput, target: int) -> list[int]:
    """The units that a target can depend on, by falling magnitude."""
    row = explanation.attributions[target]
    order = row.abs().nan_to_num(-1.0).argsort(descending=True, stable=True).tolist()
    return [unit for unit in order if not row[unit].isnan()]


def number(value: float, *, sign: bool = False) -> str:
    """Three significant digits, with a true minus sign.

    Examples:
        >>> number(0.71845, sign=True), number(-5.57e-8), number(12345.6), number(float("nan"))
        ('+0.718', '−5.57e−8', '12346', 'n/a')
    """
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "−∞" if value < 0 else "∞"
    size = abs(float(f"{value:.3g}"))
    if size == 0:
        return "0"
    mark = "−" if value < 0 else "+" if sign else ""
    if 1e-3 <= size < 1e6:
        return mark + (f"{size:#.3g}".rstrip(".") if size < 1000 else f"{abs(value):.0f}")
    digits, exponent = f"{size:.2e}".split("e")
    return f"{mark}{digits}e{int(exponent)}".replace("e-", "e−")
