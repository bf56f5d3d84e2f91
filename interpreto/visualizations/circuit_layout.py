"""Places of the nodes of a circuit in a drawing: the first layer at the bottom, tokens from left to right."""

from __future__ import annotations

from dataclasses import dataclass

from interpreto.concepts.circuits.circuit import Circuit


@dataclass(frozen=True)
class Placed:
    """Where everything is.

    Attributes:
        columns: Of each node, from 0 on; fractions where several share a token.
        rows: Of each node, 0 the lowest.
        names: Of each row.
        width: Number of columns.
    """

    columns: tuple[float, ...]
    rows: tuple[int, ...]
    names: tuple[str, ...]
    width: int


def placed(circuit: Circuit) -> Placed:
    """Return the place of each node: a row per place that has any; nodes at one token of a row stand next to each other."""
    used = sorted({node.place for node in circuit.nodes})
    rows = tuple(used.index(node.place) for node in circuit.nodes)
    groups: dict[tuple[int, int | None], list[int]] = {}
    for i, node in enumerate(circuit.nodes):
        groups.setdefault((rows[i], node.token), []).append(i)
    crowd = max(map(len, groups.values()), default=1)
    columns = [0.0] * len(circuit.nodes)
    for (_, token), members in groups.items():
        members.sort(key=lambda i: circuit.nodes[i].name)
        first = 0 if token is None else token * crowd
        for k, i in enumerate(members):
            columns[i] = first + k + (crowd - len(members)) / 2
    width = crowd * max(1, len(circuit.tokens))
    return Placed(tuple(columns), rows, tuple(circuit.places[place] for place in used), width)


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
