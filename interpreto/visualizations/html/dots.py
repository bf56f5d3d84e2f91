"""Rows of estimates as SVG, which needs no script, and a table that remains where drawings are stripped."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from interpreto.visualizations.html.curves import figure_page
from interpreto.visualizations.html.static import plain, table

if TYPE_CHECKING:
    from interpreto.visualizations.dots import Dot, DotRenderer

WIDTH, LEFT, RIGHT, TOP, ROW = 640, 190, 24, 30, 30
COLOR = "#c2410c"


def dot_page(title: str, drawn: DotRenderer) -> str:
    """Return a self-contained page."""
    return figure_page(title, drawn.guide, dot_fragment(drawn))


def dot_fragment(drawn: DotRenderer) -> str:
    """Return one element for a notebook."""
    rows = [(dot.name, f"{dot.value:+.3g}", *dot.notes) for dot in drawn.dots]
    return f"<div>{_svg(drawn)}{table(rows, drawn.label, *drawn.heads)}</div>"


def _svg(drawn: DotRenderer) -> str:
    every = [0.0, *(x for dot in drawn.dots for x in (dot.value, dot.low, dot.high, *dot.chance) if not math.isnan(x))]
    low, high = min(every), max(every)
    scale = (WIDTH - LEFT - RIGHT) / max(high - low, 1e-12)
    height = TOP + ROW * len(drawn.dots) + 24
    zero = LEFT - low * scale
    parts = [f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="{TOP - 6}" y2="{height - 20}" stroke-opacity=".4"/>']
    parts += [_text(LEFT, 16, drawn.label, "start"), _text(zero, height - 6, "0", "middle")]
    parts += [_drawn(dot, TOP + ROW * (i + 0.5), lambda x: LEFT + (x - low) * scale) for i, dot in enumerate(drawn.dots)]
    said = "; ".join(f"{dot.name}: {dot.value:+.3g}" for dot in drawn.dots)
    return (
        f'<svg class="interpreto-dots" role="img" aria-label="{plain(drawn.label)}. {plain(said, 2000)}" '
        f'viewBox="0 0 {WIDTH} {height}" style="max-width:{WIDTH}px;width:100%" stroke="currentColor" '
        f'font-family="system-ui,sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


def _drawn(dot: Dot, y: float, place: Callable[[float], float]) -> str:
    parts = [_text(LEFT - 12, y + 4, dot.name, "end", 28)]
    parts += [
        f'<circle cx="{place(x):.1f}" cy="{y:.1f}" r="3" fill="currentColor" fill-opacity=".16" stroke="none"/>'
        for x in dot.chance
    ]
    if not math.isnan(dot.low):
        ends = f'x1="{place(dot.low):.1f}" x2="{place(dot.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line {ends} stroke="{COLOR}" stroke-width="2"/>')
    fill = COLOR if dot.filled else "none"
    title = f"<title>{plain(dot.name)}: {dot.value:+.3g}</title>"
    parts.append(f'<circle cx="{place(dot.value):.1f}" cy="{y:.1f}" r="6" fill="{fill}" stroke="{COLOR}">{title}</circle>')
    return "".join(parts)


def _text(x: int | float, y: int | float, text: str, anchor: str, length: int = 80) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} fill="currentColor" stroke="none">{plain(text, length)}</text>'
