"""Parts of a report's page: numbers, the confusion matrix, calibration, mistakes, concepts, faithfulness."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from interpreto.attributions.output import AttributionOutput
from interpreto.metrics.benchmark_table import BenchmarkTable
from interpreto.metrics.classification import ClassificationQuality, Share
from interpreto.metrics.report import Report
from interpreto.visualizations.curve_layout import read_curves
from interpreto.visualizations.html.curves import to_svg
from interpreto.visualizations.html.page import escaped
from interpreto.visualizations.html.static import colored_text, plain
from interpreto.visualizations.report_summary import interval, percent
from interpreto.visualizations.table_layout import shown_target
from interpreto.visualizations.text_layout import color_scale, format_number, segments_of

MATRIX, PAIRS = 12, 12
"""Classes of a confusion matrix; of more, the most frequent mistakes are listed, so many."""
SIDE, PAD = 400, 46
REASONS, FAINT = 3, 0.05


def tiles(report: Report) -> str:
    """Return the numbers to remember."""
    quality = report.quality
    found = [("Accuracy", percent(float(quality.accuracy)), f"95 % interval {interval(quality.accuracy)}")]
    found.append(("Macro F1", f"{quality.macro_f1:.3f}", f"mean over {len(quality.names)} classes"))
    if quality.calibration:
        gap = 100 * quality.overconfidence
        side = f"{abs(gap):.1f} points too {'sure' if gap > 0 else 'cautious'} on average"
        found.append(("Calibration error", f"{100 * quality.calibration_error:.1f} points", side))
    table = report.faithfulness
    if table is not None:
        low, high = table.margin("ABPC", table.names[0])
        more = f"random orders {_short(table['random', 'ABPC'].score)}" + _better(low, high)
        found.append(("Faithfulness (ABPC)", f"{table[table.names[0], 'ABPC'].score:.2f}", more))
    content = "".join(
        f'<dl class="tile"><dt>{plain(name)}</dt><dd class="figure">{plain(value)}</dd><dd class="more">{plain(more)}</dd></dl>'
        for name, value, more in found
    )
    return f'<div class="tiles">{content}</div>'


def _better(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"; better by {_short(low)} to {_short(high)}"


def _short(value: float, digits: int = 2) -> str:
    shown = f"{value:.{digits}f}"
    return f"{0:.{digits}f}" if float(shown) == 0 else shown.replace("-", "−")


def figures_table(heads: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of numbers that scrolls where it is too wide.

    Args:
        heads: Names of the columns, and whether each holds numbers.
        rows: Cells as HTML; the first names the row.
    """
    marks = ["", *(' class="amount"' if right else "" for _, right in heads[1:])]
    top = "".join(f'<th scope="col"{mark}>{plain(name)}</th>' for (name, _), mark in zip(heads, marks, strict=True))
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(cells, marks[1:], strict=True))
        + "</tr>"
        for first, *cells in rows
    )
    return f'<div class="wide"><table class="figures"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def confusion_section(quality: ClassificationQuality) -> str:
    """Return the confusion matrix, whose cells filter the table of texts; of many classes the most frequent mistakes."""
    content = _matrix(quality) if len(quality.names) <= MATRIX else _pairs(quality)
    return f'<div class="card"><h3>Labels and predictions</h3>{content}</div>'


def _matrix(quality: ClassificationQuality) -> str:
    counts = quality.confusion.tolist()
    heads = "".join(f'<th scope="col">{plain(name, 24)}</th>' for name in quality.names)
    rows = []
    for i, name in enumerate(quality.names):
        total = sum(counts[i])
        cells = []
        for j, other in enumerate(quality.names):
            share = counts[i][j] / total if total else 0.0
            chosen, kind = _filter(label=str(i), prediction=str(j)), "hit" if i == j else "miss"
            said = f'<span class="spoken">true label {plain(name, 60)}, predicted {plain(other, 60)}</span>'
            cells.append(
                f'<td><button type="button" disabled class="{kind}" style="--share:{share:.3f}" data-filter="{chosen}">'
                f"<strong>{counts[i][j]:,}</strong><span>{percent(share)}</span>{said}</button></td>"
            )
        rows.append(f'<tr><th scope="row">{plain(name, 24)}</th>{"".join(cells)}</tr>')
    return (
        '<div class="wide"><table class="confusion">'
        '<caption class="spoken">True labels in rows, predictions in columns</caption>'
        f'<thead><tr><td class="hint">true ↓ predicted →</td>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _pairs(quality: ClassificationQuality) -> str:
    counts = quality.confusion.tolist()
    found = [(counts[i][j], i, j) for i in range(len(counts)) for j in range(len(counts)) if i != j and counts[i][j]]
    rows = []
    for n, i, j in sorted(found, key=lambda own: -own[0])[:PAIRS]:
        chosen = _filter(label=str(i), prediction=str(j))
        cell = f'<button type="button" class="quiet" disabled data-filter="{chosen}">{n:,}</button>'
        rows.append((plain(quality.names[i], 30), plain(quality.names[j], 30), cell))
    return figures_table([("true label", False), ("predicted", False), ("texts", True)], rows)


def _filter(**filters: str) -> str:
    return escaped(json.dumps(filters))


def class_table(quality: ClassificationQuality) -> str:
    """Return precision, recall and F1 of each class, with intervals."""
    heads = [("class", False), ("texts", True), ("precision", False), ("recall", False), ("F1", True)]
    rows = [
        (plain(own.name, 40), f"{own.recall.n:,}", _range(own.precision), _range(own.recall), format_number(own.f1))
        for own in quality.classes
    ]
    hint = (
        "Precision: of the texts with this prediction, the share that is right. Recall: of the texts with this label, the "
        "share that is found. Lines are 95 % intervals, from 0 to 100 %."
    )
    return f'<div class="card by-class"><h3>By class</h3>{figures_table(heads, rows)}<p class="hint">{hint}</p></div>'


def _range(share: Share) -> str:
    if not share.n:
        return "n/a"
    low, high = share.interval
    x = 100 * float(share)
    return (
        f'<span class="range-of" title="95 % interval {interval(share)}"><span class="amount">{percent(float(share))}</span>'
        f'<svg width="100%" height="12" aria-hidden="true"><line class="rule" x1="0" x2="100%" y1="6" y2="6"/>'
        f'<line stroke="currentColor" stroke-width="2" x1="{100 * low:.1f}%" x2="{100 * high:.1f}%" y1="6" y2="6"/>'
        f'<circle class="mark" cx="{x:.1f}%" cy="6" r="4"/></svg></span>'
    )


def calibration_section(quality: ClassificationQuality) -> str:
    """Return accuracy by confidence, with the diagonal on which both are equal."""
    bins = quality.calibration
    if not bins:
        return ""
    first = min(own.low for own in bins)
    low = max(0.0, math.floor(10 * min(first, *(own.accuracy.interval[0] for own in bins))) / 10)
    span = max(1 - low, 1e-6)

    def x(value: int | float) -> float:
        return PAD + (value - low) / span * (SIDE - PAD - 8)

    def y(value: int | float) -> float:
        return 8 + (1 - value) / span * (SIDE - PAD - 8)

    size = 0.1 if span < 0.55 else 0.2
    ticks = [1 - i * size for i in range(int(span / size + 1e-6) + 1)]
    parts = [
        f'<line class="rule" x1="{x(low):.1f}" x2="{x(1.0):.1f}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="axis-text" x="{PAD - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{100 * t:.0f} %</text>'
        f'<text class="axis-text" x="{x(t):.1f}" y="{SIDE - PAD + 16}" text-anchor="middle">{100 * t:.0f}</text>'
        for t in ticks
    ]
    parts.append(f'<line class="guide" x1="{x(low):.1f}" y1="{y(low):.1f}" x2="{x(1.0):.1f}" y2="{y(1.0):.1f}"/>')
    for own in bins:
        a, b = own.accuracy.interval
        at = x(own.confidence)
        said = f"confidence {percent(own.confidence)}: {percent(float(own.accuracy))} of {own.accuracy.n:,} texts right"
        parts.append(
            f'<g><title>{said}, 95 % interval {interval(own.accuracy)}</title><line stroke="currentColor" stroke-width="1.5" '
            f'x1="{at:.1f}" x2="{at:.1f}" y1="{y(a):.1f}" y2="{y(b):.1f}"/>'
            f'<circle class="mark" cx="{at:.1f}" cy="{y(float(own.accuracy)):.1f}" r="4.5"/></g>'
        )
    parts.append(
        f'<text class="axis-text" x="{x(low + span / 2):.1f}" y="{SIDE - 6}" text-anchor="middle">confidence, %</text>'
    )
    said = "; ".join(f"{percent(own.confidence)} sure, {percent(float(own.accuracy))} right" for own in bins)
    return (
        '<div class="card calibration"><h3>Is it as right as it is sure?</h3>'
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="Accuracy by confidence: {said}">{"".join(parts)}</svg>'
        f'<p class="hint">Share of right predictions by confidence, in {len(bins)} groups of equally many texts, with 95 % '
        "intervals. On the dashed line both are equal; below it the model is too sure.</p></div>"
    )


def mistake_list(report: Report, mistakes: Sequence[int], groups: Sequence[int]) -> str:
    """Return texts that the model gets wrong, with the words that speak for the prediction and for the true class."""
    items = []
    for i in mistakes:
        own = report.explanations[i]
        target, confidence = shown_target(own), float(report.quality.confidences[i])
        items.append(
            f'<li data-card="{groups[i]}"><p class="verdict"><span><span class="cross" aria-hidden="true">✗</span> says '
            f"<b>{plain(str(own.prediction), 40)}</b> ({percent(confidence)}), is <b>{plain(str(own.label), 40)}</b></span>"
            '<button type="button" class="quiet" hidden aria-expanded="false">explanation</button></p>'
            f'<div data-passage="{groups[i]} {target}">{_colored(own, target)}</div>{_because(own)}</li>'
        )
    return f'<ol class="mistakes">{"".join(items)}</ol>'


def _colored(explanation: AttributionOutput, target: int) -> str:
    scale = color_scale(explanation)
    weights = [value / scale if scale else 0.0 for value in explanation.attributions[target].tolist()]
    return colored_text(segments_of(explanation), weights, signed=explanation.signed)


def _because(explanation: AttributionOutput) -> str:
    parts = []
    for name in (explanation.prediction, explanation.label):
        if name not in explanation.target_labels or not explanation.signed:
            continue
        row = explanation.target_labels.index(str(name))
        largest = float(explanation.attributions[row].abs().nan_to_num(0.0).max())
        top = [(element, value) for element, value in explanation.top(20, row) if value > FAINT * largest][:REASONS]
        words = ", ".join(f"{plain(element.strip(), 30)} {format_number(value, sign=True)}" for element, value in top)
        parts.append(f"For <b>{plain(str(name), 30)}</b>: {words or 'nothing'}")
    return f'<p class="because">{" · ".join(parts)}</p>' if parts else ""


def concept_cards(report: Report, groups: Sequence[int]) -> str:
    """Return a card per concept: its name, what it adds to each class, its texts."""
    found = report.concepts
    assert found is not None
    largest = max((float(concept.effects.abs().max()) for concept in found.concepts), default=0.0) or 1.0
    cards = []
    for concept in found.concepts:
        name = " · ".join(concept.words) or "no word of its own"
        order = concept.effects.argsort(descending=True).tolist()
        shown = order if len(order) <= 4 else [*order[:2], *order[-2:]]
        bars = "".join(_bar(found.classes[i], float(concept.effects[i]), largest) for i in shown)
        texts = "".join(
            f'<li data-card="{groups[i]}">{plain(report.explanations[i].text, 220)} '
            '<button type="button" class="quiet" hidden aria-expanded="false">explanation</button></li>'
            for i in concept.texts
        )
        cards.append(
            f'<article class="card"><h3>{plain(name, 120)}</h3><div class="concept-bars">{bars}</div>'
            f'<ul class="concept-texts">{texts}</ul></article>'
        )
    return f'<div class="concepts-grid">{"".join(cards)}</div>'


def _bar(name: str, value: float, largest: float) -> str:
    size = 50 * abs(value) / largest
    start, side = (50.0, "") if value >= 0 else (50 - size, " against")
    fill = f'<span class="fill{side}" style="left:{start:.1f}%;width:{size:.1f}%"></span>'
    amount = format_number(value, sign=True)
    track = f'<span class="track" aria-hidden="true">{fill}</span>'
    return f'<span>{plain(name, 30)}</span>{track}<span class="amount">{amount}</span>'


def trust_section(table: BenchmarkTable) -> str:
    """Return the curves while words are masked, and the areas between them with their intervals."""
    rows = []
    for name in table.names:
        result = table[name, "ABPC"]
        low, high = result.quiet_interval()
        ends = f"{_short(low, 3)} to {_short(high, 3)}"
        rows.append((plain(name, 40), _short(result.score, 3), ends, f"{result.n_valid:,}"))
    numbers = figures_table([("order", False), ("ABPC", True), ("95 % interval", True), ("texts", True)], rows)
    _, label, curves = read_curves({name: table[name, "Deletion"] for name in table.names})
    hint = (
        "ABPC is the area between two curves, masking the least important words first and the most important first: 0 for "
        "random orders, at most 1. The band is what random orders span."
    )
    return f'<div class="card"><div class="drawing">{to_svg(label, curves)}</div>{numbers}<p class="hint">{hint}</p></div>'
