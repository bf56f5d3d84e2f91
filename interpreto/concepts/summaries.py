"""From concepts and texts to the numbers of a view: what each concept does to each output, and where it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.aims import _listed, _shared, aimed_samples, task_of
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.importance import check_method, effects_of, splitter_of
from interpreto.concepts.interpretations.top_k import Ranking
from interpreto.concepts.labels import Names, read_labels
from interpreto.concepts.splitters.granularities import ActivationGranularity, Unit, read_unit
from interpreto.concepts.views import About, GlobalConcepts, LocalConcepts, Passage
from interpreto.errors import InputError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.targets import one_each, read_continuations
from interpreto.inputs.text import ACCEPTED, is_single
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.modes import InferenceModes, read_mode
from interpreto.models.tasks import Generation, Task

TOGETHER = 64  # texts whose effects are in memory at once
TOKENS = 9  # of a generation, the most frequent that get a column of their own
MEAN = GranularityAggregationStrategy.MEAN


def global_concepts(
    explainer: ConceptAutoEncoderExplainer,
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
    """What concepts do to the outputs over a data set. Effects of a few texts at a time are in memory.

    Args:
        explainer: Fitted concepts with a splitter.
        inputs: The data set, in any form that the splitter reads.
        targets: See `ConceptAutoEncoderExplainer.concept_output_gradient`; None: every class, or what the model writes.
        interpretation: What concepts mean: a `TopKInputs`, or what its ``interpret`` answers. None: the five units of
            largest activation.
        latent_activations: Activations of the inputs' units, in order, for the interpretation; None: computed.
        k_concepts: How many concepts are shown.
        k_inputs: How many top inputs each of them has.
        method: See `ConceptAutoEncoderExplainer.concept_output_attribution`.
        activation_granularity: What a unit is; None: words, or texts where the splitter has one row a text.
        class_names: Names of the classes, by id, in place of the model's.
        inference_mode: The score; see `InferenceModes`.
        batch_size: Texts a pass; None: as the splitter has it.

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
    ask = _Ask.of(explainer, activation_granularity, method, names=class_names, mode=inference_mode, batch_size=batch_size)
    _at_least_one(k_concepts, "k_concepts")
    inputs = _kept(inputs)
    ranking, tally = Ranking(explainer.nb_concepts, _at_least_one(k_inputs, "k_inputs")), Tally()
    samples: list[Sample] = []
    for part, aims in _parts(ask.task, inputs, targets):
        aimed, effects = ask.effects(part, aims)
        samples += aimed
        for sample, found in zip(aimed, effects, strict=True):
            tally.add(ask.naming(sample, len(found)), found)
        codes = ask.codes(aimed)
        ranking.add([sample.text for sample in aimed], torch.stack([rows.amax(0) for rows in codes]))
    outputs, counts, importances, mean = tally.means(isinstance(ask.task, Generation))
    shown = _largest(importances, k_concepts)
    labels = read_labels(
        explainer, interpretation, shown, samples, inputs=inputs, latent_activations=latent_activations, granularity=ask.unit
    )
    return GlobalConcepts(
        about=ask.about(len(samples)),
        outputs=outputs,
        importances=importances,
        effects=mean,
        counts=counts,
        labels=labels,
        top_inputs=_top_inputs(ask, ranking, samples, shown),
        shown=shown,
        texts=len(samples),
    )


def local_concepts(
    explainer: ConceptAutoEncoderExplainer,
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
    """What concepts are in one text, where, and what they do to each output; see `global_concepts`.

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
    ask = _Ask.of(explainer, activation_granularity, method, names=class_names, mode=inference_mode)
    aimed, effects = ask.effects(text, targets)
    if len(aimed) != 1:
        raise InputError(f"`text`: got {len(aimed)} texts; pass one, or use `global_concepts` for a data set.")
    (sample,), (found,) = aimed, effects
    codes, scores = ask.read(sample)
    shown = _largest(found.abs().sum(1), _at_least_one(k_concepts, "k_concepts"))
    one = len(sample.units) == 1 and interpretation is None
    labels = {} if one else read_labels(explainer, interpretation, shown, aimed, inputs=text, granularity=ask.unit, k=3)
    return LocalConcepts(
        about=ask.about(None),
        text=sample.text,
        elements=tuple(sample.units.texts),
        spans=tuple(sample.units.spans),
        outputs=tuple(name for name, _ in ask.naming(sample, len(found))),
        scores=scores[: len(found)],
        score_unit=ask.score_unit,
        activations=codes,
        effects=found,
        labels=labels,
        shown=shown,
    )


class Tally:
    """Sums of effects by output, which outputs of several texts share where their names and ids are the same."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int], list[Tensor]] = {}
        self._counts: dict[tuple[str, int], int] = {}

    def add(self, names: Sequence[tuple[str, int]], effects: Float[Tensor, "t u c"]) -> None:
        """Take one text into account."""
        rows = zip(names, effects.double().abs().sum(1), effects.double().sum(1), strict=True)
        for name, size, net in rows:
            size_before, net_before = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = [size_before + size, net_before + net]
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self, of_tokens: bool) -> tuple[tuple[str, ...], tuple[int, ...], Tensor, Tensor]:
        """Names, counts, mean sizes ``(t, c)`` and mean effects ``(t, c)``.

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
class _Ask:
    """What all texts of a call share."""

    explainer: Any
    task: Task
    unit: Unit
    naming: Names
    method: str
    batch_size: int | None

    @staticmethod
    def of(explainer: Any, granularity: Any, method: str, *, names: Any, mode: Any, batch_size: int | None = None) -> _Ask:
        splitter = splitter_of(explainer, None)
        if granularity is None:
            one_a_text = splitter.default_granularity is ActivationGranularity.SAMPLE
            granularity = ActivationGranularity.SAMPLE if one_a_text else ActivationGranularity.WORD
        mode = None if mode is None else read_mode(mode)
        task = task_of(splitter, mode)
        return _Ask(explainer, task, read_unit(granularity), Names(splitter.tokenizer, task, names), method, batch_size)

    @property
    def word(self) -> str:
        """What a unit is called."""
        if self.unit is ActivationGranularity.SAMPLE:
            return "text"
        return getattr(self.unit, "value", "unit").replace("_", " ")

    @property
    def score_unit(self) -> str:
        known = {mode.value: mode.unit for mode in InferenceModes}
        mode = str(getattr(self.task, "mode_name", "score"))
        return known.get(mode, mode)

    def about(self, texts: int | None) -> About:
        """Where the numbers come from; None: those of one text."""
        per = " per unit of concept" if self.method == "gradient" else ""
        of_tokens = isinstance(self.task, Generation)
        scale = "|effect|"
        if self.unit not in (ActivationGranularity.SAMPLE, ActivationGranularity.CLS_TOKEN):
            scale = f"sum over {self.word if self.word.endswith('s') else self.word + 's'} of |effect|"
        if texts is not None:
            scale = scale if scale == "|effect|" else f"the {scale}"
            scale = f"mean over {'tokens' if of_tokens else f'{texts} texts' if texts > 1 else '1 text'} of {scale}"
        return About(
            explainer=type(self.explainer).__name__,
            split_point=self.explainer.split_point,
            granularity=self.word,
            method=self.method,
            unit=self.score_unit + per,
            scale=scale,
            output="token" if of_tokens else "class",
        )

    def effects(self, inputs: Any, targets: Any) -> tuple[list[Sample], list[Tensor]]:
        """Texts with what is explained of them, and the effects ``(t, u, c)`` of each."""
        check_method(self.method)
        samples = aimed_samples(splitter_of(self.explainer, None), self.task, inputs, targets, self.unit)
        return samples, effects_of(self.explainer, self.task, samples, self.method, MEAN, batch_size=self.batch_size)

    def codes(self, samples: Sequence[Sample]) -> list[Float[Tensor, "u c"]]:
        """Concepts of the units of each text."""
        if not samples:
            return []
        splitter, point = self.explainer.splitter, self.explainer.split_point
        with torch.no_grad():
            rows = self.explainer.encode_activations(splitter.activations_of(samples, MEAN, point))
        return list(rows.float().cpu().split([len(sample.units) for sample in samples]))

    def read(self, sample: Sample) -> tuple[Float[Tensor, "u c"], Float[Tensor, " t"]]:
        """Concepts of the units and scores of the outputs of one text."""
        found: list[tuple[Tensor, Tensor]] = []
        splitter = self.explainer.splitter
        budget = splitter.budget()

        def run(_: list[int]) -> None:
            with torch.no_grad():
                upper = Downstream.of(self.explainer, self.task, [sample], MEAN, budget)
                found.append((upper.concepts.float().cpu(), upper.scores(upper.concepts[None])[0, 0].float().cpu()))

        splitter.sweep([sample], run, budget)
        return found[-1]


def _kept(inputs: Any) -> Any:
    """One input as it is, several as a list, which can be read again."""
    if is_single(inputs):
        return inputs
    if not isinstance(inputs, Iterable) or isinstance(inputs, (bytes, bytearray)):
        raise InputError(f"`inputs`: got {type(inputs).__name__}; pass {ACCEPTED}, or an iterable of these.")
    items = list(inputs)
    if not items:
        raise InputError(f"`inputs`: there is nothing in it; pass {ACCEPTED}, or an iterable of these.")
    return items


def _parts(task: Task, inputs: Any, targets: Any) -> Iterator[tuple[Any, Any]]:
    """Some inputs at a time, each with its own targets."""
    if is_single(inputs):
        yield inputs, targets
        return
    items = list(inputs)
    rows: Sequence[Any] | None = None
    if targets is not None and isinstance(task, Generation):
        rows = read_continuations(targets, len(items), False)
    elif targets is not None:
        shared = _shared(targets)
        rows = [list(_listed(targets))] * len(items) if shared else [list(_listed(row)) for row in _listed(targets)]
        one_each(rows, len(items))
    for start in range(0, len(items), TOGETHER):
        part = slice(start, start + TOGETHER)
        yield items[part], None if rows is None else rows[part]


def _top_inputs(ask: _Ask, ranking: Ranking, samples: Sequence[Sample], shown: Sequence[int]) -> dict[int, tuple[Passage, ...]]:
    """The distinct texts in which each concept is largest."""
    best = {concept: list(ranking.best(concept) or ()) for concept in shown}
    wanted = {text for texts in best.values() for text in texts}
    kept = {sample.text: sample for sample in reversed(samples) if sample.text in wanted}  # the first of equal texts
    codes = dict(zip(kept, ask.codes(list(kept.values())), strict=True))

    def passage(text: str, concept: int) -> Passage:
        units = kept[text].units
        return Passage(text, tuple(units.texts), tuple(units.spans), codes[text][:, concept])

    return {concept: tuple(passage(text, concept) for text in texts) for concept, texts in best.items()}


def _largest(importances: Float[Tensor, "t c"], k: int) -> tuple[int, ...]:
    """The concepts that matter most to some output, by falling importance."""
    return tuple(importances.amax(0).argsort(descending=True, stable=True)[:k].tolist())


def _at_least_one(value: Any, option: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"`{option}`: got {value!r}; pass a whole number of at least 1.")
    return value
