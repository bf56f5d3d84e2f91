"""What a model answers when concepts are taken out of a text's activations, or when only some of them are left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.errors import InputError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.metrics.concepts.outputs import AboveSplit, Predicted, check_some, predicted, read_targets
from interpreto.metrics.ranking import first_of, orders, steps


@dataclass(frozen=True, eq=False)
class ConceptCurve:
    """One text's scores along the order of its concepts, most important first.

    Attributes:
        fractions: Share of the text's concepts that were taken, from 0 to 1.
        removed: Score without those, the others left as they are.
        kept: Score with those alone.
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
        present: Numbers of the concepts that any unit has: only these can be taken out.
        importance: Of those.
        read: What its score is.
    """

    sample: Sample
    hidden: Tensor
    codes: Tensor
    present: Tensor
    importance: Tensor
    read: Predicted


class ConceptScores:
    """Scores of texts, any of whose concepts are taken out: of all its units, by setting their codes to zero.

    Only the difference that this makes to the decoded activations is taken from the model's own, so that the part that
    the concepts do not explain stays, and with all concepts in place the model answers as it does. A text's score is the
    model's probability of its target (of a label of several, by sigmoid; a regression's own output); of a generated text,
    the mean over what was generated.

    Args:
        concept_explainer: A fitted explainer with a splitter.
        activation_granularity: What the concepts were learned of; None: the splitter's own, tokens or texts.
        aggregation_strategy: How tokens were pooled into units.
        keep_error: False: the decoded activations stand for the model's own, whatever the concepts do not explain.
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
        self.upper = AboveSplit(concept_explainer, activation_granularity, aggregation_strategy)
        self.keep_error, self.epsilon = keep_error, epsilon

    def read(self, inputs: Any, importances: Any, targets: Any) -> Iterator[ConceptsOfText]:
        """Each input at the split point; the model runs once on each.

        Args:
            inputs: Texts and all else that the splitter takes.
            importances: ``(c,)`` for all inputs, ``(n, c)``, or for each input ``(c,)``, ``(g, c)`` by unit or
                ``(1, g, c)``, which are summed over the units.
            targets: A class, or the token after the text; one for all, one for each, or None for the model's own.

        Raises:
            InputError: the importances are not of these inputs and concepts.
            TargetError: the targets are not of these inputs, or the model has no such output.
        """
        samples = self.upper.samples(inputs)
        check_some(samples)
        wanted = read_targets(targets, len(samples))
        given = read_importances(importances, len(samples), self.upper.explainer.nb_concepts)
        for text, importance, target in zip(self.upper.read(samples), given, wanted, strict=True):
            present = (text.codes.abs().amax(0) > self.epsilon).nonzero()[:, 0].cpu()
            read = predicted(text.logits, text.sample, target, self.upper.generates, self.upper.kind)
            yield ConceptsOfText(text.sample, text.hidden, text.codes, present, importance[present], read)

    @torch.no_grad()
    def __call__(self, text: ConceptsOfText, removed: Bool[Tensor, "p a"]) -> Float[Tensor, " p"]:
        """Scores of a text without some of the concepts that are in it."""
        unique, which = removed.unique(dim=0, return_inverse=True)
        scores = torch.empty(len(unique), dtype=torch.float64)
        upper, g = self.upper, len(text.codes)
        decoded = upper.explainer.decode_concepts(text.codes)
        start = decoded if self.keep_error else upper.rows([text.sample], text.hidden).to(decoded)

        def run(picked: list[int]) -> None:
            p = len(picked)
            codes = text.codes.repeat(p, 1, 1)
            masks = torch.ones(p, codes.shape[2], dtype=codes.dtype)
            masks[:, text.present] = (~unique[picked]).to(codes.dtype)
            codes = codes * masks.to(codes.device)[:, None]
            step = upper.explainer.decode_concepts(codes.reshape(p * g, -1)) - start.repeat(p, 1)
            samples = [text.sample] * p
            hidden = upper.moved(samples, text.hidden.repeat(p, *[1] * (text.hidden.ndim - 1)), step)
            for i, logits in zip(picked, upper.outputs_from(samples, hidden), strict=True):
                scores[i] = text.read.scores(logits).mean().cpu()

        upper.splitter.sweep([text.sample] * len(unique), run)
        return scores[which]


class ConceptCurves:
    """Curves of insertion and deletion, both from the same runs of the model.

    Concepts are ordered by signed importance, among those that are in the text. Where importances are equal the mean is
    taken of an order and its reverse; concepts of importance NaN come last.

    Args:
        scores: How texts are scored.
        points: At most so many steps along the order, evenly spaced.
    """

    def __init__(self, scores: ConceptScores, points: int = 32) -> None:
        if isinstance(points, bool) or not isinstance(points, int) or points < 1:
            raise OptionError(f"`points`: got {points!r}; pass a whole number of at least 1.")
        self.scores, self.points = scores, points

    def __call__(self, inputs: Any, importances: Any, targets: Any = None) -> list[ConceptCurve | None]:
        """One curve a text; None where a text has no concept. For the arguments see `ConceptScores.read`."""
        return [self._curve(text) if len(text.present) else None for text in self.scores.read(inputs, importances, targets)]

    def _curve(self, text: ConceptsOfText) -> ConceptCurve:
        a = len(text.present)
        counts = steps(a, self.points)
        importance = text.importance.double().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        taken = first_of(orders(importance), counts)
        scores = self.scores(text, torch.stack([taken, ~taken]).reshape(-1, a)).unflatten(0, (2, -1, len(counts))).mean(1)
        return ConceptCurve(counts.double() / a, scores[0], scores[1])


def read_importances(importances: Any, n: int, c: int) -> list[Tensor]:
    """One ``(c,)`` a text, from all the forms that `ConceptScores.read` takes."""
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
