"""The texts of largest activation of each concept, kept while rows stream by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Ranking:
    """Keep, for each concept, the ``k`` texts of largest activation; of equal texts, the largest counts.

    Of equal activations, the one that was read first comes first, however rows are batched. ``k`` numbers per concept are
    held, however many rows there are: a text that was dropped had ``k`` others before it, and they only rise.

    Args:
        concepts: Number of concepts.
        k: Texts per concept.

    Examples:
        >>> import torch
        >>> ranking = Ranking(concepts=1, k=2)
        >>> ranking.add(["a", "b", "a"], torch.tensor([[1.0], [2.0], [5.0]]))
        >>> ranking.add(["c"], torch.tensor([[3.0]]))
        >>> ranking.best(0)
        {'a': 5.0, 'c': 3.0}
    """

    def __init__(self, concepts: int, k: int) -> None:
        self.k = k
        self._values = torch.empty(0, concepts)
        self._ids = torch.empty(0, concepts, dtype=torch.long)
        self._texts: list[str] = []

    def add(self, texts: Sequence[str], activations: Float[Tensor, "b c"]) -> None:
        """Take rows, each with its text, into account."""
        numbers: dict[str, int] = {}
        owner = torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts], device=activations.device)
        values, places = _best(activations.float(), owner, len(numbers), self.k)
        values, places = values.cpu(), places.cpu()
        known, distinct = {text: i for i, text in enumerate(self._texts)}, list(numbers)
        ids = torch.full((len(distinct),), -1)
        for place in places.unique().tolist():
            ids[place] = known.setdefault(distinct[place], len(known))
        self._merge(torch.cat([self._values, values]), torch.cat([self._ids, ids[places]]), list(known))

    def best(self, concept: int) -> dict[str, float] | None:
        """Return texts and activations of a concept, the largest first; None where none is above 0."""
        ranked = zip(self._ids[:, concept].tolist(), self._values[:, concept].tolist(), strict=True)
        return {self._texts[i]: value for i, value in ranked if value > 0} or None

    def _merge(self, values: Float[Tensor, "m c"], ids: Int[Tensor, "m c"], texts: list[str]) -> None:
        """Keep the ``k`` best of candidates in the order of reading, where a text may be named twice."""
        self._values, ids = _distinct(values, ids, self.k)
        kept, self._ids = ids.unique(return_inverse=True)
        self._texts = [texts[i] for i in kept.tolist()]


def _best(values: Float[Tensor, "b c"], owner: Int[Tensor, " b"], count: int, k: int) -> tuple[Tensor, Tensor]:
    """Return the ``k`` largest values of each concept and their texts' numbers ``(k, c)``, each text once."""
    whole = _largest(values, owner, count)
    top, places = whole.topk(min(k + 1, count), dim=0)
    tied = ((top[1:] == top[:-1]) & (top[1:] > 0)).any(0)  # which of equal values `topk` takes is not defined
    top, places = top[:k], places[:k]
    if bool(tied.any()):
        columns = tied.nonzero()[:, 0]
        exact = _distinct(values[:, columns], owner[:, None].expand(-1, len(columns)), len(top))
        top[:, columns], places[:, columns] = exact
    return top, places


def _largest(values: Float[Tensor, "b c"], owner: Int[Tensor, " b"], count: int) -> Float[Tensor, "o c"]:
    """Return the largest value of each owner."""
    if count == len(values):
        return values
    out = values.new_empty(count, values.shape[1])
    return out.scatter_reduce(0, owner[:, None].expand_as(values), values, "amax", include_self=False)


def _distinct(values: Float[Tensor, "m c"], ids: Int[Tensor, "m c"], k: int) -> tuple[Tensor, Tensor]:
    """Return the ``k`` largest values of each column and their ids, each id once; of equal values, the first row's."""
    values, order = values.sort(dim=0, descending=True, stable=True)
    ids = ids.gather(0, order)
    by_id, order = ids.sort(dim=0, stable=True)  # of one id, the larger value comes first
    again = torch.zeros_like(by_id, dtype=torch.bool)
    again[1:] = by_id[1:] == by_id[:-1]
    values = values.masked_fill(torch.zeros_like(again).scatter(0, order, again), -torch.inf)
    values, order = values.sort(dim=0, descending=True, stable=True)
    return values[:k], ids.gather(0, order)[:k]
