"""Values of games: exact Shapley values, Shapley values over orders, Banzhaf values."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations.games import BanzhafAggregator, ExactShapleyAggregator, OrdersAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations.games import AllCoalitionsPerturbator, OrdersPerturbator, PairedMasksPerturbator
from interpreto.attributions.tolerance import evidence_within
from interpreto.models.alternatives import ReplacedBy


class ExactShapley(AttributionExplainer):
    """Compute exact Shapley values from all ``2^u`` coalitions of ``u`` units; they sum to ``f(x) − f(everything masked)``.

    Args:
        max_units: Largest number of units that is accepted.

    Raises:
        OptionError: A text has more units; the error says how many coalitions they have.

    Examples:
        >>> from interpreto import ExactShapley, demo
        >>> explanation = ExactShapley(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> gap = explanation.base_scores - explanation.reference_scores
        >>> bool((explanation.attributions.sum(1) - gap).abs() < 1e-5)
        True

    References:
        Shapley, 1953, https://doi.org/10.1515/9781400881970-018.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        max_units: int = 12,
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        parts = {"perturbator": AllCoalitionsPerturbator(max_units), "aggregator": ExactShapleyAggregator()}
        super().__init__(model, tokenizer, batch_size, replacement=replacement, **parts, **options)


class PermutationShap(AttributionExplainer):
    """Estimate Shapley values as mean contributions over random orders and their reverses.

    Unbiased; exact for games in which units interact in pairs at most, and when all ``2^u`` coalitions fit in the budget. The
    values sum to ``f(x) − f(everything masked)``.

    Args:
        n_perturbations: Number of distinct coalitions at most: at least ``2u``. Orders share coalitions, and one that is known
            is not run again. None: 500, or ``8u`` if that is more; with a tolerance, which most texts reach long before, 1,024
            in the place of 500.
        tolerance: Sample in rounds until 1.96 standard errors of each unit are at most this share of the score gap, or the
            budget ends; the explanation says which (`AttributionOutput.stopped`). None: the whole budget.

    Raises:
        OptionError: The budget holds no order with its reverse.

    Examples:
        >>> from interpreto import PermutationShap, demo
        >>> explanation = PermutationShap(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> explanation.standard_error.shape == explanation.attributions.shape
        True

    References:
        Castro et al., 2009, https://doi.org/10.1016/j.cor.2008.04.004; Mitchell et al., JMLR 2022,
        https://arxiv.org/abs/2104.12199.
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
        orders = OrdersPerturbator(n_perturbations, least=500 if tolerance is None else 1024)
        parts = {"perturbator": orders, "aggregator": OrdersAggregator()}
        super().__init__(
            model, tokenizer, batch_size, replacement=replacement, evidence=evidence_within(tolerance), **parts, **options
        )


class Banzhaf(AttributionExplainer):
    """Compute Banzhaf values: the mean change of the score when a unit joins a coalition that is drawn uniformly.

    Exact when all ``2^u`` coalitions fit in the budget, else estimated by maximum sample reuse from pairs of complementary
    coalitions, with standard errors. Least sensitive of all such values to noise in the score. They do not sum to the gap.

    Args:
        n_perturbations: Number of coalitions. None: 500, or ``8u`` if that is more.
        tolerance: Sample in rounds until 1.96 standard errors of each unit are at most this share of the score gap, or the
            budget ends; the explanation says which (`AttributionOutput.stopped`). None: the whole budget.

    Examples:
        >>> from interpreto import Banzhaf, demo
        >>> explanation = Banzhaf(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> explanation.elements
        ['A', 'gorgeous', ',', 'moving', 'film', '.']

    References:
        Wang and Jia, AISTATS 2023, https://arxiv.org/abs/2205.15466.
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
        parts = {"perturbator": PairedMasksPerturbator(n_perturbations), "aggregator": BanzhafAggregator()}
        super().__init__(
            model, tokenizer, batch_size, replacement=replacement, evidence=evidence_within(tolerance), **parts, **options
        )
