"""Metrics of perturbation curves: scores while units are masked, or inserted, in the order of an explanation."""

from __future__ import annotations

from typing import Any

import torch

from interpreto.metrics.attributions.base import CaseResult
from interpreto.metrics.attributions.curves_base import (
    LEAST_MASKED,
    MOST_KEPT,
    MOST_MASKED,
    Curves,
    ShareMetric,
    StepMetric,
    area_of,
)
from interpreto.metrics.attributions.readouts import HOLDS, LOG_PROBABILITY
from interpreto.metrics.ranking import area
from interpreto.validation import check_not_negative

FLIPPED = 1e-6
"""Change of the indicator of a decision above which it is another decision."""


class Deletion(StepMetric):
    """Area under the score while the most important units are masked, one after the other. Lower is better.

    In [0, 1] of a probability. ``details["curves"]`` has the curve of each explanation and target, the unmasked input
    first. Where attributions are equal, the mean over an order and its reverse.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> from interpreto.metrics import Deletion
        >>> model, tokenizer = demo.load_classifier()
        >>> auc, curves = Deletion(model, tokenizer).evaluate(Occlusion(model, tokenizer)("A gorgeous, moving film."))
        >>> len(curves[0][0])  # four words and two marks: none to all of them masked
        7

    References:
        Petsiuk et al., BMVC 2018, https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = False
    value_range = (0.0, 1.0)
    of_probability = True
    curves = (MOST_MASKED,)

    def score_curves(self, curves: Curves) -> CaseResult:
        return area_of(curves, curves.most_masked)


class Insertion(StepMetric):
    """Area under the score while the most important units alone are inserted, one after the other. Higher is better.

    In [0, 1] of a probability. For additive scores, Deletion and Insertion add up to f(x) + f(∅).

    References:
        Petsiuk et al., BMVC 2018, https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)
    of_probability = True
    curves = (MOST_KEPT,)

    def score_curves(self, curves: Curves) -> CaseResult:
        return area_of(curves, curves.most_kept)


class MoRF(StepMetric):
    """Area under the score while the most relevant units are masked first: `Deletion`. Lower is better.

    ``details["aopc"]`` is the mean of f(x) − f over the steps, as in the paper.

    References:
        Samek et al., IEEE TNNLS 2017, https://arxiv.org/abs/1509.06321.
    """

    higher_is_better = False
    value_range = (0.0, 1.0)
    of_probability = True
    curves = (MOST_MASKED,)

    def score_curves(self, curves: Curves) -> CaseResult:
        aopc = float((curves.full - curves.most_masked).mean())
        return area_of(curves, curves.most_masked, aopc=aopc)


class LeRF(StepMetric):
    """Area under the score while the least relevant units are masked first. Higher is better.

    What is left after k of them are the u − k most relevant ones: the whole curve is that of `Insertion` from its other
    end, and the area the same.

    References:
        Samek et al., IEEE TNNLS 2017, https://arxiv.org/abs/1509.06321.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)
    of_probability = True
    curves = (LEAST_MASKED,)

    def score_curves(self, curves: Curves) -> CaseResult:
        aopc = float((curves.full - curves.least_masked).mean())
        return area_of(curves, curves.least_masked, aopc=aopc)


class ABPC(StepMetric):
    """Area between perturbation curves: masking the least relevant first less masking the most relevant first.

    Higher is better, in [−1, 1] of a probability. 0 is the expectation of a random order, whatever the model's score of
    masked inputs: `Deletion` and `Insertion` alone depend on that.

    References:
        Schulz et al., ICLR 2020, https://arxiv.org/abs/2001.00396 (the area between degradation curves).
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)
    of_probability = True
    curves = (MOST_MASKED, LEAST_MASKED)

    def score_curves(self, curves: Curves) -> CaseResult:
        gap = curves.least_masked - curves.most_masked
        return CaseResult(float(area(curves.fractions, gap).mean()), {"curves": gap.mean(0)})


class AOPCComprehensiveness(ShareMetric):
    """Drop of the score without the most important units, f(x) − f(x without them), mean over shares. Higher is better.

    In [−1, 1] of a probability: a rationale is comprehensive when nothing outside it would do.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)
    of_probability = True
    curves = (MOST_MASKED,)

    def score_curves(self, curves: Curves) -> CaseResult:
        drops = curves.full - curves.most_masked
        return CaseResult(float(drops.mean()), {"curves": drops.mean(0)})


class AOPCSufficiency(ShareMetric):
    """Drop of the score with the most important units alone, f(x) − f(them), mean over shares. Lower is better.

    In [−1, 1] of a probability; below 0 where they convince the model more than the whole text does.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    higher_is_better = False
    value_range = (-1.0, 1.0)
    of_probability = True
    curves = (MOST_KEPT,)

    def score_curves(self, curves: Curves) -> CaseResult:
        drops = curves.full - curves.most_kept
        return CaseResult(float(drops.mean()), {"curves": drops.mean(0)})


class LogOdds(ShareMetric):
    """Mean of log p(x without the most important units) − log p(x), over shares. Lower is better.

    In nats; of a generated text, of all its tokens together. The logarithm shows what `AOPCComprehensiveness` hides where
    the probability is nearly 1, and gives small probabilities a large weight.

    References:
        Shrikumar et al., ICML 2017, https://arxiv.org/abs/1704.02685; Chen et al., ACL 2020,
        https://arxiv.org/abs/2004.02015.
    """

    higher_is_better = False
    fixed_measure = LOG_PROBABILITY
    curves = (MOST_MASKED,)

    def score_curves(self, curves: Curves) -> CaseResult:
        gains = curves.most_masked - curves.full
        return CaseResult(float(gains.mean()), {"curves": gains.mean(0)})


class DecisionFlip(StepMetric):
    """Share of the units, most important first, whose masking changes the model's decision; 1 if none does. Lower is better.

    ``details["flipped"]`` tells for each target whether the decision changed: a 1 may be either. A target that is not the
    model's decision is skipped; so is every output of a regression.

    References:
        Serrano and Smith, ACL 2019, https://arxiv.org/abs/1906.03731.
    """

    higher_is_better = False
    value_range = (0.0, 1.0)
    fixed_measure = HOLDS
    curves = (MOST_MASKED,)

    def score_curves(self, curves: Curves) -> CaseResult:
        model = self.game.measures
        if not model.decides:
            return CaseResult.undefined("a regression makes no decision")
        if not model.is_multi_label and abs(curves.full - 1) > FLIPPED:
            return CaseResult.undefined("the target is not the model's decision")
        flips = (curves.most_masked - curves.full).abs() > FLIPPED
        first = torch.where(flips.any(1), curves.fractions[flips.float().argmax(1)], 1.0)
        details = {"curves": curves.most_masked.mean(0), "flipped": bool(flips.any(1).all())}
        return CaseResult(float(first.mean()), details)


class Monotonicity(StepMetric):
    """Share of the steps at which the score does not fall while units are inserted, least important first. Higher is better.

    In [0, 1]; 1: each unit that an explanation calls positive raises the score, or leaves it. Insertion starts from the
    fully masked text, so that the perturbed inputs are those of `Deletion`, backwards. ``details["monotone"]``: whether no
    step fell, which is the paper's own verdict.

    Args:
        tolerance: A fall of at most this size counts as none.

    References:
        Arya et al., 2019, https://arxiv.org/abs/1909.03012.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)
    curves = (MOST_MASKED,)

    def __init__(
        self, model: Any, tokenizer: Any = None, *arguments: Any, tolerance: int | float = 1e-6, **options: Any
    ) -> None:
        super().__init__(model, tokenizer, *arguments, **options)
        self.tolerance = check_not_negative(tolerance, "tolerance")

    def score_curves(self, curves: Curves) -> CaseResult:
        rising = -curves.most_masked.diff(dim=1) >= -self.tolerance
        mean = curves.most_masked.mean(0).flip(0)
        return CaseResult(float(rising.double().mean()), {"curves": mean, "monotone": bool(rising.all())})
