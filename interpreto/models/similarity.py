"""Similarity of embeddings: any encoder without a head, as a model that scores how alike two texts are."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError
from interpreto.models.padding import taken
from interpreto.models.sentence_transformers import read_parts
from interpreto.validation import check_choice, check_flag, shown

SIMILARITIES = ("cosine", "dot")
TINY = 1e-9


def _mean(hidden: Float[Tensor, "b l d"], mask: Float[Tensor, "b l 1"]) -> Float[Tensor, "b d"]:
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=TINY)


def _root_mean(hidden: Float[Tensor, "b l d"], mask: Float[Tensor, "b l 1"]) -> Float[Tensor, "b d"]:
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=TINY).sqrt()


def _weighted_mean(hidden: Float[Tensor, "b l d"], mask: Float[Tensor, "b l 1"]) -> Float[Tensor, "b d"]:
    return _mean(hidden, mask * torch.arange(1, hidden.shape[1] + 1, device=mask.device)[:, None])


def _first(hidden: Float[Tensor, "b l d"], mask: Float[Tensor, "b l 1"]) -> Float[Tensor, "b d"]:
    return hidden[:, 0]


def _last(hidden: Float[Tensor, "b l d"], mask: Float[Tensor, "b l 1"]) -> Float[Tensor, "b d"]:
    places = torch.arange(hidden.shape[1], device=mask.device) * (mask[..., 0] > 0)
    return hidden[torch.arange(len(hidden), device=hidden.device), places.argmax(1)]


def _max(hidden: Float[Tensor, "b l d"], mask: Float[Tensor, "b l 1"]) -> Float[Tensor, "b d"]:
    return hidden.masked_fill(mask == 0, -torch.inf).amax(1)


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "cls": _first,
    "max": _max,
    "last": _last,
    "mean_sqrt_len": _root_mean,
    "weighted_mean": _weighted_mean,
}
"""Ways to make the embedding of a text out of those of its tokens."""


class SimilarityModel(nn.Module):
    """Score how alike two texts are by an encoder: a model that every method explains, for embeddings of sentences.

    Each text of a pair is encoded by itself, and both are explained. With a ``reference``, single texts are compared with it.

    Args:
        encoder: An encoder without a head (AutoModel), or a decoder whose last hidden states are embeddings; of an
            encoder-decoder, the encoder is taken. Held as it is, not copied.
        tokenizer: Its tokenizer.
        pooling: How tokens become a text: ``"mean"``, ``"cls"`` (the first token), ``"max"``, ``"last"``,
            ``"mean_sqrt_len"`` or ``"weighted_mean"`` (by position).
        similarity: ``"cosine"`` or ``"dot"``.
        normalize: Divide embeddings by their length; plays a part for ``"dot"`` alone.
        reference: What single texts are compared with: a text, or an embedding ``(d,)``.
        layers: Layers after the pooling, such as the dense layers of sentence-transformers.

    Examples:
        >>> from interpreto import Occlusion, SimilarityModel, demo
        >>> classifier, tokenizer = demo.load_classifier()
        >>> model = SimilarityModel(classifier.base_model, tokenizer)
        >>> explanation = Occlusion(model, tokenizer)(("A gorgeous film.", "A lovely movie."))[0]
        >>> explanation.model_task, explanation.target_labels, len(explanation.elements)
        ('similarity', ['similarity'], 8)

    References:
        Reimers and Gurevych, EMNLP 2019, https://arxiv.org/abs/1908.10084.
    """

    reference_embedding: Tensor | None
    encodes_apart = "Give it a `reference`, and explain one text"  # each text of a pair has a pass of its own

    def __init__(
        self,
        encoder: Any,
        tokenizer: Any,
        *,
        pooling: str = "mean",
        similarity: str = "cosine",
        normalize: bool = False,
        reference: Any = None,
        layers: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        encoder = _encoder_of(encoder)
        self.encoder, self.layers, self.tokenizer = encoder, nn.ModuleList(layers), tokenizer
        self.pooling, self.similarity = (
            check_choice(pooling, "pooling", tuple(POOLINGS)),
            check_choice(similarity, "similarity", SIMILARITIES),
        )
        self.normalize, self.takes = check_flag(normalize, "normalize"), set(inspect.signature(encoder.forward).parameters)
        self.reference = reference if isinstance(reference, str) else None
        embedding = None if reference is None or isinstance(reference, str) else _embedding(reference)
        self.register_buffer("reference_embedding", embedding, persistent=False)
        self.config = _config_of(encoder)
        self.eval()

    @staticmethod
    def from_folder(folder: str | os.PathLike[str], **options: Any) -> SimilarityModel:
        """Return the model that a folder of sentence-transformers holds, with its tokenizer; that package is not needed.

        Args:
            folder: A folder with ``modules.json``; without one, an encoder, whose tokens are averaged.
            **options: Those of the class; they win over what the folder says.

        Raises:
            FileError: the folder is not there, or a file in it cannot be read.
            ModelError: it has a module of another kind than an encoder, a pooling, a dense layer or a normalization.
        """
        return SimilarityModel(**read_parts(folder) | options)

    @property
    def compares_alone(self) -> bool:
        """Return True if single texts can be compared with an embedding."""
        return self.reference_embedding is not None

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's embedding layer."""
        encoder: Any = self.encoder
        return encoder.get_input_embeddings()

    def forward(
        self,
        input_ids: Int[Tensor, "b l"],
        attention_mask: Int[Tensor, "b l"],
        text_index: Int[Tensor, "b l"] | None = None,
        token_type_ids: Int[Tensor, "b l"] | None = None,
    ) -> SimpleNamespace:
        """Return the similarities as logits ``(b, 1)``.

        Args:
            input_ids: Ids of the first text, then of the second, each with its special tokens; padding.
            attention_mask: 1 for tokens that are seen.
            text_index: 1 for tokens of the first text, 2 for those of the second; None: there is one text.
            token_type_ids: As the tokenizer makes them.
        """
        pad = self.config.pad_token_id
        inside = attention_mask.bool() if pad is None else input_ids != pad
        index = torch.ones_like(input_ids) if text_index is None else text_index
        embedded = self.get_input_embeddings()(input_ids) if "inputs_embeds" in self.takes else None
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        ends = [((index == side) & inside).sum(1) for side in (1, 2)]
        first = self._encode(given, embedded, torch.zeros_like(ends[0]), ends[0])
        known, paired = self.reference_embedding, ends[1] > 0
        if known is None and not bool(paired.all()):
            raise ModelError("`model`: got one text; pass a pair, or give the model a `reference`.")
        second = first if known is None else known.to(first).expand_as(first)
        if bool(paired.any()):
            begins = ends[0] - (~paired).long()  # a token of the first text, where there is no second; it is not read
            encoded = self._encode(given, embedded, begins, ends[0] + ends[1])
            second = torch.where(paired[:, None], encoded, second)
        return SimpleNamespace(logits=self._compared(first, second)[:, None])

    def embed(self, text: str) -> Float[Tensor, " d"]:
        """Return the embedding of a text, differentiable in the model's weights."""
        encoded = self.tokenizer(text, return_tensors="pt")
        device = next(self.encoder.parameters()).device
        names = ("input_ids", "attention_mask", "token_type_ids")
        given = {name: encoded[name].to(device) for name in names if name in encoded}
        length = torch.tensor([given["input_ids"].shape[1]], device=device)
        return self._encode(given, None, torch.zeros_like(length), length)[0]

    def _encode(
        self, given: dict[str, Any], embedded: Tensor | None, start: Int[Tensor, " b"], end: Int[Tensor, " b"]
    ) -> Float[Tensor, "b d"]:
        """Return the embeddings of the tokens from ``start`` to ``end`` of each row, as a text of its own."""
        part = taken(start.cpu(), end.cpu())
        parts = {name: part(value, 0) for name, value in given.items() if value is not None and name in self.takes}
        seen = part(given["attention_mask"], 0)
        if embedded is not None:
            parts["inputs_embeds"] = part(embedded, 0)
            del parts["input_ids"]
        output = self.encoder(**parts)
        hidden = output[0] if isinstance(output, (tuple, list)) else output.last_hidden_state
        pooled = POOLINGS[self.pooling](hidden, seen[..., None].to(hidden))
        for layer in self.layers:
            pooled = layer(pooled)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.normalize else pooled

    def _compared(self, first: Float[Tensor, "b d"], second: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        if self.similarity == "dot":
            return (first * second).sum(-1)
        return torch.nn.functional.cosine_similarity(first, second, dim=-1)


def _encoder_of(model: Any) -> nn.Module:
    """Return the encoder of a model: itself, or the part of an encoder-decoder that reads the text."""
    if not isinstance(model, nn.Module) or not callable(getattr(model, "get_input_embeddings", None)):
        raise ModelError(f"`encoder`: got {type(model).__name__}; pass a Hugging Face encoder (of AutoModel).")
    whole: Any = model
    parameters = inspect.signature(model.forward).parameters
    return whole.get_encoder() if "decoder_input_ids" in parameters else model


def _config_of(encoder: nn.Module) -> Any:
    """Return a config of a regression with one output, next to the encoder's own facts."""
    config = copy.deepcopy(getattr(encoder, "config", SimpleNamespace(pad_token_id=None)))
    config.id2label, config.problem_type, config.is_encoder_decoder = {0: "similarity"}, "regression", False
    if not hasattr(config, "pad_token_id"):
        config.pad_token_id = None
    return config


def _embedding(value: Any) -> Float[Tensor, " d"]:
    try:
        found = torch.as_tensor(value, dtype=torch.float32).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"`reference`: got {shown(value)}; pass a text or an embedding (d,).") from error
    if found.ndim != 1:
        raise OptionError(f"`reference`: got shape {tuple(found.shape)}; pass a text or one embedding (d,).")
    return found
