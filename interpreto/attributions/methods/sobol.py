"""Sobol indices: shares of the score's variance."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import SobolAggregator, SobolIndicesOrders
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import SequenceSamplers, SobolTokenPerturbator
from interpreto.inputs.units import read_member


class Sobol(AttributionExplainer):
    """Share of the score's variance, under random removal of units, that each unit explains.

    A magnitude: near 0 to 1; first-order estimates of small shares may fall below 0, within their standard error.

    Args:
        model: See `AttributionExplainer`.
        tokenizer: See `AttributionExplainer`.
        batch_size: See `AttributionExplainer`.
        n_token_perturbations: Rows of the design; ``(u + 2)`` times as many copies, of which the distinct ones are run.
        sobol_indices_order: ``"first"`` (the unit alone) or ``"total"`` (with its interactions).
        sampler: ``"sobol"``, ``"halton"`` or ``"latin_hypercube"``.
        replacement: What stands for a removed unit; see `Replacement`.
        **options: Shared by every method; see `Options`.

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
        tokenizer: Any,
        batch_size: int | None = None,
        *,
        n_token_perturbations: int = 32,
        sobol_indices_order: SobolIndicesOrders | str = SobolIndicesOrders.FIRST_ORDER,
        sampler: SequenceSamplers | str = SequenceSamplers.SOBOL,
        replacement: str | int = "auto",
        **options: Unpack[Options],
    ) -> None:
        order = read_member(SobolIndicesOrders, sobol_indices_order, "sobol_indices_order")
        spread = read_member(SequenceSamplers, sampler, "sampler")
        parts = {
            "perturbator": SobolTokenPerturbator(n_token_perturbations, spread),
            "aggregator": SobolAggregator(n_token_perturbations, order),
        }
        super().__init__(model, tokenizer, batch_size, replacement=replacement, signed=False, **parts, **options)
