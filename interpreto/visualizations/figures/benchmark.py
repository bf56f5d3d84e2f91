"""Benchmarks drawn for print with matplotlib."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpreto.metrics.benchmark_table import BenchmarkTable, is_baseline
from interpreto.visualizations.figures.drawing import Panel, arrange, short_name, titled


def draw_benchmark(table: BenchmarkTable) -> Figure:
    """Return a panel per metric: a point and its 95 % interval per method, baselines gray."""
    return arrange([[Panel(3.6, 1.0 + 0.3 * len(table.names), _drawer(table, metric)) for metric in table.metrics]])


def _drawer(table: BenchmarkTable, metric: str):
    def draw(axes: Axes) -> None:
        for y, name in enumerate(table.names):
            cell = table.cells[name].get(metric)
            if cell is None or math.isnan(cell.result.score):
                continue
            score, (low, high) = cell.result.score, cell.result.quiet_interval()
            ends = None if math.isnan(low) else [[max(score - low, 0.0)], [max(high - score, 0.0)]]
            color = "#909090" if is_baseline(name) else "#d9730d" if name == table.best(metric) else "#2a6fc9"
            axes.errorbar(score, y, xerr=ends, fmt="o", color=color, markersize=5, capsize=2.5, linewidth=1.2)
        axes.set_yticks(range(len(table.names)), [short_name(name, 26) for name in table.names], fontsize="small")
        axes.set_ylim(len(table.names) - 0.4, -0.6)
        axes.tick_params(axis="x", labelsize="small")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        titled(axes, short_name(metric, 30), "higher is better" if table.directions[metric] else "lower is better")

    return draw
