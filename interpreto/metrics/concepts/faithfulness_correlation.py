"""Faithfulness correlation: agreement of concepts' importance with what the score loses without them."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.metrics.concepts.base import Scored, mean_of
from interpreto.metrics.concepts.perturbation_curves import ConceptScores, ConceptsOfText
from interpreto.metrics.result import MetricResult
from interpreto.statistics import noise_of, pearson
from interpreto.validation import check_count, check_probability, check_seed


class ConceptFaithfulnessCorrelation(Scored):
    """Pearson correlation of concepts' summed importance with what the score loses without them. In [−1, 1]; higher is better.

    Subsets of one size are drawn among the concepts that are in a text. Not defined, and left out, where importances or
    losses are all equal, or a text has fewer than two concepts.

    Args:
        concept_explainer: A fitted explainer with a splitter.
        n_subsets: Subsets that are drawn for each text. ``subsets`` is another spelling.
        fraction: Share of the text's concepts in a subset; at least one, and never all.
        activation_granularity: The unit that the concepts were learned of; None: the splitter's own, tokens or texts.
        aggregation_strategy: How tokens were pooled into units.
        keep_error: Leave in place what the concepts do not explain of the activations; see `ConceptScores`.
        random_state: Seed; each text has draws of its own.

    References:
        Bhatt et al., IJCAI 2020, https://arxiv.org/abs/2005.00631; Fel et al., NeurIPS 2023, https://arxiv.org/abs/2306.07304.
    """

    higher_is_better = True

    @aliases(subsets="n_subsets")
    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        n_subsets: int = 64,
        fraction: float = 0.2,
        *,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str = GranularityAggregationStrategy.MEAN,
        keep_error: bool = True,
        random_state: int = 0,
    ) -> None:
        self.n_subsets = check_count(n_subsets, "n_subsets", 2)
        self.fraction = check_probability(fraction, "fraction", zero=False, one=False)
        self.random_state = check_seed(random_state)
        self.scores = ConceptScores(
            concept_explainer,
            activation_granularity=activation_granularity,
            aggregation_strategy=aggregation_strategy,
            keep_error=keep_error,
        )

    def run(self, inputs: Any, importances: Any, targets: Any = None) -> MetricResult:
        """Return the mean correlation over texts; for the arguments see `ConceptDeletion`."""
        texts = self.scores.read(inputs, importances, targets)
        values = torch.tensor([self._correlation(text) for text in texts], dtype=torch.float64)
        skipped = int(values.isnan().sum())
        return MetricResult(
            score=mean_of(values),
            per_sample=values,
            details={},
            higher_is_better=True,
            value_range=(-1.0, 1.0),
            n_valid=len(values) - skipped,
            n_skipped=skipped,
            config={"n_subsets": self.n_subsets, "fraction": self.fraction, "random_state": self.random_state},
            name=type(self).__name__,
        )

    def _correlation(self, text: ConceptsOfText) -> float:
        a = len(text.present)
        if a < 2:
            return float("nan")
        removed = self._draw(a, text.sample)
        none = torch.zeros(1, a, dtype=torch.bool)
        scores = self.scores(text, torch.cat([none, removed]))
        importance = text.importance.double().nan_to_num(nan=0.0)
        return float(pearson(removed.double() @ importance, scores[0] - scores[1:], noise_of(scores)))

    def _draw(self, a: int, sample: Sample) -> Bool[Tensor, "p a"]:
        seed = zlib.crc32(sample.input_ids.numpy().tobytes(), self.random_state)  # per text: other texts change no draw
        generator = torch.Generator().manual_seed(seed)
        size = min(max(1, round(self.fraction * a)), a - 1)
        chosen = torch.rand(self.n_subsets, a, generator=generator).topk(size, dim=1).indices
        return torch.zeros(self.n_subsets, a, dtype=torch.bool).scatter_(1, chosen, True)
