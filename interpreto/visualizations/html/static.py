"""Static HTML with inline styles: what remains of a page where its script is stripped, as on GitHub or in a mail."""

from __future__ import annotations

from collections.abc import Sequence

from interpreto.renderable import visible
from interpreto.visualizations.colors import ATTRIBUTIONS, Color, blend
from interpreto.visualizations.html.page import escaped
from interpreto.visualizations.text_layout import Segment

COLORED = 100
"""Units that get a color, the largest first, so that the view of a long text stays small."""


def heading(name: str, more: str) -> str:
    """Return a name in bold, with more about it."""
    return f"<p><b>{plain(name)}</b> {plain(more)}</p>"


def note(text: str) -> str:
    """Return a remark, whole."""
    return f"<p>{plain(text, len(text))}</p>"


def colored_text(
    segments: Sequence[Segment], weights: Sequence[float], *, signed: bool = True, ends: tuple[Color, Color] = ATTRIBUTIONS
) -> str:
    """Return the text with a background per unit, by its weight from −1 to 1; negative ones are underlined."""
    order = sorted(range(len(weights)), key=lambda unit: -abs(weights[unit]) if weights[unit] == weights[unit] else 0.0)
    chosen = set(order[:COLORED])
    parts = []
    for segment in segments:
        text = escaped(visible(f" {segment.text} " if segment.named else segment.text))
        unit = segment.unit
        color = blend(weights[unit], ends, signed=signed) if unit is not None and unit in chosen else None
        if color is not None and unit is not None:
            line = "text-decoration:underline dotted;" if weights[unit] < 0 else ""
            text = f'<span style="color:#16181d;{line}background-color:#{bytes(color).hex()}">{text}</span>'
        parts.append(text)
    return f'<p style="white-space:pre-wrap">{"".join(parts)}</p>'


def table(rows: Sequence[Sequence[str]], *heads: str) -> str:
    """Return a table with a name per row; ``heads`` name the columns after it."""
    top = "".join(f"<th>{plain(name)}</th>" for name in heads)
    body = "".join(_row(row) for row in rows)
    return f"<table><thead><tr><td></td>{top}</tr></thead><tbody>{body}</tbody></table>"


def _row(row: Sequence[str]) -> str:
    name, *cells = row
    shown = "".join(f"<td>{plain(cell) if cell else cell}</td>" for cell in cells)
    return f"<tr><th>{plain(name)}</th>{shown}</tr>"


def plain(text: str, length: int = 80) -> str:
    """Return a text on one line, shortened, as the content of an element."""
    shown = " ".join(visible(text).split()) or repr(text)
    return escaped(shown if len(shown) <= length else shown[: length - 1] + "…")
