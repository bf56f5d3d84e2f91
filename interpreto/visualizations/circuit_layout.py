"""Places of the nodes of a circuit in a drawing: the first layer at the bottom, tokens from left to right."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from interpreto.concepts.circuits.circuit import Circuit, Node

WRAP, WRAP_ALL = 4, 12
"""Nodes on one line of a place: at one token, and where all tokens are alike."""


@dataclass(frozen=True)
class Placed:
    """Where everything is.

    Attributes:
        columns: Of each node, from 0 on; fractions where several share a token.
        rows: Of each node, 0 the lowest.
        names: Of each row; empty where a place goes on.
        tokens: Column of each token.
        width: Number of columns.
    """

    columns: tuple[float, ...]
    rows: tuple[int, ...]
    names: tuple[str, ...]
    tokens: tuple[float, ...]
    width: int


def placed(circuit: Circuit) -> Placed:
    """Return the place of each node: a row per place that has any, and more where many nodes are at one token.

    A token is as wide as the most of its nodes on one row.
    """
    groups: dict[tuple[int, int | None], list[int]] = {}
    for i, node in enumerate(circuit.nodes):
        groups.setdefault((node.place, node.token), []).append(i)
    wrap = WRAP if circuit.tokens else WRAP_ALL
    widths = [1] * max(1, len(circuit.tokens))
    lines: dict[int, int] = {}
    for (place, token), members in groups.items():
        members.sort(key=lambda i: (len(circuit.nodes[i].name), circuit.nodes[i].name))
        widths[token or 0] = max(widths[token or 0], min(wrap, len(members)))
        lines[place] = max(lines.get(place, 0), -(-len(members) // wrap))
    starts = [0, *accumulate(widths)]
    names, lowest = [], {}
    for place in sorted(lines):
        lowest[place] = len(names)
        names += [circuit.places[place], *[""] * (lines[place] - 1)]
    columns, rows = [0.0] * len(circuit.nodes), [0] * len(circuit.nodes)
    for (place, token), members in groups.items():
        for k, i in enumerate(members):
            line, column = divmod(k, wrap)
            there = min(wrap, len(members) - line * wrap)
            columns[i] = starts[token or 0] + column + (widths[token or 0] - there) / 2
            rows[i] = lowest[place] + line
    centers = tuple(starts[t] + (widths[t] - 1) / 2 for t in range(len(circuit.tokens)))
    return Placed(tuple(columns), tuple(rows), tuple(names), centers, starts[-1])


def is_bare(node: Node) -> bool:
    """Return True for a node of a circuit of transcoders that is no concept: an error, a layer or an embedding."""
    return node.influence is not None and node.amount is None


def short(name: str, place: str) -> str:
    """Return the name of a node without that of its row.

    Examples:
        >>> short("layer 3 concept 12", "layer 3"), short("layer 3 head 7", "layer 3 self_attn.o_proj input")
        ('concept 12', 'head 7')
    """
    shared = 0
    for a, b in zip(name.split(), place.split(), strict=False):
        if a != b:
            break
        shared += 1
    return " ".join(name.split()[shared:]) or name
