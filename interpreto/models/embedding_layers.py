"""The layers that embed a model's tokens: where they are, what they return, and contexts that change it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.models.batch import Batch
from interpreto.models.contexts import echo_changed, embeddings_given, embeddings_replaced, first_of
from interpreto.models.devices import device_of
from interpreto.models.logits import promoted
from interpreto.models.padding import Part, streams


class EmbeddingLayers:
    """Find the embedding layers of a model, and change what they return.

    Args:
        model: The model.
        encodes: An encoder and a decoder read different tokens.
        echoes: The decoder reads the text again, shifted by one token.
    """

    def __init__(self, model: nn.Module, encodes: bool, echoes: bool) -> None:
        self.model, self.encodes, self.echoes = model, encodes, echoes
        self._named: tuple[nn.Module, nn.Module] | None = None  # the layer that the model names, and the one that it calls

    @property
    def first(self) -> nn.Module:
        """Return the embedding layer; of an encoder-decoder, the encoder's."""
        if self.encodes:
            return self._required(self._part("encoder"))
        layer = self._required(self.model)
        if self._named is None or self._named[0] is not layer:
            self._named = layer, self._called(layer)
        return self._named[1]

    @property
    def decoder(self) -> nn.Module:
        """Return the embedding layer of the decoder of an encoder-decoder."""
        return self._required(self._part("decoder"))

    @property
    def echo(self) -> nn.Module | None:
        """Return the layer that embeds the text again; None if its table is not the encoder's."""
        if callable(own := getattr(self.model, "get_echo_embeddings", None)):
            return own()  # type: ignore[no-any-return]  # a model of ours that holds another
        if not self.echoes:
            return None
        first, second = (embedding_layer(self._part(stack)) for stack in ("encoder", "decoder"))
        tables = [None if layer is None else next(layer.parameters(), None) for layer in (first, second)]
        return second if tables[0] is not None and tables[0] is tables[1] else None

    @property
    def vocabulary(self) -> int | None:
        """Return the size of the embedding table, which may differ from the tokenizer's; None: there is no table."""
        layer = embedding_layer(self.model)
        size = getattr(layer, "num_embeddings", None)
        if size is None and layer is not None:
            size = next((len(p) for p in layer.parameters() if p.ndim == 2), None)
        return size

    def embed(self, ids: Int[Tensor, " l"], source: int = 0) -> Float[Tensor, "l d"]:
        """Return the embeddings ``(l, d)`` of one row; the encoder alone reads the first ``source`` tokens."""
        device = device_of_inputs(self.model)
        with torch.no_grad():
            if not self.encodes or not source:
                return promoted(first_of(self.first(ids[None].to(device)))[0])
            parts = zip((self.first, self.decoder), (ids[:source], ids[source:]), strict=True)
            return torch.cat([promoted(first_of(layer(part[None].to(device)))[0]) for layer, part in parts if len(part)])

    def given(self, batch: Batch, embeddings: Float[Tensor, "b l d"], pad_id: int) -> ExitStack:
        """Context manager in which the layers return ``embeddings`` for the batch; the model still reads its ids."""
        stack, echo = ExitStack(), self.echo
        for layer, ids, part, others in self._streams(batch, pad_id):
            stack.enter_context(embeddings_given(layer, ids, part(embeddings, 0), others))
        if batch.sources is None and echo is not None:
            stack.enter_context(echo_changed(echo, batch.ids, embeddings[:, :-1].to))
        return stack

    def replacing(self, batch: Batch, where: Bool[Tensor, "b l"], vector: Float[Tensor, " d"], pad_id: int) -> ExitStack:
        """Context manager in which the layers return ``vector`` at some tokens of the batch."""
        stack, echo = ExitStack(), self.echo
        for layer, ids, part, others in self._streams(batch, pad_id):
            stack.enter_context(embeddings_replaced(layer, ids, part(where, False), vector, others))
        if batch.sources is None and echo is not None:
            masked = where[:, :-1, None].to(device_of_inputs(self.model))
            stack.enter_context(echo_changed(echo, batch.ids, lambda read: torch.where(masked, vector.to(read), read)))
        return stack

    def _streams(self, batch: Batch, pad_id: int) -> list[tuple[nn.Module, Tensor, Part, list[Tensor]]]:
        """Return each layer, the ids that it reads, a function that cuts a row's values to them, and other ids."""
        if batch.sources is None:
            others = list(batch.extras.values())  # XLM embeds `token_type_ids` in the same table
            return [(self.first, batch.ids, lambda values, _: values, others)]
        parts = streams(batch.sources, batch.lengths)
        read, written = (part(batch.ids, pad_id) for part in parts)
        return [(self.first, read, parts[0], [written]), (self.decoder, written, parts[1], [read])]

    def _called(self, layer: nn.Module) -> nn.Module:
        """Return the layer that an encoder calls in place of a layer on the same table, as in T5's classifiers of tokens."""
        try:
            own = embedding_layer(self._part("encoder"))
        except (AttributeError, NotImplementedError):
            return layer
        tables = [None if part is None else next(part.parameters(), None) for part in (layer, own)]
        return layer if own is None or tables[0] is not tables[1] else own

    def _part(self, name: str) -> nn.Module:
        inner = getattr(self.model, "base_model", self.model)  # classifiers' own had none before transformers 5
        getter: Any = getattr(self.model, f"get_{name}", None) or getattr(inner, f"get_{name}")
        return getter()

    def _required(self, part: nn.Module) -> nn.Module:
        layer = embedding_layer(part)
        if layer is None:
            raise ModelError(
                f"`model`: {type(self.model).__name__} has no embedding layer (get_input_embeddings); gradients and embedding "
                "replacements need one. Explain it by a mask method with a token as `replacement`."
            )
        return layer


def embedding_layer(model: nn.Module) -> nn.Module | None:
    """Return the embedding layer that a model names; None: there is none."""
    getter = getattr(model, "get_input_embeddings", None)
    try:
        layer = getter() if getter is not None else None
    except NotImplementedError:
        return None
    return layer if isinstance(layer, nn.Module) else None


def device_of_inputs(model: nn.Module) -> torch.device:
    """Return the device of the embedding layer, which the ids must be on."""
    for module in (embedding_layer(model), model):
        if module is not None and (found := device_of(module)) is not None:
            return found
    return torch.device("cpu")
