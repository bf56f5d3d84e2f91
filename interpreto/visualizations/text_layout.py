"""Layout that all media share: the text cut into segments, the rows to show, the color scale, how numbers are written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.output import AttributionOutput, unit_name
from interpreto.inputs.units import Span
from interpreto.models.modes import InferenceModes
from interpreto.renderable import visible
from interpreto.rounding import noise_of
from interpreto.visualizations.marks import Segment, marked

SAME_CHARACTER = "·"
"""Shown for a token that shares its character with the token before, such as the bytes of an emoji."""
SHOWN = 2
"""Classes that a view without choices shows: the prediction and the runner-up."""
NAMED = 6
"""Classes whose names a note lists."""
CROWD = 60
"""Units from which on a few large values may leave the others white."""
ROUNDED = 1e-5
"""Share of the score gap below which a residual is rounding."""
_ROLES = "system|developer|user|human|assistant|model|chatbot|bot|tool|inst|instruction|response"
_TURN = re.compile(  # how templates open one
    rf"(?i:[<>\[|｜#]\s*(?P<close>/?)\s*(?P<mark>{_ROLES}))(?![a-z])|\b(?=[A-Z])(?P<name>(?i:{_ROLES}))\s*:\s*$"
)
_CALLED = {"human": "user", "inst": "user", "instruction": "user"} | dict.fromkeys(
    ("model", "bot", "chatbot", "response"), "assistant"
)

Kind = Literal["text", "frozen", "message", "answer"]
"""Kind of a block: a text or prompt, a part of the chat template, a message of a chat, the explained answer."""


def segments_of(explanation: AttributionOutput) -> list[Segment]:
    """Return an explanation's text, cut at its units and at its targets; names mark targets that the model read."""
    cut = split_at_units(explanation.text, explanation.spans, explanation.elements)
    return split_at_targets(cut, explanation.target_spans) if is_generation(explanation) else marked(cut, explanation)


def split_at_units(text: str, spans: Sequence[Span], elements: Sequence[str]) -> list[Segment]:
    """Return a text from its first to its last character, cut at the units; unnamed segments join to the text.

    Examples:
        >>> [segment.text for segment in split_at_units("A film", [(0, 1), (2, 6)], ["A", "film"])]
        ['A', ' ', 'film']
    """
    found: list[Segment] = []
    here = 0
    for unit, span in enumerate(spans):
        start, end = max(span[0], here), max(span[1], here)
        if start > here:
            found.append(Segment(text[here:start]))
        if end > start:
            found.append(Segment(text[start:end], unit))
        else:
            found.append(Segment(SAME_CHARACTER if span[0] < span[1] else elements[unit], unit, named=True))
        here = end
    return [*found, Segment(text[here:])] if here < len(text) else found


def split_at_targets(found: list[Segment], spans: Sequence[Span | None]) -> list[Segment]:
    """Cut segments at the targets of a generation and note which row each belongs to.

    A target that shares its characters with the one before, such as a byte, gets a named segment.
    """
    parts: list[Segment] = []
    here, row = 0, 0
    ordered = [(span, i) for i, span in enumerate(spans) if span is not None]
    for segment in found:
        if segment.named:
            parts.append(segment)
            continue
        end = here + len(segment.text)
        while here < end:
            while row < len(ordered) and ordered[row][0][1] <= here:
                if ordered[row][0][0] < here or ordered[row][0][0] == ordered[row][0][1]:
                    parts.append(Segment(SAME_CHARACTER, None, True, ordered[row][1]))
                row += 1
            inside = row < len(ordered) and ordered[row][0][0] <= here
            edge = ordered[row][0][1 if inside else 0] if row < len(ordered) else end
            stop = min(end, edge)
            text = segment.text[len(segment.text) - (end - here) : len(segment.text) - (end - stop)]
            parts.append(Segment(text, segment.unit, False, ordered[row][1] if inside else None))
            here = stop
            if inside and here == ordered[row][0][1]:
                row += 1
    return parts + [Segment(SAME_CHARACTER, None, True, i) for _, i in ordered[row:]]


def answer_start(segments: Sequence[Segment]) -> int:
    """Return the place of the first segment that is a target's; the number of segments where there is none."""
    return next((i for i, segment in enumerate(segments) if segment.row is not None), len(segments))


def role_opened(template: str) -> str:
    """Return the role whose turn a part of a chat template opens; an empty string where it opens none.

    Examples:
        >>> role_opened("<|im_end|>\\n<|im_start|>user\\n"), role_opened(" [/INST]"), role_opened("<|im_end|>")
        ('user', 'assistant', '')
    """
    found = list(_TURN.finditer(template))
    if not found:
        return ""
    last = found[-1]
    name = (last["mark"] or last["name"]).lower()
    return "assistant" if last["close"] and name == "inst" else _CALLED.get(name, name)


def blocks(segments: Sequence[Segment]) -> list[tuple[Kind, int] | tuple[Kind, int, str]]:
    """Group segments into blocks, each with its number of segments: a text or the turns of a chat, then the answer.

    A chat is recognized by its template: text outside of all units that opens the turn of a role. The text between two
    parts of the template is a message. A part of the template that opens a turn has the name of the role as well.
    """
    answer = answer_start(segments)
    frozen = [segment.unit is None and not segment.named and bool(segment.text.strip()) for segment in segments[:answer]]
    parts: list[Any] = [("text", answer)] if answer else []
    if any(_TURN.search(segment.text) for segment, template in zip(segments, frozen, strict=False) if template):
        parts, at = [], 0
        for template, run in groupby(frozen):
            count = len(list(run))
            role = role_opened("".join(segment.text for segment in segments[at : at + count])) if template else ""
            parts.append(("frozen", count, role) if role else ("frozen" if template else "message", count))
            at += count
    return [*parts, ("answer", len(segments) - answer)] if answer < len(segments) else parts


def group_by_text(explanations: Iterable[AttributionOutput]) -> list[list[AttributionOutput]]:
    """Group explanations by their text, in the order in which the texts first appear."""
    groups: dict[str, list[AttributionOutput]] = {}
    for explanation in explanations:
        groups.setdefault(explanation.text, []).append(explanation)
    return list(groups.values())


def is_generation(explanation: AttributionOutput) -> bool:
    """Return whether rows are parts of a generated text."""
    return explanation.sample.prompt is not None and any(span is not None for span in explanation.target_spans)


def whole_answer(explanation: AttributionOutput) -> AttributionOutput | None:
    """Return the rows of a generation as one; None where there is one already, or where magnitudes do not add up."""
    if not is_generation(explanation) or not explanation.signed or len(explanation.target_labels) == 1:
        return None
    return explanation.sequence()


def ranked_rows(explanation: AttributionOutput) -> list[int]:
    """Return the rows by falling score, a predicted class first; rows that are read along the text keep their order."""
    targets = explanation.sample.targets
    count = len(explanation.target_labels)
    if targets is None or any(readout.positions is not None for readout in targets.readouts):
        return list(range(count))
    scores = explanation.base_scores
    return scores.masked_fill(scores.isnan(), -torch.inf).argsort(descending=True, stable=True).tolist()


def shown_rows(
    explanation: AttributionOutput, target: int | None = None, most: int = SHOWN
) -> tuple[list[tuple[AttributionOutput, int]], str]:
    """Choose the rows for a view that shows few: the classes of the highest scores, or the whole answer of a generation.

    Args:
        explanation: What to show.
        target: The one row to show.
        most: Number of classes at most.

    Returns:
        Pairs of an explanation without noise and a row of it, and a note about the other rows.
    """
    count = len(explanation.target_labels)
    if is_generation(explanation):
        sequence = whole_answer(explanation)
        if target is not None or sequence is None:
            shown, what = (without_noise(explanation), target or 0), f"row {(target or 0) + 1} of {count}"
        else:
            shown, what = (without_noise(sequence), 0), f"the sum of {count} rows"
        return [shown], f"{what}, one for each part of the answer: target=0 to target={count - 1}" if count > 1 else ""
    order, clean = ranked_rows(explanation), without_noise(explanation)
    rows = order[:most] if target is None else [target]
    hidden = [explanation.target_labels[row] for row in order if row not in rows]
    return [(clean, row) for row in rows], _more(hidden)


def _more(labels: Sequence[str]) -> str:
    """Return a note that says how many classes are not shown, and how to ask for them."""
    if not labels:
        return ""
    names = [" ".join(visible(label).split()) for label in labels[:NAMED]]
    listed = ", ".join(f'"{name if len(name) <= 30 else name[:29] + "…"}"' for name in names)
    return f"{len(labels)} more: targets=[{listed}{', …' if len(labels) > NAMED else ''}]"


def noise(explanation: AttributionOutput) -> Float[Tensor, " t"]:
    """Return per row the size below which a value is rounding of the scores; 0 for magnitudes, which have other units."""
    if not explanation.signed:
        return torch.zeros(len(explanation.target_labels))
    base, reference = explanation.base_scores, explanation.reference_scores
    scores = [base] if reference is None else [base, reference]
    sizes = torch.stack([score.nan_to_num(0.0, 0.0, 0.0) for score in scores], dim=1)
    return torch.tensor([noise_of(row, dtype=base.dtype) for row in sizes])


def without_noise(explanation: AttributionOutput) -> AttributionOutput:
    """Return the explanation as it is drawn: values, errors and residuals within the rounding of the scores are zero."""
    limit, error = noise(explanation)[:, None], explanation.standard_error
    values = explanation.attributions
    return replace(
        explanation,
        attributions=values.masked_fill(values.abs() <= limit, 0.0),
        standard_error=None if error is None else error.masked_fill(error <= limit, 0.0),
        residual=_drawn_residual(explanation, limit[:, 0]),
    )


def _drawn_residual(explanation: AttributionOutput, limit: Float[Tensor, " t"]) -> Float[Tensor, " t"] | None:
    """Return the residuals, zero where they are rounding: below ``limit``, or a `ROUNDED` share of the score gap."""
    residual, reference = explanation.residual, explanation.reference_scores
    if residual is None:
        return None
    gap = torch.zeros_like(residual) if reference is None else (explanation.base_scores - reference).abs()
    return residual.masked_fill(residual.abs() <= torch.maximum(limit.to(residual), ROUNDED * gap.to(residual)), 0.0)


def color_scale(explanation: AttributionOutput) -> float:
    """Return the largest finite magnitude over all targets, where colors are fullest; 0 where there is none."""
    values = explanation.attributions if explanation.signed else explanation.attributions.clamp(min=0)
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def robust_scale(explanation: AttributionOutput) -> float:
    """Return the 95th percentile of the magnitudes other than 0, and a twentieth of the largest at least."""
    values = explanation.attributions if explanation.signed else explanation.attributions.clamp(min=0)
    sizes = values[values.isfinite() & (values != 0)].abs().double().sort().values
    if not len(sizes):
        return 0.0
    return max(float(sizes[int(0.95 * (len(sizes) - 1))]), float(sizes[-1]) / 20)


def prefers_robust(explanation: AttributionOutput) -> bool:
    """Return whether a text is drawn with the robust scale: few units of many would have a color with the full one."""
    top = color_scale(explanation)
    return explanation.attributions.shape[1] >= CROWD and robust_scale(explanation) < 0.4 * top


def text_scale(explanation: AttributionOutput) -> float:
    """Return the magnitude at which the color of a text is fullest."""
    return robust_scale(explanation) if prefers_robust(explanation) else color_scale(explanation)


def clipped(value: float, scale: float) -> float:
    """Return the share of the fullest color, from −1 to 1; 0 where there is no value."""
    return max(-1.0, min(1.0, value / scale)) if scale and not math.isnan(value) else 0.0


def score_unit(explanation: AttributionOutput) -> str:
    """Return the unit of the scores."""
    named = {mode.value: mode.unit for mode in InferenceModes} | {"logits": "logits"}
    return named.get(explanation.inference_mode, explanation.inference_mode)


def value_unit(explanation: AttributionOutput) -> str:
    """Return the unit of the attributions; values without a sign are norms, variances or shares."""
    return score_unit(explanation) if explanation.signed else "magnitude"


def reference_name(explanation: AttributionOutput) -> str:
    """Return what the reference score is the score of."""
    if explanation.baseline is not None:
        return "score of the baseline"
    return f"score with every {unit_name(explanation.granularity, 1)} hidden"


def score_name(explanation: AttributionOutput) -> str:
    """Return what the scores are scores of."""
    if not is_generation(explanation):
        return "score of the text" if explanation.sample.picture is None else "score of the image"
    return f"score of the {'token' if len(explanation.target_labels) > 1 else 'answer'}"


def chances(explanation: AttributionOutput) -> Tensor | None:
    """Return the probability with which the model writes each token of an answer; None where the scores do not say it."""
    mode = explanation.inference_mode
    if not is_generation(explanation) or mode not in ("log_softmax", "softmax"):
        return None
    return explanation.base_scores.exp() if mode == "log_softmax" else explanation.base_scores


def total(explanation: AttributionOutput, target: int) -> float:
    """Return the sum of a target's attributions."""
    return float(explanation.attributions[target].double().nansum())


def adds_up(explanation: AttributionOutput, target: int) -> bool:
    """Return whether f(x) is reference, attributions and residual together, up to rounding.

    False where the values of a unit's tokens were pooled by anything but their sum.
    """
    if explanation.reference_scores is None or explanation.residual is None:
        return False
    parts = [float(explanation.reference_scores[target]), total(explanation, target), float(explanation.residual[target])]
    score = float(explanation.base_scores[target])
    size = abs(score) + sum(map(abs, parts)) + float(explanation.attributions[target].abs().double().nansum())
    return abs(score - sum(parts)) <= 1e-5 * size


def ranked_units(explanation: AttributionOutput, target: int) -> list[int]:
    """Return the units that a target can depend on, by falling magnitude."""
    row = explanation.attributions[target]
    order = row.abs().nan_to_num(-1.0).argsort(descending=True, stable=True).tolist()
    return [unit for unit in order if not row[unit].isnan()]


def format_number(value: float, *, sign: bool = False) -> str:
    """Write a number with three significant digits and a true minus sign.

    Examples:
        >>> format_number(0.71845, sign=True), format_number(-5.57e-8), format_number(12345.6), format_number(float("nan"))
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
