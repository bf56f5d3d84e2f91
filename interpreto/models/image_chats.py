"""Models that write about images (Llava, Idefics, Qwen-VL, PaliGemma, Gemma 3): cells of the image come before the prompt."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.inputs.pictured_chats import PER_TOKEN, PROMPT
from interpreto.inputs.pictures import Picture
from interpreto.models.contexts import embeddings_given
from interpreto.models.embedding_layers import embedding_layer
from interpreto.models.logits import per_token, read_logits
from interpreto.models.pictured_models import Asked, PicturedModel, grouped

IMAGE_IDS = ("image_token_id", "image_token_index")
"""Names under which a config has the placeholder of an image."""
SUFFIX_IS_ONE = ("paligemma", "colpali")
"""Kinds of models whose ``token_type_ids`` are 1 for what is written, which alone is read from left to right."""


def writes_about_images(model: Any) -> bool:
    """Return True for a model that writes a text about images, whose places in the prompt are tokens."""
    if not isinstance(model, nn.Module) or not callable(can := getattr(model, "can_generate", None)) or not can():
        return False
    return bool(image_ids(model)) and {"pixel_values", "input_ids"} <= inspect.signature(model.forward).parameters.keys()


def image_ids(model: Any) -> list[int]:
    """Return the ids of the tokens in whose places a model puts an image."""
    config = getattr(model, "config", None)
    found = [getattr(config, name, None) for name in IMAGE_IDS]
    return sorted({value for value in found if isinstance(value, int)})


class ImageTextWriter(PicturedModel):
    """Run a model that writes about images on cells and tokens.

    The embeddings of the prompt's tokens are given at its embedding layer, and the image's numbers as its ``pixel_values``; it
    puts what it sees in the image into the places of the placeholders by itself.

    Args:
        model: The user's model. Held as it is.

    Raises:
        ModelError: it has an encoder and a decoder of texts, or no embedding layer.
    """

    attention_obstacle = (
        "sees the image through a stack of its own, so that no layer attends to both its pixels and the text; use a method "
        "that masks units (Occlusion, KernelShap) or reads gradients (IntegratedGradients)."
    )
    prefix_obstacle = "what a model sees in the image is computed anew for each perturbed input"

    def __init__(self, model: Any) -> None:
        if getattr(model.config, "is_encoder_decoder", False):
            raise ModelError(
                f"`model`: {type(model).__name__} has an encoder and a decoder of texts; explained are models that write about "
                "images with one stack, as Llava, Idefics, Qwen-VL, PaliGemma and Gemma 3 do."
            )
        layer = embedding_layer(model)
        if layer is None:
            raise ModelError(f"`model`: {type(model).__name__} has no embedding layer (get_input_embeddings) of its tokens.")
        text = model.config.get_text_config()
        config = SimpleNamespace(
            name_or_path=getattr(model, "name_or_path", ""),
            image_size=None,
            max_position_embeddings=getattr(text, "max_position_embeddings", None),
            pad_token_id=None,
            is_encoder_decoder=False,
            **{f"{name}_token_id": getattr(text, f"{name}_token_id", None) for name in ("bos", "eos")},
        )
        super().__init__(model, layer, config)
        parameters = inspect.signature(model.forward).parameters
        self._keeps = next((name for name in ("logits_to_keep", "num_logits_to_keep") if name in parameters), None)
        self._marks_suffix = str(getattr(model.config, "model_type", "")).startswith(SUFFIX_IS_ONE)

    @property
    def generation_config(self) -> Any:
        """Return the options with which the model writes."""
        return getattr(self.model, "generation_config", None)

    def can_generate(self) -> bool:
        """Return True."""
        return True

    def logits(
        self,
        pictures: list[Picture],
        pixels: Float[Tensor, "b c h w"],
        ids: Int[Tensor, "b l"],
        embedded: Float[Tensor, "b l d"],
        asked: Asked,
    ) -> Float[Tensor, "b k v"]:
        """Return the logits of tokens behind images."""
        given = {**of_images(pictures, pixels), **self._of_tokens(asked.of_tokens)}
        given |= {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
        kept = asked.kept
        if kept is not None and self._keeps == "logits_to_keep":
            given["logits_to_keep"] = kept
        with embeddings_given(self.vectors.layer, ids, embedded):
            found = per_token(read_logits(self.model(**given)))
        if kept is None:
            return nn.functional.pad(found, (0, 0, asked.count, 0))
        return found if found.shape[1] == len(kept) else found[:, kept]

    def generate(self, input_ids: Int[Tensor, "b l"], attention_mask: Tensor, **options: Any) -> Int[Tensor, "b m"]:
        """Return rows of cells and tokens with what the model writes behind them, filled up at the end."""
        rows: list[Tensor] = [input_ids[0]] * len(input_ids)
        for pictures, count, places in grouped(input_ids):
            ids = input_ids[places]
            pixels = torch.cat([picture.pixels[None] for picture in pictures]).to(self.dtype).to(ids.device)
            tokens = ids[:, count:]
            extras = {name: value.expand(len(ids), -1).to(ids.device) for name, value in self._of_prompt(tokens).items()}
            written: Any = self.model.generate(
                input_ids=tokens, attention_mask=torch.ones_like(tokens), **of_images(pictures, pixels), **extras, **options
            )
            found = written if isinstance(written, Tensor) else written.sequences
            for place, cells, row in zip(places, ids[:, :count], found, strict=False):
                rows[place] = torch.cat([cells, row.to(cells)])
        filler = options.get("pad_token_id") or 0
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=float(filler))

    def _of_prompt(self, tokens: Int[Tensor, "b l"]) -> dict[str, Tensor]:
        """Return the inputs of each token of a prompt, by what its placeholders are."""
        seen = torch.isin(tokens, torch.tensor(image_ids(self.model), device=tokens.device)).long()
        takes = inspect.signature(self.model.forward).parameters
        found = {name: seen for name in PER_TOKEN if name in takes}
        if self._marks_suffix and "token_type_ids" in found:
            found["token_type_ids"] = torch.zeros_like(seen)
        return found

    def _of_tokens(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs of each token as the model reads them."""
        found = {name: value for name, value in given.items() if name != PROMPT}
        if self._marks_suffix and "token_type_ids" in found:
            places = torch.arange(found["token_type_ids"].shape[1], device=given[PROMPT].device)
            found["token_type_ids"] = (places >= given[PROMPT]).long()
        return found


def of_images(pictures: list[Picture], pixels: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
    """Return what a model is given of images whose numbers form tensors of one shape.

    Numbers of an image that are exactly zero are made the least that there is: some models (Idefics) take a tile of zeros for
    padding, and leave it out.
    """
    values = []
    for picture, numbers in zip(pictures, pixels, strict=True):
        assert picture.feed is not None
        inside = (picture.feed.regions >= 0).to(numbers.device)
        least = torch.finfo(numbers.dtype).tiny
        values.append((numbers + least * ((numbers == 0) & inside)).reshape(picture.feed.shape))
    found = {"pixel_values": torch.cat(values)}
    first = pictures[0].feed
    assert first is not None
    for name in first.inputs:
        own = [picture.feed.inputs[name] for picture in pictures if picture.feed is not None]
        found[name] = torch.cat(own).to(pixels.device)
    return found
