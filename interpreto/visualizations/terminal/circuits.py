"""Circuits in a terminal: the largest nodes, the largest edges, and the curve."""

from __future__ import annotations

from rich.text import Text

from interpreto.concepts.circuits.circuit import Circuit
from interpreto.visualizations.terminal.console import BAR, Lines, bars, one_line

NODES, EDGES = 12, 8
"""Nodes and edges that are shown."""


def circuit_to_text(circuit: Circuit, *, width: int | None = None, color: bool | None = None) -> str:
    """Return a line per node and edge, the largest first, and what circuits of several sizes keep.

    Args:
        circuit: What to show.
        width: Cells per line; None is the width of the terminal.
        color: Write ANSI codes; None: if standard output takes colors and NO_COLOR is not set.
    """
    lines = Lines(width, color)
    first, *others = circuit.texts
    more = f" and {len(others)} more" if others else ""
    lines.add(Text.assemble((one_line(first), "bold"), more))
    lines.add(Text(f"{one_line(circuit.metric)} · {len(circuit.nodes)} of {circuit.candidates} parts · {circuit.method}"))
    nodes = circuit.nodes[:NODES]
    if nodes:
        names = [one_line(circuit.label(i)) for i in range(len(nodes))]
        largest = max(abs(node.effect) for node in nodes) or 1.0
        marks = ["█" * max(1, round(BAR * abs(node.effect) / largest)) for node in nodes]
        shares = ["" if node.influence is None else f"  influence {100 * node.influence:.1f} %" for node in nodes]
        amounts = [f"{node.effect:+.3g}{share}" for node, share in zip(nodes, shares, strict=True)]
        lines.add(*bars(names, max(map(len, names)), marks, [node.effect for node in nodes], amounts))
    for edge in circuit.edges[:EDGES]:
        ends = f"{one_line(circuit.label(edge.source))} → {one_line(circuit.label(edge.target))}"
        lines.add(Text(f"  {ends}  {edge.weight:+.3g}"))
    if circuit.replacement_score is not None and circuit.completeness_score is not None:
        scores = f"replacement score {circuit.replacement_score:.2f}, completeness score {circuit.completeness_score:.2f}"
        lines.add(Text(scores, "dim"))
    lines.add(Text(f"nodes: faithfulness, completeness (ablation: {circuit.ablation})", "dim"))
    for point in circuit.curve:
        mark = " ←" if point.size == len(circuit.nodes) else ""
        lines.add(Text(f"  {point.size:>5}: {point.faithfulness:6.2f} {point.completeness:6.2f}{mark}"))
    return str(lines)
