"""Completeness: attributions add up to what they explain. No model is run: an explanation has both scores."""

from __future__ import annotations

import math

from interpreto.attributions.output import AttributionOutput
from interpreto.metrics.attributions.base import AttributionMetric, CaseResult, Explanations, magnitudes
from interpreto.metrics.attributions.cases import read_explanations
from interpreto.metrics.result import MetricResult
from interpreto.statistics import noise_of
from interpreto.validation import check_flag, check_not_negative


class Completeness(AttributionMetric):
    """|Σ attributions − (f(x) − f(reference))|, the reference being the explanation's own. Lower is better.

    In units of the explained score. ``details["complete"]``: whether the gap is within the tolerance;
    ``details["relative"]``: as a share of f(x) − f(reference). Methods of magnitudes, and methods without a reference, are
    skipped.

    Args:
        relative: Score the share instead.
        tolerance: Largest share of f(x) − f(reference) that may be missing.

    References:
        Sundararajan et al., ICML 2017, https://arxiv.org/abs/1703.01365.
    """

    higher_is_better = False
    value_range = (0.0, None)
    in_score_units = True

    def __init__(self, relative: bool = False, *, tolerance: int | float = 0.01) -> None:
        self.relative, self.tolerance = check_flag(relative, "relative"), check_not_negative(tolerance, "tolerance")

    def run(self, explanations: Explanations) -> MetricResult:
        outputs = read_explanations(explanations)
        return self.summarize([[self._value(output, i) for i in range(len(output.attributions))] for output in outputs])

    def _value(self, output: AttributionOutput, i: int) -> CaseResult:
        if not output.signed:
            return CaseResult.undefined(magnitudes(output))
        if output.reference_scores is None:
            return CaseResult.undefined(f"{output.method} has no reference to differ from")
        if bool(output.attributions[i].isnan().all()):
            return CaseResult.undefined("nothing has an attribution")
        full, reference = output.base_scores[i].double(), output.reference_scores[i].double()
        gap, noise = float(full - reference), noise_of(full, reference)
        missing = abs(gap - float(output.attributions[i].double().nansum()))
        share = missing / abs(gap) if abs(gap) > noise else math.nan
        complete = missing <= max(self.tolerance * abs(gap), noise)
        if self.relative and math.isnan(share):
            return CaseResult.undefined("f(x) equals f(reference), of which nothing is a share")
        return CaseResult(share if self.relative else missing, {"missing": missing, "relative": share, "complete": complete})
