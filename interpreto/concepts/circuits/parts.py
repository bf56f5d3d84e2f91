"""Parts of the activations at one place: all of them, the heads of an attention, or concepts and their error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.circuits.tokens import place_name
from interpreto.errors import ModelError
from interpreto.models.hook_points import HookPoint

ERROR = "error"
"""Name of what concepts leave unexplained."""


class Parts(ABC):
    """Divides activations at a hook point into parts that can be replaced one by one.

    Args:
        point: The hook point.

    Attributes:
        names: Name of each part.
    """

    names: tuple[str, ...]

    def __init__(self, point: HookPoint) -> None:
        self.point = point

    @property
    def differentiable(self) -> bool:
        """Return True if gradients pass from activations to how much of a part is replaced."""
        return True

    @abstractmethod
    def step(
        self, hidden: Float[Tensor, "b l d"], other: Float[Tensor, "b l d"], weights: Float[Tensor, "b l n"]
    ) -> Float[Tensor, "b l d"]:
        """Return the change of activations whose parts go over to others.

        Args:
            hidden: The activations, as constants.
            other: Those that take their place.
            weights: How much of each part is replaced: 0 none, 1 all; the step is differentiable in them.

        Returns:
            What is added to the activations: zero without weights, the whole difference where all are 1.
        """

    @abstractmethod
    def differ(self, hidden: Float[Tensor, "l d"], other: Float[Tensor, "l d"]) -> Bool[Tensor, "l n"]:
        """Return the parts in which two sets of activations differ."""

    @abstractmethod
    def products(self, hidden: Float[Tensor, "b l d"], gradient: Float[Tensor, "b l d"]) -> Float[Tensor, "b l n"]:
        """Return the product of each part with a gradient, differentiable in the activations.

        They sum to the product of the activations themselves with the gradient.
        """


class Whole(Parts):
    """The activations of a token as one part."""

    def __init__(self, point: HookPoint, name: str | None = None) -> None:
        super().__init__(point)
        self.names = (place_name(point.name) if name is None else name,)

    def step(
        self, hidden: Float[Tensor, "b l d"], other: Float[Tensor, "b l d"], weights: Float[Tensor, "b l n"]
    ) -> Float[Tensor, "b l d"]:
        return weights * (other - hidden)

    def differ(self, hidden: Float[Tensor, "l d"], other: Float[Tensor, "l d"]) -> Bool[Tensor, "l n"]:
        return (hidden != other).any(-1, keepdim=True)

    def products(self, hidden: Float[Tensor, "b l d"], gradient: Float[Tensor, "b l d"]) -> Float[Tensor, "b l n"]:
        return (hidden * gradient).sum(-1, keepdim=True)


class Heads(Parts):
    """The outputs of the heads of an attention, side by side before its output layer.

    Args:
        point: The input of the output layer.
        heads: Number of heads.
    """

    def __init__(self, point: HookPoint, heads: int) -> None:
        super().__init__(point)
        layer = " ".join(place_name(point.name).split(" ")[:2])
        self.heads, self.names = heads, tuple(f"{layer} head {head}" for head in range(heads))

    def step(
        self, hidden: Float[Tensor, "b l d"], other: Float[Tensor, "b l d"], weights: Float[Tensor, "b l n"]
    ) -> Float[Tensor, "b l d"]:
        return (weights[..., None] * self._cut(other - hidden)).flatten(-2)

    def differ(self, hidden: Float[Tensor, "l d"], other: Float[Tensor, "l d"]) -> Bool[Tensor, "l n"]:
        return self._cut(hidden != other).any(-1)

    def products(self, hidden: Float[Tensor, "b l d"], gradient: Float[Tensor, "b l d"]) -> Float[Tensor, "b l n"]:
        return self._cut(hidden * gradient).sum(-1)

    def _cut(self, values: Tensor) -> Tensor:
        if values.shape[-1] % self.heads:
            raise ModelError(
                f"`parts`: the activations at {self.point.name!r} have width {values.shape[-1]}, which {self.heads} heads do "
                "not share equally."
            )
        return values.unflatten(-1, (self.heads, -1))


class Concepts(Parts):
    """Concepts, and behind them the error: what they leave unexplained.

    Args:
        point: The split point of the concepts.
        explainer: Fitted concepts.
        chosen: The concepts that are parts; changes of all others count to the error.
    """

    def __init__(self, point: HookPoint, explainer: ConceptExplainer, chosen: Sequence[int]) -> None:
        super().__init__(point)
        self.explainer, self.chosen = explainer, torch.tensor(list(chosen), dtype=torch.long)
        place = place_name(point.name)
        self.names = (*(f"{place} concept {i}" for i in chosen), f"{place} {ERROR}")

    @property
    def differentiable(self) -> bool:
        return self.explainer.has_differentiable_displacement

    def step(
        self, hidden: Float[Tensor, "b l d"], other: Float[Tensor, "b l d"], weights: Float[Tensor, "b l n"]
    ) -> Float[Tensor, "b l d"]:
        rows, goal, shares = (values.flatten(0, 1) for values in (hidden, other, weights))
        with torch.no_grad():
            codes, wanted = self._codes(rows), self._codes(goal)
            chosen = self.chosen.to(codes.device)
            gap = (wanted - codes)[:, chosen]
        displacement = self.explainer.displacement(codes, rows)
        moved = displacement(codes.index_add(1, chosen, shares[:, :-1].to(gap) * gap)).to(rows)
        with torch.no_grad():
            rest = goal - rows - displacement(codes.index_add(1, chosen, gap)).to(rows)
        return (moved + shares[:, -1:].to(rows) * rest).view_as(hidden)

    def differ(self, hidden: Float[Tensor, "l d"], other: Float[Tensor, "l d"]) -> Bool[Tensor, "l n"]:
        with torch.no_grad():
            codes = (self._codes(hidden) != self._codes(other))[:, self.chosen.to(self.explainer.device)]
        return torch.cat([codes.to(hidden.device), (hidden != other).any(-1, keepdim=True)], 1)

    def products(self, hidden: Float[Tensor, "b l d"], gradient: Float[Tensor, "b l d"]) -> Float[Tensor, "b l n"]:
        rows, given = hidden.flatten(0, 1), gradient.flatten(0, 1).detach()
        codes = self._codes(rows)
        slopes = self._slopes(codes.detach(), rows.detach(), given)
        own = (codes * slopes)[:, self.chosen.to(codes.device)].to(rows)
        rest = (rows * given).sum(1) - own.sum(1)
        return torch.cat([own, rest[:, None]], 1).unflatten(0, hidden.shape[:2])

    def _codes(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return self.explainer.encode_activations(rows)

    def _slopes(self, codes: Tensor, rows: Tensor, gradient: Tensor) -> Float[Tensor, "n c"]:
        """Return the gradient in the concepts that a gradient in the activations means."""
        with torch.enable_grad():
            at = codes.clone().requires_grad_()
            total = (self.explainer.displacement(codes, rows)(at).to(gradient) * gradient).sum()
        return torch.autograd.grad(total, at)[0]


def differing(explainer: ConceptExplainer, rows: Float[Tensor, "n d"], others: Float[Tensor, "n d"]) -> list[int]:
    """Return the concepts that any row has in another amount than the row that takes its place."""
    with torch.no_grad():
        apart = explainer.encode_activations(rows) != explainer.encode_activations(others)
    return apart.any(0).nonzero()[:, 0].tolist()


def one_hot(parts: Int[Tensor, " m"], count: int) -> Float[Tensor, "m 1 n"]:
    """Return weights that replace one part each."""
    return torch.nn.functional.one_hot(parts, count).float()[:, None]
