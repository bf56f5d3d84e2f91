"""Kernel SHAP: Shapley values by constrained regression."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import ShapleyAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import ShapTokenPerturbator
from interpreto.attributions.tolerance import evidence_within
from interpreto.models.alternatives import ReplacedBy


class KernelShap(AttributionExplainer):
    """Compute Shapley values of the units, which sum exactly to ``f(x) − f(everything masked)``.

    The values are exact when all ``2^u`` coalitions of ``u`` units fit in the budget, else estimated, with standard errors.
    `ShapTokenPerturbator` describes how coalitions are drawn.

    Args:
        n_perturbations: Number of coalitions: at least ``2u``, unless all fit. None: 500, or ``2u`` if that is more.
        tolerance: Sample in rounds until 1.96 standard errors of each unit are at most this share of the score gap, or the
            budget ends; the explanation says which (`AttributionOutput.stopped`). None: the whole budget.

    Raises:
        OptionError: if ``n_perturbations`` is less than ``2u``, and not all coalitions fit.

    Examples:
        >>> from interpreto import KernelShap, demo
        >>> explanation = KernelShap(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> gap = explanation.base_scores - explanation.reference_scores
        >>> bool((explanation.attributions.sum(1) - gap).abs() < 1e-5)
        True

    References:
        Lundberg and Lee, NeurIPS 2017, https://arxiv.org/abs/1705.07874.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        parts = {"perturbator": ShapTokenPerturbator(n_perturbations), "aggregator": ShapleyAggregator()}
        super().__init__(
            model, tokenizer, batch_size, replacement=replacement, evidence=evidence_within(tolerance), **parts, **options
        )
