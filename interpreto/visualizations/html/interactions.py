"""The page of interactions: arcs between the units of a text, and a table of the strongest. It needs no script."""

from __future__ import annotations

import math
from itertools import pairwise

from interpreto.attributions.interaction_output import InteractionOutput
from interpreto.visualizations.colors import ATTRIBUTIONS, Color
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import heading, note, plain, table
from interpreto.visualizations.interaction_layout import TARGETS, Drawn, drawn, title_of
from interpreto.visualizations.text_layout import format_number, value_unit

LOOK = Look([], name="interactions")
STEP, NAMES, BARS, WIDEST = 24, 150, 90, 8.0
"""Pixels of a row, of the names, of the bars, and of the widest arc."""
LISTED = 12
SPACED = "border-collapse:separate;border-spacing:1.2em .2em"


def interactions_page(output: InteractionOutput, most: int) -> Page:
    """Return the page of interactions."""
    parts = []
    for target in range(min(len(output.target_labels), TARGETS)):
        found = drawn(output, target, most)
        unit = value_unit(output.explanation)
        parts.append(f'<section class="card">{heading(found.label, f"{title_of(output)}, in {unit}")}')
        parts.append(f"{_picture(output, found)}{_table(output, target, found)}</section>")
    return Page(LOOK, "null", body="".join(parts))


def _hex(value: float) -> str:
    color: Color = ATTRIBUTIONS[0 if value >= 0 else 1]
    return f"#{bytes(color).hex()}"


def _picture(output: InteractionOutput, found: Drawn) -> str:
    """Return a row per unit with its name and the bar of its own value, and arcs between rows that act together."""
    n = len(output.elements)
    reach = max((c[-1] - c[0] for c, _ in found.links), default=1)
    start, bend = NAMES + BARS + 12, min(60 + 14 * reach, 320)
    parts = []
    for i, (element, value) in enumerate(zip(output.elements, found.single, strict=True)):
        y, own = STEP * i + STEP / 2, 0.0 if math.isnan(value) else value
        width = BARS * abs(own) / found.single_scale
        shown = plain(element, 20)
        parts.append(
            f'<text x="{NAMES - 8}" y="{y + 4}" text-anchor="end" fill="currentColor">{shown}</text>'
            f'<rect x="{NAMES}" y="{y - 7}" width="{width:.1f}" height="14" fill="{_hex(own)}">'
            f"<title>{shown} alone: {format_number(own, sign=True)}</title></rect>"
        )
    for coalition, value in reversed(found.links):
        names = " + ".join(plain(output.elements[i], 20) for i in coalition)
        lines = "".join(_arc(i, j, float(start), bend * (j - i) / max(reach, 1)) for i, j in pairwise(coalition))
        parts.append(
            f'<path d="{lines}" fill="none" stroke="{_hex(value)}" stroke-opacity="0.65" '
            f'stroke-width="{max(0.8, WIDEST * abs(value) / found.scale):.1f}">'
            f"<title>{names}: {format_number(value, sign=True)}</title></path>"
        )
    width, height = start + bend + 16, STEP * n
    strongest = ", ".join(" and ".join(plain(output.elements[i], 20) for i in c) for c, _ in found.links[:3])
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" style="max-width:100%" role="img" '
        f'aria-label="Arcs between units that act together; the strongest: {strongest}" font-size="13">{"".join(parts)}</svg>'
    )


def _arc(a: int, b: int, x: float, bend: float) -> str:
    top, bottom = STEP * a + STEP / 2, STEP * b + STEP / 2
    return f"M{x},{top} C{x + 1.33 * bend:.1f},{top} {x + 1.33 * bend:.1f},{bottom} {x},{bottom}"


def _table(output: InteractionOutput, target: int, found: Drawn) -> str:
    errors = output.standard_error
    places = {coalition: i for i, coalition in enumerate(output.coalitions)}
    rows = []
    for coalition, value in found.links[:LISTED]:
        cells = [" + ".join(output.elements[i] for i in coalition), format_number(value, sign=True)]
        if errors is not None:
            cells.append(f"± {format_number(float(errors[target, places[coalition]]))}")
        rows.append(cells)
    if not rows:
        return note("No interaction is larger than its error.")
    heads = ["interaction"] if errors is None else ["interaction", "standard error"]
    shown = table(rows, *heads).replace("<table>", f'<table style="{SPACED}">', 1)
    return note("Orange supports the target, blue speaks against it; the bars are the units alone.") + shown
