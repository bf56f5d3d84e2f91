"""Models that compare images with texts, as CLIP and SigLIP do: the embeddings of both sides, and the scores of pairs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import InputError, ModelError, TokenizerError
from interpreto.models.contexts import evaluating
from interpreto.models.devices import device_of
from interpreto.models.padding import agree
from interpreto.validation import shown

USUAL = 224
"""Side of the image on which the scores are checked, where the config names none."""


def compares_images_with_texts(model: Any) -> bool:
    """Return True for a model with an encoder of images and one of texts, whose embeddings it compares."""
    names = ("get_image_features", "get_text_features", "logit_scale")
    return isinstance(model, nn.Module) and all(hasattr(model, name) for name in names)


def check_pairs(model: Any) -> nn.Module:
    """Return a model that compares images with texts.

    Raises:
        ModelError: it does not, or its images are no tensors ``(c, h, w)``.
    """
    if not compares_images_with_texts(model):
        raise ModelError(
            f"`model`: got {type(model).__name__}; pass a model that compares images with texts by the cosine of their "
            "embeddings, as CLIPModel and SiglipModel do."
        )
    if "spatial_shapes" in inspect.signature(model.forward).parameters:
        raise ModelError(
            f"`model`: {type(model).__name__} reads images as rows of patches of its processor; explained are models that read "
            "them as tensors (c, h, w), as CLIPModel and SiglipModel do."
        )
    return model


def image_embeddings(model: Any, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
    """Return the embeddings of images, of length 1."""
    return _unit(model.get_image_features(pixel_values=pixels))


def text_embeddings(model: Any, tokens: Mapping[str, Tensor]) -> Float[Tensor, "k d"]:
    """Return the embeddings of tokenized texts, of length 1."""
    return _unit(model.get_text_features(**tokens))


def _unit(found: Any) -> Float[Tensor, "b d"]:
    features = found if isinstance(found, Tensor) else found.pooler_output  # since transformers 5, an output with more
    return nn.functional.normalize(features, dim=-1)


def compared(
    model: Any, images: Float[Tensor, "b d"], texts: Float[Tensor, "k d"], paired: bool = False
) -> Float[Tensor, "b j"]:
    """Return the scores of every image with every text, ``logits_per_image``; paired: of each with its own, ``(b, 1)``."""
    cosines = (images * texts).sum(-1, keepdim=True) if paired else nn.functional.linear(images, texts.to(images))
    scores = cosines * model.logit_scale.exp()
    bias = getattr(model, "logit_bias", None)
    return scores if bias is None else scores + bias


def judges_each_text(model: Any) -> bool:
    """Return True if a score says by itself whether image and text match (SigLIP); else it is compared with other texts'."""
    return getattr(model, "logit_bias", None) is not None


def text_tokenizer(processor: Any, tokenizer: Any = None) -> Any:
    """Return the tokenizer of a processor.

    Raises:
        TokenizerError: there is none.
    """
    found = getattr(processor, "tokenizer", None) if tokenizer is None else tokenizer
    if not hasattr(found, "convert_ids_to_tokens"):
        raise TokenizerError(
            f"`processor`: got {type(processor).__name__}, which holds no tokenizer; pass the processor of the whole model "
            "(AutoProcessor.from_pretrained(...)), or `tokenizer`."
        )
    return found


def fixed_text_length(model: Any) -> int | None:
    """Return the length to which texts are padded, as models that read an embedding off the last token need it; None: none."""
    config: Any = model.config.text_config
    return int(config.max_position_embeddings) if judges_each_text(model) else None


def tokenized(model: Any, tokenizer: Any, texts: Sequence[str], name: str) -> dict[str, Tensor]:
    """Return texts as the model reads them, with the padding that it was trained with.

    Args:
        model: Compares images with texts.
        tokenizer: Its tokenizer.
        texts: Some texts.
        name: Of the argument, for messages.

    Raises:
        InputError: a text is longer than the model takes.
    """
    fixed = fixed_text_length(model)
    config: Any = model.config.text_config
    longest = fixed or getattr(config, "max_position_embeddings", None)
    for text in texts:
        length = len(tokenizer(text)["input_ids"])
        if longest is not None and length > longest:
            raise InputError(f"{name}: {shown(text)} has {length} tokens, and the model takes {longest}; shorten it.")
    padding: dict[str, Any] = {"padding": len(texts) > 1} if fixed is None else {"padding": "max_length", "max_length": fixed}
    found = tokenizer(list(texts), return_tensors="pt", **padding)
    names = ("input_ids", "attention_mask") if fixed is None else ("input_ids",)  # padding is read too, as in training
    return {key: found[key].to(device_of(model)) for key in names if key in found}


def check_scores(model: Any, tokens: Mapping[str, Tensor], texts: Float[Tensor, "k d"]) -> None:
    """Raise unless scores are what the model itself returns, on one gray image.

    Raises:
        ModelError: they are not.
    """
    config: Any = getattr(model.config, "vision_config", model.config)
    side = getattr(config, "image_size", None) or USUAL
    h, w = side if isinstance(side, (list, tuple)) else (side, side)
    pixels = torch.zeros(1, getattr(config, "num_channels", 3), h, w, device=device_of(model), dtype=texts.dtype)
    with torch.no_grad(), evaluating(model):
        wanted = getattr(model(**tokens, pixel_values=pixels), "logits_per_image", None)
        found = compared(model, image_embeddings(model, pixels), texts)
    if wanted is None or not agree(found, wanted):
        raise ModelError(
            f"`model`: the `logits_per_image` of {type(model).__name__} are not the scaled cosine of its embeddings; explained "
            "are models like CLIPModel and SiglipModel."
        )
