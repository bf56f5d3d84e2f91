"""How far the reconstructions' distribution is from that of the activations, whichever row became which."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.errors import InputError, OptionError
from interpreto.metrics.concepts.base import ConceptMetric
from interpreto.metrics.concepts.moments import Moments
from interpreto.metrics.result import MetricResult

NUMBERS = 1 << 26  # of activations and reconstructions each, that are sorted together


class FID(ConceptMetric):
    """Mean over the dimensions of the 1-D Wasserstein distance between activations and reconstructions. Lower is better.

    What the literature of concepts has under this name; the Fréchet distance of the two is `FrechetDistance`. In units
    of the activations.

    Args:
        concept_explainer: A fitted concept explainer.
        batch_size: Rows that are encoded together.
        columns: Dimensions that are compared in one pass over the data; None: as many as some hundred megabytes hold.

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

    def __init__(
        self, concept_explainer: ConceptAutoEncoderExplainer, *, batch_size: int = 8192, columns: int | None = None
    ) -> None:
        super().__init__(concept_explainer, batch_size=batch_size)
        if columns is not None and (isinstance(columns, bool) or columns < 1):
            raise OptionError(f"`columns`: got {columns!r}; pass a whole number of at least 1, or None.")
        self.columns = columns

    def run(self, activations: AnyActivations) -> MetricResult:
        """The distance; ``details["per_dimension"]`` has each dimension's."""
        rows = self.read(activations)
        size = self.columns or max(1, NUMBERS // rows.n)
        distances = torch.cat([self._distances(rows, start, min(start + size, rows.d)) for start in range(0, rows.d, size)])
        return self.result(float(distances.mean()), rows.n, per_dimension=distances)

    def _distances(self, rows: Activations, start: int, stop: int) -> Float[Tensor, " _"]:
        """Of some dimensions: with as many numbers on both sides, the k-th smallest goes to the k-th smallest."""
        given, found = (torch.empty(stop - start, rows.n, dtype=rows.dtype) for _ in range(2))
        done = 0
        for coded in self.coded(rows):
            with torch.no_grad():
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

    def run(self, activations: AnyActivations) -> MetricResult:
        """The distance; ``details`` have the share of the means and that of the covariances."""
        rows = self.read(activations)
        if rows.n < 2:
            raise InputError(f"`activations`: got {rows.n} row, and a covariance needs two; pass more.")
        given, found = Moments(rows.d, full=True), Moments(rows.d, full=True)
        for coded in self.coded(rows):
            given.add(coded.rows)
            with torch.no_grad():
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
