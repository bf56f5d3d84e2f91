"""Share of a model's loss that reconstructions recover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.choices import Choice, read_member
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.downstream import Change, Downstream
from interpreto.concepts.outputs import log_distributions, log_probabilities, next_token_readout, single_targets
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.metrics.concepts.base import Scored
from interpreto.metrics.concepts.moments import RunningMoments
from interpreto.metrics.concepts.reconstruction_error import divergence
from interpreto.metrics.result import MetricResult
from interpreto.statistics import noise_of

WINDOW = 256  # texts whose activations are averaged at a time


class Loss(Choice):
    """Loss: ``CROSS_ENTROPY`` with the targets or next tokens, ``KL`` divergence from the model's own output."""

    CROSS_ENTROPY = "cross_entropy"
    KL = "kl"


class Ablation(Choice):
    """Replacement of ablated activations: ``ZERO``s, or the ``MEAN`` over all inputs."""

    ZERO = "zero"
    MEAN = "mean"


class LossRecovered(Scored):
    """Share of the loss that reconstructions recover: ``(L_ablated − L_reconstructed) / (L_ablated − L)``. Higher is better.

    1: the model predicts as well as from its own activations; 0: as if they were ablated. Losses are summed over all
    predictions of all texts before they are divided. NaN where ablation changes nothing.

    A language model's predictions are its texts' next tokens; a classifier's are its targets, or without them its own
    predictions; another model with one row of logits per token is
    compared with its own predictions.

    Args:
        concept_explainer: A fitted explainer with a splitter.
        loss: See `Loss`; the other one is in ``details``.
        ablation: See `Ablation`.
        activation_granularity: The unit that the concepts were learned of, and that is reconstructed; None: the
            splitter's own, tokens or texts. What is no such unit, as special tokens are, is neither reconstructed nor ablated.
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
        self.explainer = concept_explainer
        self.downstream = Downstream(concept_explainer, activation_granularity, aggregation_strategy)
        self.downstream.check_distributes("LossRecovered")

    @aliases(labels="targets")
    def run(self, inputs: Any, targets: Any = None) -> MetricResult:
        """Return the share.

        Args:
            inputs: Texts and everything else that the splitter reads.
            targets: Of a classifier, one class for each input, by id or name. ``labels`` is another spelling.

        Returns:
            ``details`` have both shares, and of both losses the mean per prediction: ``original``, ``reconstructed``,
            ``ablated``.
        """
        samples = self.downstream.samples(inputs)
        losses, counts = self._losses(samples, single_targets(self.downstream.task, targets, samples))
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

    def _losses(self, samples: Sequence[Sample], targets: Sequence[int | None]) -> tuple[dict[Loss, Tensor], Tensor]:
        """Return the summed losses ``(n, 3)`` of each text, as it is, reconstructed and ablated; and its predictions."""
        downstream = self.downstream
        changes: list[Change] = [lambda rows: rows, self._reconstructed, self._ablated(samples)]

        def losses_of(picked: list[int]) -> list[tuple[Tensor, int]]:
            batch = [samples[i] for i in picked]
            logits = [downstream.edited(batch, change) for change in changes]
            each = zip(picked, batch, zip(*logits, strict=True), strict=True)
            return [self._losses_of_text(sample, targets[i], stages) for i, sample, stages in each]

        found = downstream.map(samples, losses_of)
        losses = torch.stack([sums for sums, _ in found], dim=1)
        return dict(zip(Loss, losses, strict=True)), torch.tensor([count for _, count in found])

    def _losses_of_text(self, sample: Sample, target: int | None, stages: Sequence[Tensor]) -> tuple[Tensor, int]:
        """Return both losses ``(2, 3)`` of a text at each stage, and the number of its predictions."""
        readout = next_token_readout(stages[0], sample, target, self.downstream.generates)
        own = log_distributions(stages[0], readout)
        entropies = [-log_probabilities(logits, readout).sum() for logits in stages]
        divergences = [divergence(own, log_distributions(logits, readout)).sum() for logits in stages]
        return torch.stack([torch.stack(entropies), torch.stack(divergences)]).cpu(), len(readout.ids)

    def _reconstructed(self, rows: Tensor) -> Tensor:
        return self.explainer.decode_concepts(self.explainer.encode_activations(rows), rows)

    def _ablated(self, samples: Sequence[Sample]) -> Change:
        if self.ablation is Ablation.ZERO:
            return torch.zeros_like
        moments, downstream = RunningMoments(self.explainer.get_dictionary().shape[1]), self.downstream
        for start in range(0, len(samples), WINDOW):
            part = samples[start : start + WINDOW]
            moments.add(downstream.splitter.activations_of(part, downstream.strategy, self.explainer.split_point))
        return lambda rows: moments.mean.to(rows).expand_as(rows)


def _recovered(losses: Float[Tensor, " 3"]) -> float:
    original, reconstructed, ablated = losses.tolist()
    lost = ablated - original
    return (ablated - reconstructed) / lost if abs(lost) > noise_of(ablated, original) else float("nan")
