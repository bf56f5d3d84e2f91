"""Encode a dashboard of concepts for a page, and a static view for where scripts are stripped."""

from __future__ import annotations

from typing import Any

from interpreto.concepts.dashboard import ConceptDashboard, ConceptProfile
from interpreto.concepts.views import Passage
from interpreto.visualizations.html.encoding import json_number, packed, to_json
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import heading, table
from interpreto.visualizations.text_layout import format_number, split_at_units

LOOK = Look(["export.js", "chooser.js", "dashboard.js"], ["concepts.css", "dashboard.css"], name="concepts dashboard")
LISTED = 20  # concepts of the static view


def page_of(dashboard: ConceptDashboard) -> Page:
    """Return the page of a dashboard: one concept is drawn at a time, and each text is written once."""
    texts = _Texts()
    concepts = [_concept(profile, texts) for profile in dashboard.profiles]
    data = {
        "outputs": dashboard.outputs,
        "output": dashboard.about.output,
        "unit": dashboard.about.unit,
        "scale": dashboard.about.scale,
        "granularity": dashboard.about.granularity,
        "sizes": packed(dashboard.importances),
        "effects": packed(dashboard.effects),
        "facts": facts(dashboard),
        "concepts": concepts,
        "passages": texts.written,
    }
    return Page(LOOK, to_json(data), _static(dashboard))


def facts(dashboard: ConceptDashboard) -> list[tuple[str, str]]:
    """Return what a reader needs besides the numbers, as names and values."""
    about = dashboard.about
    named = [
        ("Concepts", f"{len(dashboard.profiles)}, {about.explainer}"),
        ("Split point", about.split_point),
        ("Granularity", about.granularity),
        ("Effect", about.method.replace("_", " ")),
        ("Data", f"{dashboard.texts} text{'s' * (dashboard.texts != 1)}, {dashboard.units} {about.granularity}s"),
    ]
    return [(name, value) for name, value in named if value is not None]


class _Texts:
    """Texts that several concepts share, each written once."""

    def __init__(self) -> None:
        self.written: list[list[list[Any]]] = []
        self._places: dict[tuple[str, tuple[Any, ...]], int] = {}

    def place(self, passage: Passage) -> int:
        """Return the number of a passage's text."""
        key = (passage.text, passage.spans)
        if key not in self._places:
            self._places[key] = len(self.written)
            found = split_at_units(passage.text, passage.spans, passage.elements)
            self.written.append([[s.text, s.unit, int(s.named)] for s in found])
        return self._places[key]


def _concept(profile: ConceptProfile, texts: _Texts) -> dict[str, Any]:
    found = profile.histogram
    return {
        "id": profile.concept,
        "name": profile.name,
        "words": profile.words,
        "verdict": profile.verdict,
        "density": json_number(profile.density),
        "mean": json_number(profile.mean),
        "peak": json_number(profile.peak),
        "bins": [json_number(found.width), found.above, found.below, found.zeros],
        "near": [[concept, json_number(round(cosine, 4))] for concept, cosine in profile.neighbors],
        "examples": [
            [
                round(100 * group.low),
                round(100 * group.high),
                [[texts.place(one), *(packed(one.activations[None]) or ())] for one in group.passages],
            ]
            for group in profile.examples
        ],
    }


def _static(dashboard: ConceptDashboard) -> str:
    """Return a table of the most important concepts."""
    rows = []
    for place in dashboard.ranked()[:LISTED]:
        profile = dashboard.profiles[place]
        size = format_number(float(dashboard.importances[:, place].max()))
        rows.append((f"{profile.concept} {profile.name}", f"{100 * profile.density:.3g} %", format_number(profile.peak), size))
    more = len(dashboard.profiles) - len(rows)
    head = heading("Concepts", f"the {len(rows)} most important of {len(dashboard.profiles)}" if more > 0 else "")
    return head + table(rows, "density", "largest activation", f"importance ({dashboard.about.unit})")
