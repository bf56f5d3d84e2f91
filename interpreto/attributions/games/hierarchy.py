"""Hierarchies of units: paragraphs, sentences, clauses, words, as a tree whose leaves are the units in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from interpreto.attributions.games.indices import Tree, leaves
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample
from interpreto.validation import shown

WIDE = 4  # children of a node that play with each other; more are cut into halves, as each doubles the coalitions
_SENTENCE = re.compile(r"[.!?…。！？][\"'”’)\]]*$")
_CLAUSE = re.compile(r"[,;:，；：、—–][\"'”’)\]]*$")

Hierarchy = str | Callable[[list[str]], Any]


def tree_of(sample: Sample, hierarchy: Hierarchy, u: int) -> Tree:
    """Return the tree of the first ``u`` units of a sample.

    Args:
        sample: With its units.
        hierarchy: ``"auto"``: paragraphs, sentences, clauses, then balanced halves; ``"balanced"``: halves alone; or a
            function from the texts of the units to nested lists of their numbers.
        u: Number of units that play.

    Raises:
        OptionError: The nested lists are not of these units, or there is no such hierarchy.
    """
    if callable(hierarchy):
        found = hierarchy(list(sample.units.texts[:u]))
        numbers = _numbers(found)
        if sorted(numbers) != list(range(u)):
            raise OptionError(
                f"`hierarchy`: the function returned units {numbers!r:.80}; each of 0 to {u - 1} must be in it once."
            )
        return narrow(found)
    if hierarchy not in ("auto", "balanced"):
        raise OptionError(f"`hierarchy`: got {shown(hierarchy)}; pass 'auto', 'balanced', or a function of the units' texts.")
    levels = [0] * (u - 1) if hierarchy == "balanced" else [_boundary(sample, i) for i in range(u - 1)]
    return grouped(list(range(u)), levels)


def grouped(units: Sequence[int], levels: Sequence[int]) -> Tree:
    """Return a tree that is cut at the strongest boundaries first; ``levels`` are those between neighboring units.

    Examples:
        >>> grouped([0, 1, 2, 3], [0, 2, 0])
        [[0, 1], [2, 3]]
        >>> grouped([0, 1, 2], [0, 0])
        [[0, 1], 2]
    """
    if len(units) <= 2:
        return list(units) if len(units) == 2 else units[0]
    strongest = max(levels)
    cuts = [i + 1 for i, level in enumerate(levels) if level == strongest] if strongest else [(len(units) + 1) // 2]
    parts = pairwise([0, *cuts, len(units)])
    return narrow([grouped(units[a:b], levels[a : b - 1]) for a, b in parts])


def narrow(tree: Any) -> Tree:
    """Return a tree whose nodes have `WIDE` children at most: wider ones are cut into halves.

    Examples:
        >>> narrow([0, 1, 2, 3, 4, [5]])
        [[0, 1, 2], [3, 4, 5]]
    """
    if isinstance(tree, int):
        return tree
    children = [narrow(child) for child in tree]
    if len(children) == 1:
        return children[0]
    if len(children) <= WIDE:
        return children
    middle = (len(children) + 1) // 2
    return [narrow(children[:middle]), narrow(children[middle:])]


def _boundary(sample: Sample, i: int) -> int:
    """Return how strong the boundary after a unit is: 3 paragraph, 2 sentence, 1 clause, 0 none."""
    (_, end), (start, _) = sample.units.spans[i], sample.units.spans[i + 1]
    text, after = sample.units.texts[i].strip(), sample.units.texts[i + 1].strip()
    if "\n" in sample.text[end:start] or text.endswith("\n"):
        return 3
    if after and not re.search(r"\w", after):
        return 0  # punctuation belongs to what is before it
    return 2 if _SENTENCE.search(text) else 1 if _CLAUSE.search(text) else 0


def _numbers(tree: Any) -> list[Any]:
    try:
        return list(leaves(tree))
    except (TypeError, RecursionError):
        raise OptionError(f"`hierarchy`: it returned {tree!r:.80}; return nested lists of the units' numbers.") from None
