"""Curves of metrics as SVG, which needs no script, and a table that remains where drawings are stripped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interpreto.visualizations.curve_layout import AXIS, COLORS, GRID, Curve
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import plain, table

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 340, 56, 160, 30, 46
LOOK = Look([], ["report.css"], name="figure")
GUIDE = (
    "From left to right, more and more units are removed, in the order in which an explanation ranks them. The table has the "
    "mean height of each curve."
)


def curve_page(title: str, label: str, curves: Sequence[Curve]) -> str:
    """Return a self-contained page."""
    return figure_page(title, GUIDE, to_svg(label, curves) + _areas(curves))


def figure_page(title: str, guide: str, content: str) -> str:
    """Return a self-contained page with a drawing.

    Args:
        title: Its heading.
        guide: How to read the drawing.
        content: HTML of the drawing.
    """
    reading = f'<details class="guide"><summary>How to read this</summary><p>{plain(guide, 2000)}</p></details>'
    return Page(LOOK, "null", body=f'{reading}<div class="card drawing">{content}</div>').document(title)


def curve_fragment(label: str, curves: Sequence[Curve]) -> str:
    """Return one element for a notebook."""
    return f"<div>{to_svg(label, curves)}{_areas(curves)}</div>"


def to_svg(label: str, curves: Sequence[Curve]) -> str:
    """Return the curves as one SVG element, which takes the colors of its page."""
    axes = _Axes.of(curves)
    parts = [*axes.grid(), *(part for i, curve in enumerate(curves) for part in _drawn(axes, i, curve))]
    parts.append(_text(LEFT, 16, label, "start"))
    parts.append(_text(axes.x(0.5), HEIGHT - 8, AXIS, "middle"))
    areas = "; ".join(f"{curve.name}: mean height {curve.area:.3f}" for curve in curves)
    return (
        f'<svg class="interpreto-curves" role="img" aria-label="{plain(label)}. {plain(areas, 2000)}" '
        f'viewBox="0 0 {WIDTH} {max(HEIGHT, TOP + 24 + 20 * len(curves))}" style="max-width:{WIDTH}px;width:100%" '
        f'stroke="currentColor" font-family="system-ui,sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


class _Axes:
    """Places of shares and values in the drawing."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @staticmethod
    def of(curves: Sequence[Curve]) -> _Axes:
        """Return axes that hold all curves, their bands and zero."""
        every = np.concatenate([v for c in curves for v in (c.mean, c.low, c.high) if v is not None])
        return _Axes(float(min(0.0, every.min())), float(max(every.max(), 1e-9)))

    def x(self, share: float) -> float:
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return TOP + (self.high - value) / max(self.high - self.low, 1e-12) * (HEIGHT - TOP - BOTTOM)

    def points(self, values: np.ndarray) -> list[str]:
        return [f"{self.x(i / (GRID - 1)):.1f},{self.y(float(v)):.1f}" for i, v in enumerate(values)]

    def grid(self) -> list[str]:
        """Return lines and numbers of both axes."""
        parts = []
        for value in np.linspace(self.low, self.high, 5):
            y = self.y(float(value))
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke-opacity=".15"/>')
            parts.append(_text(LEFT - 6, y + 4, f"{value:.2f}", "end"))
        return parts + [
            _text(self.x(share), HEIGHT - BOTTOM + 18, f"{share:.0%}", "middle") for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]


def _drawn(axes: _Axes, i: int, curve: Curve) -> list[str]:
    """Return a curve, its band and its place in the legend."""
    color, parts = COLORS[i % len(COLORS)], []
    title = f"<title>{plain(curve.name)}: mean height {curve.area:.3f}</title>"
    if curve.low is not None and curve.high is not None:
        band = " ".join([*axes.points(curve.low), *reversed(axes.points(curve.high))])
        parts.append(f'<polygon points="{band}" fill="{color}" fill-opacity=".22" stroke="none">{title}</polygon>')
    dash = ' stroke-dasharray="6 4"' if i >= len(COLORS) or curve.low is not None else ""
    line = " ".join(axes.points(curve.mean))
    parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"{dash}>{title}</polyline>')
    at = TOP + 8 + 20 * i
    ends = f'x1="{WIDTH - RIGHT + 10}" x2="{WIDTH - RIGHT + 32}" y1="{at}" y2="{at}"'
    parts.append(f'<line {ends} stroke="{color}" stroke-width="2"{dash}/>')
    return [*parts, _text(WIDTH - RIGHT + 38, at + 4, curve.name, "start", 17)]


def _text(x: int | float, y: int | float, text: str, anchor: str, length: int = 80) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} fill="currentColor" stroke="none">{plain(text, length)}</text>'


def _areas(curves: Sequence[Curve]) -> str:
    return table([(curve.name, f"{curve.area:.3f}") for curve in curves], "mean height")
