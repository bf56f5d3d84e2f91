"""Sparsity of codes, and concepts that no row has."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.metrics.concepts.base import Coded, ConceptMetric, RowMetric
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_not_negative


class CountingMetric(ConceptMetric):
    """Base of metrics that count codes which are not zero.

    Args:
        concept_explainer: A fitted concept explainer.
        epsilon: Codes up to this size count as zero.
        batch_size: Rows that are encoded together.
    """

    def __init__(self, concept_explainer: ConceptAutoEncoderExplainer, epsilon: float = 0.0, *, batch_size: int = 8192) -> None:
        super().__init__(concept_explainer, batch_size=batch_size)
        self.epsilon = check_not_negative(epsilon, "epsilon")
        self.config = {"epsilon": self.epsilon}

    def active(self, coded: Coded) -> Bool[Tensor, "b c"]:
        """Return which concepts are in which rows; codes of either sign count."""
        return coded.codes.abs() > self.epsilon


class Sparsity(CountingMetric):
    """Mean number of concepts in a row, known as L0: those with ``|z| > epsilon``, from 0 to c. Lower is sparser.

    Args:
        concept_explainer: A fitted concept explainer.
        epsilon: Codes up to this size count as zero.
        batch_size: Rows that are encoded together.

    Examples:
        >>> import torch
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> rows = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, -1.0, 1.0, 0.0]])
        >>> explainer = NeuronsAsConcepts(None, nb_concepts=4)
        >>> Sparsity(explainer).compute(rows), SparsityRatio(explainer).compute(rows)
        (2.0, 0.5)
    """

    higher_is_better = False
    value_range = (0.0, None)

    @aliases(latent_activations="activations")
    def run(self, activations: AnyActivations) -> MetricResult:
        """Return the mean; ``per_sample`` has each row's number."""
        result = self.mean_over_rows(activations, lambda coded: self.active(coded).sum(1))
        return replace(result, value_range=(0.0, float(self.concept_explainer.nb_concepts)))


class SparsityRatio(CountingMetric):
    """Mean share of the concepts that are in a row: L0 / c, from 0 to 1. Lower is sparser.

    Args:
        concept_explainer: A fitted concept explainer.
        epsilon: Codes up to this size count as zero.
        batch_size: Rows that are encoded together.
    """

    higher_is_better = False
    value_range = (0.0, 1.0)

    @aliases(latent_activations="activations")
    def run(self, activations: AnyActivations) -> MetricResult:
        """Return the mean; ``per_sample`` has each row's share."""
        return self.mean_over_rows(activations, lambda coded: self.active(coded).double().mean(1))


class Hoyer(RowMetric):
    """Mean Hoyer sparseness of codes: ``(√c − ‖z‖₁/‖z‖₂) / (√c − 1)``, 0 for equal codes and 1 for one concept alone.

    Higher is sparser. It does not depend on the codes' scale, nor on a threshold. Not defined for codes that are all
    zero, and for a single concept: such rows are left out.

    Examples:
        >>> import torch
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> codes = torch.tensor([[0.0, 3.0, 0.0, 0.0], [1.0, -1.0, 1.0, 1.0]])
        >>> Hoyer(NeuronsAsConcepts(None, nb_concepts=4)).compute(codes)
        0.5

    References:
        Hoyer, 2004, https://www.jmlr.org/papers/v5/hoyer04a.html.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)

    def per_row(self, coded: Coded) -> Float[Tensor, " b"]:
        """Return the sparseness of each row."""
        codes = coded.codes.double()
        root = codes.shape[1] ** 0.5
        if codes.shape[1] == 1:
            return torch.full_like(codes[:, 0], torch.nan)
        return (root - codes.abs().sum(1) / codes.norm(dim=1)) / (root - 1)  # 0/0 is the NaN of rows without concepts


class DeadFraction(CountingMetric):
    """Share of the concepts that are in no row: ``max |z| ≤ epsilon`` over all data, from 0 to 1. Lower is better.

    Codes of both signs do not cancel out. The more rows, the fewer concepts are dead: compare on the same data.

    Args:
        concept_explainer: A fitted concept explainer.
        epsilon: Codes up to this size count as zero.
        batch_size: Rows that are encoded together.
    """

    higher_is_better = False
    value_range = (0.0, 1.0)

    @aliases(latent_activations="activations")
    def run(self, activations: AnyActivations) -> MetricResult:
        """Return the share; ``details`` have the ``dead`` concepts' numbers, and each one's share of the rows (``rates``)."""
        rows = self.read(activations)
        counts = torch.zeros(self.concept_explainer.nb_concepts, dtype=torch.long)
        for coded in self.coded(rows):
            counts += self.active(coded).sum(0).cpu()
        dead = counts == 0
        rates = counts.double() / rows.n
        return self.result(float(dead.double().mean()), rows.n, dead=dead.nonzero()[:, 0].tolist(), rates=rates)
