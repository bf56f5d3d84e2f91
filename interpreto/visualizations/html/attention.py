"""Data of the page that shows attention."""

from __future__ import annotations

from interpreto.attributions.attention.view import AttentionView
from interpreto.visualizations.html.encoding import json_numbers, packed, to_json
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import table

LOOK = Look(("attention.js",), ("attention.css",), "attention")


def attention_page(title: str, view: AttentionView) -> str:
    """Return a self-contained page."""
    return _page(view).document(title)


def attention_fragment(view: AttentionView) -> str:
    """Return one element for a notebook."""
    return _page(view).fragment()


def _page(view: AttentionView) -> Page:
    rows = [(layer.name, *(f"{value:.2f}" for value in layer.focus.tolist())) for layer in view.layers]
    heads = max(len(layer.weights) for layer in view.layers)
    static = table(rows, *(f"head {i + 1}" for i in range(heads)))
    return Page(LOOK, to_json(_data(view)), static)


def _data(view: AttentionView) -> dict[str, object]:
    explanation = view.explanation
    return {
        "layers": [
            {
                "name": layer.name,
                "queries": layer.queries,
                "keys": layer.keys,
                "focus": json_numbers(layer.focus),
                "weights": packed(layer.weights.flatten(1)),
            }
            for layer in view.layers
        ],
        "method": explanation.method,
        "target": explanation.target_labels[0],
        "units": list(explanation.elements),
        "values": json_numbers(explanation.attributions[0]),
    }
