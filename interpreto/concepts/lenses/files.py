"""Files of tuned lenses: our own, and the folders of the package tuned_lens."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interpreto.errors import FileError
from interpreto.models.layers import EMBEDDINGS
from interpreto.storage import read_file, write_file

FORMAT = "interpreto tuned lens 1"
PARAMETERS, CONFIG = "params.pt", "config.json"


def write_maps(path: str | PathLike[str], maps: Mapping[str, tuple[Tensor, Tensor]], model: str) -> None:
    """Write the map of each layer to one file."""
    tensors = {f"{name}.{part}": own[i] for name, own in maps.items() for i, part in enumerate(("weight", "bias"))}
    write_file(path, FORMAT, tensors, {"layers": list(maps), "model": model})


def read_maps(path: str | PathLike[str], depth: int, width: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the map of each layer, by its name.

    Args:
        path: A file of ours, or a folder of tuned_lens, whose map ``i`` reads the hidden states before block ``i``.
        depth: Number of blocks of the model.
        width: Width of its hidden states.

    Raises:
        FileError: there is no such file, it holds something else, or it is of a model of another size.
    """
    found = Path(path).expanduser()
    if found.is_dir():
        tensors = _of_folder(found)
        names = {str(i): EMBEDDINGS if i == 0 else str(i - 1) for i in range(depth)}
    else:
        tensors, facts = read_file(found, FORMAT, "a tuned lens")
        names = {str(name): str(name) for name in facts.get("layers", [])}
    maps = {}
    for stored, name in names.items():
        weight, bias = tensors.pop(f"{stored}.weight", None), tensors.pop(f"{stored}.bias", None)
        known = name == EMBEDDINGS or (name.isdigit() and int(name) < depth)
        if weight is None or tuple(weight.shape) != (width, width) or not known:
            raise _other(path, depth, width)
        maps[name] = (weight.float(), torch.zeros(width) if bias is None else bias.float())
    if tensors or any(not bool(part.isfinite().all()) for own in maps.values() for part in own):
        raise _other(path, depth, width)
    return maps


def _of_folder(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a folder of tuned_lens; nothing but tensors is read."""
    try:
        config: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = torch.load(folder / PARAMETERS, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise FileError(f"`path`: {str(folder)!r} cannot be read as a tuned lens ({error}).") from error
    if not isinstance(config, dict) or not isinstance(tensors, Mapping):
        raise FileError(f"`path`: {str(folder)!r} holds no tuned lens.")
    kind = config.get("lens_type", "linear_tuned_lens")
    if kind != "linear_tuned_lens":
        raise FileError(f"`path`: {str(folder)!r} holds a lens of type {kind!r}; interpreto reads 'linear_tuned_lens'.")
    return {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def _other(path: object, depth: int, width: int) -> FileError:
    return FileError(f"`path`: {str(path)!r} is not a lens of a model with {depth} blocks of width {width}.")
