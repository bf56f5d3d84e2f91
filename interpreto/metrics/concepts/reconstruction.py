"""Reconstruction of activations from their concepts: row by row, in variance, and in distribution."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.concepts.activations import Activations
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.concepts.outliers import Spread, measure_spread
from interpreto.errors import InputError
from interpreto.metrics.concepts.base import Coded, ConceptMetric, RowMetric, gap
from interpreto.metrics.concepts.moments import RunningMoments
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_optional_count

NUMBERS = 1 << 26  # of activations and reconstructions each, that are sorted together


class MSE(RowMetric):
    """Mean square of what the reconstruction misses: the mean over rows and dimensions of ``(a − â)²``. Lower is better.

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
        """Return the mean square over a row's dimensions."""
        return gap(coded).square().mean(1)


class CosineReconstruction(RowMetric):
    """Mean cosine between activations and their reconstructions, in [−1, 1]. Higher is better; 1 says nothing of lengths.

    A reconstruction of zeros has cosine 0; rows of zeros have none, and are left out.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)

    def per_row(self, coded: Coded) -> Float[Tensor, " b"]:
        """Return the cosine of each row."""
        return cosines(coded.rows, coded.decoded)


def cosines(rows: Float[Tensor, "b d"], others: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """Compute the cosine of each row with its other: NaN where the row is zero, 0 where only the other is."""
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

    @aliases(latent_activations="activations")
    def run(self, activations: AnyActivations) -> MetricResult:
        """Return the ratio over all rows; ``details`` have it for each dimension, and both sums."""
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

    A few rows that hold most of the variance, as attention sinks do, decide the share alone: ``details["ordinary_rows"]`` has
    the share of the others, and ``details["outliers"]`` the number of those few (see `Spread`).

    Examples:
        >>> import torch
        >>> from interpreto.concepts import PCAConcepts
        >>> rows = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> round(ExplainedVariance(PCAConcepts(None, nb_concepts=1).fit(rows)).compute(rows), 6)
        0.8
    """

    higher_is_better = True
    value_range = (None, 1.0)

    @aliases(latent_activations="activations")
    def run(self, activations: AnyActivations) -> MetricResult:
        """Return the share over all rows; ``details`` have it for each dimension, too."""
        errors, rows = _moments(self, activations)
        squared = errors.scatter + errors.n * errors.mean.square()
        spread = measure_spread(self.read(activations))
        return self.result(
            1 - _ratio(squared, rows.scatter),
            rows.n,
            per_dimension=1 - squared / rows.scatter,
            without_offset=1 - _ratio(errors.scatter, rows.scatter),
            ordinary_rows=1 - _ratio(*(self._ordinary(activations, spread) if spread.outliers else (squared, rows.scatter))),
            outliers=spread.outliers,
        )

    def _ordinary(self, activations: AnyActivations, spread: Spread) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Return squared errors and scatter of the rows that are no outliers, for each dimension."""
        rows = self.read(activations)
        errors, whole = RunningMoments(rows.d), RunningMoments(rows.d)
        for coded in self.coded(rows):
            ordinary = spread.ordinary(coded.rows)
            if bool(ordinary.any()):
                errors.add(gap(coded)[ordinary])
                whole.add(coded.rows[ordinary])
        return errors.scatter + errors.n * errors.mean.square(), whole.scatter


def _moments(metric: ConceptMetric, activations: AnyActivations) -> tuple[RunningMoments, RunningMoments]:
    """Return moments of the errors, and of the rows."""
    rows = metric.read(activations)
    errors, whole = RunningMoments(rows.d), RunningMoments(rows.d)
    for coded in metric.coded(rows):
        errors.add(gap(coded))
        whole.add(coded.rows)
    return errors, whole


def _ratio(error: Float[Tensor, " d"], scatter: Float[Tensor, " d"]) -> float:
    return float(error.sum() / scatter.sum()) if bool(scatter.sum() > 0) else float("nan")


class FID(ConceptMetric):
    """Mean over the dimensions of the 1-D Wasserstein distance between activations and reconstructions. Lower is better.

    The literature of concepts has this under the name; the Fréchet distance of the two is `FrechetDistance`. In units
    of the activations.

    Args:
        concept_explainer: A fitted concept explainer.
        batch_size: Rows that are encoded together.
        n_columns: Dimensions that are compared in one pass over the data; None: as many as some hundred megabytes hold.
            ``columns`` is another spelling.

    Examples:
        >>> import torch
        >>> from interpreto.concepts import PCAConcepts
        >>> rows = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> FID(PCAConcepts(None, nb_concepts=1).fit(rows)).compute(rows)
        0.25

    References:
        Fel et al., NeurIPS 2023, https://arxiv.org/abs/2306.07304.
    """

    higher_is_better = False
    value_range = (0.0, None)

    @aliases(columns="n_columns")
    def __init__(
        self, concept_explainer: ConceptAutoEncoderExplainer, *, batch_size: int = 8192, n_columns: int | None = None
    ) -> None:
        super().__init__(concept_explainer, batch_size=batch_size)
        self.n_columns = check_optional_count(n_columns, "n_columns")

    @aliases(latent_activations="activations")
    def run(self, activations: AnyActivations) -> MetricResult:
        """Return the distance; ``details["per_dimension"]`` has each dimension's."""
        rows = self.read(activations)
        size = self.n_columns or max(1, NUMBERS // rows.n)
        distances = torch.cat([self._distances(rows, start, min(start + size, rows.d)) for start in range(0, rows.d, size)])
        return self.result(float(distances.mean()), rows.n, per_dimension=distances)

    def _distances(self, rows: Activations, start: int, stop: int) -> Float[Tensor, " _"]:
        """Compute the distances of some dimensions: of as many numbers, the k-th smallest goes to the k-th smallest."""
        given, found = (torch.empty(stop - start, rows.n, dtype=rows.dtype) for _ in range(2))
        done = 0
        for coded in self.coded(rows):
            end = done + len(coded.rows)
            given[:, done:end] = coded.rows[:, start:stop].T
            found[:, done:end] = coded.decoded[:, start:stop].T
            done = end
        return (given.sort(1).values.double() - found.sort(1).values.double()).abs().mean(1)


class FrechetDistance(ConceptMetric):
    """Squared Fréchet distance between normal distributions fitted to activations and reconstructions. Lower is better.

    ``‖μ − μ̂‖² + tr(Σ + Σ̂ − 2(Σ^½ Σ̂ Σ^½)^½)``, with sample covariances: what image generation knows as FID.

    Raises:
        InputError: there are fewer than two rows.

    References:
        Heusel et al., NeurIPS 2017, https://arxiv.org/abs/1706.08500.
    """

    higher_is_better = False
    value_range = (0.0, None)

    @aliases(latent_activations="activations")
    def run(self, activations: AnyActivations) -> MetricResult:
        """Return the distance; ``details`` have the share of the means and that of the covariances."""
        rows = self.read(activations)
        if rows.n < 2:
            raise InputError(f"`activations`: got {rows.n} row, and a covariance needs two; pass more.")
        given, found = RunningMoments(rows.d, full=True), RunningMoments(rows.d, full=True)
        for coded in self.coded(rows):
            given.add(coded.rows)
            found.add(coded.decoded)
        means = float((given.mean - found.mean).square().sum())
        covariances = _covariance_term(given.scatter / (rows.n - 1), found.scatter / (rows.n - 1))
        return self.result(means + covariances, rows.n, means=means, covariances=covariances)


def _covariance_term(first: Float[Tensor, "d d"], second: Float[Tensor, "d d"]) -> float:
    """``tr(Σ + Σ̂ − 2(Σ^½ Σ̂ Σ^½)^½)``: eigenvalues of a symmetric product are real, those of ``Σ Σ̂`` only almost."""
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ second @ root
    shared = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    return max(0.0, float(first.trace() + second.trace() - 2 * shared))
