"""Labels by keywords: made and scored without a model, a network or a draw that is not seeded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.concept_label import ConceptLabel, ConceptLabels, LabelScore
from interpreto.concepts.interpretations.held_out import ConceptTexts
from interpreto.concepts.interpretations.keywords import WordTable, keywords
from interpreto.concepts.interpretations.text_labels import TextLabels
from interpreto.statistics import auc, auc_difference
from interpreto.validation import check_count

NAMED = 5
"""Keywords of a label's text; its score goes by all of them."""
EVIDENCE = 5


class KeywordLabels(TextLabels):
    """Label concepts by the words that are over-represented in the texts in which each is active.

    A concept is active in the texts whose largest amount of it is in the top tenth. Words are ranked by their log-odds with
    an informative prior, in standard errors. A part of the texts is held out, on which each label is scored: the AUC at which
    the summed weights of its words in a text tell active texts from the others. The same number is computed for the words of
    as many texts drawn at random, and for another concept's words.

    Args:
        concept_explainer: Fitted concepts with a splitter.
        activation_granularity: The unit in which amounts are computed; None: words, or texts where the splitter has one row
            per text.
        k: Most keywords per concept.
        min_count: Least number of texts that a keyword occurs in.
        held_out: Share of the texts that are held out.
        quantile: Share of the texts in which a concept does not count as active.
        random_state: Seed of the split and of the random texts.

    Raises:
        OptionError: an option is out of range.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> from interpreto.concepts.interpretations import KeywordLabels
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> texts = [sentence.text for sentence in demo.load_sentences()[:400]]
        >>> labels = KeywordLabels(NeuronsAsConcepts(splitter)).interpret(texts, concepts_indices=[3, 5])
        >>> sorted(labels), labels[3].score.name, "AUC" in str(labels[3])
        ([3, 5], 'KeywordDetection', True)

    References:
        Monroe, Colaresi and Quinn, Political Analysis 2008, https://doi.org/10.1093/pan/mpn018.
    """

    def __init__(
        self,
        concept_explainer: ConceptExplainer,
        activation_granularity: Any = None,
        k: int = 8,
        *,
        min_count: int = 3,
        held_out: float = 0.5,
        quantile: float = 0.9,
        random_state: int = 0,
    ) -> None:
        super().__init__(
            concept_explainer, activation_granularity, held_out=held_out, quantile=quantile, random_state=random_state
        )
        self.k, self.min_count = check_count(k, "k"), check_count(min_count, "min_count")

    def _labels_of(self, texts: ConceptTexts) -> ConceptLabels:
        labels = self._labels(texts)
        scores = detected_by_keywords(texts, [label.keywords or {} for label in labels], _controls(labels))
        return ConceptLabels(
            {
                concept: replace(label, score=score, failure=label.failure or (None if score else texts.obstacle(i, held=True)))
                for i, (concept, label, score) in enumerate(zip(texts.concepts, labels, scores, strict=True))
            },
            {**self._split_config, "k": self.k},
        )

    def _labels(self, texts: ConceptTexts) -> list[ConceptLabel]:
        """Return labels of the part that is not held out, each with one of the same number of texts drawn at random."""
        part = ~texts.held
        own = [text for text, kept in zip(texts.texts, part.tolist(), strict=True) if kept]
        table = WordTable(own, min_count=self.min_count)
        active = texts.active[part]
        found = keywords(table, active, self.k)
        random = keywords(table, shuffled(active, self.split.random_state), self.k)
        source, labels = type(self).__name__, []
        for i, (words, others) in enumerate(zip(found, random, strict=True)):
            if (obstacle := texts.obstacle(i, held=False)) is not None:
                labels.append(ConceptLabel(None, source, failure=obstacle))
                continue
            best = texts.peaks[part, i].argsort(descending=True, stable=True)[:EVIDENCE].tolist()
            evidence = tuple(own[j] for j in best)
            control = ConceptLabel(_name(others), source, others)
            failure = None if words else "no word is over-represented"
            labels.append(ConceptLabel(_name(words), source, words, evidence=evidence, control=control, failure=failure))
        return labels


def shuffled(active: Bool[Tensor, "n c"], random_state: int) -> Bool[Tensor, "n c"]:
    """Return as many texts per concept, drawn at random; those of a concept do not depend on the others."""
    columns = [
        active[torch.randperm(len(active), generator=torch.Generator().manual_seed(random_state + 1)), c]
        for c in range(active.shape[1])
    ]
    return torch.stack(columns, dim=1) if columns else active


def detected_by_keywords(
    texts: ConceptTexts, words: list[dict[str, float]] | list[Any], controls: list[Any]
) -> list[LabelScore | None]:
    """Return how well keywords predict where each concept is active in the held-out texts, next to their controls.

    Args:
        texts: The data set.
        words: Keywords and weights of each concept.
        controls: Keywords and weights that were made from texts drawn at random; None where there are none.

    Returns:
        A score for each concept; None where it has no keywords, or too few held-out texts.
    """
    own = [text for text, held in zip(texts.texts, texts.held.tolist(), strict=True) if held]
    vocabulary = sorted({word for found in [*words, *controls] for word in found or ()})
    table = WordTable(own, vocabulary)
    active, found = texts.active[texts.held], []
    usable = [i for i, own_words in enumerate(words) if own_words and texts.obstacle(i, held=True) is None]
    for i in range(len(words)):
        if i not in usable:
            found.append(None)
            continue
        positive, mine = active[:, i], table.sums(words[i])
        other = next_other(i, usable)
        against = None if controls[i] is None else table.sums(controls[i])
        theirs = None if other is None else table.sums(words[other])
        found.append(score_of(mine, against, theirs, positive, name="KeywordDetection"))
    return found


def score_of(
    mine: Float[Tensor, " n"],
    shuffled: Float[Tensor, " n"] | None,
    other: Float[Tensor, " n"] | None,
    positive: Bool[Tensor, " n"],
    *,
    name: str,
    judge: str | None = None,
) -> LabelScore:
    """Return an AUC with its controls and the interval of the difference to the first of them."""
    control = shuffled if shuffled is not None else other
    interval = (float("nan"), float("nan")) if control is None else auc_difference(mine, control, positive)
    nan = float("nan")
    return LabelScore(
        name=name,
        measure="AUC",
        value=auc(mine, positive),
        shuffled=nan if shuffled is None else auc(shuffled, positive),
        other=nan if other is None else auc(other, positive),
        interval=interval,
        chance=0.5,
        texts=len(mine),
        failed=float(mine.isnan().double().mean()),
        judge=judge,
    )


def next_other(place: int, usable: list[int]) -> int | None:
    """Return the concept whose label is another one for a concept: the next with a label; None where there is none."""
    if place not in usable or len(usable) < 2:
        return None
    return usable[(usable.index(place) + 1) % len(usable)]


def _controls(labels: list[ConceptLabel]) -> list[Any]:
    return [None if label.control is None else label.control.keywords for label in labels]


def _name(words: dict[str, float]) -> str | None:
    return " · ".join(list(words)[:NAMED]) or None
