"""Concepts of whole texts: directions of what a classifier's head reads, their words, their effects, their texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.dictionaries.semi_nmf import SemiNMFConcepts
from interpreto.concepts.splitters import SplitterForClassification
from interpreto.errors import InputError

LEAST_TEXTS = 50
"""Texts below which there are too few for concepts."""
WORD_TEXTS = 3  # texts that a word of a name must occur in
WORDS, TEXTS = 4, 3
SURE = 2.0
"""Standard errors by which the texts of a word must have more of a concept than all texts, for it to be part of the name."""
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")


@dataclass(frozen=True, eq=False)
class TextConcept:
    """A concept of whole texts.

    Attributes:
        words: Words whose texts have more of it than texts in general, the surest first.
        effects: ``(c,)`` mean change of each class's logit by the concept: with it, less without it.
        texts: Positions of the texts with most of it.
        activations: Their activations, in units of the concept's mean over all texts.
    """

    words: tuple[str, ...]
    effects: Float[Tensor, " c"]
    texts: tuple[int, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class TextConcepts:
    """Concepts of the texts of a data set.

    Attributes:
        concepts: By falling size of their largest effect.
        classes: Names of the classes.
        method: Name of the concept model.
        explained: Share of the variance of the activations that the concepts reconstruct.
    """

    concepts: tuple[TextConcept, ...]
    classes: tuple[str, ...]
    method: str
    explained: float


def text_concepts(
    model: Any, tokenizer: Any, texts: Sequence[str], classes: Sequence[str], c: int = 6, *, random_state: int = 0
) -> TextConcepts:
    """Find concepts of what the classification head reads, one vector per text, by semi-non-negative factorization.

    Args:
        model: A classifier.
        tokenizer: Its tokenizer.
        texts: The data set; equal texts count once.
        classes: Names of the classes.
        c: Number of concepts.
        random_state: Seed of the factorization.

    Raises:
        InputError: There are too few different texts.
        ModelError: The input of the head cannot be found.
    """
    places = list({text: i for i, text in reversed(list(enumerate(texts)))}.values())[::-1]
    if len(places) < LEAST_TEXTS:
        raise InputError(f"`texts`: got {len(places)} different ones; concepts need at least {LEAST_TEXTS}.")
    own = [texts[i] for i in places]
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    rows, _ = splitter.get_activations(own)
    explainer = SemiNMFConcepts(splitter, nb_concepts=min(c, rows.shape[1]), random_state=random_state).fit(rows)
    codes = explainer.encode_activations(rows)
    rebuilt = explainer.decode_concepts(codes)
    left = float((rows - rebuilt).square().sum() / (rows - rows.mean(0)).square().sum())
    whole = splitter.activations_to_outputs(rebuilt)
    names = names_of(own, codes)
    found = []
    for k in range(codes.shape[1]):
        without = splitter.activations_to_outputs(explainer.decode_concepts(codes.index_fill(1, torch.tensor([k]), 0.0)))
        scale = float(codes[:, k].mean().clamp(min=1e-12))
        best = codes[:, k].argsort(descending=True, stable=True)[:TEXTS].tolist()
        effects = (whole - without).mean(0).detach().float().cpu()
        found.append(
            TextConcept(names[k], effects, tuple(places[i] for i in best), tuple(float(codes[i, k]) / scale for i in best))
        )
    found.sort(key=lambda concept: -float((concept.effects - concept.effects.mean()).abs().max()))
    return TextConcepts(tuple(found), tuple(classes), type(explainer).__name__, 1 - left)


def names_of(texts: Sequence[str], codes: Float[Tensor, "n c"]) -> list[tuple[str, ...]]:
    """Return words for each concept: those whose texts have most of it, in standard errors of the mean.

    For a word in m of n texts this is √m (mean of the concept over its texts − mean over all) / standard deviation. A word
    is given to the concept where this is largest, so that no two names share one.

    Examples:
        >>> texts = [f"{word} {other}" for word in ("dull", "kind") for other in ("plot", "film", "cast", "end", "hero")]
        >>> names_of(texts, torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5))
        [('dull',), ('kind',)]
    """
    places: dict[str, set[int]] = {}
    for i, text in enumerate(texts):
        for word in _WORD.findall(text):
            places.setdefault(word.casefold(), set()).add(i)
    kept = {word: sorted(own) for word, own in places.items() if len(own) >= WORD_TEXTS}
    if not kept:
        return [()] * codes.shape[1]
    standard = (codes - codes.mean(0)) / codes.std(0).clamp(min=1e-12)
    scores = torch.stack([standard[own].mean(0) * len(own) ** 0.5 for own in kept.values()])
    owners, words = scores.argmax(1), list(kept)
    names = []
    for k in range(codes.shape[1]):
        order = scores[:, k].argsort(descending=True, stable=True).tolist()
        names.append(tuple(words[i] for i in order if int(owners[i]) == k and float(scores[i, k]) >= SURE)[:WORDS])
    return names
