"""Sparseness and complexity of attributions; no model is run."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.metrics.attributions.base import AttributionMetric, CaseResult, Explanations
from interpreto.metrics.attributions.cases import read_explanations
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_flag, is_number


class ComplexityMetric(AttributionMetric):
    """A metric of the sizes of attributions; targets whose attributions are all zero are skipped."""

    def run(self, explanations: Explanations) -> MetricResult:
        outputs = read_explanations(explanations)
        return self.summarize([[self._value(values) for values in output.attributions] for output in outputs])

    def _value(self, values: Float[Tensor, " g"]) -> CaseResult:
        sizes = values[~values.isnan()].abs().double()
        if not len(sizes) or float(sizes.sum()) == 0:
            return CaseResult.undefined("all attributions are zero")
        return CaseResult(self.value(sizes), {"sizes": sizes})

    @abstractmethod
    def value(self, sizes: Float[Tensor, " g"]) -> float:
        """Return the metric of sizes that are not all zero."""


class Sparseness(ComplexityMetric):
    """Gini index of |attributions|: 0 where all are equal, up to 1 − 1/g where one unit has everything. Higher is sparser.

    Args:
        normalize: Divide by 1 − 1/g, so that a single unit has 1 in texts of any length.

    Examples:
        >>> from interpreto.metrics import Sparseness
        >>> Sparseness().value(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
        0.25

    References:
        Chalasani et al., ICML 2020, https://arxiv.org/abs/1810.06583.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)

    def __init__(self, normalize: bool = False) -> None:
        self.normalize = check_flag(normalize, "normalize")

    def value(self, sizes: Float[Tensor, " g"]) -> float:
        n = len(sizes)
        weights = 2 * torch.arange(1, n + 1, dtype=torch.float64) - n - 1
        gini = float((weights * sizes.sort().values).sum() / (n * sizes.sum()))
        return gini * n / (n - 1) if self.normalize and n > 1 else gini


class Complexity(ComplexityMetric):
    """Entropy of |attributions| as shares, in nats: 0 where one unit has everything, ln g where all are equal.

    Lower is better: a reader needs fewer units.

    Args:
        normalize: Divide by ln g, so that values range from 0 to 1 in texts of any length.

    References:
        Bhatt et al., IJCAI 2020, https://arxiv.org/abs/2005.00631.
    """

    higher_is_better = False
    value_range = (0.0, None)

    def __init__(self, normalize: bool = False) -> None:
        self.normalize = check_flag(normalize, "normalize")

    def value(self, sizes: Float[Tensor, " g"]) -> float:
        shares = sizes / sizes.sum()
        entropy = float(-torch.special.xlogy(shares, shares).sum()) + 0.0
        return entropy / math.log(len(sizes)) if self.normalize and len(sizes) > 1 else entropy


class EffectiveComplexity(ComplexityMetric):
    """Number of units whose |attribution| is larger than a threshold. Lower is better.

    Args:
        threshold: A size, in units of the attributions; with ``relative``, a share of the largest one of the target.
        relative: Whether the threshold is a share.

    References:
        Nguyen and Martínez, 2020, https://arxiv.org/abs/2007.07584.
    """

    higher_is_better = False
    value_range = (0.0, None)

    def __init__(self, threshold: int | float = 0.1, *, relative: bool = True) -> None:
        if not is_number(threshold) or threshold < 0 or (relative and threshold >= 1):
            raise OptionError(f"`threshold`: got {threshold!r}; pass a size of at least 0; a share below 1 if `relative`.")
        self.threshold, self.relative = float(threshold), relative

    def value(self, sizes: Float[Tensor, " g"]) -> float:
        limit = self.threshold * float(sizes.max()) if self.relative else self.threshold
        return float((sizes > limit).sum())
