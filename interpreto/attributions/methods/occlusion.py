"""Occlusion: the score lost without a unit."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import OcclusionAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import OcclusionPerturbator
from interpreto.models.alternatives import ReplacedBy


class Occlusion(AttributionExplainer):
    """Compute the score lost when one unit is masked: ``f(x) − f(x without the unit)``, on the scale of the score.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> explanation = Occlusion(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> explanation.elements
        ['A', 'gorgeous', ',', 'moving', 'film', '.']

    References:
        Zeiler and Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901; for text, Li et al., 2016,
        https://arxiv.org/abs/1612.08220.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        parts = {"perturbator": OcclusionPerturbator(), "aggregator": OcclusionAggregator()}
        super().__init__(model, tokenizer, batch_size, replacement=replacement, **parts, **options)
