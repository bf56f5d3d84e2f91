"""Perturbation curves of concepts: scores as concepts are removed from a text's activations, or inserted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.outputs import predicted_readout, probabilities, single_targets
from interpreto.errors import InputError
from interpreto.inputs.samples import Readout, Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.metrics.concepts.base import Scored, mean_of
from interpreto.metrics.ranking import area, first_of, orders, steps
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_count, check_not_negative


@dataclass(frozen=True, eq=False)
class ConceptCurve:
    """One text's scores along the order of its concepts, most important first.

    Attributes:
        fractions: Share of the text's concepts at each step, from 0 to 1, ``(k,)``.
        removed: Score without those, the others as they are, ``(k,)``.
        kept: Score with those alone, ``(k,)``.
    """

    fractions: Float[Tensor, " k"]
    removed: Float[Tensor, " k"]
    kept: Float[Tensor, " k"]


@dataclass(frozen=True, eq=False)
class ConceptsOfText:
    """One text at the split point.

    Attributes:
        sample: The text.
        hidden: Its activations before they are pooled.
        codes: Of its units, ``(g, c)``.
        present: Numbers of the concepts that any unit has: only these can be removed.
        importance: Of those.
        read: The outputs that its score is made of.
    """

    sample: Sample
    hidden: Tensor
    codes: Tensor
    present: Tensor
    importance: Tensor
    read: Readout


class ConceptScores:
    """Scores of texts from whose activations any concepts are removed: of all units, by setting their codes to zero.

    Only the difference that this makes to the decoded activations is taken from the model's own, so that the part that
    the concepts do not explain stays, and with all concepts in place the score is the model's. A text's score is the
    model's probability of its target (of a label of several, by sigmoid; a regression's own output); of a generated text,
    the mean over what was generated.

    Args:
        concept_explainer: A fitted explainer with a splitter.
        activation_granularity: The unit that the concepts were learned of; None: the splitter's own, tokens or texts.
        aggregation_strategy: How tokens were pooled into units.
        keep_error: False: the decoded activations replace the model's own, whatever the concepts do not explain.
        epsilon: Concepts whose codes are all up to this size are not in a text.
    """

    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        *,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str = GranularityAggregationStrategy.MEAN,
        keep_error: bool = True,
        epsilon: float = 0.0,
    ) -> None:
        self.explainer = concept_explainer
        self.downstream = Downstream(concept_explainer, activation_granularity, aggregation_strategy)
        self.keep_error, self.epsilon = keep_error, check_not_negative(epsilon, "epsilon")

    def read(self, inputs: Any, importances: Any, targets: Any) -> Iterator[ConceptsOfText]:
        """Yield each input at the split point; the model runs once on each.

        Args:
            inputs: Texts and everything else that the splitter reads.
            importances: ``(c,)`` for all inputs, ``(n, c)``, or for each input ``(c,)``, ``(g, c)`` by unit or
                ``(1, g, c)``, which are summed over the units.
            targets: A class, or the token after the text; one for all, one for each, or None for the model's own.

        Raises:
            InputError: the importances are not of these inputs and concepts.
            TargetError: the targets are not of these inputs, or the model has no such output.
        """
        samples = self.downstream.samples(inputs)
        wanted = single_targets(self.downstream.task, targets, samples)
        given = read_importances(importances, len(samples), self.explainer.nb_concepts)
        for text, importance, target in zip(self.downstream.at_split(samples), given, wanted, strict=True):
            present = (text.concepts.abs().amax(0) > self.epsilon).nonzero()[:, 0].cpu()
            readout = predicted_readout(text.logits, text.sample, target, self.downstream.generates)
            yield ConceptsOfText(text.sample, text.hidden, text.concepts, present, importance[present], readout)

    @torch.no_grad()
    def __call__(self, text: ConceptsOfText, removed: Bool[Tensor, "p a"]) -> Float[Tensor, " p"]:
        """Compute scores of a text without some of the concepts that are in it."""
        unique, which = removed.unique(dim=0, return_inverse=True)
        downstream, g = self.downstream, len(text.codes)
        rows = downstream.pool([text.sample], text.hidden)
        decoded = self.explainer.decode_concepts(text.codes, rows)
        start = decoded if self.keep_error else rows.to(decoded)

        def scores(picked: list[int]) -> list[Tensor]:
            p = len(picked)
            masks = torch.ones(p, text.codes.shape[1], dtype=text.codes.dtype)
            masks[:, text.present] = (~unique[picked]).to(masks.dtype)
            codes = text.codes * masks.to(text.codes.device)[:, None]
            step = self.explainer.decode_concepts(codes.reshape(p * g, -1), rows.repeat(p, 1)) - start.repeat(p, 1)
            samples = [text.sample] * p
            hidden = downstream.moved(samples, text.hidden.repeat(p, *[1] * (text.hidden.ndim - 1)), step)
            logits = downstream.outputs_from(samples, hidden)
            return [probabilities(row, text.read, downstream.kind).mean().cpu() for row in logits]

        return torch.stack(downstream.map([text.sample] * len(unique), scores))[which]


class ConceptCurves:
    """Curves of insertion and deletion, both from the same runs of the model.

    Concepts are ordered by signed importance, among those that are in the text. Where importances are equal the mean is
    taken of an order and its reverse; concepts of importance NaN come last.

    Args:
        scores: Scores of the texts.
        n_steps: Most steps along the order, evenly spaced. ``points`` is another spelling.
    """

    @aliases(points="n_steps")
    def __init__(self, scores: ConceptScores, n_steps: int = 32) -> None:
        self.scores, self.n_steps = scores, check_count(n_steps, "n_steps")

    def __call__(self, inputs: Any, importances: Any, targets: Any = None) -> list[ConceptCurve | None]:
        """Return one curve per text; None where a text has no concept. For the arguments see `ConceptScores.read`."""
        return [self._curve(text) if len(text.present) else None for text in self.scores.read(inputs, importances, targets)]

    def _curve(self, text: ConceptsOfText) -> ConceptCurve:
        a = len(text.present)
        counts = steps(a, self.n_steps)
        importance = text.importance.double().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        taken = first_of(orders(importance), counts)
        scores = self.scores(text, torch.stack([taken, ~taken]).reshape(-1, a)).unflatten(0, (2, -1, len(counts))).mean(1)
        return ConceptCurve(counts.double() / a, scores[0], scores[1])


class ConceptCurveMetric(Scored):
    """Base of the mean area under one of the curves; texts without any concept are left out and counted.

    Args:
        concept_explainer: A fitted explainer with a splitter.
        n_steps: Most steps along the order of concepts. ``points`` is another spelling.
        activation_granularity: The unit that the concepts were learned of; None: the splitter's own, tokens or texts.
        aggregation_strategy: How tokens were pooled into units.
        keep_error: Leave in place what the concepts do not explain of the activations; see `ConceptScores`.
    """

    higher_is_better: ClassVar[bool]

    @aliases(points="n_steps")
    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        n_steps: int = 32,
        *,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str = GranularityAggregationStrategy.MEAN,
        keep_error: bool = True,
    ) -> None:
        scores = ConceptScores(
            concept_explainer,
            activation_granularity=activation_granularity,
            aggregation_strategy=aggregation_strategy,
            keep_error=keep_error,
        )
        self.curves = ConceptCurves(scores, n_steps)

    @abstractmethod
    def scores_of(self, curve: ConceptCurve) -> Float[Tensor, " k"]:
        """Return the scores under which the area is taken."""

    def run(self, inputs: Any, importances: Any, targets: Any = None) -> MetricResult:
        """Return the mean area over texts.

        Args:
            inputs: Texts and everything else that the splitter reads.
            importances: ``(c,)`` for all inputs, ``(n, c)``, or for each input ``(c,)``, ``(g, c)`` by unit or
                ``(1, g, c)``, which are summed over the units.
            targets: A class, or the token after the text; one for all, one for each, or None for the model's own.
        """
        return self.from_curves(self.curves(inputs, importances, targets))

    def from_curves(self, curves: Sequence[ConceptCurve | None]) -> MetricResult:
        """Return the same from curves that are there already: `ConceptCurves` serve insertion and deletion at once."""
        areas = [float("nan") if c is None else float(area(c.fractions, self.scores_of(c)[None])) for c in curves]
        values = torch.tensor(areas, dtype=torch.float64)
        skipped = int(values.isnan().sum())
        return MetricResult(
            score=mean_of(values),
            per_sample=values,
            details={"curves": list(curves)},
            higher_is_better=self.higher_is_better,
            value_range=(None, None) if self.curves.scores.downstream.kind == "regression" else (0.0, 1.0),
            n_valid=len(values) - skipped,
            n_skipped=skipped,
            config={"n_steps": self.curves.n_steps, "keep_error": self.curves.scores.keep_error},
            name=type(self).__name__,
        )

    of = from_curves


class ConceptDeletion(ConceptCurveMetric):
    """Area under the model's probability as concepts are removed, the most important first. Lower is better, in [0, 1].

    The players are the concepts of a text: they are spaced k/a, where a concepts are in the text.

    Examples:
        >>> import torch
        >>> from interpreto import demo
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> from interpreto.concepts.splitters import SplitterForClassification
        >>> model, tokenizer = demo.load_classifier()
        >>> neurons = NeuronsAsConcepts(SplitterForClassification(model, tokenizer=tokenizer), nb_concepts=128)
        >>> weights = (model.classifier.weight[1] - model.classifier.weight[0]).detach()
        >>> texts = ["A charming film."]
        >>> importances = neurons.encode_activations(neurons.splitter.inputs_to_activations(texts)) * weights
        >>> ConceptDeletion(neurons).compute(texts, importances) < ConceptDeletion(neurons).compute(texts, -importances)
        True

    References:
        Fel et al., NeurIPS 2023, https://arxiv.org/abs/2306.07304; Petsiuk et al., 2018, https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = False

    def scores_of(self, curve: ConceptCurve) -> Float[Tensor, " k"]:
        """Return the scores without the most important ones."""
        return curve.removed


class ConceptInsertion(ConceptCurveMetric):
    """Area under the model's probability as concepts are inserted, the most important first. Higher is better, in [0, 1].

    From activations without any concept, but with what concepts do not explain.

    References:
        Fel et al., NeurIPS 2023, https://arxiv.org/abs/2306.07304; Petsiuk et al., 2018, https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = True

    def scores_of(self, curve: ConceptCurve) -> Float[Tensor, " k"]:
        """Return the scores with the most important ones alone."""
        return curve.kept


def read_importances(importances: Any, n: int, c: int) -> list[Tensor]:
    """Return ``(c,)`` for each text, from all the forms that `ConceptScores.read` takes."""
    if isinstance(importances, Tensor) and importances.ndim == 1:
        rows = [importances] * n
    elif isinstance(importances, (Tensor, Sequence)):
        rows = list(importances)
    else:
        raise InputError(
            f"`importances`: got {type(importances).__name__}; pass a tensor (c,) or (n, c), or one for each input."
        )
    if len(rows) != n:
        raise InputError(f"`importances`: got {len(rows)} for {n} inputs; pass one for each, or (c,) for all.")
    return [_read_importance(row, i, c) for i, row in enumerate(rows)]


def _read_importance(row: Any, position: int, c: int) -> Tensor:
    values = torch.as_tensor(row).detach().cpu()
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim == 2:
        values = values.nansum(0)
    if values.ndim != 1 or len(values) != c:
        raise InputError(
            f"`importances[{position}]`: got shape {tuple(torch.as_tensor(row).shape)}; pass (c,), (g, c) or (1, g, c) with "
            f"c = {c} concepts: of one target, the one that is scored."
        )
    return values
