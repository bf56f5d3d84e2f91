"""How much of a text an explanation needs; no model is run."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.metrics.attributions.base import AttributionMetric, Explanations, Finding
from interpreto.metrics.attributions.cases import read_explanations
from interpreto.metrics.result import MetricResult


class ComplexityMetric(AttributionMetric):
    """A number of the sizes of an explanation's attributions; all-zero rows have none, and are skipped."""

    def run(self, explanations: Explanations) -> MetricResult:
        return self.result([[self._row(row) for row in output.attributions] for output in read_explanations(explanations)])

    def _row(self, values: Float[Tensor, " g"]) -> Finding:
        sizes = values[~values.isnan()].abs().double()
        if not len(sizes) or float(sizes.sum()) == 0:
            return Finding.none("all attributions are zero")
        return Finding(self.value(sizes), {"sizes": sizes})

    @abstractmethod
    def value(self, sizes: Float[Tensor, " g"]) -> float:
        """The number, of sizes that are not all zero."""


class Sparseness(ComplexityMetric):
    """Gini index of the attributions' sizes: 0 where all are equal, up to 1 − 1/g where one has everything. Higher is sparser.

    Args:
        normalize: Divide by 1 − 1/g, so that one unit alone has 1 in texts of any length.

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
        self.normalize = normalize

    def value(self, sizes: Float[Tensor, " g"]) -> float:
        n = len(sizes)
        weights = 2 * torch.arange(1, n + 1, dtype=torch.float64) - n - 1
        gini = float((weights * sizes.sort().values).sum() / (n * sizes.sum()))
        return gini * n / (n - 1) if self.normalize and n > 1 else gini


class Complexity(ComplexityMetric):
    """Entropy, in nats, of the attributions' sizes as shares: 0 where one unit has everything, ln g where all are equal.

    Lower is better: a reader needs fewer units.

    Args:
        normalize: Divide by ln g, so that texts of any length reach from 0 to 1.

    References:
        Bhatt et al., IJCAI 2020, https://arxiv.org/abs/2005.00631.
    """

    higher_is_better = False
    value_range = (0.0, None)

    def __init__(self, normalize: bool = False) -> None:
        self.normalize = normalize

    def value(self, sizes: Float[Tensor, " g"]) -> float:
        shares = sizes / sizes.sum()
        entropy = float(-torch.special.xlogy(shares, shares).sum()) + 0.0
        return entropy / math.log(len(sizes)) if self.normalize and len(sizes) > 1 else entropy


class EffectiveComplexity(ComplexityMetric):
    """Number of units whose attribution is larger than a threshold. Lower is better.

    Args:
        threshold: A size, in units of the attributions; with ``relative``, a share of the largest one of the row.
        relative: What the threshold is.

    References:
        Nguyen and Martínez, 2020, https://arxiv.org/abs/2007.07584.
    """

    higher_is_better = False
    value_range = (0.0, None)

    def __init__(self, threshold: int | float = 0.1, *, relative: bool = True) -> None:
        if not isinstance(threshold, (int, float)) or threshold < 0 or (relative and threshold >= 1):
            raise OptionError(f"`threshold`: got {threshold!r}; pass a size of at least 0; a share below 1 if `relative`.")
        self.threshold, self.relative = float(threshold), relative

    def value(self, sizes: Float[Tensor, " g"]) -> float:
        limit = self.threshold * float(sizes.max()) if self.relative else self.threshold
        return float((sizes > limit).sum())
