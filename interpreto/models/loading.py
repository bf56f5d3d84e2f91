"""Models and tokenizers as users give them: objects, repositories, folders."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from interpreto.errors import OptionError, TokenizerError


def load(model_or_repo_id: Any, tokenizer: Any, automodel: Any, device_map: Any) -> tuple[nn.Module, Any]:
    """Return the model and its tokenizer; both are left as they are when given as objects.

    Args:
        model_or_repo_id: A model, a repository's id or a folder.
        tokenizer: Its tokenizer, where that is found, or None: the one next to the model.
        automodel: The class that loads a repository; None: the one its config names.
        device_map: Where a repository's model goes, as in ``from_pretrained``.

    Raises:
        OptionError: ``automodel`` or ``device_map`` say something else than a model that is loaded already.
        TokenizerError: there is no tokenizer.
    """
    if isinstance(model_or_repo_id, nn.Module):
        _check_class(model_or_repo_id, automodel)
        _check_place(model_or_repo_id, device_map)
        if tokenizer is None:
            raise TokenizerError("`tokenizer`: got None next to a model; pass the model's tokenizer.")
        # A compiled model may not call hooks; the model that it wraps does, on the same weights.
        model = getattr(model_or_repo_id, "_orig_mod", model_or_repo_id)
        return model, _tokenizer(tokenizer)
    if not isinstance(model_or_repo_id, (str, os.PathLike)):
        raise OptionError(
            f"`model_or_repo_id`: got {type(model_or_repo_id).__name__}; pass a model, a repository's id or a folder."
        )
    source = os.fspath(model_or_repo_id)
    placed = {} if device_map is None else {"device_map": device_map}
    model = (_own_class(source) if automodel is None else automodel).from_pretrained(source, **placed)
    return model, _tokenizer(source if tokenizer is None else tokenizer)


def _check_class(model: nn.Module, automodel: Any) -> None:
    """Refuse a class that is not the loaded model's; a class of its family, or an auto class that loads it, is accepted."""
    if automodel is None:
        return
    inner = getattr(model, "get_base_model", lambda: model)()
    mapping, config = getattr(automodel, "_model_mapping", None), getattr(inner, "config", None)
    if mapping is None:
        fits = not isinstance(automodel, type) or isinstance(inner, automodel)
    else:
        kinds: Any = mapping.get(type(config), ()) if config is not None else ()
        fits = isinstance(inner, tuple(kinds) if isinstance(kinds, (tuple, list)) else kinds)
    if not fits:
        name = getattr(automodel, "__name__", automodel)
        raise OptionError(
            f"`automodel`: got {name} next to a loaded {type(inner).__name__}, which it does not load; leave it out."
        )


def _check_place(model: nn.Module, device_map: Any) -> None:
    """Refuse a device that the loaded model is not on; ``"auto"`` and its kin leave the place open."""
    if device_map is None or device_map in ("auto", "balanced", "balanced_low_0", "sequential"):
        return
    placed = getattr(model, "hf_device_map", None)
    asked = list(device_map.values()) if isinstance(device_map, dict) else [device_map]
    if isinstance(device_map, dict) and placed is not None and placed == device_map:
        return
    there = {parameter.device for parameter in model.parameters()}
    if len(there) != 1 or not all(_is_on(place, next(iter(there))) for place in asked):
        shown = ", ".join(sorted(map(str, there)))
        raise OptionError(f"`device_map`: got {device_map!r} next to a loaded model, which is on {shown}; leave it out.")


def _is_on(place: Any, device: torch.device) -> bool:
    try:
        asked = torch.device(place)
    except (RuntimeError, TypeError, ValueError):
        return False
    return asked.type == device.type and asked.index in (None, device.index)


class AnyLanguageModel:
    """Load a repository as a language model, whether its decoder reads the text or an encoder does."""

    @staticmethod
    def from_pretrained(source: str, **placed: Any) -> nn.Module:
        import transformers  # noqa: PLC0415  # slow to import

        encodes = transformers.AutoConfig.from_pretrained(source).is_encoder_decoder
        automodel = transformers.AutoModelForSeq2SeqLM if encodes else transformers.AutoModelForCausalLM
        return automodel.from_pretrained(source, **placed)


def _tokenizer(value: Any) -> Any:
    if isinstance(value, (str, os.PathLike)):
        from transformers import AutoTokenizer  # noqa: PLC0415  # slow to import, and models come with it

        return AutoTokenizer.from_pretrained(os.fspath(value))
    if not callable(value) or not hasattr(value, "convert_ids_to_tokens"):
        raise TokenizerError(
            f"`tokenizer`: got {type(value).__name__}; pass a Hugging Face tokenizer, a repository or a folder."
        )
    return value


def _own_class(source: str) -> Any:
    """Return the class that a repository's config names, with its head; else the bare model."""
    import transformers  # noqa: PLC0415

    names = transformers.AutoConfig.from_pretrained(source).architectures or []
    return next((getattr(transformers, name) for name in names if hasattr(transformers, name)), transformers.AutoModel)
