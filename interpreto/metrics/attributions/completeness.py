"""Whether attributions add up to what they explain; no model is run: an explanation carries both scores."""

from __future__ import annotations

import math

from interpreto.attributions.output import AttributionOutput
from interpreto.metrics.attributions.base import AttributionMetric, Explanations, Finding
from interpreto.metrics.attributions.cases import read_explanations
from interpreto.metrics.result import MetricResult
from interpreto.metrics.statistics import noise_of


class Completeness(AttributionMetric):
    """|Σ attributions − (f(x) − f(reference))|, the reference being the explanation's own. Lower is better.

    In units of the explained score. ``details["complete"]``: whether the gap is within the tolerance;
    ``details["relative"]``: as a share of f(x) − f(reference). Magnitudes, and methods without a reference, have none.

    Args:
        relative: Score the share instead.
        tolerance: Largest share of f(x) − f(reference) that may be missing.

    References:
        Sundararajan et al., ICML 2017, https://arxiv.org/abs/1703.01365.
    """

    higher_is_better = False
    value_range = (0.0, None)

    def __init__(self, relative: bool = False, *, tolerance: int | float = 0.01) -> None:
        self.relative, self.tolerance = relative, tolerance

    def run(self, explanations: Explanations) -> MetricResult:
        found = read_explanations(explanations)
        return self.result([[self._row(output, i) for i in range(len(output.attributions))] for output in found])

    def _row(self, output: AttributionOutput, i: int) -> Finding:
        if not output.signed:
            return Finding.none(f"{output.method} answers magnitudes, which no score is the sum of")
        if output.reference_scores is None:
            return Finding.none(f"{output.method} has no reference to differ from")
        if bool(output.attributions[i].isnan().all()):
            return Finding.none("nothing has an attribution")
        whole, reference = output.base_scores[i].double(), output.reference_scores[i].double()
        gap, noise = float(whole - reference), noise_of(whole, reference)
        missing = abs(gap - float(output.attributions[i].double().nansum()))
        share = missing / abs(gap) if abs(gap) > noise else math.nan
        complete = missing <= max(self.tolerance * abs(gap), noise)
        if self.relative and math.isnan(share):
            return Finding.none("f(x) is f(reference), of which nothing is a share")
        return Finding(share if self.relative else missing, {"missing": missing, "relative": share, "complete": complete})
