"""How well activations can be told from their concepts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import AnyActivations
from interpreto.metrics.concepts.base import Coded, ConceptMetric, RowMetric, gap
from interpreto.metrics.concepts.moments import Moments
from interpreto.metrics.result import MetricResult


class MSE(RowMetric):
    """Mean square of what the reconstruction lacks: the mean over rows and dimensions of ``(a − â)²``. Lower is better.

    It does not grow with the number of rows, as the Frobenius norm does that others call by this name.

    Examples:
        >>> import torch
        >>> from interpreto.concepts import PCAConcepts
        >>> rows = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> MSE(PCAConcepts(None, nb_concepts=1).fit(rows)).compute(rows)
        0.25
    """

    higher_is_better = False
    value_range = (0.0, None)

    def per_row(self, coded: Coded) -> Float[Tensor, " b"]:
        """The mean square over a row's dimensions."""
        return gap(coded).square().mean(1)


class CosineReconstruction(RowMetric):
    """Mean cosine between activations and their reconstructions, in [−1, 1]. Higher is better; 1 says nothing of lengths.

    A reconstruction of zeros has cosine 0; rows of zeros have none, and are left out.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)

    def per_row(self, coded: Coded) -> Float[Tensor, " b"]:
        """The cosine of each row."""
        return cosines(coded.rows, coded.decoded)


def cosines(rows: Float[Tensor, "b d"], others: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """The cosine of each row with its other: NaN where the row is zero, 0 where only the other is."""
    a, b = rows.double(), others.double()
    lengths = a.norm(dim=1), b.norm(dim=1)
    cosine = (a * b).sum(1) / (lengths[0] * lengths[1])
    cosine = torch.where(lengths[1] == 0, 0.0, cosine.clamp(-1, 1))
    return torch.where(lengths[0] == 0, torch.nan, cosine)


class NormalizedMSE(ConceptMetric):
    """Squared error over the variance: ``Σ‖a − â‖² / Σ‖a − ā‖²``, ā the mean row of all data. Lower is better.

    1 is what the mean row reaches, 0 a perfect reconstruction. NaN where all rows are equal: there is nothing to explain.
    """

    higher_is_better = False
    value_range = (0.0, None)

    def run(self, activations: AnyActivations) -> MetricResult:
        """The ratio over all rows; ``details`` have it for each dimension, and both sums."""
        errors, rows = _moments(self, activations)
        squared = errors.scatter + errors.n * errors.mean.square()
        return self.result(
            _ratio(squared, rows.scatter),
            rows.n,
            per_dimension=squared / rows.scatter,
            squared_error=float(squared.sum()),
            scatter=float(rows.scatter.sum()),
        )


class ExplainedVariance(ConceptMetric):
    """Share of the variance that reconstructions explain: ``1 − Σ‖a − â‖² / Σ‖a − ā‖²``, in (−∞, 1]. Higher is better.

    ā is the mean of each dimension over all data, so that answering the mean row explains nothing: one mean for all
    dimensions, or one a batch, would give other numbers. A constant offset counts as an error; ``details["without_offset"]``
    has the share where it does not. NaN where all rows are equal.

    Examples:
        >>> import torch
        >>> from interpreto.concepts import PCAConcepts
        >>> rows = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> round(ExplainedVariance(PCAConcepts(None, nb_concepts=1).fit(rows)).compute(rows), 6)
        0.8
    """

    higher_is_better = True
    value_range = (None, 1.0)

    def run(self, activations: AnyActivations) -> MetricResult:
        """The share over all rows; ``details`` have it for each dimension, too."""
        errors, rows = _moments(self, activations)
        squared = errors.scatter + errors.n * errors.mean.square()
        return self.result(
            1 - _ratio(squared, rows.scatter),
            rows.n,
            per_dimension=1 - squared / rows.scatter,
            without_offset=1 - _ratio(errors.scatter, rows.scatter),
        )


def _moments(metric: ConceptMetric, activations: AnyActivations) -> tuple[Moments, Moments]:
    """Of the errors, and of the rows."""
    rows = metric.read(activations)
    errors, whole = Moments(rows.d), Moments(rows.d)
    for coded in metric.coded(rows):
        with torch.no_grad():
            errors.add(gap(coded))
        whole.add(coded.rows)
    return errors, whole


def _ratio(error: Float[Tensor, " d"], scatter: Float[Tensor, " d"]) -> float:
    return float(error.sum() / scatter.sum()) if bool(scatter.sum() > 0) else float("nan")
