"""Transition attention maps: a row of attention, passed down the layers and weighted by integrated gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.attention.chains import check_number
from interpreto.attributions.attention.evidence import Attention
from interpreto.attributions.attention.flows import TransitionFlow
from interpreto.attributions.attention.rules import FlowRule
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.validation import check_count


class TransitionAttention(AttributionExplainer):
    """Pass the last layer's attention down the layers, and weigh it by the score's integrated gradient in that layer.

    Values are magnitudes without a sign. They differ between classes through the gradients, of which the positive part counts,
    averaged over heads. Of an encoder-decoder, the source is reached through the last cross-attention.

    Args:
        n_perturbations: Points between the zero embedding and the input at which gradients are averaged.
        start_layer: First layer that takes part; negative numbers count from the last.

    Examples:
        >>> from interpreto import TransitionAttention, demo
        >>> explanation = TransitionAttention(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Yuan et al., 2021, https://openreview.net/forum?id=TT-cf6QSDaQ.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int = 20,
        start_layer: int = 0,
        **options: Unpack[Options],
    ) -> None:
        flow = partial(TransitionFlow, check_number(start_layer, "start_layer"))
        rule = FlowRule(flow, check_count(n_perturbations, "n_perturbations"))
        super().__init__(model, tokenizer, batch_size, evidence=Attention(rule), signed=False, **options)
