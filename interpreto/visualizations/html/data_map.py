"""The page of training dynamics: numbers, the data map as SVG, which needs no script, and the most forgotten texts."""

from __future__ import annotations

from collections.abc import Sequence

from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import plain
from interpreto.visualizations.training_layout import AXES, COLORS, REGIONS, STEPS, DataMap

LOOK = Look([], ["dataset.css", "report.css"], name="figure")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 680, 460, 52, 12, 56, 46
WIDEST = 0.5
"""Largest standard deviation that probabilities can have."""
GUIDE = (
    "Each dot is a training text. Its height is the mean probability of its label over the epochs, its place from left to "
    "right how much that probability changed. Texts on top were easy to learn; texts at the right are ambiguous: the model "
    "changed its mind; texts at the bottom left were hard to learn, and labels there are often wrong. The color is the share "
    "of epochs in which the label was predicted. A text is forgotten when it is predicted rightly at one epoch and wrongly at "
    "the next."
)


def page_of(drawn: DataMap) -> Page:
    """Return the page of a data map."""
    lead = "Texts that were learned and then predicted wrongly again, most often first. Those never learned are not among them."
    card = f'<p class="lead">{lead}</p><div class="card">{_forgotten(drawn)}</div>'
    forgotten = f'<section class="part"><h2>Most forgotten</h2>{card}</section>'
    reading = f'<details class="guide"><summary>How to read this</summary><p>{plain(GUIDE, 2000)}</p></details>'
    return Page(LOOK, "null", body=f'{reading}{_tiles(drawn)}<div class="card drawing">{svg_of(drawn)}</div>{forgotten}')


def _tiles(drawn: DataMap) -> str:
    found = (
        ("Texts", f"{drawn.n:,}", f"over {drawn.epochs} epochs"),
        ("Never learned", f"{drawn.never:,}", "their label was never predicted"),
        ("Forgotten", f"{drawn.once:,}", "at least once"),
    )
    tiles = "".join(
        f'<dl class="tile"><dt>{name}</dt><dd class="figure">{value}</dd><dd class="more">{more}</dd></dl>'
        for name, value, more in found
    )
    return f'<div class="tiles">{tiles}</div>'


def svg_of(drawn: DataMap) -> str:
    """Return the data map as one SVG element, which takes the colors of its page."""
    parts = [_grid(), *_legend()]
    for dot in drawn.dots:
        title = f"<title>{plain(dot.text, 160)} ({plain(dot.label, 40)})</title>"
        place = f'cx="{_x(dot.x):.1f}" cy="{_y(dot.y):.1f}"'
        parts.append(f'<circle {place} r="3.2" fill="{COLORS[dot.step]}" fill-opacity=".62" stroke="none">{title}</circle>')
    parts += [_text(_x(x), _y(y) + 4, name, "start", "font-weight='650'") for x, y, name in REGIONS]
    said = f"{drawn.n} texts; {drawn.never} never learned; {drawn.once} forgotten at least once"
    return (
        f'<svg class="interpreto-map" role="img" aria-label="Data map. {said}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'style="max-width:{WIDTH}px;width:100%" stroke="currentColor" font-family="system-ui,sans-serif" '
        f'font-size="12">{"".join(parts)}</svg>'
    )


def _x(value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * value / WIDEST


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value


def _grid() -> str:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        ends = f'x1="{_x(0.0):.1f}" x2="{_x(WIDEST):.1f}" y1="{_y(share):.1f}" y2="{_y(share):.1f}"'
        parts += [f'<line {ends} stroke-opacity=".14"/>', _text(LEFT - 8, _y(share) + 4, f"{share:g}", "end")]
        parts.append(_text(_x(share * WIDEST), HEIGHT - BOTTOM + 18, f"{share * WIDEST:g}", "middle"))
    parts.append(_text(_x(WIDEST / 2), HEIGHT - 8, AXES[0], "middle"))
    parts.append(_text(4, TOP - 12, AXES[1], "start"))
    return "".join(parts)


def _legend() -> list[str]:
    parts, x = [_text(4, 16, "label predicted:", "start")], 114.0
    for color, name in zip(COLORS, STEPS, strict=True):
        parts += [f'<circle cx="{x:.0f}" cy="12" r="5" fill="{color}" stroke="none"/>', _text(x + 10, 16, name, "start")]
        x += 34 + 6.6 * len(name)
    return parts


def _text(x: float | int, y: float | int, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more} fill="currentColor" stroke="none">{plain(text)}</text>'


def _forgotten(drawn: DataMap) -> str:
    if not drawn.forgotten:
        return '<p class="hint">No text was forgotten.</p>'
    rows = [(one.text, one.label, str(one.events), f"{one.correctness:.0%}") for one in drawn.forgotten]
    return table_of(("text", "label", "times forgotten", "epochs predicted"), rows, "Most forgotten texts")


def table_of(heads: Sequence[str], rows: Sequence[Sequence[str]], name: str, length: int = 300) -> str:
    """Return a table that scrolls on narrow screens; the first cell of a row names it."""
    top = "".join(f'<th scope="col">{plain(head)}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{plain(first, length)}</th>{"".join(f"<td>{plain(cell, length)}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{plain(name)}"><table class="figures"><thead><tr>{top}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )
