"""Words that are over-represented in the texts in which a concept is active, and what they predict of other texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.concepts.distinctive_words import WORD

PATTERNS = {
    "‹digit›": re.compile(r"\d"),
    "‹?›": re.compile(r"\?"),
    "‹!›": re.compile(r"!"),
    "‹quote›": re.compile(r"[\"“”«»]"),
    "‹CAPITALS›": re.compile(r"\b[A-Z]{3,}\b"),
}
"""Patterns that count as words of the texts in which they occur."""
PRIOR = 50.0
"""Texts that the prior distribution of a word counts for."""


def words_of(text: str) -> set[str]:
    """Return the distinct words of a text without their case, and the patterns that occur in it.

    Examples:
        >>> sorted(words_of("Room 7: is it THE room?"))
        ['7', 'is', 'it', 'room', 'the', '‹?›', '‹CAPITALS›', '‹digit›']
    """
    return {word.casefold() for word in WORD.findall(text)} | {
        name for name, pattern in PATTERNS.items() if pattern.search(text)
    }


class WordTable:
    """Table of the words that texts hold.

    Args:
        texts: The texts.
        vocabulary: The words to look for; None: all that occur in enough texts.
        min_count: Least number of texts that a word of the vocabulary occurs in.

    Examples:
        >>> table = WordTable(["a gem", "a bore", "gem"], min_count=2)
        >>> table.vocabulary, table.counts(torch.tensor([[True], [False], [True]])).tolist()
        (['a', 'gem'], [[1.0], [2.0]])
    """

    def __init__(self, texts: Sequence[str], vocabulary: Sequence[str] | None = None, min_count: int = 1) -> None:
        found = [words_of(text) for text in texts]
        if vocabulary is None:
            counts: dict[str, int] = {}
            for words in found:
                for word in words:
                    counts[word] = counts.get(word, 0) + 1
            vocabulary = sorted(word for word, count in counts.items() if count >= min_count)
        self.vocabulary = list(vocabulary)
        places = {word: i for i, word in enumerate(self.vocabulary)}
        pairs = [(places[word], i) for i, words in enumerate(found) for word in sorted(words) if word in places]
        self._words = torch.tensor([word for word, _ in pairs], dtype=torch.long)
        self._texts = torch.tensor([text for _, text in pairs], dtype=torch.long)
        self.size = len(texts)

    @property
    def pairs(self) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
        """Return the words and the texts that they occur in, as places."""
        return self._words, self._texts

    def counts(self, chosen: Bool[Tensor, "n c"]) -> Float[Tensor, "w c"]:
        """Return in how many of the chosen texts each word occurs."""
        found = torch.zeros(len(self.vocabulary), chosen.shape[1], dtype=torch.double)
        return found.index_add_(0, self._words, chosen[self._texts].double())

    def sums(self, keywords: Mapping[str, float]) -> Float[Tensor, " n"]:
        """Return the sum of the weights of the keywords that occur in each text."""
        weights = torch.tensor([keywords.get(word, 0.0) for word in self.vocabulary], dtype=torch.double)
        return torch.zeros(self.size, dtype=torch.double).index_add_(0, self._texts, weights[self._words])


def log_odds(
    with_concept: Float[Tensor, "w c"],
    without: Float[Tensor, "w c"],
    n_with: Float[Tensor, " c"],
    n_without: Float[Tensor, " c"],
    prior: float = PRIOR,
) -> tuple[Float[Tensor, "w c"], Float[Tensor, "w c"]]:
    """Return the log-odds ratio of each word between texts with and without a concept, and the same in standard errors.

    Words have an informative prior: their share in all texts, which counts as ``prior`` texts. Counts are of texts, so that
    no text votes twice.

    Args:
        with_concept: Texts with the concept that hold the word.
        without: Texts without the concept that hold the word.
        n_with: Texts with the concept.
        n_without: Texts without it.
        prior: Texts that the prior counts for.

    References:
        Monroe, Colaresi and Quinn, Political Analysis 2008, https://doi.org/10.1093/pan/mpn018.
    """
    a = prior * (with_concept + without) / (n_with + n_without)
    ratio = ((with_concept + a) / (n_with + prior - with_concept - a)).log()
    ratio = ratio - ((without + a) / (n_without + prior - without - a)).log()
    return ratio, ratio / (1 / (with_concept + a) + 1 / (without + a)).sqrt()


def keywords(table: WordTable, active: Bool[Tensor, "n c"], k: int, *, least: float = 0.0) -> list[dict[str, float]]:
    """Return, for each concept, the ``k`` words of largest log-odds in standard errors, with their log-odds as weights.

    Args:
        table: Words of the texts.
        active: Texts in which each concept is active.
        k: Most words per concept.
        least: Standard errors that a word must exceed.

    Examples:
        >>> table = WordTable(["a gem", "a bore", "one gem", "a film"])
        >>> [list(words) for words in keywords(table, torch.tensor([[True], [False], [True], [False]]), k=1)]
        [['gem']]
    """
    if not table.vocabulary:
        return [{} for _ in range(active.shape[1])]
    with_concept, without = table.counts(active), table.counts(~active)
    n_with, n_without = active.sum(0).double(), (~active).sum(0).double()
    ratio, z = log_odds(with_concept, without, n_with.clamp(min=1), n_without.clamp(min=1))
    order = z.sort(dim=0, descending=True, stable=True)
    found = []
    for c in range(active.shape[1]):
        best = zip(order.indices[:k, c].tolist(), order.values[:k, c].tolist(), strict=True)
        found.append({table.vocabulary[i]: round(float(ratio[i, c]), 4) for i, value in best if value > least})
    return found
