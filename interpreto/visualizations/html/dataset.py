"""Encode pages about many texts: explanations once, and the interactive parts that refer to them by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interpreto.attributions.output import AttributionOutput
from interpreto.visualizations.html.attributions import CARDS, described
from interpreto.visualizations.html.encoding import to_json
from interpreto.visualizations.html.page import Look, Page

LOOK = Look([*CARDS, "deck.js", "importance.js", "table.js", "dataset.js"], ["dataset.css"], name="dataset")
REPORT_LOOK = Look(LOOK.scripts, [*LOOK.styles, "report.css"], name="dataset report")


def dataset_page(
    groups: Sequence[Sequence[AttributionOutput]],
    parts: Mapping[str, Mapping[str, Any]],
    static: str = "",
    body: str = "",
    look: Look = LOOK,
) -> Page:
    """Return a page of many texts.

    Args:
        groups: Explanations by text.
        parts: Interactive parts by the name of their place in the body; parts without a place follow each other.
        static: HTML that is shown where scripts are stripped.
        body: HTML that stays, with a ``data-part`` for each place.
        look: Scripts and styles.
    """
    return Page(look, to_json({"deck": deck(groups), "parts": parts}), static, body)


def deck(groups: Sequence[Sequence[AttributionOutput]]) -> dict[str, Any]:
    """Return the explanations as the script reads them; facts that all of them share are stored once."""
    found = [[described(explanation) for explanation in group] for group in groups]
    every = [data for group in found for data in group]
    first = every[0] if every else {}
    shared = {name: value for name, value in first.items() if all(name in data and data[name] == value for data in every)}
    own = [[{name: value for name, value in data.items() if name not in shared} for data in group] for group in found]
    return {"shared": shared, "groups": own}
