"""Encode concepts for a page: the data that its script draws, and a static view for where scripts are stripped."""

from __future__ import annotations

from typing import Any

from interpreto.concepts.views import ConceptView, LocalConcepts
from interpreto.visualizations.colors import ACTIVATIONS
from interpreto.visualizations.concept_layout import facts, largest_effect, ordered_outputs, without_noise
from interpreto.visualizations.html.encoding import json_number, json_numbers, packed, to_json
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import colored_text, heading, table
from interpreto.visualizations.text_layout import format_number, split_at_units

LOOK = Look(["concepts.js"], ["concepts.css"], name="concepts")
OUTPUTS, CONCEPTS, TEXTS = 4, 3, 2  # in the static view


def page_of(view: ConceptView) -> Page:
    """Return the page of concepts.

    Each output, and each concept in each text, has one row of base64, which the page decodes when it shows it.
    """
    view = without_noise(view)
    sizes, net = (values[:, list(view.shown)] for values in view.totals())
    places: dict[str, int] = {}
    texts, concepts = [], []
    for concept in view.shown:
        rows = []
        for passage in view.passages(concept):
            if passage.text not in places:
                places[passage.text] = len(places)
                found = split_at_units(passage.text, passage.spans, passage.elements)
                texts.append({"segments": [[s.text, s.unit, int(s.named)] for s in found], "elements": passage.elements})
            rows.append([places[passage.text], *(packed(passage.activations[None]) or ())])
        concepts.append(
            {
                "id": concept,
                "name": view.name(concept),
                "label": _label(view, concept),
                "verdict": view.verdicts.get(concept),
                "passages": rows,
                "units": _units(view, concept),
            }
        )
    data = _facts(view) | {
        "sizes": packed(sizes),
        "effects": packed(net),
        "top": json_number(largest_effect(view)),
        "concepts": concepts,
        "passages": texts,
    }
    return Page(LOOK, to_json(data), _static(view))


def _facts(view: ConceptView) -> dict[str, Any]:
    local = isinstance(view, LocalConcepts)
    return {
        "local": local,
        "outputs": view.outputs,
        "scores": json_numbers(view.scores) if local and view.has_scores else None,
        "scoreUnit": view.score_unit if local and view.has_scores else None,
        "unit": view.about.unit,
        "scale": view.about.scale,
        "output": view.about.output,
        "facts": facts(view),
    }


def _label(view: ConceptView, concept: int) -> list[list[Any]]:
    return [[text, None if value is None else json_number(value)] for text, value in view.labels.get(concept, ())]


def _units(view: ConceptView, concept: int) -> list[str] | None:
    """Return the effects of a concept's units, a row per output; None for a data set."""
    return packed(view.effects[:, :, concept]) if isinstance(view, LocalConcepts) else None


def _static(view: ConceptView) -> str:
    """Return a table per output and the texts of the most important concepts with inline colors."""
    sizes, net = view.totals()
    parts = []
    for output in ordered_outputs(view)[:OUTPUTS]:
        score = ""
        if isinstance(view, LocalConcepts) and view.has_scores:
            score = f"{format_number(float(view.scores[output]))} {view.score_unit}"
        rows = [
            (
                f"{concept} {view.name(concept)}",
                format_number(float(net[output, concept]), sign=True),
                format_number(float(sizes[output, concept])),
            )
            for concept in view.ranked(output)
        ]
        parts += [heading(view.outputs[output], score), table(rows, f"effect ({view.about.unit})", "importance")]
    for concept in view.shown[:CONCEPTS]:
        texts = view.passages(concept)[:TEXTS]
        scale = max((float(passage.activations.abs().max()) for passage in texts), default=0.0)
        parts.append(heading(f"concept {concept}", view.verdicts.get(concept) or view.name(concept)))
        for passage in texts:
            weights = [value / scale if scale else 0.0 for value in passage.activations.tolist()]
            segments = split_at_units(passage.text, passage.spans, passage.elements)
            parts.append(colored_text(segments, weights, ends=ACTIVATIONS))
    return "".join(parts)
