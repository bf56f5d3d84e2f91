"""Whether the concepts that are said to matter do matter to the model."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.concept_model import read_seed
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.metrics.concepts.base import mean_of
from interpreto.metrics.concepts.perturbation_curves import ConceptCurve, ConceptCurves, ConceptScores, ConceptsOfText
from interpreto.metrics.ranking import area
from interpreto.metrics.result import MetricResult
from interpreto.metrics.statistics import noise_of, pearson


class ConceptCurveMetric(ABC):
    """The mean area under one of the curves; texts without any concept are left out and counted.

    Args:
        concept_explainer: A fitted explainer with a splitter.
        points: At most so many steps along the order of concepts.
        activation_granularity: What the concepts were learned of; None: the splitter's own, tokens or texts.
        aggregation_strategy: How tokens were pooled into units.
        keep_error: Leave in place what the concepts do not explain of the activations; see `ConceptScores`.
    """

    higher_is_better: ClassVar[bool]

    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        points: int = 32,
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
        self.curves = ConceptCurves(scores, points)

    @abstractmethod
    def scores_of(self, curve: ConceptCurve) -> Float[Tensor, " k"]:
        """The scores under which the area is taken."""

    def run(self, inputs: Any, importances: Any, targets: Any = None) -> MetricResult:
        """The mean area over texts.

        Args:
            inputs: Texts and all else that the splitter takes.
            importances: ``(c,)`` for all inputs, ``(n, c)``, or for each input ``(c,)``, ``(g, c)`` by unit or
                ``(1, g, c)``, which are summed over the units.
            targets: A class, or the token after the text; one for all, one for each, or None for the model's own.
        """
        return self.of(self.curves(inputs, importances, targets))

    def of(self, curves: Sequence[ConceptCurve | None]) -> MetricResult:
        """The same from curves that are there already: `ConceptCurves` serve insertion and deletion at once."""
        areas = [float("nan") if c is None else float(area(c.fractions, self.scores_of(c)[None])) for c in curves]
        values = torch.tensor(areas, dtype=torch.float64)
        skipped = int(values.isnan().sum())
        return MetricResult(
            score=mean_of(values),
            per_sample=values,
            details={"curves": list(curves)},
            higher_is_better=self.higher_is_better,
            value_range=(None, None) if self.curves.scores.upper.kind == "regression" else (0.0, 1.0),
            n_valid=len(values) - skipped,
            n_skipped=skipped,
            config={"points": self.curves.points, "keep_error": self.curves.scores.keep_error},
            name=type(self).__name__,
        )

    def compute(self, inputs: Any, importances: Any, targets: Any = None) -> float:
        """The score alone."""
        return float(self.run(inputs, importances, targets))


class ConceptDeletion(ConceptCurveMetric):
    """Area under the model's probability as concepts are taken out, the most important first. Lower is better, in [0, 1].

    The concepts of a text are its elements: they are spaced k/a, where a concepts are in the text.

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
        """Without the most important ones."""
        return curve.removed


class ConceptInsertion(ConceptCurveMetric):
    """Area under the model's probability as concepts are put in, the most important first. Higher is better, in [0, 1].

    From activations without any concept, but with what concepts do not explain.

    References:
        Fel et al., NeurIPS 2023, https://arxiv.org/abs/2306.07304; Petsiuk et al., 2018, https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = True

    def scores_of(self, curve: ConceptCurve) -> Float[Tensor, " k"]:
        """With the most important ones alone."""
        return curve.kept


class ConceptFaithfulnessCorrelation:
    """Pearson correlation of concepts' summed importance with what the score loses without them. In [−1, 1]; higher is better.

    Subsets of one size are drawn among the concepts that are in a text. Not defined, and left out, where importances or
    losses are all equal, or a text has fewer than two concepts.

    Args:
        concept_explainer: A fitted explainer with a splitter.
        subsets: How many are drawn for each text.
        fraction: Share of the text's concepts in a subset; at least one, and never all.
        activation_granularity: What the concepts were learned of; None: the splitter's own, tokens or texts.
        aggregation_strategy: How tokens were pooled into units.
        keep_error: Leave in place what the concepts do not explain of the activations; see `ConceptScores`.
        random_state: Seed; each text has draws of its own.

    References:
        Bhatt et al., IJCAI 2020, https://arxiv.org/abs/2005.00631; Fel et al., NeurIPS 2023, https://arxiv.org/abs/2306.07304.
    """

    higher_is_better = True

    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        subsets: int = 64,
        fraction: float = 0.2,
        *,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str = GranularityAggregationStrategy.MEAN,
        keep_error: bool = True,
        random_state: int = 0,
    ) -> None:
        if isinstance(subsets, bool) or not isinstance(subsets, int) or subsets < 2:
            raise OptionError(f"`subsets`: got {subsets!r}; pass a whole number of at least 2.")
        if not 0 < fraction < 1:
            raise OptionError(f"`fraction`: got {fraction!r}; pass a number between 0 and 1.")
        self.subsets, self.fraction, self.random_state = subsets, fraction, read_seed(random_state)
        self.scores = ConceptScores(
            concept_explainer,
            activation_granularity=activation_granularity,
            aggregation_strategy=aggregation_strategy,
            keep_error=keep_error,
        )

    def run(self, inputs: Any, importances: Any, targets: Any = None) -> MetricResult:
        """The mean correlation over texts; for the arguments see `ConceptDeletion`."""
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
            config={"subsets": self.subsets, "fraction": self.fraction, "random_state": self.random_state},
            name=type(self).__name__,
        )

    def compute(self, inputs: Any, importances: Any, targets: Any = None) -> float:
        """The score alone."""
        return float(self.run(inputs, importances, targets))

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
        seed = zlib.crc32(sample.input_ids.numpy().tobytes(), self.random_state)  # of its own, whatever else is judged
        generator = torch.Generator().manual_seed(seed)
        size = min(max(1, round(self.fraction * a)), a - 1)
        chosen = torch.rand(self.subsets, a, generator=generator).topk(size, dim=1).indices
        return torch.zeros(self.subsets, a, dtype=torch.bool).scatter_(1, chosen, True)
