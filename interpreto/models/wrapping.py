"""Wrap the objects that users pass as models into a `Model`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from interpreto.errors import ModelError, TokenizerError
from interpreto.models.black_box import BlackBox
from interpreto.models.huggingface import HuggingFaceModel
from interpreto.models.options import EngineOptions
from interpreto.models.wrappers import unwrapped


def read_model(model: Any, tokenizer: Any = None) -> tuple[Any, Any]:
    """Return the module (or `BlackBox`) and the tokenizer that a user means; pipelines and processors hold them.

    Raises:
        ModelError, TokenizerError: for other objects, saying what to pass.
    """
    if not isinstance(model, (nn.Module, BlackBox)) and isinstance(getattr(model, "model", None), nn.Module):
        model, tokenizer = model.model, getattr(model, "tokenizer", None) if tokenizer is None else tokenizer  # a pipeline
    if not _is_tokenizer(tokenizer) and _is_tokenizer(inner := getattr(tokenizer, "tokenizer", None)):
        tokenizer = inner  # a processor
    if not isinstance(model, (nn.Module, BlackBox)):
        raise ModelError(f"`model`: got {_shown(model)}; {_hint(model)}")
    if tokenizer is None and not isinstance(model, BlackBox):
        raise TokenizerError("`tokenizer`: got None; pass the model's tokenizer: AutoTokenizer.from_pretrained(...).")
    if tokenizer is not None and not _is_tokenizer(tokenizer):
        raise TokenizerError(f"`tokenizer`: got {_shown(tokenizer)}; pass a Hugging Face tokenizer.")
    return unwrapped(model), tokenizer


def as_model(
    model: Any,
    tokenizer: Any,
    *,
    device: torch.device | str | None = None,
    options: EngineOptions | None = None,
    outputs: Callable[..., Tensor] | None = None,
) -> HuggingFaceModel | BlackBox:
    """Return a model as explainers and metrics run it; see `HuggingFaceModel`."""
    if isinstance(model, BlackBox):
        return model.with_options(options)
    return HuggingFaceModel(model, tokenizer, device=device, options=options, outputs=outputs)


def _is_tokenizer(value: Any) -> bool:
    return hasattr(value, "convert_ids_to_tokens")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else type(value).__name__


def _hint(value: Any) -> str:
    if isinstance(value, str):
        return f"load it first: AutoModelForSequenceClassification.from_pretrained({value!r})."
    if _is_tokenizer(value):
        return "the model comes first, then its tokenizer."
    if callable(value):
        return "a function from texts to scores is explained as BlackBox(function)."
    return "pass a Hugging Face model, a module with its interface, a pipeline, or a BlackBox."
