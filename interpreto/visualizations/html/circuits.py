"""Data of the page of a circuit, and a static table for where scripts are stripped."""

from __future__ import annotations

from typing import Any

from interpreto.concepts.circuits.circuit import Circuit
from interpreto.visualizations.circuit_layout import is_bare, placed, short
from interpreto.visualizations.html.encoding import json_number, to_json
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import heading, table

LOOK = Look(("circuits.js",), ("circuits.css",), "circuits")


def page_of(circuit: Circuit) -> Page:
    """Return the page of a circuit."""
    return Page(LOOK, to_json(circuit_data(circuit)), circuit_static(circuit))


def circuit_data(circuit: Circuit) -> dict[str, Any]:
    """Return what the page draws."""
    where = placed(circuit)
    nodes = [
        {
            "name": node.name,
            "short": short(node.name, circuit.places[node.place]),
            "token": node.token,
            "effect": json_number(node.effect),
            "influence": None if node.influence is None else json_number(node.influence),
            "amount": None if node.amount is None else json_number(node.amount),
            "bare": is_bare(node),
            "column": where.columns[i],
            "row": where.rows[i],
        }
        for i, node in enumerate(circuit.nodes)
    ]
    return {
        "text": circuit.texts[0],
        "texts": len(circuit.texts),
        "tokens": list(circuit.tokens),
        "nodes": nodes,
        "edges": [[edge.source, edge.target, json_number(edge.weight)] for edge in circuit.edges],
        "rows": list(where.names),
        "columns": list(where.tokens),
        "width": where.width,
        "metric": circuit.metric,
        "scores": [json_number(circuit.model_score), json_number(circuit.empty_score)],
        "curve": [[p.size, json_number(p.faithfulness), json_number(p.completeness)] for p in circuit.curve],
        "candidates": circuit.candidates,
        "ablation": circuit.ablation,
        "method": circuit.method,
        "graph": None if circuit.replacement_score is None else graph_scores(circuit),
    }


def graph_scores(circuit: Circuit) -> list[float | None]:
    """Return the replacement score and the completeness score."""
    return [None if score is None else json_number(score) for score in (circuit.replacement_score, circuit.completeness_score)]


def circuit_static(circuit: Circuit) -> str:
    """Return the nodes, and the curve."""
    nodes = [(circuit.label(i), f"{node.effect:+.3f}", *_share(node.influence)) for i, node in enumerate(circuit.nodes)]
    curve = [(str(p.size), f"{p.faithfulness:.2f}", f"{p.completeness:.2f}") for p in circuit.curve]
    return (
        heading(circuit.texts[0], f"circuit of {circuit.metric}: {len(nodes)} of {circuit.candidates} parts")
        + table(nodes, "effect", *(["influence"] if circuit.replacement_score is not None else []))
        + table(curve, "faithfulness", "completeness")
    )


def _share(influence: float | None) -> tuple[str, ...]:
    return () if influence is None else (f"{100 * influence:.1f} %",)
