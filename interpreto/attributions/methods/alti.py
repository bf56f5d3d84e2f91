"""ALTI: layers taken apart into the contributions of their tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.attention.alti import AltiFlow, LogitFlow
from interpreto.attributions.attention.chains import check_number
from interpreto.attributions.attention.evidence import Attention
from interpreto.attributions.attention.rules import DirectedRule, FlowRule
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.errors import OptionError
from interpreto.validation import check_flag


class Alti(AttributionExplainer):
    """Measure what each token adds to each token's hidden state in every layer, and multiply these shares through the layers.

    A token's part of a layer is its attention, value and projection, and for the token itself the residual connection, with
    normalizations kept fixed; its share is how much closer, in the L1 norm, it brings the hidden state. Values are shares
    without a sign, the same for all classes: over all tokens, special ones included, they sum to 1.

    With ``logits=True`` (ALTI-Logit), what tokens add to the score through the attention of each layer is taken to the
    tokens by the shares of the layers below: values with a sign, on the scale of the logit. With ``inference_mode="logits"``
    they and what the multilayer perceptrons and biases add sum to the logit. Of models that add layers up to the logit, as
    language models do.

    Args:
        logits: Explain the score, with a sign.
        start_layer: First layer that takes part; negative numbers count from the last. Not with ``logits``.

    Examples:
        >>> from interpreto import Alti, demo
        >>> explanation = Alti(*demo.load_classifier(), granularity="all_tokens")("A gorgeous, moving film.")[0]
        >>> round(float(explanation.attributions.sum()), 5)
        1.0

    References:
        Ferrando et al., EMNLP 2022, https://arxiv.org/abs/2203.04212; ALTI-Logit: Ferrando et al., ACL 2023,
        https://arxiv.org/abs/2305.12535.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        logits: bool = False,
        start_layer: int = 0,
        **options: Unpack[Options],
    ) -> None:
        start = check_number(start_layer, "start_layer")
        if check_flag(logits, "logits") and start:
            raise OptionError(f"`start_layer`: got {start} with logits=True, where all layers add up to the logit; leave it 0.")
        rule = DirectedRule(LogitFlow) if logits else FlowRule(partial(AltiFlow, start))
        super().__init__(model, tokenizer, batch_size, evidence=Attention(rule), signed=logits, **options)
