"""Tokenizers as users pass them: what they must have, and what is asked of them in several places."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from interpreto.errors import TokenizerError
from interpreto.inputs.decoding import decoded
from interpreto.validation import shown

_locks: weakref.WeakKeyDictionary[Any, threading.RLock] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def read_tokenizer(tokenizer: Any) -> Any:
    """Return the tokenizer; of a processor, the one inside.

    Raises:
        TokenizerError: if it is None, a model, a name, or anything else that is no tokenizer.
    """
    if hasattr(tokenizer, "all_special_ids"):
        return tokenizer
    if hasattr(getattr(tokenizer, "tokenizer", None), "all_special_ids"):
        return tokenizer.tokenizer
    if isinstance(tokenizer, nn.Module):
        advice = "it is a model; the model comes first, then its tokenizer"
    elif isinstance(tokenizer, str):
        advice = f"pass the tokenizer itself, AutoTokenizer.from_pretrained({shown(tokenizer)})"
    else:
        advice = "pass the model's tokenizer, AutoTokenizer.from_pretrained(...)"
    got = type(tokenizer).__name__ if isinstance(tokenizer, nn.Module) else shown(tokenizer)
    raise TokenizerError(f"`tokenizer`: got {got}; {advice}.")


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids of special tokens, which are frozen; unknown and mask tokens represent words, and are not."""
    return set(tokenizer.all_special_ids) - {tokenizer.unk_token_id, tokenizer.mask_token_id}


@contextmanager
def held(tokenizer: Any) -> Iterator[None]:
    """Context manager that holds a fast tokenizer for one thread and restores its backend's truncation and padding.

    A call overwrites both where it asks for others, and a backend that is changed while another thread uses it raises
    "Already borrowed". A tokenizer without a backend is left alone.
    """
    if not tokenizer.is_fast:
        yield
        return
    with _guard:
        lock = _locks.setdefault(tokenizer, threading.RLock())
    with lock:
        backend = tokenizer.backend_tokenizer
        truncation, padding = backend.truncation, backend.padding
        try:
            yield
        finally:
            if backend.truncation != truncation:
                backend.no_truncation() if truncation is None else backend.enable_truncation(**truncation)
            if backend.padding != padding:
                backend.no_padding() if padding is None else backend.enable_padding(**padding)


def in_one_piece(tokenizer: Any, text: str, name: str, **options: Any) -> dict[str, Any]:
    """Tokenize a text by a tokenizer that does not tell offsets; they are found by decoding.

    Args:
        tokenizer: A tokenizer without a fast twin.
        text: The text.
        name: How messages call it.
        **options: Those of the tokenizer.

    Returns:
        What the tokenizer returns, with ``offset_mapping``.

    Raises:
        TokenizerError: if the ids do not decode to the text.
    """
    encoded = dict(tokenizer(text, verbose=False, **options))
    whole, offsets = decoded(tokenizer, list(encoded["input_ids"]))
    begins = len(text) - len(text.lstrip()) if whole and not whole[0].isspace() else 0  # white space that is not decoded
    read = text[begins : begins + len(whole)]
    if whole != read or (begins + len(whole) != len(text) and not options.get("truncation")):
        raise TokenizerError(
            f"{name}: {type(tokenizer).__name__} does not tell which characters a token represents, and its ids read "
            f"{shown(whole)} in place of {shown(text)}; pass token ids."
        )
    shifted = [(a + begins if a else 0, b + begins) for a, b in offsets]  # the first token has that white space
    return {**encoded, "offset_mapping": shifted}
