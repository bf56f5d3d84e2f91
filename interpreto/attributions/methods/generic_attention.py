"""Generic attention explainability: attention × gradient, accumulated through the layers."""

from __future__ import annotations

from functools import partial
from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.attention.chains import check_number
from interpreto.attributions.attention.evidence import Attention
from interpreto.attributions.attention.relevancy import GenericFlow
from interpreto.attributions.attention.rules import FlowRule
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options


class GenericAttention(AttributionExplainer):
    """Accumulate the positive part of attention × gradient, averaged over heads, from the last layer to the tokens.

    Values are magnitudes without a sign: evidence against a class is clipped. They differ between classes. The identity that
    relevance begins with is left out, so a token that is only read and never attended to has 0. An encoder-decoder follows
    the method's rules of two streams. One forward pass, and one backward pass per score, in which each layer's gradient is
    used and dropped.

    Args:
        start_layer: First layer that takes part; negative numbers count from the last, and −1 is attention × gradient of the
            last layer.

    Examples:
        >>> from interpreto import GenericAttention, demo
        >>> explanation = GenericAttention(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Chefer et al., ICCV 2021, https://arxiv.org/abs/2103.15679.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        start_layer: int = 0,
        **options: Unpack[Options],
    ) -> None:
        flow = partial(GenericFlow, check_number(start_layer, "start_layer"))
        super().__init__(model, tokenizer, batch_size, evidence=Attention(FlowRule(flow)), signed=False, **options)
