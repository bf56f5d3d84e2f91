"""Steerings compared as SVG, which needs no script, with tables of numbers and texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from interpreto.concepts.steering.comparison import SteeringComparison
from interpreto.visualizations.html.curves import figure_page
from interpreto.visualizations.html.page import escaped
from interpreto.visualizations.html.static import plain, table
from interpreto.visualizations.steering_layout import GUIDE, Line, Panel, panels, parts, places

WIDTH, HEIGHT, LEFT, GAP, TOP, BOTTOM = 640, 260, 44, 56, 28, 38
COLOR, GRAY, NEW = "#c2410c", "#8a8f98", "#fde0c0"
SHOWN = 20
"""Prompts whose texts are shown."""


def steering_page(title: str, found: SteeringComparison) -> str:
    """Return a self-contained page."""
    return figure_page(title, GUIDE, steering_fragment(found))


def steering_fragment(found: SteeringComparison) -> str:
    """Return one element for a notebook."""
    told, verdict = (f"<p>{plain(text, 500)}</p>" for text in (found.told, found.verdict))
    return f"<div>{told}{_svg(found)}{_numbers(found)}{verdict}{_texts(found)}</div>"


def _svg(found: SteeringComparison) -> str:
    width = (WIDTH - LEFT - GAP - 12) / 2
    drawn = [part for i, panel in enumerate(panels(found)) for part in _panel(panel, found, LEFT + i * (width + GAP), width)]
    said = "; ".join(f"{name}: {value:.3g}" for name, value in zip(found.names, found.mean_effect.tolist(), strict=True))
    return (
        f'<svg class="interpreto-steering" role="img" aria-label="{plain(found.effect_name)}. {plain(said, 2000)}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" style="max-width:{WIDTH}px;width:100%" stroke="currentColor" '
        f'font-family="system-ui,sans-serif" font-size="11">{"".join(drawn)}</svg>'
    )


@dataclass(frozen=True)
class _Axes:
    """Places of steerings and values in a panel, in pixels."""

    left: int | float
    width: int | float
    ends: tuple[float, float]
    span: tuple[float, float]

    def x(self, place: float) -> float:
        first, last = self.ends
        return self.left + 8 + (place - first) / max(last - first, 1e-12) * (self.width - 16)

    def y(self, value: float) -> float:
        low, high = self.span
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[str]:
        """Return four lines with their values."""
        (low, high), ends = self.span, f'x1="{self.left:.1f}" x2="{self.left + self.width:.1f}"'
        drawn = []
        for value in (low + (high - low) * k / 3 for k in range(4)):
            y = self.y(value)
            drawn.append(f'<line {ends} y1="{y:.1f}" y2="{y:.1f}" stroke-opacity=".14"/>')
            drawn.append(_text(self.left - 4, y + 4, f"{value:.3g}", "end"))
        return drawn

    def line(self, at: Sequence[float], line: Line, look: str) -> str:
        """Return a line through values."""
        known = [(p, v) for p, v in zip(at, line.values, strict=True) if math.isfinite(v)]
        points = " ".join(f"{self.x(p):.1f},{self.y(v):.1f}" for p, v in known)
        return f'<polyline points="{points}" fill="none" {look}><title>{plain(line.name)}</title></polyline>'

    def bar(self, place: float, low: float, high: float) -> str:
        """Return an interval; nothing where there is none."""
        if not (math.isfinite(low) and math.isfinite(high)):
            return ""
        x, ends = self.x(place), f'y1="{self.y(low):.1f}" y2="{self.y(high):.1f}"'
        return f'<line x1="{x:.1f}" x2="{x:.1f}" {ends} stroke="{COLOR}" stroke-width="2" stroke-opacity=".55"/>'

    def dot(self, place: float, value: float, name: str, *, filled: bool) -> str:
        """Return a mean; nothing where there is none."""
        if not math.isfinite(value):
            return ""
        fill = COLOR if filled else "var(--paper, #fff)"
        where = f'cx="{self.x(place):.1f}" cy="{self.y(value):.1f}" r="4"'
        return f'<circle {where} fill="{fill}" stroke="{COLOR}"><title>{plain(name)}: {value:.3g}</title></circle>'


def _panel(panel: Panel, found: SteeringComparison, left: int | float, width: int | float) -> list[str]:
    at, chosen = places(found), found.suggest()
    axes = _Axes(left, width, (min(at), max(at)), panel.span)
    names = [_text(axes.x(place), HEIGHT - 16, name, "middle", 12) for place, name in zip(at, found.names, strict=True)]
    controls = [axes.line(at, line, f'stroke="{GRAY}" stroke-opacity=".5"') for line in panel.controls]
    intervals = [axes.bar(*ends) for ends in zip(at, panel.low, panel.high, strict=False)]
    dots = [
        axes.dot(place, value, found.names[i], filled=i == chosen)
        for i, (place, value) in enumerate(zip(at, panel.line.values, strict=True))
    ]
    own = axes.line(at, panel.line, f'stroke="{COLOR}" stroke-width="2"')
    return [_text(left, 14, panel.title, "start", 44), *axes.grid(), *names, *controls, *intervals, own, *dots]


def _text(x: int | float, y: int | float, text: str, anchor: str, length: int = 80) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} fill="currentColor" stroke="none">{plain(text, length)}</text>'


def _numbers(found: SteeringComparison) -> str:
    rows = [
        (
            name,
            f"{found.mean_effect[i]:.3g}",
            f"{found.change[i]:+.3g}",
            "yes" if found.beyond[i] else "no",
            f"{found.nats[:, i].nanmean():.2f}",
            f"{found.cost[i]:+.2f}",
            f"{found.divergence[:, i].mean():.2f}",
            f"{found.distinct[:, i].nanmean():.2f}",
            f"{found.lengths[:, i].double().mean():.0f}",
        )
        for i, name in enumerate(found.names)
    ]
    heads = ("effect", "change", "beyond controls", "nats", "cost", "KL of first token", "distinct pairs", "tokens")
    return f'<div style="overflow-x:auto">{table(rows, *heads)}</div>'


def _texts(found: SteeringComparison) -> str:
    blocks = []
    for i, prompt in enumerate(found.prompts[:SHOWN]):
        plain_text = found.texts[i][found.unsteered]
        rows = "".join(
            f'<tr><th style="white-space:nowrap;text-align:start;vertical-align:top">{plain(name)}</th>'
            f'<td style="text-align:start;white-space:pre-wrap">{_marked(found.texts[i][j], plain_text)}</td></tr>'
            for j, name in enumerate(found.names)
        )
        blocks.append(f"<h2>{plain(prompt, 200)} …</h2><table><tbody>{rows}</tbody></table>")
    rest = len(found.prompts) - SHOWN
    return "".join(blocks) + (f"<p>{rest} more prompts are in the data.</p>" if rest > 0 else "")


def _marked(text: str, unsteered: str) -> str:
    look = f"background-color:{NEW};color:#16181d;border-radius:3px"
    return "".join(
        f'<mark style="{look}">{escaped(part.text)}</mark>' if part.new else escaped(part.text)
        for part in parts(text, unsteered)
    )
