"""Summaries of concepts over a data set and in one text: effects on the outputs, labels and top inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.distinctive_words import DistinctiveWords
from interpreto.concepts.interpretations.top_k import Ranking
from interpreto.concepts.labels import read_labels
from interpreto.concepts.summary_call import SummaryCall
from interpreto.concepts.views import GlobalConcepts, LocalConcepts, Passage
from interpreto.errors import InputError
from interpreto.inputs.forms import ACCEPTED, is_single
from interpreto.inputs.samples import Sample
from interpreto.validation import check_count

TOKENS = 9  # of a generation, the most frequent that get a column of their own


def global_concepts(
    explainer: ConceptExplainer,
    inputs: Any,
    targets: Any = None,
    *,
    interpretation: Any = None,
    latent_activations: Any = None,
    k_concepts: int = 10,
    k_inputs: int = 5,
    method: str = "gradient_x_concept",
    activation_granularity: Any = None,
    class_names: Any = None,
    inference_mode: Any = None,
    batch_size: int | None = None,
) -> GlobalConcepts:
    """Compute the effects of concepts on the outputs over a data set; those of a few texts at a time are in memory.

    Args:
        explainer: Fitted concepts with a splitter.
        inputs: The data set, in any form that the splitter reads.
        targets: See `ConceptAutoEncoderExplainer.concept_output_gradient`; None: every class, or what the model writes.
        interpretation: What concepts mean: any `Interpretation`, or what its ``interpret`` returns. None: the five units of
            largest activation, and for the name the words that the concept prefers to the others (`DistinctiveWords`).
        latent_activations: Activations of the inputs' units, in order, for the interpretation; None: computed.
        k_concepts: Number of concepts that are shown.
        k_inputs: Number of top inputs that each of them has.
        method: See `ConceptAutoEncoderExplainer.concept_output_attribution`.
        activation_granularity: The unit; None: words, or texts where the splitter has one row per text.
        class_names: Names of the classes, by id, in place of the model's.
        inference_mode: The score; see `InferenceModes`.
        batch_size: Texts per pass; None: as the splitter has it.

    Raises:
        ModelError: the concepts are not fitted.
        OptionError, InputError, TargetError, TaskError: what cannot be shown as asked.

    Examples:
        >>> from interpreto import SplitterForClassification, demo
        >>> from interpreto.concepts import SemiNMFConcepts
        >>> from interpreto.concepts.summaries import global_concepts
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = SplitterForClassification(model, tokenizer=tokenizer)
        >>> texts = [sentence.text for sentence in demo.load_sentences()[:40]]
        >>> explainer = SemiNMFConcepts(splitter, nb_concepts=3).fit(splitter.get_activations(texts)[0])
        >>> found = global_concepts(explainer, texts)
        >>> found.outputs, tuple(found.importances.shape), len(found.shown)
        (('negative', 'positive'), (2, 3), 3)
    """
    call = SummaryCall.of(
        explainer, activation_granularity, method, names=class_names, mode=inference_mode, batch_size=batch_size
    )
    k_concepts, inputs = check_count(k_concepts, "k_concepts"), kept_inputs(inputs)
    ranking, tally = Ranking(explainer.nb_concepts, check_count(k_inputs, "k_inputs")), Tally()
    words = DistinctiveWords(explainer.nb_concepts)
    samples: list[Sample] = []
    for window in call.windows(inputs, targets):
        samples += window
        for sample, effects in zip(window, call.effects(window), strict=True):
            tally.add(call.naming(sample, len(effects)), effects)
        codes = call.codes(window)
        ranking.add([sample.text for sample in window], torch.stack([rows.amax(0) for rows in codes]))
        words.add([text for sample in window for text in sample.units.texts], torch.cat(codes))
    outputs, counts, importances, mean = tally.means(call.downstream.generates)
    shown = _largest(importances, k_concepts)
    labels, verdicts = read_labels(
        explainer,
        interpretation,
        shown,
        samples,
        inputs=inputs,
        latent_activations=latent_activations,
        granularity=call.unit,
    )
    return GlobalConcepts(
        about=call.about(len(samples)),
        outputs=outputs,
        importances=importances,
        effects=mean,
        counts=counts,
        labels=labels,
        top_inputs=_top_inputs(call, ranking, samples, shown),
        shown=shown,
        texts=len(samples),
        names=words.names() if interpretation is None else {},
        verdicts=verdicts,
    )


def local_concepts(
    explainer: ConceptExplainer,
    text: Any,
    targets: Any = None,
    *,
    interpretation: Any = None,
    k_concepts: int = 10,
    method: str = "gradient_x_concept",
    activation_granularity: Any = None,
    class_names: Any = None,
    inference_mode: Any = None,
) -> LocalConcepts:
    """Compute the concepts of one text, their places and their effects on each output; see `global_concepts`.

    Args:
        explainer: Fitted concepts with a splitter.
        text: One text, or any other single input that the splitter reads.
        targets: As there.
        interpretation: As there; None: the text's own units, or none where the text is one unit.
        k_concepts: As there.
        method: As there.
        activation_granularity: As there.
        class_names: As there.
        inference_mode: As there.

    Raises:
        InputError: it is several texts.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import PCAConcepts
        >>> from interpreto.concepts.summaries import local_concepts
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> texts = ["A charming film.", "Dull."]
        >>> explainer = PCAConcepts(splitter, nb_concepts=2).fit(splitter.get_activations(texts, "word"))
        >>> found = local_concepts(explainer, "A charming film.")
        >>> found.elements, tuple(found.activations.shape), tuple(found.effects.shape)
        (('A', 'charming', 'film', '.'), (4, 2), (2, 4, 2))
    """
    call = SummaryCall.of(explainer, activation_granularity, method, names=class_names, mode=inference_mode)
    samples = call.downstream.samples_with_targets(text, targets)
    if len(samples) != 1:
        raise InputError(f"`text`: got {len(samples)} texts; pass one, or use `global_concepts` for a data set.")
    (sample,), (found,) = samples, call.effects(samples)
    codes, scores = call.read(sample)
    shown = _largest(found.abs().sum(1), check_count(k_concepts, "k_concepts"))
    one = len(sample.units) == 1 and interpretation is None
    asked = {"inputs": text, "granularity": call.unit, "k": 3}
    labels, verdicts = ({}, {}) if one else read_labels(explainer, interpretation, shown, samples, **asked)
    return LocalConcepts(
        about=call.about(None),
        text=sample.text,
        elements=tuple(sample.units.texts),
        spans=tuple(sample.units.spans),
        outputs=tuple(name for name, _ in call.naming(sample, len(found))),
        scores=scores[: len(found)],
        score_unit=call.score_unit,
        activations=codes,
        effects=found,
        labels=labels,
        shown=shown,
        verdicts=verdicts,
    )


class Tally:
    """Sum effects by output, which outputs of several texts share where their names and ids are the same."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int], list[Tensor]] = {}
        self._counts: dict[tuple[str, int], int] = {}

    def add(self, names: Sequence[tuple[str, int]], effects: Float[Tensor, "t u c"]) -> None:
        """Add the effects of one text."""
        rows = zip(names, effects.double().abs().sum(1), effects.double().sum(1), strict=True)
        for name, size, net in rows:
            size_before, net_before = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = [size_before + size, net_before + net]
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self, of_tokens: bool) -> tuple[tuple[str, ...], tuple[int, ...], Tensor, Tensor]:
        """Return names, counts, mean sizes ``(t, c)`` and mean effects ``(t, c)``.

        Classes by their ids. Of tokens, all together, and then the most frequent of those that occur twice or more.
        """
        keys = sorted(self._sums, key=lambda key: (key[1] < 0, key[1]))
        if of_tokens:
            often = [key for key in self._counts if self._counts[key] > 1]
            keys = sorted(often, key=lambda key: -self._counts[key])[:TOKENS]
        counts = [self._counts[key] for key in keys]
        rows = [torch.stack(self._sums[key]) / count for key, count in zip(keys, counts, strict=True)]
        names = [name for name, _ in keys]
        if of_tokens:
            total = sum(self._counts.values())
            every = torch.stack([torch.stack(found) for found in self._sums.values()]).sum(0) / total
            rows, counts, names = [every, *rows], [total, *counts], ["every token", *names]
        sizes, net = torch.stack(rows, dim=1).float()
        return tuple(names), tuple(counts), sizes, net


def kept_inputs(inputs: Any) -> Any:
    """Return one input as it is, several as a list, which can be read again."""
    if is_single(inputs):
        return inputs
    if not isinstance(inputs, Iterable) or isinstance(inputs, (bytes, bytearray)):
        raise InputError(f"`inputs`: got {type(inputs).__name__}; pass {ACCEPTED}, or an iterable of these.")
    items = list(inputs)
    if not items:
        raise InputError(f"`inputs`: there is nothing in it; pass {ACCEPTED}, or an iterable of these.")
    return items


def _top_inputs(
    call: SummaryCall, ranking: Ranking, samples: Sequence[Sample], shown: Sequence[int]
) -> dict[int, tuple[Passage, ...]]:
    """Return the distinct texts in which each concept is largest."""
    best = {concept: list(ranking.best(concept) or ()) for concept in shown}
    wanted = {text for texts in best.values() for text in texts}
    kept = {sample.text: sample for sample in reversed(samples) if sample.text in wanted}  # the first of equal texts
    codes = dict(zip(kept, call.codes(list(kept.values())), strict=True))

    def passage(text: str, concept: int) -> Passage:
        units = kept[text].units
        return Passage(text, tuple(units.texts), tuple(units.spans), codes[text][:, concept])

    return {concept: tuple(passage(text, concept) for text in texts) for concept, texts in best.items()}


def _largest(importances: Float[Tensor, "t c"], k: int) -> tuple[int, ...]:
    """Return the concepts of most importance for some output, by falling importance."""
    return tuple(importances.amax(0).argsort(descending=True, stable=True)[:k].tolist())
