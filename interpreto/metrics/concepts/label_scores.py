"""Scores of labels on held-out texts, each next to that of a label of random texts and of another concept's label."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.concept_label import ConceptLabel, ConceptLabels, LabelScore, check_labels
from interpreto.concepts.interpretations.examples import Example, example_of
from interpreto.concepts.interpretations.held_out import ConceptTexts, TextSplit, read_text_unit, read_texts
from interpreto.concepts.interpretations.keyword_labels import detected_by_keywords, next_other, score_of
from interpreto.concepts.interpretations.keywords import words_of
from interpreto.concepts.interpretations.topk_inputs import read_indices
from interpreto.errors import EstimateWarning, JudgeError
from interpreto.judges.llm_interface import read_judge
from interpreto.judges.qualification import YES_NO, fits_question, log_odds
from interpreto.metrics.concepts.base import Range, Scored
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_count, check_probability, check_seed

CONTEXT = 16
"""Units before and after the peak of a long text that a judge is shown."""
LARGE = 0.3
"""Share of a concept's largest amount from which on a unit counts as active."""


class LabelScoring(Scored, ABC):
    """Base of scores of labels.

    Texts that labels were made from are left out: the split is the labels' own, or the same function of the text for labels
    that were made elsewhere. Concepts without a label, and those that are active in fewer than five held-out texts, are not
    scored.

    Args:
        concept_explainer: The concepts that the labels are of, with a splitter.
        activation_granularity: The unit; None: words, or texts where the splitter has one row per text.
        held_out: Share of the texts that are held out, of labels that do not say it themselves.
        quantile: Share of the texts in which a concept does not count as active, of such labels.
        random_state: Seed of the texts that are asked about, and of the split of such labels.

    Raises:
        OptionError: an option is out of range.
    """

    higher_is_better: ClassVar[bool] = True
    value_range: ClassVar[Range] = (0.0, 1.0)

    def __init__(
        self,
        concept_explainer: ConceptExplainer,
        activation_granularity: Any = None,
        *,
        held_out: float = 0.5,
        quantile: float = 0.9,
        random_state: int = 0,
    ) -> None:
        self.concept_explainer = concept_explainer
        self.activation_granularity = read_text_unit(concept_explainer, activation_granularity)
        self.held_out = check_probability(held_out, "held_out", zero=False, one=False)
        self.quantile = check_probability(quantile, "quantile", one=False)
        self.random_state = check_seed(random_state)

    def run(
        self, labels: Any, inputs: Any = None, latent_activations: Any = None, *, concepts_activations: Tensor | None = None
    ) -> MetricResult:
        """Score labels.

        Args:
            labels: `ConceptLabels`, or a dictionary of texts by concept.
            inputs: A data set; its held-out texts are used.
            latent_activations: Activations of the inputs' units, in order; None: computed.
            concepts_activations: Amounts ``(n, c)`` of all concepts in the units, in place of activations.

        Returns:
            The mean over concepts; ``per_sample`` has the score of each label, NaN where it is not scored. Of ``details``,
            ``labels`` are the labels with their scores, ``shuffled`` and ``other`` the means of the controls.

        Raises:
            OptionError: the labels are none, or of other concepts.
            InputError: rows and units are of different numbers.
            EndpointError, JudgeError: a judge cannot be asked.
        """
        labels = check_labels(labels)
        self.concept_explainer.check_fitted()
        concepts = read_indices(list(labels), self.concept_explainer.nb_concepts)
        config = labels.config
        texts = read_texts(
            self.concept_explainer,
            inputs,
            latent_activations,
            concepts,
            unit=self.activation_granularity,
            split=TextSplit(config.get("held_out", self.held_out), config.get("random_state", self.random_state)),
            quantile=config.get("quantile", self.quantile),
            concepts_activations=concepts_activations,
        )
        scores = self._scores(texts, [labels[concept] for concept in concepts])
        return self._result(labels.with_scores(dict(zip(concepts, scores, strict=True))), scores)

    def score(self, labels: Any, inputs: Any = None, latent_activations: Any = None, **options: Any) -> ConceptLabels:
        """Return the labels with their scores; arguments and errors are those of `run`."""
        found: ConceptLabels = self.run(labels, inputs, latent_activations, **options).details["labels"]
        return found

    @abstractmethod
    def _scores(self, texts: ConceptTexts, labels: Sequence[ConceptLabel]) -> list[LabelScore | None]:
        """Return the score of each label."""

    def _result(self, labels: ConceptLabels, scores: Sequence[LabelScore | None]) -> MetricResult:
        values = torch.tensor([math.nan if score is None else score.value for score in scores]).double()
        known = [score for score in scores if score is not None]
        details: dict[str, Any] = {"labels": labels}
        for control in ("shuffled", "other"):
            found = [getattr(score, control) for score in known if not math.isnan(getattr(score, control))]
            details[control] = sum(found) / len(found) if found else math.nan
        return MetricResult(
            score=float(values[~values.isnan()].mean()),
            per_sample=values,
            details=details,
            higher_is_better=self.higher_is_better,
            value_range=self.value_range,
            n_valid=len(known),
            n_skipped=len(scores) - len(known),
            config={"held_out": self.held_out, "random_state": self.random_state},
            name=type(self).__name__,
        )


class KeywordDetection(LabelScoring):
    """AUC at which the keywords of a label tell the held-out texts in which a concept is active from the others.

    A text's score is the sum of the weights of the keywords in it. A label without keywords is read as its words, each of
    weight 1. It needs no judge.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> from interpreto.metrics import KeywordDetection
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> texts = [sentence.text for sentence in demo.load_sentences()[:200]]
        >>> KeywordDetection(NeuronsAsConcepts(splitter)).score({3: "a good film"}, texts)[3].score.name
        'KeywordDetection'
    """

    def _scores(self, texts: ConceptTexts, labels: Sequence[ConceptLabel]) -> list[LabelScore | None]:
        controls = [None if label.control is None else _keywords(label.control) for label in labels]
        return detected_by_keywords(texts, [_keywords(label) for label in labels], controls)


class JudgedScoring(LabelScoring, ABC):
    """Base of scores by a judge, which first answers known cases.

    Args:
        concept_explainer: The concepts that the labels are of, with a splitter.
        judge: Decides: a `Judge`, an interface of the reference library, or a function from a chat to a text.
        activation_granularity: The unit; None: words, or texts where the splitter has one row per text.
        n_texts: Texts per concept that the judge is asked about, half of them with the concept.
        qualify: Ask known cases first, once per judge (see `Judge.qualify`): a judge that does no better than chance on
            them is refused, one that does little better is warned of.
        options: Those of `LabelScoring`.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self,
        concept_explainer: ConceptExplainer,
        judge: Any,
        activation_granularity: Any = None,
        *,
        n_texts: int = 20,
        qualify: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(concept_explainer, activation_granularity, **options)
        self.judge, self.qualify = read_judge(judge), qualify
        self.n_texts = check_count(n_texts, "n_texts", 2)

    def _check_judge(self) -> None:
        """Ask known cases.

        Raises:
            JudgeError: the judge does no better than chance.
        """
        if not self.qualify:
            return
        found = self.judge.qualify()
        if found.worse_than_chance:
            raise JudgeError(f"`judge`: {found}; its scores would mean nothing. Pass another judge, or use KeywordDetection.")
        if not found.passed:
            warnings.warn(f"`judge`: {found}; scores by it say little about labels.", EstimateWarning, stacklevel=4)

    def _usable(self, texts: ConceptTexts, labels: Sequence[ConceptLabel]) -> list[int]:
        return [i for i, label in enumerate(labels) if label.text and texts.obstacle(i, held=True) is None]

    def _drawn(self, texts: ConceptTexts, place: int, active: bool, count: int) -> list[int]:
        """Return held-out texts drawn at random, in which a concept is active, or in which it is not."""
        which = texts.held & (texts.active[:, place] if active else ~texts.active[:, place])
        places = which.nonzero()[:, 0].tolist()
        seed = self.random_state + 7919 * (texts.concepts[place] + 1) + active
        draws = torch.Generator().manual_seed(seed % 2**32)
        return sorted(places[i] for i in torch.randperm(len(places), generator=draws)[:count].tolist())


class AskedScoring(JudgedScoring, ABC):
    """Base of scores by questions that a judge answers by yes or no."""

    @abstractmethod
    def _items(self, texts: ConceptTexts, place: int) -> tuple[list[str], Bool[Tensor, " n"]]:
        """Return what a judge is asked about for a concept, and what is true of it."""

    @abstractmethod
    def _odds(self, asked: Sequence[tuple[str, str]]) -> Float[Tensor, " q"]:
        """Return the log-odds that each label is true of each item; NaN where there is no answer."""

    def _scores(self, texts: ConceptTexts, labels: Sequence[ConceptLabel]) -> list[LabelScore | None]:
        usable = self._usable(texts, labels)
        scores: list[LabelScore | None] = [None] * len(labels)
        if not usable:
            return scores
        self._check_judge()
        items = {i: self._items(texts, i) for i in usable}
        asked: list[tuple[str, str]] = []
        parts: list[tuple[int, int, int]] = []
        for i in usable:
            for which, label in enumerate(variants(labels, i, usable)):
                if label is not None:
                    parts.append((i, which, len(items[i][0])))
                    asked += [(label, item) for item in items[i][0]]
        odds = self._odds(asked).split([size for *_, size in parts])
        answers = {(i, which): values for (i, which, _), values in zip(parts, odds, strict=True)}
        for i in usable:
            mine, shuffled, other = (answers.get((i, which)) for which in range(3))
            assert mine is not None
            scores[i] = score_of(mine, shuffled, other, items[i][1], name=type(self).__name__, judge=self.judge.name)
        return scores


class Detection(AskedScoring):
    """AUC at which a judge that knows the label tells held-out texts in which a concept is active from others.

    The judge is asked about one text at a time whether it fits the label. Answers are ranked by the odds of "yes"; a question
    without an answer counts as undecided, and is reported.

    Args:
        concept_explainer: The concepts that the labels are of, with a splitter.
        judge: Decides, as in every score by a judge.
        activation_granularity: The unit, as in every score of labels.
        hard_negatives: Share of the texts without the concept in which its neighbor is active, of the labeled concepts the one
            whose amounts are most correlated: a label that fits both is found out. Where there are fewer, others fill up.
        **options: Those of `JudgedScoring`.

    References:
        Paulo et al., 2024, https://arxiv.org/abs/2410.13928.
    """

    def __init__(
        self,
        concept_explainer: ConceptExplainer,
        judge: Any,
        activation_granularity: Any = None,
        *,
        hard_negatives: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(concept_explainer, judge, activation_granularity, **options)
        self.hard_negatives = check_probability(hard_negatives, "hard_negatives")

    def _items(self, texts: ConceptTexts, place: int) -> tuple[list[str], Bool[Tensor, " n"]]:
        half = self.n_texts // 2
        positive, negative = self._drawn(texts, place, True, half), self._drawn(texts, place, False, len(texts.texts))
        hard = round(self.hard_negatives * half)
        if hard and len(texts.concepts) > 1:
            near = texts.active[:, neighbor(texts, place)]
            draws = torch.Generator().manual_seed(self.random_state)
            shuffled = [negative[i] for i in torch.randperm(len(negative), generator=draws).tolist()]
            first = [i for i in shuffled if near[i]][:hard]
            negative = sorted([*first, *(i for i in shuffled if i not in first)][:half])
        else:
            negative = self._drawn(texts, place, False, half)
        truth = torch.tensor([True] * len(positive) + [False] * len(negative))
        return [texts.texts[i] for i in (*positive, *negative)], truth

    def _odds(self, asked: Sequence[tuple[str, str]]) -> Float[Tensor, " q"]:
        return self.judge.fits(asked)


def neighbor(texts: ConceptTexts, place: int) -> int:
    """Return the place of the concept whose amounts in the texts that labels are made from are most correlated with one's."""
    amounts = texts.peaks[~texts.held].double()
    centered = amounts - amounts.mean(0)
    sizes = centered.norm(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    alike = centered.T @ centered[:, place] / sizes
    alike[place] = -torch.inf
    return int(alike.argmax())


class Fuzzing(AskedScoring):
    """AUC at which a judge that knows the label tells marks on the active units of a text from marks on other units.

    Each held-out text is shown twice: with its active units marked, and with as many others that are drawn at random. Texts
    with fewer inactive than active units are left out.

    References:
        Paulo et al., 2024, https://arxiv.org/abs/2410.13928.
    """

    def _items(self, texts: ConceptTexts, place: int) -> tuple[list[str], Bool[Tensor, " n"]]:
        chosen = self._drawn(texts, place, True, self.n_texts)
        largest = float(texts.peaks[~texts.held, place].max())
        draws = torch.Generator().manual_seed(self.random_state)
        right, wrong = [], []
        for example in windows_of(texts, place, chosen):
            active = example.amounts >= LARGE * largest
            idle = (~active).nonzero()[:, 0]
            if not int(active.sum()) or len(idle) < int(active.sum()) or len(right) == self.n_texts // 2:
                continue
            other = torch.zeros_like(active)
            other[idle[torch.randperm(len(idle), generator=draws)[: int(active.sum())]]] = True
            right.append(example.marked(active.tolist()))
            wrong.append(example.marked(other.tolist()))
        return [*right, *wrong], torch.tensor([True] * len(right) + [False] * len(wrong), dtype=torch.bool)

    def _odds(self, asked: Sequence[tuple[str, str]]) -> Float[Tensor, " q"]:
        return log_odds(self.judge.choose([_marks_question(label, item) for label, item in asked], YES_NO))


def _marks_question(label: str, item: str) -> str:
    asked = fits_question(label, item)
    return asked.replace("Does the text fit the description?", "Do the parts within « and » fit the description?", 1)


def variants(labels: Sequence[ConceptLabel], place: int, usable: list[int]) -> tuple[str, str | None, str | None]:
    """Return the label of a concept, the label of random texts, and another concept's label; None where there is none."""
    label, other = labels[place], next_other(place, usable)
    assert label.text is not None
    control = None if label.control is None else label.control.text
    return label.text, control, None if other is None else labels[other].text


def windows_of(texts: ConceptTexts, place: int, places: Sequence[int]) -> list[Example]:
    """Return parts of texts around the largest amount of a concept."""
    codes = texts.codes(places)
    return [example_of(texts.samples[i], own[:, place], CONTEXT) for i, own in zip(places, codes, strict=True)]


def _keywords(label: ConceptLabel) -> dict[str, float]:
    """Return the keywords of a label; its words where it has none."""
    if label.keywords is not None:
        return dict(label.keywords)
    return dict.fromkeys(sorted(words_of(label.text)), 1.0) if label.text else {}
