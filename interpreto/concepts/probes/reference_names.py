"""Names of the reference library for probes: each is a recipe of `ProbeConcepts`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from interpreto.concepts.probes.explainer import ProbeConcepts
from interpreto.errors import OptionError
from interpreto.validation import check_not_negative, shown


@dataclass(frozen=True)
class ReferenceProbe:
    """A recipe of `ProbeConcepts` under a name of the reference library.

    Attributes:
        l2: Penalty of the squared weights.
        bias_calibrator: Not here, other than None: biases are those of the fit.
        normalization: Not here, other than None: ``ProbeConcepts(standardize=True)`` centers and scales.
    """

    l2: float = 0.0
    bias_calibrator: Any = None
    normalization: Any = None

    fit: ClassVar[str]
    """Name of the fit of `ProbeConcepts`."""

    def __post_init__(self) -> None:
        check_not_negative(self.l2, "l2")
        for name in ("bias_calibrator", "normalization"):
            if (value := getattr(self, name)) is not None:
                raise OptionError(
                    f"`{name}`: got {shown(value)}; biases are those of the fit here, and rows are scaled by "
                    f"ProbeConcepts(splitter, {self.fit!r}, standardize=True)."
                )


class LinearRegressionProbe(ReferenceProbe):
    """Alias: least squares, ``ProbeConcepts(splitter, "ridge", l2=…)``; the score of labels of ±1, not of 0 and 1."""

    fit = "ridge"


class LogisticRegressionProbe(ReferenceProbe):
    """Alias: ``ProbeConcepts(splitter, "logistic", l2=…)``, fitted to the least loss instead of for 20 steps."""

    fit = "logistic"


class MeansDiffProbe(ReferenceProbe):
    """Alias: ``ProbeConcepts(splitter, "mean_difference")``; 0 is midway between the means."""

    fit = "mean_difference"


class SqL2CentroidProbe(ReferenceProbe):
    """Alias: ``ProbeConcepts(splitter, "centroids")``, whose scores are linear: what all distances share is left out."""

    fit = "centroids"


def ProbeExplainer(splitter: Any, concept_model: Any, **options: Any) -> ProbeConcepts:  # noqa: N802  # the reference's class
    """Return the `ProbeConcepts` of a probe of the reference library.

    Args:
        splitter: The model and where it is split; None to work on activations alone.
        concept_model: A `LinearRegressionProbe`, `LogisticRegressionProbe`, `MeansDiffProbe` or `SqL2CentroidProbe`.
        **options: Of `ProbeConcepts`, such as ``names``.

    Raises:
        OptionError: The probe is none of these.

    Examples:
        >>> import torch
        >>> from interpreto.concepts.probes import LinearRegressionProbe, ProbeExplainer
        >>> rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> probe = ProbeExplainer(None, LinearRegressionProbe()).fit(rows, (rows[:, 2:3] > 0).float())
        >>> int(probe.get_dictionary()[0].abs().argmax())
        2
    """
    if not isinstance(concept_model, ReferenceProbe):
        raise OptionError(
            f"`concept_model`: got {type(concept_model).__name__}; pass a LinearRegressionProbe, LogisticRegressionProbe, "
            "MeansDiffProbe or SqL2CentroidProbe, or use ProbeConcepts(splitter, fit)."
        )
    return ProbeConcepts(splitter, concept_model.fit, l2=concept_model.l2, standardize=False, **options)
