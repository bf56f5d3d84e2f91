"""Forms of inputs: what is one input, what is a list of them, and what is refused because it could mean something else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MappingView, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpreto.errors import InputError
from interpreto.inputs.chat import is_chat
from interpreto.inputs.documents import Documents
from interpreto.inputs.image_files import is_pil
from interpreto.validation import shown

ACCEPTED = (
    "a text, a (text, text) pair, a chat (list of {'role', 'content'}), Documents, a dict or BatchEncoding of tensors, "
    "a 1-D or 2-D tensor of ids, or a list of these"
)


def is_single(inputs: object) -> bool:
    """Return whether ``inputs`` is one input (or one batch of rows) rather than a list of inputs."""
    if isinstance(inputs, np.ndarray):
        return inputs.dtype.kind in "iufb"  # ids; an array of texts is a list
    if isinstance(inputs, (str, Mapping, Tensor, Documents)) or is_pair(inputs) or is_chat(inputs):
        return True
    if is_pictured(inputs) or is_illustrated(inputs):
        return True
    return hasattr(inputs, "__fspath__") or is_pil(inputs)


def iterated(inputs: object) -> Iterable[Any]:
    """Return a list of inputs as it is, if its items are inputs and their order is known.

    Raises:
        InputError: for tables, sets, views of dictionaries, tuples of more than two texts, bytes, and what has no items.
    """
    kind = type(inputs).__name__
    columns = getattr(inputs, "columns", getattr(inputs, "column_names", None))
    if columns is not None:
        some = [column for column in list(columns)[:5] if isinstance(column, str)]
        which = repr(some[0]) if some else "'text'"
        raise InputError(f"`inputs`: got a {kind} with the columns {shown(some)}; pass one column, as in table[{which}].")
    if isinstance(inputs, (Set, MappingView)):
        raise InputError(f"`inputs`: got a {kind}, whose order is easily lost; pass a list made of it.")
    if isinstance(inputs, tuple) and len(inputs) > 2 and all(isinstance(item, str) for item in inputs):
        raise InputError(
            f"`inputs`: got a tuple of {len(inputs)} texts, and a tuple of two is a pair, one input; pass a list for several "
            "inputs."
        )
    if isinstance(inputs, np.ndarray) and inputs.ndim != 1:
        raise InputError(f"`inputs`: got an array of texts of shape {inputs.shape}; pass a column of it, or a list of pairs.")
    if not isinstance(inputs, Iterable) or isinstance(inputs, (bytes, bytearray)):
        raise InputError(f"`inputs`: got {kind}; pass {ACCEPTED}.")
    return inputs


def is_pair(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)


def is_pictured(item: object) -> bool:
    """Return True for a pair of an image and a text; a path and a text are a pair of texts too."""
    if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[1], str):
        return False
    return isinstance(item[0], str) or _is_pixels(item[0])


def is_illustrated(item: object) -> bool:
    """Return True for a pair of an image and a text or a chat, in any order; two texts are none."""
    if not isinstance(item, tuple) or len(item) != 2 or is_chat(item):
        return False
    return any(_is_pixels(a) and (isinstance(b, str) or is_chat(b)) for a, b in (item, item[::-1]))


def _is_pixels(value: object) -> bool:
    if isinstance(value, (np.ndarray, Tensor)):
        return value.ndim > 1 and getattr(value.dtype, "kind", "f") in "iufb"
    return hasattr(value, "__fspath__") or is_pil(value)


def check_characters(text: str, name: str) -> None:
    """Refuse half a surrogate pair, which is no character and which tokenizers refuse without saying where it is."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: {text[error.start]!a} at character {error.start} is half a surrogate pair and no character; pass "
            "text.encode('utf-8', 'replace').decode(), which puts a question mark there."
        ) from error


def read_tensor(values: Any, name: str) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name}: no tensor can be made of it ({shown(str(error))}); pass a tensor of ids, padded (padding=True, "
            "return_tensors='pt')."
        ) from error


def rows_of(ids: Tensor, name: str) -> list[Tensor]:
    if ids.ndim not in (1, 2):
        raise InputError(f"{name}: got a tensor of {ids.ndim} dimensions; ids have one (a text) or two (a batch).")
    if ids.ndim == 2 and not len(ids):
        raise InputError(f"{name}: got a batch of shape {tuple(ids.shape)}; there is nothing to explain.")
    return [ids] if ids.ndim == 1 else list(ids)
