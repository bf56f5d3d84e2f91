"""Base classes of the metrics of concepts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.concepts.activations import Activations, read_activations
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.errors import InputError
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_count

Range = tuple[float | None, float | None]


class Scored(ABC):
    """Base of everything that is run and has a score. `run` returns a result, `compute` its score alone."""

    run: Callable[..., MetricResult]

    def __call__(self, *arguments: Any, **options: Any) -> MetricResult:
        """Return the result of `run`."""
        return self.run(*arguments, **options)

    def compute(self, *arguments: Any, **options: Any) -> float:
        """Return the score alone of what `run` takes."""
        return float(self.run(*arguments, **options))


@dataclass(frozen=True, eq=False)
class Coded:
    """Some rows of activations, and their codes.

    Attributes:
        explainer: Encodes and decodes.
        rows: What was encoded, ``(b, d)``.
        codes: Amount of each concept in each row, ``(b, c)``.
    """

    explainer: ConceptAutoEncoderExplainer
    rows: Tensor
    codes: Tensor

    @property
    def decoded(self) -> Float[Tensor, "b d"]:
        """Return the reconstructions of the rows."""
        with torch.no_grad():
            return self.explainer.decode_concepts(self.codes, self.rows)


class ConceptMetric(Scored):
    """Base of metrics of activations and their codes.

    Rows are read a batch at a time, from a tensor or from an `ActivationStore`; the score does not depend on the batch.

    Args:
        concept_explainer: A fitted concept explainer.
        batch_size: Rows that are encoded together; only memory depends on it.
    """

    higher_is_better: ClassVar[bool]
    value_range: ClassVar[Range]

    def __init__(self, concept_explainer: ConceptAutoEncoderExplainer, *, batch_size: int = 8192) -> None:
        self.concept_explainer, self.batch_size = concept_explainer, check_count(batch_size, "batch_size")
        self.config: dict[str, Any] = {}

    def read(self, activations: AnyActivations) -> Activations:
        """Return the rows of the explainer's split point.

        Raises:
            InputError: they are of another width than the concepts, hold NaN, or are no ``(n, d)``.
        """
        explainer = self.concept_explainer
        rows = read_activations(activations, explainer.split_point, explainer.device)
        width = explainer.get_dictionary().shape[1]
        if rows.d != width:
            raise InputError(f"`activations`: got width {rows.d}, and the concepts were learned on {width}.")
        return rows

    def coded(self, rows: Activations) -> Iterator[Coded]:
        """Yield the rows with their codes, a batch at a time, in order."""
        for batch in rows.batches(self.batch_size):
            with torch.no_grad():  # closed before the generator is left: nobody else's mode of gradients is changed
                codes = self.concept_explainer.encode_activations(batch)
            yield Coded(self.concept_explainer, batch, codes)

    def mean_over_rows(self, activations: AnyActivations, per_row: Callable[[Coded], Tensor]) -> MetricResult:
        """Return the mean of one number per row; rows where it is NaN are left out and counted."""
        parts = []
        for coded in self.coded(self.read(activations)):
            with torch.no_grad():
                parts.append(per_row(coded).double().cpu())
        values = torch.cat(parts)
        return self.result(mean_of(values), len(values), int(values.isnan().sum()), values)

    def result(self, score: float, n: int, skipped: int = 0, per_sample: Tensor | None = None, **details: Any) -> MetricResult:
        """Return the result of ``n`` rows."""
        return MetricResult(
            score=score,
            per_sample=per_sample,
            details=details,
            higher_is_better=self.higher_is_better,
            value_range=self.value_range,
            n_valid=n - skipped,
            n_skipped=skipped,
            config=dict(self.config),
            name=type(self).__name__,
        )


class RowMetric(ConceptMetric):
    """Base of metrics that are the mean of one number per row; rows where it is not defined are left out and counted."""

    @abstractmethod
    def per_row(self, coded: Coded) -> Float[Tensor, " b"]:
        """Return the number of each row; NaN where it is not defined."""

    @aliases(latent_activations="activations")
    def run(self, activations: AnyActivations) -> MetricResult:
        """Return the mean over all rows.

        Args:
            activations: ``(n, d)``, a dictionary of them by split point, or an `ActivationStore`.
        """
        return self.mean_over_rows(activations, self.per_row)


def mean_of(values: Float[Tensor, " n"]) -> float:
    """Return the mean of the values that are not NaN; NaN where there is none."""
    return float(values[~values.isnan()].mean())


def gap(coded: Coded) -> Float[Tensor, "b d"]:
    """Return rows minus their reconstructions, in float64: differences of near numbers lose digits."""
    return coded.rows.double() - coded.decoded.double()
