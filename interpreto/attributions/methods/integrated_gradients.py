"""Integrated gradients: the gradient along a path."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import WeightedMeanAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import LinearInterpolationPerturbator
from interpreto.models.embeddings import Baseline, read_baseline


class IntegratedGradients(AttributionExplainer):
    """Gradient integrated from a baseline to the input, times the way between: sums to ``f(x) − f(baseline)``.

    By the Gauss-Legendre rule. The output's ``residual`` is what the sum misses; above 5 % of the gap a
    `CompletenessWarning` says how many steps would do. Tokens in no unit (special ones) stay as they are.

    Args:
        model: See `AttributionExplainer`.
        tokenizer: See `AttributionExplainer`.
        batch_size: See `AttributionExplainer`.
        n_perturbations: Steps of the rule.
        baseline: ``"zero"``, ``"pad"``, ``"mask"``, ``"unk"`` or ``"mean"`` embedding, a number for every coordinate,
            or a tensor ``(d,)`` or ``(l, d)``.
        **options: Shared by every method; see `Options`.

    Examples:
        >>> from interpreto import IntegratedGradients, demo
        >>> explanation = IntegratedGradients(*demo.load_classifier(), baseline="mask")("A gorgeous, moving film.")[0]
        >>> bool(explanation.residual.abs() < 0.05)
        True

    References:
        Sundararajan et al., ICML 2017, https://arxiv.org/abs/1703.01365.
    """

    exact_in_the_limit = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int = 32,
        baseline: Baseline = "zero",
        **options: Unpack[Options],
    ) -> None:
        line = LinearInterpolationPerturbator(read_baseline(baseline, tokenizer), n_perturbations)
        parts = {"perturbator": line, "aggregator": WeightedMeanAggregator()}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, **parts, **options)
