"""Curves of metrics: what a model says while units are removed, the mean over texts, in the band of random orders."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from interpreto.errors import InputError
from interpreto.metrics.result import MetricResult
from interpreto.visualizations.display import Renderer, check_backend, figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = 101
COLORS = ("#d9730d", "#2a6fc9", "#2b8a57", "#a23b9a", "#8a6d00", "#555555")  # told apart by color-blind readers too
BARS = "▁▂▃▄▅▆▇█"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 340, 56, 160, 30, 46
AXIS = "share of the units, the most important first"


@dataclass(frozen=True, eq=False)
class Curve:
    """A mean curve over texts and targets, on an even grid from 0 to 1.

    Attributes:
        name: What it is of.
        mean: Its height, ``(GRID,)``.
        low: Lower end of its band: the lowest of the draws' mean curves. None: it is of one order.
        high: The upper end.
    """

    name: str
    mean: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    @property
    def area(self) -> float:
        """Mean height."""
        return float((self.mean[1:] + self.mean[:-1]).mean() / 2)


def plot_curves(
    results: MetricResult | Mapping[str, MetricResult], path: str | PathLike[str] | None = None, *, backend: str = "auto"
) -> Any:
    """Draw curves of one metric, such as `Deletion`: the mean over texts, one for each method.

    Args:
        results: Of one metric of curves, by the name of what was judged. A random baseline of a `Benchmark` is drawn as the
            band that its draws span.
        path: Where to write too: a page, or matplotlib's figure in the format of the file's suffix.
        backend: ``"auto"`` shows in the notebook whose kernel runs this, else in the terminal; ``"notebook"`` and
            ``"terminal"`` say which. ``"matplotlib"`` draws for print.

    Returns:
        The ``matplotlib.figure.Figure``, where that was asked; else None.

    Raises:
        InputError: there is nothing to draw, or results are of different metrics or of one without curves.
        OptionError: no such backend.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> from interpreto.metrics import Deletion
        >>> from interpreto.visualizations import plot_curves
        >>> model, tokenizer = demo.load_classifier()
        >>> result = Deletion(model, tokenizer).run(Occlusion(model, tokenizer)("A gorgeous, moving film."))
        >>> figure = plot_curves({"Occlusion": result}, backend="matplotlib")
        >>> figure.axes[0].get_ylabel()
        'probability (Deletion)'
    """
    check_backend(backend)
    return renderer(results).show(path, backend=backend)


@dataclass(frozen=True, eq=False)
class CurveRenderer(Renderer):
    """Draw curves of one metric."""

    metric: str
    label: str
    curves: Sequence[Curve]

    def page(self, title: str | None = None) -> str:
        """Return a page with the curves and a table of their areas."""
        return _page(self.metric if title is None else title, self.label, self.curves)

    def fragment(self) -> str:
        """Return the curves as SVG."""
        return to_svg(self.label, self.curves)

    def text(self) -> str:
        """Return a line of bars per curve."""
        return to_lines(self.label, self.curves)

    def figure(self) -> Figure:
        """Return the curves on one pair of axes."""
        return figures("curves").draw_curves(self.label, self.curves)


def renderer(results: MetricResult | Mapping[str, MetricResult]) -> CurveRenderer:
    """Return the renderer of curves.

    Raises:
        InputError: There is nothing to draw, or results are of different metrics or of one without curves.
    """
    return CurveRenderer(*read_curves(results))


def read_curves(results: MetricResult | Mapping[str, MetricResult]) -> tuple[str, str, list[Curve]]:
    """The metric, what the vertical axis counts, and the curves."""
    found = {results.name: results} if isinstance(results, MetricResult) else dict(results)
    if not found:
        raise InputError("`results`: got none; pass results of a metric, by name.")
    metrics = {result.name for result in found.values()}
    if len(metrics) > 1:
        raise InputError(f"`results`: got results of {', '.join(sorted(metrics))}; curves of one metric can be compared.")
    (metric,) = metrics
    curves = [_curve(name, result) for name, result in found.items()]
    measure = next(iter(found.values())).config.get("measure", "score")
    return metric, f"{str(measure).replace('_', '-')} ({metric})", curves


def _curve(name: str, result: MetricResult) -> Curve:
    draws = result.details.get("results")
    if draws is None:
        return Curve(name, _mean(name, result))
    rows = np.stack([_mean(name, draw) for draw in draws])
    return Curve(name, rows.mean(0), rows.min(0), rows.max(0))


def _mean(name: str, result: MetricResult) -> np.ndarray:
    """The mean over all texts and targets, each curve read off at an even grid."""
    grid = np.linspace(0, 1, GRID)
    rows = []
    for curves, fractions in zip(result.details.get("curves", []), result.details.get("fractions", []), strict=True):
        for curve, at in zip(curves, fractions, strict=True):
            if isinstance(curve, Tensor) and isinstance(at, Tensor) and len(curve) == len(at):
                rows.append(np.interp(grid, at.double().numpy(), curve.double().numpy()))
    if not rows:
        raise InputError(f"`results`: {name!r} has no curve; pass results of Deletion, Insertion, MoRF, LeRF or ABPC.")
    return np.stack(rows).mean(0)


def to_lines(label: str, curves: Sequence[Curve]) -> str:
    """The curves for a terminal: a bar at each twentieth, between the lowest and the highest value of all."""
    every = np.concatenate([curve.mean for curve in curves])
    low, high = float(every.min()), float(every.max())
    width = max(len(curve.name) for curve in curves)
    lines = [f"{label}, from {low:.3f} (▁) to {high:.3f} (█), over the {AXIS}"]
    for curve in curves:
        places = (curve.mean[:: (GRID - 1) // 20] - low) / max(high - low, 1e-12) * (len(BARS) - 1)
        bars = "".join(BARS[round(place)] for place in places)
        lines.append(f"{curve.name.ljust(width)}  {bars}  area {curve.area:.3f}")
    return "\n".join(lines)


def to_svg(label: str, curves: Sequence[Curve]) -> str:
    """The curves as one SVG element, which needs no script; it takes the colors of its page."""
    every = np.concatenate([v for c in curves for v in (c.mean, c.low, c.high) if v is not None])
    low, high = float(min(0.0, every.min())), float(max(every.max(), 1e-9))

    def x(share: float) -> float:
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / max(high - low, 1e-12) * (HEIGHT - TOP - BOTTOM)

    def points(values: np.ndarray) -> list[str]:
        return [f"{x(i / (GRID - 1)):.1f},{y(float(v)):.1f}" for i, v in enumerate(values)]

    parts = []
    for value in np.linspace(low, high, 5):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke-opacity=".15"/>')
        parts.append(_text(LEFT - 6, y(value) + 4, f"{value:.2f}", "end"))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_text(x(share), HEIGHT - BOTTOM + 18, f"{share:.0%}", "middle"))
    for i, curve in enumerate(curves):
        color, area = COLORS[i % len(COLORS)], curve.area
        name = html.escape(curve.name)
        title = f"<title>{name}: mean height {area:.3f}</title>"
        if curve.low is not None and curve.high is not None:
            band = " ".join([*points(curve.low), *reversed(points(curve.high))])
            parts.append(f'<polygon points="{band}" fill="{color}" fill-opacity=".22" stroke="none">{title}</polygon>')
        dash = ' stroke-dasharray="6 4"' if i >= len(COLORS) or curve.low is not None else ""
        line = " ".join(points(curve.mean))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"{dash}>{title}</polyline>')
        at = TOP + 8 + 20 * i
        parts.append(
            f'<line x1="{WIDTH - RIGHT + 10}" x2="{WIDTH - RIGHT + 32}" y1="{at}" y2="{at}" stroke="{color}" '
            f'stroke-width="2"{dash}/>'
        )
        parts.append(_text(WIDTH - RIGHT + 38, at + 4, _short(curve.name), "start"))
    parts.append(_text(LEFT, 16, label, "start"))
    parts.append(_text(x(0.5), HEIGHT - 8, AXIS, "middle"))
    said = "; ".join(f"{c.name}: mean height {c.area:.3f}" for c in curves)
    return (
        f'<svg class="interpreto-curves" role="img" aria-label="{html.escape(label)}. {html.escape(said)}" '
        f'viewBox="0 0 {WIDTH} {max(HEIGHT, TOP + 24 + 20 * len(curves))}" style="max-width:{WIDTH}px;width:100%" '
        f'stroke="currentColor" font-family="system-ui,sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


def _page(metric: str, label: str, curves: Sequence[Curve]) -> str:
    rows = "".join(f"<tr><th scope=row>{html.escape(c.name)}</th><td>{c.area:.3f}</td></tr>" for c in curves)
    style = (
        "body{font:15px system-ui,sans-serif;max-width:42em;margin:2em auto;padding:0 1em;background:#fff;color:#1b1b1b}"
        "td,th{padding:.2em .8em;text-align:left}"
        "@media(prefers-color-scheme:dark){body{background:#16181c;color:#e8e8e8}}"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(metric)}</title><style>{style}</style>"
        f"<h1>{html.escape(metric)}</h1>{to_svg(label, curves)}"
        f"<table><tr><th>method<th>mean height</tr>{rows}</table></html>"
    )


def _text(x: int | float, y: int | float, text: str, anchor: str) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} fill="currentColor" stroke="none">{html.escape(text)}</text>'


def _short(name: str, length: int = 17) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
