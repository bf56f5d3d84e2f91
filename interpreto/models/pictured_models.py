"""Models that read an image and a text, as models of one row of ids: the cells of the image, then the tokens of the text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.inputs.pictures import KIND_BITS, PLACE_BITS, Picture, parts_of, picture_of
from interpreto.models.contexts import embeddings_given
from interpreto.models.devices import device_of
from interpreto.models.embedding_layers import embedding_layer
from interpreto.models.image_text import (
    check_pairs,
    compared,
    fixed_text_length,
    image_embeddings,
    text_embeddings,
)
from interpreto.models.images import USUAL, Cells, dtype_of, pixels_of, rows_of_size
from interpreto.models.logits import promoted

FIRST_CELL = 1 << (PLACE_BITS + KIND_BITS)
"""Ids from here on are cells of images; those below are tokens."""


def are_cells(ids: Int[Tensor, "*b"]) -> Bool[Tensor, "*b"]:
    """Return True for ids of cells of images."""
    return ids >= FIRST_CELL


class Vectors(nn.Module):
    """The vectors of ids: pixels of cells, embeddings of tokens, filled with zeros to one width.

    Args:
        model: The user's model, which tells the device.
        layer: Its embedding layer of tokens.
    """

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self._held = model, layer  # not parts of this module
        self.cells = Cells(model)

    @property
    def layer(self) -> nn.Module:
        """Return the embedding layer of tokens."""
        return self._held[1]

    def tokens(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        """Return the embeddings of tokens."""
        return promoted(self.layer(ids.to(device_of(self.layer) or ids.device)))

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Return the vectors of ids."""
        seen = are_cells(ids)
        parts = [(seen, self.cells(ids[seen])) if bool(seen.any()) else None, (~seen, self.tokens(ids[~seen]))]
        found = [part for part in parts if part is not None]
        out = found[0][1].new_zeros(*ids.shape, max(values.shape[-1] for _, values in found))
        for where, values in found:
            out[where.to(out.device)] = nn.functional.pad(values, (0, out.shape[-1] - values.shape[-1])).to(out)
        return out


@dataclass(frozen=True, eq=False)
class Asked:
    """Requests about rows, next to their images and tokens.

    Attributes:
        count: Number of the cells that rows begin with.
        kept: Tokens whose logits are read, counted behind the cells; None: all.
        of_tokens: Other inputs of the model, with a value per token.
    """

    count: int
    kept: Int[Tensor, " k"] | None
    of_tokens: dict[str, Tensor]


class PicturedModel(nn.Module, ABC):
    """Read ids of cells and of tokens, and run a model on the pixels and the embeddings.

    Args:
        model: The user's model. Held as it is.
        layer: Its embedding layer of tokens.
        config: What the engine asks of a config.

    Attributes:
        fixed_length: Rows of different lengths are never padded to share a batch.
    """

    fixed_length = True

    def __init__(self, model: Any, layer: nn.Module, config: SimpleNamespace) -> None:
        super().__init__()
        self.model, self.vectors, self.config = model, Vectors(model, layer), config
        self.training = self.vectors.training = self.vectors.cells.training = False  # of these alone

    @property
    def explained(self) -> nn.Module:
        """Return the user's model."""
        return self.model

    @property
    def rows_a_pass(self) -> int | None:
        """Return how many rows a forward pass holds, by the size of the model's images; None: by the number of tokens."""
        return None if self.config.image_size is None else rows_of_size(self.config.image_size)

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of cells and tokens."""
        return self.vectors

    def forward(
        self,
        input_ids: Int[Tensor, "b l"],
        attention_mask: Tensor | None = None,
        logits_to_keep: Int[Tensor, " k"] | None = None,
        **of_tokens: Tensor,
    ) -> SimpleNamespace:
        """Return the logits of rows of cells and tokens; of a model that writes, at some tokens or at all, zero at cells."""
        vectors = self.vectors(input_ids)
        found, order = [], []
        for pictures, count, rows in grouped(input_ids):
            whole = len(rows) == len(input_ids)
            own, ids = (vectors, input_ids) if whole else (vectors[rows], input_ids[rows])
            tokens = ids[:, count:]
            tokens = torch.where(are_cells(tokens), 0, tokens)  # where a check swaps ids, of which none is then read
            width = self.vectors.tokens(tokens[:1, :1]).shape[-1]
            parts = {name: (value if whole else value[rows])[:, count:] for name, value in of_tokens.items()}
            pixels = pixels_of(pictures, own[:, :count]).to(self.dtype)
            kept = None if logits_to_keep is None else logits_to_keep - count
            found.append(self.logits(pictures, pixels, tokens, own[:, count:, :width], Asked(count, kept, parts)))
            order += rows
        if len(found) == 1:
            return SimpleNamespace(logits=found[0])
        return SimpleNamespace(logits=torch.cat(found)[torch.tensor(order, device=vectors.device).argsort()])

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the model's numbers."""
        return dtype_of(self.model)

    @abstractmethod
    def logits(
        self,
        pictures: list[Picture],
        pixels: Float[Tensor, "b c h w"],
        ids: Int[Tensor, "b l"],
        embedded: Float[Tensor, "b l d"],
        asked: Asked,
    ) -> Float[Tensor, "b ..."]:
        """Return the logits of images and tokens, whose embeddings are given."""


def grouped(ids: Int[Tensor, "b l"]) -> Iterator[tuple[list[Picture], int, list[int]]]:
    """Yield the pictures of rows that begin with cells of images of one size, the number of these cells, and the rows."""
    counts, numbers = are_cells(ids).sum(1).tolist(), parts_of(ids.amax(1).cpu())[0].tolist()
    pictures = [picture_of(number) for number in numbers]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, (count, picture) in enumerate(zip(counts, pictures, strict=True)):
        shape = picture.pixels.shape if picture.feed is None else picture.feed.shape
        groups.setdefault((count, *shape), []).append(row)
    for (count, *_), rows in groups.items():
        yield [pictures[row] for row in rows], count, rows


class ImageTextSimilarity(PicturedModel):
    """Score how well an image and a text match, by a model that compares them (CLIP, SigLIP): its ``logits_per_image``.

    Args:
        model: Compares images with texts. Held as it is.
        tokenizer: Its tokenizer.
    """

    encodes_apart = "Make a ZeroShotClassifier(model, processor, labels) of it, and explain the image"

    def __init__(self, model: Any, tokenizer: Any) -> None:
        layer = embedding_layer(check_pairs(model).text_model)  # pyright: ignore[reportArgumentType]
        assert layer is not None, "a text model embeds its tokens"
        vision, text = getattr(model.config, "vision_config", model.config), model.config.text_config
        config = SimpleNamespace(
            id2label={0: "similarity"},
            problem_type="regression",
            name_or_path=getattr(model, "name_or_path", ""),
            image_size=getattr(vision, "image_size", None) or USUAL,
            max_position_embeddings=getattr(text, "max_position_embeddings", None),
            pad_token_id=None,
            is_encoder_decoder=False,
            **{f"{name}_token_id": getattr(text, f"{name}_token_id", None) for name in ("bos", "eos")},
        )
        super().__init__(model, layer, config)
        self._length, self._filler = fixed_text_length(model), tokenizer.pad_token_id or 0

    def logits(
        self,
        pictures: list[Picture],
        pixels: Float[Tensor, "b c h w"],
        ids: Int[Tensor, "b l"],
        embedded: Float[Tensor, "b l d"],
        asked: Asked,
    ) -> Float[Tensor, "b 1"]:
        """Return the score of each image with its text."""
        images = once(lambda rows: image_embeddings(self.model, pixels[rows]), pixels)
        texts = once(lambda rows: self._embedded(ids[rows], embedded[rows]), embedded)
        return compared(self.model, images, texts, paired=True)

    def _embedded(self, ids: Int[Tensor, "b l"], embedded: Float[Tensor, "b l d"]) -> Float[Tensor, "b e"]:
        """Return the embeddings of texts, padded as in training."""
        given = ids if self._length is None else nn.functional.pad(ids, (0, self._length - ids.shape[1]), value=self._filler)
        with embeddings_given(self.vectors.layer, ids, embedded):
            return text_embeddings(self.model, {"input_ids": given})


def once(encode: Callable[[Any], Float[Tensor, "b d"]], values: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
    """Return what an encoder makes of rows; those that equal the first are encoded with it, where no gradient is asked for.

    Perturbed inputs differ from each other in the image or in the text, so that one side of a batch is often the same.
    """
    same = (values == values[:1]).flatten(1).all(1)
    if torch.is_grad_enabled() or int(same.sum()) < 2:
        return encode(slice(None))
    kept = (~same).nonzero()[:, 0]
    found = encode(torch.cat([kept.new_zeros(1), kept]))
    places = torch.zeros(len(values), dtype=torch.long, device=values.device)
    places[kept] = torch.arange(1, len(found), device=values.device)
    return found[places]
