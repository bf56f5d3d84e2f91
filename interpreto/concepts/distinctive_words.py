"""Name concepts by words that each prefers to the others."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
PRIOR = 2  # occurrences of 0 that are added to those of a word
CELLS = 2**26  # words × concepts that are held
WEAK = 0.2
"""Share of the best word's score below which a word is not part of a name."""


class DistinctiveWords:
    """Find the words by which concepts differ: those that a concept is large at, and the others are not.

    Let ``z`` be the mean activation of a concept over the occurrences of a word, in units of the concept's root mean square
    over all units, with `PRIOR` occurrences of 0 added so that rare words count for less. The score of the word is ``z²``
    over the sum of ``z`` over concepts: words that every concept is large at have a small share everywhere. Each word is
    given to the few concepts that score it highest, so that few names share a word.

    Args:
        concepts: Number of concepts.
        words: Most words of a name.
        most: Most concepts whose names share a word.

    Examples:
        >>> import torch
        >>> found = DistinctiveWords(concepts=2)
        >>> found.add(["the", "film", "the", "actor"], torch.tensor([[3.0, 3.0], [2.0, 0.0], [3.0, 3.0], [0.0, 2.0]]))
        >>> found.names()
        {0: ('the', 'film'), 1: ('the', 'actor')}
        >>> found = DistinctiveWords(concepts=2, most=1)
        >>> found.add(["a film"], torch.tensor([[2.0, 0.0]]))
        >>> found.names()
        {0: ('a', 'film')}
    """

    def __init__(self, concepts: int, words: int = 3, most: int = 2) -> None:
        self.words, self.most = words, most
        self._places: dict[str, int] = {}
        self._forms: list[str] = []
        self._sums = torch.zeros(0, concepts)
        self._counts = torch.zeros(0)
        self._squares, self._rows = torch.zeros(concepts, dtype=torch.double), 0

    def add(self, texts: Sequence[str], codes: Float[Tensor, "n c"]) -> None:
        """Take units into account, each with its concepts; every word of a unit gets the activations of the unit.

        Args:
            texts: Text of each unit.
            codes: Concepts of each unit.
        """
        self._squares += codes.double().square().sum(0)
        self._rows += len(codes)
        words, owners = [], []
        for i, text in enumerate(texts):
            found = list(dict.fromkeys(WORD.findall(text))) or [text.strip()]
            places = dict.fromkeys(place for word in found if word and (place := self._place(word)) is not None)
            words += places
            owners += [i] * len(places)
        self._grow()
        if words:
            places = torch.tensor(words)
            self._sums.index_add_(0, places, codes[torch.tensor(owners)].clamp(min=0).float())
            self._counts.index_add_(0, places, torch.ones(len(words)))

    def names(self) -> dict[int, tuple[str, ...]]:
        """Return the words of each concept that has any, the highest score first."""
        if not self._forms:
            return {}
        scale = (self._squares / max(self._rows, 1)).sqrt().float()
        z = self._sums / (self._counts[:, None] + PRIOR) / torch.where(scale > 0, scale, torch.ones(()))
        scores = z.square() / z.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        least = scores.sort(dim=1, descending=True, stable=True).indices[:, : self.most]
        owned = torch.zeros_like(scores).scatter_(1, least, scores.gather(1, least))
        values, places = owned.sort(dim=0, descending=True, stable=True)
        found: dict[int, tuple[str, ...]] = {}
        for concept, (best, at) in enumerate(
            zip(values[: self.words].T.tolist(), places[: self.words].T.tolist(), strict=True)
        ):
            kept = [self._forms[i] for value, i in zip(best, at, strict=True) if value > max(0.0, WEAK * best[0])]
            if kept:
                found[concept] = tuple(kept)
        return found

    def _place(self, word: str) -> int | None:
        """Return the row of a word, whose case is ignored; None for a new word where there is no room left."""
        key = word.casefold()
        if key not in self._places:
            if (len(self._forms) + 1) * self._sums.shape[1] > CELLS:
                return None
            self._places[key] = len(self._forms)
            self._forms.append(word)
        return self._places[key]

    def _grow(self) -> None:
        more = len(self._forms) - len(self._sums)
        if more > 0:
            more = max(more, min(len(self._sums), CELLS // self._sums.shape[1] - len(self._sums)))
            self._sums = torch.cat([self._sums, self._sums.new_zeros(more, self._sums.shape[1])])
            self._counts = torch.cat([self._counts, self._counts.new_zeros(more)])
