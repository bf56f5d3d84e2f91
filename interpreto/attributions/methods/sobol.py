"""Sobol indices: shares of the score's variance."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import SobolAggregator, SobolIndicesOrders
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import SequenceSamplers, SobolTokenPerturbator
from interpreto.attributions.tolerance import evidence_within
from interpreto.choices import read_member
from interpreto.errors import OptionError
from interpreto.models.alternatives import ReplacedBy


class Sobol(AttributionExplainer):
    """Estimate the share of the score's variance that each unit explains when units are masked at random.

    A magnitude: near 0 to 1; first-order estimates of small shares may fall below 0, within their standard error.

    Args:
        n_token_perturbations: Rows of the design; ``(u + 2)`` times as many perturbed inputs, of which the distinct ones
            are run.
        tolerance: Draw rows in rounds until 1.96 standard errors of each unit are at most this share of the target's largest
            value, or the budget ends; the explanation says which (`AttributionOutput.stopped`). Shares of variance have no
            score gap to be measured by. None: the whole budget.
        sobol_indices_order: ``"first"`` (the unit alone) or ``"total"`` (with its interactions).
        sampler: ``"sobol"``, ``"halton"`` or ``"latin_hypercube"``.
        n_perturbations: Alias of ``n_token_perturbations``, the name that other methods have.

    Raises:
        OptionError: if both names are given and differ; or points of a Latin hypercube are asked for until a tolerance.

    Examples:
        >>> from interpreto import Sobol, demo
        >>> explanation = Sobol(*demo.load_classifier(), sobol_indices_order="total")("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Fel et al., NeurIPS 2021, https://arxiv.org/abs/2111.04138; Jansen, 1999,
        https://doi.org/10.1016/S0010-4655(98)00154-4.
    """

    samplers = SequenceSamplers
    sobol_indices_orders = SobolIndicesOrders

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_token_perturbations: int = 32,
        tolerance: float | None = None,
        sobol_indices_order: SobolIndicesOrders | str = SobolIndicesOrders.FIRST_ORDER,
        sampler: SequenceSamplers | str = SequenceSamplers.SOBOL,
        n_perturbations: int | None = None,
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        if n_perturbations is not None:
            if n_token_perturbations not in (32, n_perturbations):
                raise OptionError(
                    f"`n_perturbations`: got {n_perturbations!r}, and {n_token_perturbations!r} by its other name, "
                    "`n_token_perturbations`; pass one of the two."
                )
            n_token_perturbations = n_perturbations
        order = read_member(SobolIndicesOrders, sobol_indices_order, "sobol_indices_order")
        spread = read_member(SequenceSamplers, sampler, "sampler")
        if tolerance is not None and spread is SequenceSamplers.LATIN_HYPERCUBE:
            raise OptionError(
                "`sampler`: points of a Latin hypercube cannot be followed by more, as sampling until a `tolerance` does; pass "
                "sampler='sobol' or 'halton', or tolerance=None."
            )
        parts = {
            "evidence": evidence_within(tolerance),
            "perturbator": SobolTokenPerturbator(n_token_perturbations, spread),
            "aggregator": SobolAggregator(n_token_perturbations, order),
        }
        super().__init__(model, tokenizer, batch_size, replacement=replacement, signed=False, **parts, **options)
