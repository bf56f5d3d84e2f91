"""The attention of one text, layer by layer and head by head, next to an explanation of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.output import AttributionOutput
from interpreto.models.attention_maps import attention_maps
from interpreto.models.protocol import require
from interpreto.renderable import Renderable


@dataclass(frozen=True, eq=False)
class LayerView:
    """The attention of one layer.

    Attributes:
        name: Its kind and number, such as ``"layer 1"``.
        weights: Share of each key in each query, per head.
        queries: Tokens that attend.
        keys: Tokens that are attended to.
    """

    name: str
    weights: Float[Tensor, "h q k"]
    queries: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def focus(self) -> Float[Tensor, " h"]:
        """Return the largest share of a key, averaged over queries, of each head: 1 where each looks at one token alone."""
        return self.weights.amax(-1).mean(-1)


@dataclass(frozen=True, eq=False)
class AttentionView(Renderable):
    """The attention of all layers and heads for one text, and an explanation of the same text.

    Attributes:
        layers: From the first layer up; of an encoder-decoder, the encoder's first.
        explanation: What a method says of the text, for its first target.
    """

    layers: tuple[LayerView, ...]
    explanation: AttributionOutput

    _subject: ClassVar[str] = "attention"


def attention_view(explainer: AttributionExplainer, text: Any, target: Any = None) -> AttentionView:
    """Read the attention of every layer and head for one text, and explain it.

    All maps are kept: layers × heads × length² numbers.

    Args:
        explainer: Any method; its model's attention is read.
        text: One input.
        target: What is explained; None: what the model predicts.

    Raises:
        ModelError: the model has no attention that can be read.

    Examples:
        >>> from interpreto import GenericAttention, attention_view, demo
        >>> view = attention_view(GenericAttention(*demo.load_classifier()), "A gorgeous, moving film.")
        >>> [(layer.name, len(layer.weights)) for layer in view.layers]
        [('layer 1', 4), ('layer 2', 4), ('layer 3', 4)]
    """
    require(explainer.model, "attention", "attention_view")
    explanation = explainer(text, target)[0]
    sample = explanation.sample
    names = tuple(str(name) for name in explainer.tokenizer.convert_ids_to_tokens(sample.input_ids.tolist()))
    read, written = (names[: sample.source], names[sample.source :]) if sample.source else (names, names)
    sides = {"self": (written, written), "encoder": (read, read), "cross": (written, read)}
    kinds = {"self": "layer", "encoder": "encoder layer", "cross": "cross-attention"}
    counts = dict.fromkeys(kinds, 0)
    layers = []
    for each in attention_maps(explainer.model, sample):
        counts[each.kind] += 1
        queries, keys = sides[each.kind]
        layers.append(LayerView(f"{kinds[each.kind]} {counts[each.kind]}", each.weights[0].float().cpu(), queries, keys))
    return AttentionView(tuple(layers), explanation)
