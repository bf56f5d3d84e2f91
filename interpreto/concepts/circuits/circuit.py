"""Circuits: the parts of a model that an output goes through, what passes between them, and how much they account for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any, ClassVar

import torch

from interpreto.errors import FileError
from interpreto.renderable import Renderable
from interpreto.storage import read_file, write_file

FORMAT = "interpreto circuit 1"
OUTPUT = -1
"""Number of the output among the ends of edges."""


@dataclass(frozen=True)
class Node:
    """A part of the model in a circuit.

    Attributes:
        name: Such as ``"layer 3 head 7"``, ``"layer 5 concept 12"``, ``"layer 5 error"`` or ``"embedding"``.
        place: Number of its place, in the order of the model.
        token: The token that it is at; None: at all tokens.
        effect: What the metric loses when the node is ablated, as it was estimated to rank the nodes. By influence: what the
            metric has from the node over all paths, with attention patterns and active concepts as they are.
        influence: Share of the output that goes through the node, over all paths; None where nodes are ranked otherwise.
        amount: Amount of a transcoder's concept at the token; None of all other nodes.
    """

    name: str
    place: int
    token: int | None
    effect: float
    influence: float | None = None
    amount: float | None = None


@dataclass(frozen=True)
class Edge:
    """Effect of one node on a later one, or on the output.

    Attributes:
        source: Number of the node that acts.
        target: Number of the node that is acted on; -1: the output.
        weight: What the metric loses through the target when the source is ablated, to first order and without what goes
            through other places on the way. Between nodes of transcoders: what the source adds to the target itself, its
            amount or the metric. All that enters a concept, and the biases, then sum to its amount.
    """

    source: int
    target: int
    weight: float


@dataclass(frozen=True)
class CurvePoint:
    """A circuit of the first nodes.

    Attributes:
        size: Number of nodes.
        faithfulness: (m(circuit) − m(∅)) / (m(model) − m(∅)), where everything outside the circuit is ablated.
        completeness: 1 − the faithfulness of everything but the circuit.
    """

    size: int
    faithfulness: float
    completeness: float


@dataclass(frozen=True, eq=False, repr=False)
class Circuit(Renderable):
    """The parts of a model that an output depends on most; made by `find_circuit`.

    Attributes:
        nodes: The parts, by falling size of their effects, or of their influence.
        edges: The largest effects of nodes on later nodes, and on the output.
        texts: The texts that it was found on.
        tokens: Names of the tokens, of the first text, where nodes are at tokens; else empty.
        places: Names of the places of the model that nodes can be at, in order.
        metric: What is measured.
        model_score: The metric of the model, mean over texts.
        empty_score: The metric with every part ablated, mean over texts.
        curve: Faithfulness and completeness over the number of nodes, from none to more than the circuit has.
        candidates: Number of all parts.
        ablation: What takes the place of ablated parts: ``"mean"``, ``"position"`` or ``"corrupt"``.
        method: How nodes were ranked: ``"attribution"``, ``"integrated"``, ``"exact"`` or ``"influence"``.
        replacement_score: By influence: share of the influence of all that enters the graph, tokens and errors, that is the
            tokens'. 1 where transcoders leave nothing unexplained.
        completeness_score: By influence: share of what enters nodes that is not an error's, a node counting with its influence.
            This is of the whole graph; `completeness` is measured, by ablating the circuit.
    """

    _subject: ClassVar[str] = "circuits"

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    texts: tuple[str, ...]
    tokens: tuple[str, ...]
    places: tuple[str, ...]
    metric: str
    model_score: float
    empty_score: float
    curve: tuple[CurvePoint, ...]
    candidates: int
    ablation: str
    method: str
    replacement_score: float | None = None
    completeness_score: float | None = None

    @property
    def faithfulness(self) -> float:
        """Return the share of the metric that the circuit alone keeps; NaN where ablating everything loses nothing."""
        return self._at(len(self.nodes)).faithfulness

    @property
    def completeness(self) -> float:
        """Return the share of the metric that the model loses without the circuit."""
        return self._at(len(self.nodes)).completeness

    def label(self, number: int) -> str:
        """Return the name of a node with its token; of -1, the output's."""
        if number == OUTPUT:
            return self.metric
        node = self.nodes[number]
        return node.name if node.token is None else f"{node.name} at {self.tokens[node.token]!r}"

    def save(self, path: str | PathLike[str]) -> None:
        """Write the circuit to a file, without code; see `load`.

        Raises:
            FileError: the file cannot be written.
        """
        lists = ("nodes", "edges", "curve")
        facts = {name: value for name, value in vars(self).items() if name not in lists}
        facts |= {name: [asdict(item) for item in getattr(self, name)] for name in lists}
        write_file(path, FORMAT, {"effects": torch.tensor([node.effect for node in self.nodes])}, facts)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Circuit:
        """Return the circuit that `save` wrote.

        Raises:
            FileError: the file is missing, or holds something else.
        """
        _, facts = read_file(path, FORMAT, "a circuit")
        kinds: dict[str, Any] = {"nodes": Node, "edges": Edge, "curve": CurvePoint}
        try:
            facts.pop("format")
            given: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
            given |= {name: tuple(kind(**item) for item in facts[name]) for name, kind in kinds.items()}
            return cls(**given)
        except (KeyError, TypeError) as error:
            raise FileError(f"`path`: {str(path)!r} holds no whole circuit ({error}).") from error

    def __repr__(self) -> str:
        return (
            f"Circuit({len(self.nodes)} of {self.candidates} nodes, {len(self.edges)} edges, "
            f"faithfulness={self.faithfulness:.2f}, completeness={self.completeness:.2f}, {self.metric})"
        )

    def _at(self, size: int) -> CurvePoint:
        return next(point for point in self.curve if point.size == size)
