"""Wrap the objects that users pass as models into a `Model`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.inputs.image_processors import read_image_processor
from interpreto.models.huggingface import HuggingFaceModel
from interpreto.models.images import ImageModel, reads_images
from interpreto.models.loading import load, taken_apart
from interpreto.models.options import EngineOptions
from interpreto.models.pictured_wrapping import pictured, reads_both
from interpreto.models.sources import find_processor, find_tokenizer, is_name, is_tokenizer, read_tokenizer
from interpreto.models.text_model import TextModel
from interpreto.models.wrappers import unwrapped


def read_model(model: Any, tokenizer: Any = None) -> tuple[Any, Any]:
    """Return the module (or `BlackBox`, or `ServedModel`) and the tokenizer that a user means.

    Args:
        model: A module, a `BlackBox`, a `ServedModel`, a pipeline, or a folder or an id, from which it is loaded.
        tokenizer: A tokenizer, a processor that holds one, or its folder or id; None: that of the pipeline, or the one that
            lies where the model came from.

    Raises:
        ModelError, TokenizerError: for other objects, saying what to pass.
    """
    if is_name(model):
        return read_model(*load(model, tokenizer=tokenizer))
    model, tokenizer = taken_apart(model, tokenizer)
    if reads_both(inner := unwrapped(model), tokenizer):
        return pictured(inner, tokenizer)
    if reads_images(inner, tokenizer):
        processor = (getattr(inner, "processor", None) or find_processor(inner)) if tokenizer is None else tokenizer
        return (inner if isinstance(inner, ImageModel) else ImageModel(inner)), read_image_processor(processor, inner)
    if not isinstance(model, (nn.Module, TextModel)):
        raise ModelError(f"`model`: got {type(model).__name__}; {_hint(model)}")
    if tokenizer is None and not isinstance(model, TextModel):
        tokenizer = find_tokenizer(model)
    return unwrapped(model), None if tokenizer is None else read_tokenizer(tokenizer)


def as_model(
    model: Any,
    tokenizer: Any,
    *,
    device: torch.device | str | int | None = None,
    options: EngineOptions | None = None,
    outputs: Callable[..., Tensor] | None = None,
    at: object = None,
) -> HuggingFaceModel | TextModel:
    """Return a model as explainers and metrics run it; see `HuggingFaceModel`."""
    if isinstance(model, TextModel):
        return model.with_options(options)
    return HuggingFaceModel(model, tokenizer, device=device, options=options, outputs=outputs, at=at)


def _hint(value: Any) -> str:
    if is_tokenizer(value):
        return "the model comes first, then its tokenizer."
    if callable(value):
        return "a function from texts to scores is explained as BlackBox(function)."
    return "pass a Hugging Face model, its folder or id, a module with its interface, a pipeline, a BlackBox, or a ServedModel."
