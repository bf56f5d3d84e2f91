"""The part of the score gap that attributions leave out, and when it is too much."""

from __future__ import annotations

import math
import warnings

import torch

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import CompletenessWarning

TOLERANCE = 0.05  # share of the score gap that an integral may miss before it warns
ROUNDING = 1e-3  # of a score: gaps that exact methods are not held to
MANY = 2.0**40  # steps that nobody takes


def check_completeness(output: AttributionOutput, exact: bool, n_steps: int) -> None:
    """Warn of attributions that miss more than their share of the score gap, and say what would do.

    Args:
        output: An explanation whose values should sum to the gap.
        exact: The method sums to the gap by rules, whatever the number of steps.
        n_steps: Number of steps that were taken.
    """
    if output.reference_scores is None or output.residual is None:
        return
    gap = (output.base_scores - output.reference_scores).abs().clamp(min=1e-6)
    if exact:  # a small gap of large scores is rounding
        gap = torch.maximum(gap, ROUNDING * torch.maximum(output.base_scores.abs(), output.reference_scores.abs()))
    missed = float((output.residual.abs() / gap).max())
    if missed <= TOLERANCE:
        return
    enough = 2 ** math.ceil(math.log2(min(n_steps * missed / TOLERANCE, MANY)))
    remedy = (
        "The model has operations without a rule, such as sorting; use IntegratedGradients or a mask method."
        if exact
        else f"As the error falls at least as 1 / steps, n_perturbations={enough} would do; so may another `baseline`, "
        "closer to the inputs."
    )
    warnings.warn(
        f"{output.method}: the attributions of {output.text[:40]!r} miss {missed:.0%} of the score gap "
        f"{float(gap.max()):.3g}. {remedy}",
        CompletenessWarning,
        stacklevel=4,
    )
