"""Bidirectional attention: what tokens perceive of each other, and what the score makes of it."""

from __future__ import annotations

from functools import partial
from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.attention.chains import check_number
from interpreto.attributions.attention.evidence import Attention
from interpreto.attributions.attention.perception import TokenFlow
from interpreto.attributions.attention.relevancy import HeadFlow
from interpreto.attributions.attention.rules import FlowRule
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.validation import check_choice, check_count


class BidirectionalAttention(AttributionExplainer):
    """Multiply what the token that is read perceives through all layers by the score's integrated gradient in the last.

    Values are magnitudes without a sign. The perception of a layer is its attention, averaged over heads and weighted by the
    length of each token's transformed value compared with the token's own (``"token"``), or averaged with heads weighted by
    the size of attention × gradient (``"head"``).

    Args:
        mode: ``"token"`` or ``"head"``.
        n_perturbations: Points between the zero embedding and the input at which gradients are averaged.
        start_layer: First layer that takes part; negative numbers count from the last.

    Examples:
        >>> from interpreto import BidirectionalAttention, demo
        >>> explanation = BidirectionalAttention(*demo.load_classifier(), mode="head")("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Chen et al., TMLR 2023, https://openreview.net/forum?id=rm0zIzlhcX.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        mode: str = "token",
        n_perturbations: int = 20,
        start_layer: int = 0,
        **options: Unpack[Options],
    ) -> None:
        check_choice(mode, "mode", ("token", "head"))
        flow = partial(TokenFlow if mode == "token" else HeadFlow, check_number(start_layer, "start_layer"))
        rule = FlowRule(flow, check_count(n_perturbations, "n_perturbations"))
        super().__init__(model, tokenizer, batch_size, evidence=Attention(rule), signed=False, **options)
