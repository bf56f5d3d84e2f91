"""Summaries of concepts over a data set and in one text: effects on the outputs, labels and top inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.importance import METHODS, effects_of
from interpreto.concepts.interpretations.top_k import Ranking
from interpreto.concepts.labels import Names, read_labels
from interpreto.concepts.outputs import windows_with_targets
from interpreto.concepts.splitters.granularities import ActivationGranularity, Unit, read_unit
from interpreto.concepts.views import About, GlobalConcepts, LocalConcepts, Passage
from interpreto.errors import InputError
from interpreto.inputs.forms import ACCEPTED, is_single
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.modes import InferenceModes
from interpreto.validation import check_choice, check_count

WINDOW = 64  # texts whose effects are in memory at once
TOKENS = 9  # of a generation, the most frequent that get a column of their own
MEAN = GranularityAggregationStrategy.MEAN


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
        interpretation: What concepts mean: a `TopKInputs`, or what its ``interpret`` returns. None: the five units of
            largest activation.
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
    call = _Call.of(explainer, activation_granularity, method, names=class_names, mode=inference_mode, batch_size=batch_size)
    k_concepts, inputs = check_count(k_concepts, "k_concepts"), _kept(inputs)
    ranking, tally = Ranking(explainer.nb_concepts, check_count(k_inputs, "k_inputs")), Tally()
    samples: list[Sample] = []
    for window in call.windows(inputs, targets):
        samples += window
        for sample, effects in zip(window, call.effects(window), strict=True):
            tally.add(call.naming(sample, len(effects)), effects)
        codes = call.codes(window)
        ranking.add([sample.text for sample in window], torch.stack([rows.amax(0) for rows in codes]))
    outputs, counts, importances, mean = tally.means(call.downstream.generates)
    shown = _largest(importances, k_concepts)
    labels = read_labels(
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
    call = _Call.of(explainer, activation_granularity, method, names=class_names, mode=inference_mode)
    samples = call.downstream.samples_with_targets(text, targets)
    if len(samples) != 1:
        raise InputError(f"`text`: got {len(samples)} texts; pass one, or use `global_concepts` for a data set.")
    (sample,), (found,) = samples, call.effects(samples)
    codes, scores = call.read(sample)
    shown = _largest(found.abs().sum(1), check_count(k_concepts, "k_concepts"))
    one = len(sample.units) == 1 and interpretation is None
    labels = {} if one else read_labels(explainer, interpretation, shown, samples, inputs=text, granularity=call.unit, k=3)
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


@dataclass(frozen=True)
class _Call:
    """State that all texts of a call share."""

    downstream: Downstream
    unit: Unit
    naming: Names
    method: str
    batch_size: int | None

    @staticmethod
    def of(
        explainer: ConceptExplainer, granularity: Any, method: str, *, names: Any, mode: Any, batch_size: int | None = None
    ) -> _Call:
        check_choice(method, "method", METHODS)
        if granularity is None:
            per_text = explainer.own_splitter().default_granularity is ActivationGranularity.SAMPLE
            granularity = ActivationGranularity.SAMPLE if per_text else ActivationGranularity.WORD
        downstream = Downstream(explainer, read_unit(granularity), inference_mode=mode)
        naming = Names(downstream.splitter.tokenizer, downstream.task, names)
        return _Call(downstream, downstream.granularity, naming, method, batch_size)

    @property
    def word(self) -> str:
        """Return the name of a unit."""
        if self.unit is ActivationGranularity.SAMPLE:
            return "text"
        return getattr(self.unit, "value", "unit").replace("_", " ")

    @property
    def score_unit(self) -> str:
        """Return the unit of the scores."""
        known = {mode.value: mode.unit for mode in InferenceModes}
        mode = str(getattr(self.downstream.task, "mode_name", "score"))
        return known.get(mode, mode)

    def about(self, texts: int | None) -> About:
        """Return where the numbers come from.

        Args:
            texts: Size of the data set; None: the numbers are those of one text.
        """
        per = " per unit of concept" if self.method == "gradient" else ""
        scale = "|effect|"
        if self.unit not in (ActivationGranularity.SAMPLE, ActivationGranularity.CLS_TOKEN):
            scale = f"sum over {self.word if self.word.endswith('s') else self.word + 's'} of |effect|"
        if texts is not None:
            scale = scale if scale == "|effect|" else f"the {scale}"
            over = "tokens" if self.downstream.generates else f"{texts} texts" if texts > 1 else "1 text"
            scale = f"mean over {over} of {scale}"
        return About(
            explainer=type(self.downstream.explainer).__name__,
            split_point=self.downstream.explainer.split_point,
            granularity=self.word,
            method=self.method,
            unit=self.score_unit + per,
            scale=scale,
            output="token" if self.downstream.generates else "class",
        )

    def windows(self, inputs: Any, targets: Any) -> Iterator[list[Sample]]:
        """Yield some inputs at a time, with their targets."""
        of, task = self.downstream.splitter, self.downstream.task
        return windows_with_targets(of, task, inputs, targets, granularity=self.unit, size=WINDOW)

    def effects(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Compute the effects ``(t, u, c)`` of each text."""
        return effects_of(self.downstream, samples, self.method, batch_size=self.batch_size)

    def codes(self, samples: Sequence[Sample]) -> list[Float[Tensor, "u c"]]:
        """Return the concepts of the units of each text."""
        if not samples:
            return []
        explainer = self.downstream.explainer
        with torch.no_grad():
            rows = explainer.encode_activations(self.downstream.splitter.activations_of(samples, MEAN, explainer.split_point))
        return list(rows.float().cpu().split([len(sample.units) for sample in samples]))

    def read(self, sample: Sample) -> tuple[Float[Tensor, "u c"], Float[Tensor, " t"]]:
        """Return the concepts of the units and the scores of the outputs of one text."""

        def read(_: list[int]) -> list[tuple[Tensor, Tensor]]:
            with torch.no_grad():
                batch = self.downstream.batch([sample])
                return [(batch.concepts.float().cpu(), batch.scores(batch.concepts[None])[0, 0].float().cpu())]

        return self.downstream.map([sample], read)[0]


def _kept(inputs: Any) -> Any:
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
    call: _Call, ranking: Ranking, samples: Sequence[Sample], shown: Sequence[int]
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
