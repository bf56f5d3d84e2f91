"""Models and tokenizers as users give them: objects, repositories, folders."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from interpreto.errors import OptionError, TokenizerError


def load(model_or_repo_id: Any, tokenizer: Any, automodel: Any, device_map: Any) -> tuple[nn.Module, Any]:
    """The model and its tokenizer; both are left as they are when given as objects.

    Args:
        model_or_repo_id: A model, a repository's id or a folder.
        tokenizer: Its tokenizer, where that is found, or None: the one beside the model.
        automodel: The class that loads a repository; None: the one its config names.
        device_map: Where a repository's model goes, as in ``from_pretrained``.
    """
    if isinstance(model_or_repo_id, nn.Module):
        for option, value in (("automodel", automodel), ("device_map", device_map)):
            if value is not None:
                raise OptionError(f"`{option}`: got {value!r} beside a model that is loaded already; leave it out.")
        if tokenizer is None:
            raise TokenizerError("`tokenizer`: got None beside a model; pass the model's tokenizer.")
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


class AnyLanguageModel:
    """Loads a repository as a language model, whether its decoder reads the text or an encoder does."""

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
    """The class that a repository's config names, with its head; else the bare model."""
    import transformers  # noqa: PLC0415

    names = transformers.AutoConfig.from_pretrained(source).architectures or []
    return next((getattr(transformers, name) for name in names if hasattr(transformers, name)), transformers.AutoModel)
