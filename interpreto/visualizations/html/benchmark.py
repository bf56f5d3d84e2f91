"""The page of a benchmark: winners, a table with intervals, curves in the band of random orders. Its script saves scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from interpreto.errors import InputError
from interpreto.metrics.benchmark_table import FAILED, UNDEFINED, BenchmarkTable, Cell, is_baseline
from interpreto.visualizations.curve_layout import Curve, read_curves
from interpreto.visualizations.html.curves import to_svg
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import plain

LOOK = Look(["export.js", "benchmark.js"], ["dataset.css", "report.css"], name="benchmark")
FEW = 10
"""Texts below which a cell says their number."""

Ends = tuple[float, float]


def page_of(table: BenchmarkTable) -> Page:
    """Return the page of a benchmark."""
    n = sum(not is_baseline(name) for name in table.names)
    about = f"{_counted(n, 'method')}, {_counted(len(table.metrics), 'metric')}, {_counted(table.texts, 'text')}"
    body = (
        f'<p class="about">{about}</p>{_reading(table)}{_winners(table)}<section class="part"><h2>Scores</h2>'
        '<p class="lead">Points are means '
        "over texts, lines their 95 % intervals, each column on its own scale. ↑ higher is better, ↓ lower is better. Best "
        "methods are bold; ≈ marks methods that the texts cannot tell from the best.</p>"
        f'<div class="card">{_scores(table)}{_failures(table)}</div></section>{_curves(table)}'
    )
    return Page(LOOK, "null", body=body)


def _number(score: float) -> str:
    return f"{score:.3f}".replace("-", "−")


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _winners(table: BenchmarkTable) -> str:
    tiles = []
    for metric in table.metrics:
        best = table.best(metric)
        if best is None:
            continue
        others = table.as_good_as_the_best(metric)
        more = f"not clearly better than {', '.join(others)}" if others else ""
        if not others and _is_clear(table, metric):
            more = "better than every other method, text by text"
        score = table[best, metric].score
        tiles.append(
            f'<dl class="tile"><dt>{plain(metric)} {_arrow(table, metric)}</dt><dd class="winner">{plain(best)}</dd>'
            f'<dd class="more">{_number(score)}{"; " * bool(more)}{plain(more, 120) if more else ""}</dd></dl>'
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _is_clear(table: BenchmarkTable, metric: str) -> bool:
    """Return whether the best of several methods is better than each other, text by text."""
    return sum(metric in row for name, row in table.cells.items() if not is_baseline(name)) > 1 and table.texts >= FEW


def _arrow(table: BenchmarkTable, metric: str) -> str:
    return "↑" if table.directions[metric] else "↓"


def _scores(table: BenchmarkTable) -> str:
    scales = {metric: _scale([row[metric] for row in table.cells.values() if metric in row]) for metric in table.metrics}
    heads = "".join(f'<th scope="col">{plain(metric, 60)} {_arrow(table, metric)}</th>' for metric in table.metrics)
    cost = '<th scope="col" class="amount">rows per text</th>' if table.explaining else ""
    rows = []
    for name in table.names:
        cells = "".join(_cell(table, name, metric, scales[metric]) for metric in table.metrics)
        spent = table.explaining.get(name)
        rows_run = UNDEFINED if spent is None else f"{spent.rows / table.texts:.1f}"
        last = f'<td class="amount">{rows_run}</td>' if table.explaining else ""
        mark = ' class="baseline"' if is_baseline(name) else ""
        rows.append(f'<tr{mark}><th scope="row">{plain(name, 60)}</th>{cells}{last}</tr>')
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Scores"><table class="figures scores"><thead><tr>'
        f'<th scope="col">method</th>{heads}{cost}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _scale(cells: Sequence[Cell]) -> Ends:
    """Return the smallest and the largest end of the cells' intervals."""
    ends = [end for cell in cells for end in (cell.result.score, *cell.result.quiet_interval()) if math.isfinite(end)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _cell(table: BenchmarkTable, name: str, metric: str, scale: Ends) -> str:
    cell = table.cells[name].get(metric)
    if cell is None or math.isnan(cell.result.score):
        failure = table.failure(name, metric)
        title = "not defined for this method" if failure is None else str(failure)
        return f'<td title="{plain(title, 300)}">{UNDEFINED if failure is None else FAILED}</td>'
    result, (low, high) = cell.result, cell.result.quiet_interval()
    best = table.best(metric)
    mark = ' class="best"' if name == best else ""
    said = '<span class="spoken"> best</span>' if name == best else " ≈" if name in table.as_good_as_the_best(metric) else ""
    ends = "no interval" if math.isnan(low) else f"95 % interval {low:.4g} to {high:.4g}"
    counts = f" ({result.n_valid} of {result.n_valid + result.n_skipped})" if result.n_skipped else ""
    title = f"{ends}; {result.n_valid} texts; {cell.rows} rows through the model"
    return (
        f'<td{mark} title="{plain(title, 200)}"><span class="range-of"><span class="amount">{_number(result.score)}{counts}'
        f"{said}</span>{_whisker(result.score, (low, high), scale)}</span></td>"
    )


def _whisker(score: float, ends: Ends, scale: Ends) -> str:
    def at(value: float) -> str:
        return f"{4 + 92 * (value - scale[0]) / (scale[1] - scale[0]):.1f}%"

    line = ""
    if not math.isnan(ends[0]):
        line = f'<line stroke="currentColor" stroke-width="1.5" x1="{at(ends[0])}" x2="{at(ends[1])}" y1="7" y2="7"/>'
    return (
        '<svg width="100%" height="14" aria-hidden="true"><line class="rule" x1="0" x2="100%" y1="7" y2="7"/>'
        f'{line}<circle class="mark" cx="{at(score)}" cy="7" r="3.5"/></svg>'
    )


def _failures(table: BenchmarkTable) -> str:
    return "".join(f'<p class="hint">{plain(str(failure), 400)}</p>' for failure in table.failures)


def _curves(table: BenchmarkTable) -> str:
    cards = []
    for metric in table.metrics:
        found = _read(table, metric)
        if found is not None:
            label, curves = found
            cards.append(f'<div class="card"><h3>{plain(metric)}</h3>{to_svg(label, curves)}</div>')
    if not cards:
        return ""
    lead = "The mean score over texts while units are masked. The band is what random orders span; dashed lines are baselines."
    return f'<section class="part"><h2>Curves</h2><p class="lead">{lead}</p><div class="pair">{"".join(cards)}</div></section>'


def _read(table: BenchmarkTable, metric: str) -> tuple[str, list[Curve]] | None:
    try:
        _, label, curves = read_curves({name: row[metric].result for name, row in table.cells.items() if metric in row})
    except InputError:  # a metric without curves
        return None
    return label, curves


def _reading(table: BenchmarkTable) -> str:
    draws = "“random” is the mean of several shuffles of the first method’s values" if "random" in table.names else ""
    text = (
        "A score that is better than that of random orders says that the order of the units means something. Compare methods "
        "text by text: ≈ means that the 95 % interval of the difference contains 0." + (f" {draws}." if draws else "")
    )
    return f'<details class="guide"><summary>How to read this</summary><p>{plain(text, 600)}</p></details>'
