"""Value zeroing: how far each token's hidden state turns without the value of another."""

from __future__ import annotations

from functools import partial
from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.attention.chains import check_number
from interpreto.attributions.attention.evidence import Attention
from interpreto.attributions.attention.flows import ProductFlow, SingleFlow
from interpreto.attributions.attention.rules import ZeroingRule
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.models.attention import AttentionMap
from interpreto.validation import check_flag


class ValueZeroing(AttributionExplainer):
    """Measure how far the output of a layer turns, at the token that is read, if the value of one token were zero.

    Each layer is run again for each token, without the layers around it, so that attention, values, the residual connection
    and the multilayer perceptron all count. One minus the cosine of both outputs, made to sum to 1 over tokens, is a share;
    the shares of all layers are multiplied as in rollout. Values have no sign and are the same for all classes. Of an
    encoder-decoder, the source is reached through the last cross-attention.

    Args:
        rollout: Multiply all layers; with False, the shares of the last layer alone are returned.
        start_layer: First layer that takes part in the product; negative numbers count from the last.

    Examples:
        >>> from interpreto import ValueZeroing, demo
        >>> explanation = ValueZeroing(*demo.load_classifier(), granularity="all_tokens")("A gorgeous, moving film.")[0]
        >>> round(float(explanation.attributions.sum()), 5)
        1.0

    References:
        Mohebbi et al., EACL 2023, https://arxiv.org/abs/2301.12971.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        rollout: bool = True,
        start_layer: int = 0,
        **options: Unpack[Options],
    ) -> None:
        start = check_number(start_layer, "start_layer")
        flow = partial(ProductFlow, only, only, start) if check_flag(rollout, "rollout") else partial(SingleFlow, -1, "mean")
        super().__init__(model, tokenizer, batch_size, evidence=Attention(ZeroingRule(flow)), signed=False, **options)


def only(layer: AttentionMap) -> Any:
    """Return the one matrix of a layer."""
    return layer.weights[:, 0]
