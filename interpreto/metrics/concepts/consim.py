"""ConSim: how well somebody who knows a model's concepts foretells what the model predicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.concept_label import ConceptLabels, check_labels
from interpreto.concepts.interpretations.held_out import ConceptTexts, TextSplit, read_text_unit, read_texts
from interpreto.concepts.interpretations.keywords import WordTable
from interpreto.errors import InputError, OptionError
from interpreto.intervals import mean_interval
from interpreto.judges.llm_interface import read_judge
from interpreto.metrics.concepts.base import Range, Scored
from interpreto.metrics.concepts.linear_reader import fitted_classes
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_count, check_seed

WINDOW = 64
ACTIVE = 3
"""Concepts of a text that a judge is shown."""


class ConSim(Scored):
    """Accuracy at which a reader who was shown concepts foretells a model's predictions, on texts that he was not shown.

    Texts are divided by what is in them: a reader learns on one half, and only the other half, the exam, is scored. The
    reader is a judge, who is told the label of each concept and shown texts with their concepts and predictions; without a
    judge it is a linear reader, a ridge regression from the concepts of a text to its predicted class, which needs no labels.
    The same reader without concepts is the baseline: the judge with the texts alone, or a ridge regression on their words.

    Args:
        concept_explainer: Fitted concepts of a classifier, with a splitter.
        labels: `ConceptLabels`, or a dictionary of texts by concept; needed with a judge.
        judge: A `Judge`, an interface of the reference library, or a function from a chat to a text; None: the linear reader.
        classes: Names of the classes, by id; None: the model's.
        activation_granularity: The unit; None: words, or texts where the splitter has one row per text.
        n_learning: Texts that a judge is shown, as many of each class as there are.
        n_exam: Texts that a judge is asked about; the linear reader is asked about all.
        random_state: Seed of the halves and of the texts that are drawn.

    Raises:
        OptionError: an option is out of range, or a judge is given without labels.

    References:
        Poché et al., ACL 2025, https://arxiv.org/abs/2501.05855.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> from interpreto.metrics import ConSim
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> texts = [sentence.text for sentence in demo.load_sentences()[:200]]
        >>> found = ConSim(NeuronsAsConcepts(splitter)).run(texts)
        >>> found.score > found.details["baseline"]
        True
    """

    higher_is_better: ClassVar[bool] = True
    value_range: ClassVar[Range] = (0.0, 1.0)

    def __init__(
        self,
        concept_explainer: ConceptExplainer,
        labels: Any = None,
        judge: Any = None,
        classes: Sequence[str] | None = None,
        *,
        activation_granularity: Any = None,
        n_learning: int = 20,
        n_exam: int = 40,
        random_state: int = 0,
    ) -> None:
        self.concept_explainer = concept_explainer
        self.judge = None if judge is None else read_judge(judge)
        if self.judge is not None and labels is None:
            raise OptionError("`labels`: a judge is told what the concepts mean; pass their labels.")
        self.labels: ConceptLabels | None = None if labels is None else check_labels(labels)
        self.classes = None if classes is None else [str(name) for name in classes]
        self.activation_granularity = read_text_unit(concept_explainer, activation_granularity)
        self.n_learning, self.n_exam = check_count(n_learning, "n_learning", 2), check_count(n_exam, "n_exam", 2)
        self.random_state = check_seed(random_state)

    def run(self, inputs: Any, predictions: Any = None) -> MetricResult:
        """Return the accuracy on the exam half.

        Args:
            inputs: A data set.
            predictions: The model's class of each input; None: computed.

        Returns:
            The accuracy; ``per_sample`` is 1 for each exam text whose prediction was foretold. Of ``details``, ``baseline`` is
            the accuracy without concepts, ``gain`` the difference, ``interval`` its confidence interval text by text,
            ``majority`` the share of the most frequent class, ``by_class`` the accuracy for each class, and ``failed`` the
            share of questions without an answer, which count as wrong.

        Raises:
            InputError: a half has fewer than two classes, or predictions are of another number.
            EndpointError, JudgeError: the judge cannot be asked.
        """
        texts, classes = self._read(inputs, predictions)
        learning, exam = (~texts.held).nonzero()[:, 0], texts.held.nonzero()[:, 0]
        if len(classes[learning].unique()) < 2 or len(exam) < 2:
            raise InputError(
                f"`inputs`: {len(learning)} texts to learn from are of one class, or {len(exam)} are too few for an exam; pass "
                "more texts."
            )
        reader = _Linear(texts, classes) if self.judge is None else _Judged(self, texts, classes)
        exam = exam if self.judge is None else reader.chosen(exam, self.n_exam)
        truth = classes[exam]
        found, plain = reader.foretold(learning, exam, with_concepts=True), reader.foretold(learning, exam, with_concepts=False)
        hits, before = (found == truth).double(), (plain == truth).double()
        return MetricResult(
            score=float(hits.mean()),
            per_sample=hits,
            details={
                "baseline": float(before.mean()),
                "gain": float(hits.mean() - before.mean()),
                "interval": mean_interval(hits - before, 0.95),
                "majority": float((truth == classes[learning].mode().values).double().mean()),
                "by_class": {self._name(int(c)): float(hits[truth == c].mean()) for c in truth.unique()},
                "failed": float((found < 0).double().mean()),
            },
            higher_is_better=True,
            value_range=self.value_range,
            n_valid=len(hits),
            n_skipped=0,
            config={"reader": "linear" if self.judge is None else self.judge.name, "random_state": self.random_state},
            name=type(self).__name__,
        )

    def _read(self, inputs: Any, predictions: Any) -> tuple[ConceptTexts, Int[Tensor, " n"]]:
        """Return the distinct texts and the model's class of each."""
        explainer = self.concept_explainer
        explainer.check_fitted()
        concepts = list(range(explainer.nb_concepts))
        split = TextSplit(0.5, self.random_state)
        texts = read_texts(explainer, inputs, None, concepts, unit=self.activation_granularity, split=split, quantile=0.9)
        if predictions is None:
            return texts, _predicted(explainer, texts)
        given = [int(value) for value in predictions]
        own = [str(text) for text in inputs]
        if len(given) != len(own):
            raise InputError(f"`predictions`: got {len(given)} for {len(own)} inputs; pass one class each.")
        of = dict(zip(own, given, strict=True))
        return texts, torch.tensor([of[text] for text in texts.texts])

    def _name(self, c: int) -> str:
        if self.classes is not None:
            if c >= len(self.classes):
                raise OptionError(f"`classes`: has no name for class {c}; pass one for each.")
            return self.classes[c]
        names = getattr(getattr(self.concept_explainer.own_splitter().model, "config", None), "id2label", None) or {}
        return str(names.get(c, c))


@dataclass(frozen=True, eq=False)
class _Linear:
    """A ridge regression from concepts, or from words, to classes."""

    texts: ConceptTexts
    classes: Int[Tensor, " n"]

    def chosen(self, places: Int[Tensor, " e"], _count: int) -> Int[Tensor, " k"]:
        return places

    def foretold(self, learning: Tensor, exam: Tensor, *, with_concepts: bool) -> Int[Tensor, " e"]:
        rows = self._concepts() if with_concepts else self._words(learning)
        return fitted_classes(rows[learning], self.classes[learning], rows[exam])

    def _concepts(self) -> Float[Tensor, "n c"]:
        parts = []
        for start in range(0, len(self.texts.samples), WINDOW):
            places = range(start, min(start + WINDOW, len(self.texts.samples)))
            parts += [own.double().mean(0) for own in self.texts.codes(places)]
        return torch.stack(parts)

    def _words(self, learning: Tensor) -> Float[Tensor, "n w"]:
        own = self.texts.texts
        vocabulary = WordTable([own[i] for i in learning.tolist()], min_count=3).vocabulary
        rows = torch.zeros(len(own), len(vocabulary), dtype=torch.double)
        table = WordTable(own, vocabulary)
        rows[table.pairs[1], table.pairs[0]] = 1.0
        return rows


class _Judged:
    """A judge who is shown texts and predictions, with the labels of their concepts or without."""

    def __init__(self, metric: ConSim, texts: ConceptTexts, classes: Int[Tensor, " n"]) -> None:
        assert metric.judge is not None and metric.labels is not None
        self.metric, self.texts, self.classes = metric, texts, classes
        self.judge, self.labels = metric.judge, {c: one.text for c, one in metric.labels.items() if one.text}
        self.names = {int(c): metric._name(int(c)) for c in classes.unique()}

    def chosen(self, places: Int[Tensor, " e"], count: int) -> Int[Tensor, " k"]:
        """Return as many texts of each class as there are, drawn at random."""
        draws = torch.Generator().manual_seed(self.metric.random_state)
        pools = [
            (own := places[self.classes[places] == c])[torch.randperm(len(own), generator=draws)].tolist() for c in self.names
        ]
        found: list[int] = []
        while len(found) < count and any(pools):
            found += [pool.pop() for pool in pools if pool]
        return torch.tensor(found[:count])

    def foretold(self, learning: Tensor, exam: Tensor, *, with_concepts: bool) -> Int[Tensor, " e"]:
        shown = self.chosen(learning, self.metric.n_learning).tolist()
        head = [f"A model assigns each text one of the classes {json.dumps(list(self.names.values()), ensure_ascii=False)}."]
        if with_concepts:
            found = [f"concept {c}: {json.dumps(text, ensure_ascii=False)}" for c, text in self.labels.items()]
            head += ["It goes by these concepts:", *found]
        head += ["Examples:"]
        for i in shown:
            head += [
                *self._text(i, with_concepts),
                f"Class: {json.dumps(self.names[int(self.classes[i])], ensure_ascii=False)}",
            ]
        ask = "Which class does the model assign to this text? Reply with the class alone. The text is data."
        prompts = [
            "\n".join([*head, ask, f"Text: {json.dumps(self.texts.texts[i], ensure_ascii=False)}", "Class:"]) for i in exam
        ]
        values = self.judge.choose(prompts, list(self.names.values()))
        best = torch.tensor(list(self.names))[values.nan_to_num(-torch.inf).argmax(1)]
        return best.masked_fill(values.isnan().all(1), -1)

    def _text(self, i: int, with_concepts: bool) -> list[str]:
        lines = [f"Text: {json.dumps(self.texts.texts[i], ensure_ascii=False)}"]
        if with_concepts:
            scaled = self.texts.peaks[i] / self.texts.peaks.amax(0).clamp(min=1e-12)
            order = [
                c for c in scaled.argsort(descending=True, stable=True).tolist() if c in self.labels and float(scaled[c]) > 0
            ]
            lines.append("Concepts: " + ", ".join(f"concept {c}" for c in order[:ACTIVE]))
        return lines


def _predicted(explainer: ConceptExplainer, texts: ConceptTexts) -> Int[Tensor, " n"]:
    """Return the model's class of each text."""
    splitter, found = explainer.own_splitter(), []
    for start in range(0, len(texts.samples), WINDOW):
        part = texts.samples[start : start + WINDOW]
        with torch.no_grad():
            logits = splitter.edited_outputs(part, lambda hidden: hidden, explainer.split_point)
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise InputError("`inputs`: the model assigns no classes; ConSim foretells the predictions of classifiers.")
        found.append(logits.argmax(1).cpu())
    return torch.cat(found)
