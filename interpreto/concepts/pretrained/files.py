"""Read the files of published autoencoders: safetensors, numpy's arrays and torch's tensors. No code is run from them."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from interpreto.errors import FileError

MANY = 12  # names shown in an error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises:
        FileError: the file holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"`path`: {str(path)!r} cannot be read as JSON ({error}).") from error
    if not isinstance(found, dict):
        raise FileError(f"`path`: {str(path)!r} holds no JSON object.")
    return found


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Raises:
        FileError: the file is damaged, holds something else than tensors, or would run code.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an old pickle, which is refused next
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileError(
            f"`path`: {str(path)!r} holds more than tensors, and could run code when it is read; ask its author for a "
            "safetensors file."
        ) from error
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, SafetensorError, BadZipFile) as error:
        raise FileError(f"`path`: {str(path)!r} cannot be read ({error}).") from error
    if not isinstance(found, Mapping):
        raise FileError(f"`path`: {str(path)!r} holds a {type(found).__name__}, and not tensors by name.")
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def picked(tensors: Mapping[str, Tensor], names: Iterable[str], ignored: Iterable[str], path: Path) -> list[Tensor]:
    """Return tensors by name, in float32.

    Args:
        tensors: All tensors of a file.
        names: Those that the layout has.
        ignored: Those that it may have as well, which change no code.
        path: The file, for messages.

    Raises:
        FileError: one is missing or not finite, or there are others.
    """
    names = list(names)
    missing = [name for name in names if name not in tensors]
    odd = sorted({*tensors} - {*names, *ignored})
    if missing or odd:
        told = [f"lacks {listed(missing)}"] * bool(missing) + [f"has {listed(odd)}, which its layout has not"] * bool(odd)
        raise FileError(f"`path`: {str(path)!r} {' and '.join(told)}.")
    found = [tensors[name].float() for name in names]
    for name, tensor in zip(names, found, strict=True):
        if not bool(tensor.isfinite().all()):
            raise FileError(f"`path`: {str(path)!r} holds NaN or infinity in {name!r}.")
    return found


def listed(names: Iterable[str]) -> str:
    """Return some names, quoted."""
    every = list(names)
    return ", ".join(map(repr, every[:MANY])) + (f" and {len(every) - MANY} more" if len(every) > MANY else "")
