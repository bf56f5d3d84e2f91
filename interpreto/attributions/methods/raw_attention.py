"""Raw attention: one layer's weights."""

from __future__ import annotations

from functools import partial
from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.attention.chains import Heads, check_heads, check_number
from interpreto.attributions.attention.evidence import Attention
from interpreto.attributions.attention.flows import SingleFlow
from interpreto.attributions.attention.rules import FlowRule
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options


class RawAttention(AttributionExplainer):
    """Return how much the token that the score is read at attends to each token, in one layer.

    Values are magnitudes without a sign, and the same for all classes that are read at one place. Attention says where a
    layer looked, not what that did to the score: among the methods of this library it is the least faithful. Of an
    encoder-decoder, the values of the source are those of cross-attention.

    Args:
        layer: Number of the layer; negative numbers count from the last.
        heads: ``"mean"`` or ``"max"`` over the layer's heads, or the number of one.

    Examples:
        >>> from interpreto import RawAttention, demo
        >>> explanation = RawAttention(*demo.load_classifier(), granularity="all_tokens")("A gorgeous, moving film.")[0]
        >>> round(float(explanation.attributions.sum()), 5)
        1.0

    References:
        Clark et al., BlackboxNLP 2019, https://arxiv.org/abs/1906.04341; on its limits, Jain and Wallace, NAACL 2019,
        https://arxiv.org/abs/1902.10186.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        layer: int = -1,
        heads: Heads = "mean",
        **options: Unpack[Options],
    ) -> None:
        flow = partial(SingleFlow, check_number(layer, "layer"), check_heads(heads))
        super().__init__(model, tokenizer, batch_size, evidence=Attention(FlowRule(flow)), signed=False, **options)
