"""How much of a model's ability survives when it reads reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.choices import read_member
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.metrics.concepts.moments import Moments
from interpreto.metrics.concepts.outputs import AboveSplit, Change, check_some, next_tokens, read_targets
from interpreto.metrics.concepts.reconstruction_error import divergence
from interpreto.metrics.result import MetricResult
from interpreto.metrics.statistics import noise_of

TOGETHER = 256  # texts whose activations are averaged at a time


class Loss(Enum):
    """What is lost: ``CROSS_ENTROPY`` with the labels or next tokens, ``KL`` divergence from the model's own answer."""

    CROSS_ENTROPY = "cross_entropy"
    KL = "kl"


class Ablation(Enum):
    """What stands for activations that say nothing: ``ZERO``s, or the ``MEAN`` over all inputs."""

    ZERO = "zero"
    MEAN = "mean"


class LossRecovered:
    """Share of the loss that reconstructions recover: ``(L_ablated − L_reconstructed) / (L_ablated − L)``. Higher is better.

    1: the model answers as well as from its own activations; 0: as if they were ablated. Losses are summed over all
    predictions of all texts before they are divided. NaN where ablation changes nothing.

    A language model's predictions are its texts' next tokens; a classifier's are its labels, or without labels its own
    predictions; another model that answers a row a token is held to what it predicts itself.

    Args:
        concept_explainer: A fitted explainer with a splitter.
        loss: See `Loss`; the other one stands in ``details``.
        ablation: See `Ablation`.
        activation_granularity: What the concepts were learned of, and so what is reconstructed; None: the splitter's own,
            tokens or texts. What is no such unit, as special tokens are, is neither reconstructed nor ablated.
        aggregation_strategy: How tokens were pooled into units.

    Raises:
        OptionError: the explainer has no splitter.
        TaskError: the model's outputs are no distribution: labels of their own, or a regression.

    Examples:
        >>> from interpreto import demo
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> from interpreto.concepts.splitters import ModelWithSplitPoints
        >>> model, tokenizer = demo.load_classifier()
        >>> neurons = NeuronsAsConcepts(ModelWithSplitPoints(model, 1, tokenizer=tokenizer), nb_concepts=128)
        >>> result = LossRecovered(neurons).run(["A charming film.", "Dull."], labels=[1, 0])
        >>> round(result.score, 3), result.details["kl"]["original"]
        (1.0, 0.0)
    """

    higher_is_better = True
    value_range = (None, None)  # a classifier may become surer of its own predictions: above 1

    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        loss: Loss | str = Loss.CROSS_ENTROPY,
        ablation: Ablation | str = Ablation.ZERO,
        *,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str = GranularityAggregationStrategy.MEAN,
    ) -> None:
        self.loss, self.ablation = read_member(Loss, loss, "loss"), read_member(Ablation, ablation, "ablation")
        self.upper = AboveSplit(concept_explainer, activation_granularity, aggregation_strategy)
        self.upper.check_distributes("LossRecovered")

    def run(self, inputs: Any, labels: Any = None) -> MetricResult:
        """The share.

        Args:
            inputs: Texts and all else that the splitter takes.
            labels: Of a classifier, one number for each input.

        Returns:
            ``details`` have both shares, and of both losses the mean a prediction: ``original``, ``reconstructed``,
            ``ablated``.
        """
        samples = self.upper.samples(inputs)
        check_some(samples)
        wanted = read_targets(labels, len(samples), "labels")
        losses, counts = self._losses(samples, wanted)
        means = {loss: losses[loss].sum(0) / counts.sum() for loss in Loss}
        shares = {loss: _recovered(mean) for loss, mean in means.items()}
        stages = ("original", "reconstructed", "ablated")
        details: dict[str, Any] = {f"{loss.value}_recovered": share for loss, share in shares.items()}
        details |= {loss.value: dict(zip(stages, mean.tolist(), strict=True)) for loss, mean in means.items()}
        return MetricResult(
            score=shares[self.loss],
            per_sample=None,
            details=details,
            higher_is_better=True,
            value_range=self.value_range,
            n_valid=int((counts > 0).sum()),
            n_skipped=int((counts == 0).sum()),
            config={"loss": self.loss.value, "ablation": self.ablation.value},
            name=type(self).__name__,
        )

    def compute(self, inputs: Any, labels: Any = None) -> float:
        """The score alone."""
        return float(self.run(inputs, labels))

    def _losses(self, samples: Sequence[Sample], labels: Sequence[int | None]) -> tuple[dict[Loss, Tensor], Tensor]:
        """Of each text the summed losses ``(n, 3)``: as it is, reconstructed, ablated; and its number of predictions."""
        upper, n = self.upper, len(samples)
        losses = {loss: torch.zeros(n, 3, dtype=torch.float64) for loss in Loss}
        counts = torch.zeros(n, dtype=torch.long)
        changes: list[Change] = [lambda rows: rows, upper.reconstruct, self._ablate(samples)]

        def run(picked: list[int]) -> None:
            batch = [samples[i] for i in picked]
            answers = [upper.edited(batch, change) for change in changes]
            for row, (i, sample) in enumerate(zip(picked, batch, strict=True)):
                read = next_tokens(answers[0][row], sample, labels[i], upper.generates)
                counts[i] = len(read)
                own = read.log_distributions(answers[0][row])
                for stage, answer in enumerate(answers):
                    losses[Loss.CROSS_ENTROPY][i, stage] = -read.log_probabilities(answer[row]).sum()
                    losses[Loss.KL][i, stage] = divergence(own, read.log_distributions(answer[row])).sum()

        upper.splitter.sweep(samples, run)
        return losses, counts

    def _ablate(self, samples: Sequence[Sample]) -> Change:
        if self.ablation is Ablation.ZERO:
            return torch.zeros_like
        upper = self.upper
        moments = Moments(upper.explainer.get_dictionary().shape[1])
        for start in range(0, len(samples), TOGETHER):
            part = samples[start : start + TOGETHER]
            moments.add(upper.splitter.activations_of(part, upper.strategy, upper.explainer.split_point))
        return lambda rows: moments.mean.to(rows).expand_as(rows)


def _recovered(losses: Float[Tensor, " 3"]) -> float:
    original, reconstructed, ablated = losses.tolist()
    lost = ablated - original
    return (ablated - reconstructed) / lost if abs(lost) > noise_of(ablated, original) else float("nan")
