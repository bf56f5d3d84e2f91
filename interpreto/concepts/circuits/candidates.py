"""Candidates of a circuit: the numbered parts that can be ablated, and how much of a metric some of them keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.circuits.ablated_model import Weights
from interpreto.concepts.circuits.circuit import OUTPUT, CurvePoint, Edge
from interpreto.rounding import noise_of

SIZES = (0, 1, 2, 3, 5, 8, 13, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500)
"""Numbers of nodes at which the curve is measured; and at that of the circuit, and at all."""
BEYOND = 2
"""Sizes of the curve after that of the circuit."""


@runtime_checkable
class Ablatable(Protocol):
    """A model whose parts can be replaced by some share each."""

    def scores(self, weights: Weights) -> Float[Tensor, " n"]:
        """Return the metric of each text with parts replaced."""
        ...


class Candidates:
    """All parts of a model at all tokens, each with a number: by place, then by token, then by part.

    Args:
        model: The model with the parts.
        counts: Number of parts at each place.
        length: Number of tokens; 1 where all tokens are alike.

    Attributes:
        shapes: Tokens and parts of each place.
        sizes: Candidates of each place.
    """

    def __init__(self, model: Ablatable, counts: Sequence[int], length: int) -> None:
        self.model = model
        self.shapes = [(length, count) for count in counts]
        self.sizes = [length * count for count in counts]

    def __len__(self) -> int:
        return sum(self.sizes)

    def place(self, number: int) -> tuple[int, int, int]:
        """Return the place, the token and the part of a candidate."""
        place = 0
        while number >= self.sizes[place]:
            number, place = number - self.sizes[place], place + 1
        return (place, *divmod(number, self.shapes[place][1]))

    def filled(self, value: float) -> Weights:
        """Return weights that are all the same."""
        return [torch.full(shape, value) for shape in self.shapes]

    def weights(self, nodes: Sequence[int], inside: float) -> Weights:
        """Return weights of some candidates, and the opposite ones elsewhere."""
        flat = torch.full((len(self),), 1.0 - inside)
        flat[list(nodes)] = inside
        return [part.view(shape) for part, shape in zip(flat.split(self.sizes), self.shapes, strict=True)]

    def score(self, weights: Weights) -> float:
        """Return the metric with parts replaced, the mean over texts."""
        return float(self.model.scores(weights).mean())

    def ends(self) -> tuple[float, float]:
        """Return the metric of the model, and with every candidate ablated."""
        return self.score(self.filled(0.0)), self.score(self.filled(1.0))

    def curve(
        self, order: list[int], ends: tuple[float, float], most: int, enough: float | None
    ) -> tuple[tuple[CurvePoint, ...], int]:
        """Return the curve of circuits of the first candidates, and the number of nodes of the one that is chosen.

        Args:
            order: Candidates, the most important first.
            ends: See `ends`.
            most: Number of nodes, at most.
            enough: Choose the first circuit that is at least this faithful; None: the one of ``most`` nodes.
        """
        largest = min(most, len(order))
        within = sorted({size for size in SIZES if size < largest} | {largest})
        points, chosen = [], largest
        for size in within:
            points.append(self._point(order, size, ends))
            if enough is not None and points[-1].faithfulness >= enough:
                chosen = size
                break
        beyond = [size for size in SIZES if points[-1].size < size < len(order)][:BEYOND]
        points += [self._point(order, size, ends) for size in beyond]
        points.append(self._point(list(range(len(self))), len(self), ends))
        return tuple({point.size: point for point in points}.values()), chosen

    def _point(self, order: list[int], size: int, ends: tuple[float, float]) -> CurvePoint:
        whole, empty = ends
        kept, without = (self.score(self.weights(order[:size], inside=value)) for value in (0.0, 1.0))
        if abs(whole - empty) <= noise_of(whole, empty):
            return CurvePoint(size, float("nan"), float("nan"))
        return CurvePoint(size, (kept - empty) / (whole - empty), 1 - (without - empty) / (whole - empty))


def largest_edges(weights: Float[Tensor, "n m"], most: int) -> tuple[Edge, ...]:
    """Return the largest edges into each node and into the output, and the largest out of each node.

    Args:
        weights: From each node to each node, and to the output in the last column.
        most: Edges that are kept into each.
    """
    count = len(weights)
    chosen = set()
    for j in range(count + 1):
        chosen |= {(i, j) for i in weights[:, j].abs().topk(min(most, count)).indices.tolist()}
    chosen |= {(i, int(weights[i].abs().argmax())) for i in range(count)}
    edges = [Edge(i, OUTPUT if j == count else j, float(weights[i, j])) for i, j in chosen if weights[i, j] != 0]
    return tuple(sorted(edges, key=lambda edge: -abs(edge.weight)))
