"""The index of an activation store: written whole, and checked entry by entry when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from interpreto.errors import FileError
from interpreto.models import fingerprint
from interpreto.storage import replacing
from interpreto.validation import is_whole

FORMAT = 1
INDEX = "index.json"
LOCK = ".lock"  # held while a store is written
SHARD = "shard-"
DTYPES = {str(kind).removeprefix("torch."): kind for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


@dataclass(frozen=True)
class StoreConfig:
    """Whose activations a store holds; two stores of one config and one list of inputs are equal.

    Attributes:
        model: Class of the model, digest of its config and of some of its weights.
        split_point: Where the activations were read.
        activation_granularity: What a row represents.
        aggregation_strategy: How tokens were pooled into a row.
        dtype: As which the activations were kept.
        rows_per_shard: After how many rows a shard ends, with a text.
        probe: Some of the model's activations for a fixed input; None: it could not be run on it.
    """

    model: dict[str, str]
    split_point: str
    activation_granularity: str
    aggregation_strategy: str
    dtype: str
    rows_per_shard: int
    probe: dict[str, Any] | None = None

    def differences(self, other: StoreConfig) -> list[str]:
        """Return the names of the options in which two stores differ."""
        mine, others = asdict(self), asdict(other)
        found = [name for name in mine if name not in ("model", "probe") and mine[name] != others[name]]
        return found + (["model"] if self.model_difference(other.model, other.probe) else [])

    def model_difference(self, model: Mapping[str, str], probe: Mapping[str, Any] | None) -> str | None:
        """Return how another model differs from that of the store, as a sentence goes on; None if it is the same."""
        for what, value in self.model.items():
            own = model.get(what)
            if own != value and fingerprint.UNREAD not in (own, value):
                return f"its {what} is {value}, and this model's is {own}"
        if self.probe is None or probe is None:
            return None
        before, now = _read_probe(self.probe), _read_probe(probe)
        if before.agrees(now):
            return None
        return (
            f"for one input their activations are {before.distance(now):.0%} of the largest apart, though their stored weights "
            "are the same: an adapter or something else was switched on or off"
        )


def shard_name(shard: int) -> str:
    return f"{SHARD}{shard:05d}"


def write_json(path: Path, value: Any) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileError(f"`path`: {str(path.parent)!r} holds no activation store ({path.name} is missing).") from error
    except ValueError as error:
        raise FileError(f"`path`: {str(path)!r} cannot be read ({error}).") from error
    if not isinstance(found, dict):
        raise FileError(f"`path`: {str(path)!r} is no index of an activation store.")
    return found


def read_index(folder: Path) -> dict[str, Any]:
    """Return a store's index, of this format and with an answer to whether it is complete."""
    index = read_json(folder / INDEX)
    if index.get("format") != FORMAT:
        raise FileError(f"`path`: {str(folder)!r} is no activation store of this version of interpreto.")
    if not isinstance(index.get("complete"), bool):
        raise _damaged(folder / INDEX, "complete")
    return index


def read_config(folder: Path, index: Mapping[str, Any]) -> StoreConfig:
    """Return the config in an index, when it has every entry and each is of its type."""
    given = index.get("config")
    kinds = {field.name: str if field.name != "rows_per_shard" else int for field in fields(StoreConfig)} | {"model": dict}
    kinds.pop("probe")
    if not isinstance(given, dict) or not set(kinds) <= set(given) <= {*kinds, "probe"}:
        raise _damaged(folder / INDEX, "config")
    for name, kind in kinds.items():
        if type(given[name]) is not kind:
            raise _damaged(folder / INDEX, f"config.{name}")
    if not all(isinstance(value, str) for value in given["model"].values()):
        raise _damaged(folder / INDEX, "config.model")
    if given.get("probe") is not None:
        try:
            _read_probe(given["probe"])
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(folder / INDEX, "config.probe") from error
    return StoreConfig(**given)


def read_shape(folder: Path, index: Mapping[str, Any]) -> tuple[list[int], int, torch.dtype]:
    """Return the rows of each shard, the width and the dtype of a complete store."""
    rows, width, dtype = index.get("rows"), index.get("width"), index.get("dtype")
    if not isinstance(rows, list) or not all(is_whole(n) and n >= 0 for n in rows):
        raise _damaged(folder / INDEX, "rows")
    if not is_whole(width) or width < 0:  # type: ignore[operator]  # whole
        raise _damaged(folder / INDEX, "width")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _damaged(folder / INDEX, "dtype")
    return rows, int(width), DTYPES[dtype]  # type: ignore[arg-type]  # whole, as checked


def read_shard(place: Path) -> dict[str, Any]:
    """Return a shard's index, with one entry per row in each of its lists."""
    index = read_json(place)
    rows = index.get("rows")
    if not is_whole(rows) or not isinstance(index.get("digest"), str):
        raise _damaged(place, "rows")
    if not is_whole(index.get("width")) or index.get("dtype") not in DTYPES:
        raise _damaged(place, "width")
    for name, kind in (("samples", int), ("units", int), ("spans", list), ("texts", str)):
        values = index.get(name)
        if not isinstance(values, list) or len(values) != rows or not all(isinstance(value, kind) for value in values):
            raise _damaged(place, name)
    if not all(len(span) == 2 and all(map(is_whole, span)) for span in index["spans"]):
        raise _damaged(place, "spans")
    return index


def _read_probe(given: Mapping[str, Any]) -> fingerprint.Probe:
    return fingerprint.Probe(tuple(float(value) for value in given["values"]), bool(given["low_precision"]))


def _damaged(place: Path, entry: str) -> FileError:
    return FileError(
        f"`path`: {str(place)!r} is damaged: its entry {entry!r} is missing or not what a store writes; delete the folder, and "
        "repeat the call that wrote the store."
    )
