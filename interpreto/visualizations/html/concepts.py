"""Concepts as the data that a page's script draws: JSON in ASCII, values as base64."""

from __future__ import annotations

import json
from typing import Any

from interpreto.concepts.views import ConceptView, GlobalConcepts, LocalConcepts
from interpreto.visualizations.html.attributions import _UNSAFE, _number, _numbers, _packed
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.text_layout import cut

LOOK = Look(["concepts.js"], ["concepts.css"], name="concepts")


def page_of(view: ConceptView) -> Page:
    """Return the page of concepts."""
    return Page(LOOK, concept_payload(view))


def concept_payload(view: ConceptView) -> str:
    """The data of a page. It is ASCII, and no part of it can end the element that it stands in.

    Of each output, and of each concept in each text, one row of base64, which the page decodes when it is asked for.
    """
    sizes, net = (values[:, list(view.shown)] for values in view.totals())
    passages: dict[str, int] = {}
    texts, concepts = [], []
    for concept in view.shown:
        rows = []
        for passage in view.passages(concept):
            if passage.text not in passages:
                passages[passage.text] = len(passages)
                found = cut(passage.text, passage.spans, passage.elements)
                texts.append({"pieces": [[p.text, p.unit, int(p.named)] for p in found], "elements": passage.elements})
            rows.append([passages[passage.text], *(_packed(passage.activations[None]) or ())])
        concepts.append({"id": concept, "label": _label(view, concept), "passages": rows, "units": _units(view, concept)})
    data = _facts(view) | {
        "sizes": _packed(sizes),
        "effects": _packed(net),
        "top": _number(float(sizes.max())) if sizes.numel() else 0,
        "concepts": concepts,
        "passages": texts,
    }
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def facts(view: ConceptView) -> list[tuple[str, str]]:
    """What a reader must know beside the numbers."""
    about = view.about
    size = f"{view.texts} text{'s' * (view.texts != 1)}" if isinstance(view, GlobalConcepts) else None
    named = [
        ("Concepts", about.explainer),
        ("Split point", about.split_point),
        ("Granularity", about.granularity),
        ("Effect", about.method.replace("_", " ")),
        ("Data", size),
    ]
    return [(name, value) for name, value in named if value is not None]


def _facts(view: ConceptView) -> dict[str, Any]:
    local = isinstance(view, LocalConcepts)
    return {
        "local": local,
        "outputs": view.outputs,
        "scores": _numbers(view.scores) if local else None,
        "scoreUnit": view.score_unit if local else None,
        "unit": view.about.unit,
        "scale": view.about.scale,
        "output": view.about.output,
        "facts": facts(view),
    }


def _label(view: ConceptView, concept: int) -> list[list[Any]]:
    return [[text, None if value is None else _number(value)] for text, value in view.labels.get(concept, ())]


def _units(view: ConceptView, concept: int) -> list[str] | None:
    """What the concept does in each unit of a text, a row for each output."""
    return _packed(view.effects[:, :, concept]) if isinstance(view, LocalConcepts) else None
