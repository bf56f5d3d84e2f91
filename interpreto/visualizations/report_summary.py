"""Sentences that say what a report found, for a reader who has not seen one before."""

from __future__ import annotations

import math

import torch

from interpreto.metrics.classification import Share
from interpreto.metrics.report import Report
from interpreto.visualizations.importance_layout import element_of

CLOSE = 0.02
"""Difference of mean confidence and accuracy below which the model is called well calibrated on average."""
SURE, VERY_SURE = 0.9, 0.95
WORDS, CLASSES = 4, 6

Sentence = tuple[str, str]
"""Subject of a sentence, and the sentence."""


def summary(report: Report) -> list[Sentence]:
    """Return the findings of a report, the most important first."""
    found = [_accuracy(report), _confusion(report), _confidence(report), _words(report), _trust(report), _advice(report)]
    return [sentence for sentence in found if sentence is not None]


def percent(share: float, digits: int = 1) -> str:
    """Write a share in percent.

    Examples:
        >>> percent(0.8234), percent(1.0), percent(float("nan"))
        ('82.3 %', '100 %', 'n/a')
    """
    if math.isnan(share):
        return "n/a"
    return f"{100 * share:.{0 if share in (0.0, 1.0) else digits}f} %"


def interval(share: Share) -> str:
    """Write the interval of a share in percent."""
    low, high = share.interval
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _accuracy(report: Report) -> Sentence:
    quality = report.quality
    name, share = quality.majority
    return (
        f"{percent(float(quality.accuracy))} right",
        f"{quality.accuracy.hits:,} of {quality.accuracy.n:,} texts get their true label (95 % interval "
        f"{interval(quality.accuracy)}). Always answering “{name}” would be right in {percent(share)}.",
    )


def _confusion(report: Report) -> Sentence | None:
    quality = report.quality
    wrong = quality.confusion - torch.diag(quality.confusion.diagonal())
    total = int(wrong.sum())
    if not total:
        return "No mistake", "Every text of the sample gets its true label."
    label, prediction = divmod(int(wrong.argmax()), len(quality.names))
    weakest = min((own for own in quality.classes if own.recall.n), key=lambda own: float(own.recall))
    return (
        "Most frequent mistake",
        f"{int(wrong[label, prediction]):,} of {total:,} mistakes call a “{quality.names[label]}” text "
        f"“{quality.names[prediction]}”. The class found least often is “{weakest.name}”: {percent(float(weakest.recall))} of "
        f"its {weakest.recall.n:,} texts.",
    )


def _confidence(report: Report) -> Sentence | None:
    quality = report.quality
    if not quality.calibration:
        return None
    gap, sure = quality.overconfidence, quality.above(SURE)
    if abs(gap) < CLOSE:
        said = f"On average its confidence fits: it differs from the accuracy by {100 * abs(gap):.1f} points."
    else:
        said = f"Its mean confidence is {100 * abs(gap):.1f} points {'above' if gap > 0 else 'below'} its accuracy."
    if sure.n:
        said += f" Where it is at least {percent(SURE, 0)} sure, it is right in {percent(float(sure))} of {sure.n:,} texts."
    return "Too sure" if gap >= CLOSE else "Too cautious" if gap <= -CLOSE else "Confidence", said


def _words(report: Report) -> Sentence | None:
    parts = []
    for name in report.quality.names[:CLASSES]:
        if name not in report.importance.targets:
            continue
        rows = report.importance.top(WORDS, name, sign=1, surest=True)
        if rows:
            parts.append(f"for “{name}” {', '.join(row.unit for row in rows)}")
    if not parts:
        return None
    text = "; ".join(parts)
    return f"What counts, {element_of(report.importance)} by {element_of(report.importance)}", f"{text[0].upper()}{text[1:]}."


def _trust(report: Report) -> Sentence | None:
    table = report.faithfulness
    if table is None:
        return None
    name = table.names[0]
    low, high = table.margin("ABPC", name)
    gap = table[name, "ABPC"].score - table["random", "ABPC"].score
    if math.isnan(low):
        return None
    measured = f"Masking by the order of {name} separates the predictions by {gap:.2f} more than random orders do"
    ends = f"(of a probability; 95 % interval {low:.2f} to {high:.2f}, {table[name, 'ABPC'].n_valid:,} texts)"
    if low > 0:
        return "Explanations beat chance", f"{measured} {ends}: the words that they name are those that the model uses."
    return "Explanations are no better than chance", f"{measured} {ends}: do not draw conclusions from single words."


def _advice(report: Report) -> Sentence | None:
    quality = report.quality
    wrong = int(((~quality.right) & (quality.confidences >= VERY_SURE)).sum())
    if not wrong:
        return None
    texts = "mistake was" if wrong == 1 else "mistakes were"
    return (
        "Where to look next",
        f"{wrong:,} {texts} made with a confidence of at least {percent(VERY_SURE, 0)}. They show wrong labels, sarcasm and "
        "words that the model leans on too much: start with these.",
    )
