"""What every metric of concepts is: an explainer, and one number of its codes and reconstructions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations, read_activations
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.errors import InputError, OptionError
from interpreto.metrics.result import MetricResult

Range = tuple[float | None, float | None]


@dataclass(frozen=True, eq=False)
class Coded:
    """Some rows of activations, and their codes.

    Attributes:
        explainer: Whose codes they are.
        rows: What was encoded, ``(b, d)``.
        codes: How much of each concept is in each row, ``(b, c)``.
    """

    explainer: ConceptAutoEncoderExplainer
    rows: Tensor
    codes: Tensor

    @property
    def decoded(self) -> Float[Tensor, "b d"]:
        """The rows that the codes stand for."""
        return self.explainer.decode_concepts(self.codes)


class ConceptMetric(ABC):
    """A number that says how good concepts are.

    Rows are read a batch at a time, from a tensor or from an `ActivationStore`; the number does not depend on the batch.

    Args:
        concept_explainer: A fitted concept explainer.
        batch_size: Rows that are encoded together; only memory depends on it.
    """

    higher_is_better: ClassVar[bool]
    value_range: ClassVar[Range]

    def __init__(self, concept_explainer: ConceptAutoEncoderExplainer, *, batch_size: int = 8192) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise OptionError(f"`batch_size`: got {batch_size!r}; pass a whole number of at least 1.")
        self.concept_explainer, self.batch_size = concept_explainer, batch_size
        self.config: dict[str, Any] = {}

    @abstractmethod
    def run(self, activations: Any) -> MetricResult:
        """The metric on activations ``(n, d)``, a dictionary of them by split point, or an `ActivationStore`."""

    def compute(self, activations: Any) -> float:
        """The score alone, of all that `run` takes."""
        return float(self.run(activations))

    def read(self, activations: AnyActivations) -> Activations:
        """The rows of the explainer's split point.

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
        """The rows with their codes, a batch at a time, in order."""
        for batch in rows.batches(self.batch_size):
            with torch.no_grad():  # never around a yield: who reads the batches would keep it, for good after an error
                codes = self.concept_explainer.encode_activations(batch)
            yield Coded(self.concept_explainer, batch, codes)

    def mean_over_rows(self, activations: AnyActivations, per_row: Callable[[Coded], Tensor]) -> MetricResult:
        """The mean of one number a row; rows where it is NaN are left out and counted."""
        with torch.no_grad():
            values = torch.cat([per_row(coded).double().cpu() for coded in self.coded(self.read(activations))])
        return self.result(mean_of(values), len(values), int(values.isnan().sum()), values)

    def result(self, score: float, n: int, skipped: int = 0, per_sample: Tensor | None = None, **details: Any) -> MetricResult:
        """The answer of `run`."""
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
    """A metric that is the mean of one number a row; rows where it is not defined are left out and counted."""

    @abstractmethod
    def per_row(self, coded: Coded) -> Float[Tensor, " b"]:
        """The number of each row; NaN where it is not defined."""

    def run(self, activations: AnyActivations) -> MetricResult:
        """The mean over all rows of ``(n, d)``, of a dictionary of them by split point, or of an `ActivationStore`."""
        return self.mean_over_rows(activations, self.per_row)


def mean_of(values: Float[Tensor, " n"]) -> float:
    """The mean of those that are not NaN; NaN where there is none."""
    return float(values[~values.isnan()].mean())


def gap(coded: Coded) -> Float[Tensor, "b d"]:
    """What a reconstruction lacks, in float64: differences of near numbers lose digits."""
    return coded.rows.double() - coded.decoded.double()
