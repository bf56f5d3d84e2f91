"""The index of an activation store: whose activations they are, and which shards there are; checked when it is read.

It is JSON, of a few bytes per shard. What each row represents is in Arrow, next to each shard's numbers: see
`interpreto.concepts.store_units`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from interpreto.concepts.store_encoding import KEPT
from interpreto.errors import FileError
from interpreto.models import fingerprint
from interpreto.storage import replacing
from interpreto.validation import is_whole

FORMAT = 2
READABLE = (1, 2)  # 1: that of versions before 0.3, whose shards have indexes in JSON
INDEX = "index.json"
LOCK = ".lock"  # held while a store is written
SHARD = "shard-"


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


@dataclass(frozen=True)
class Contents:
    """The shards of a complete store.

    Attributes:
        rows: Number of rows of each.
        inputs: Number of inputs of each; empty in stores of format 1, whose shards hold the inputs' numbers themselves.
        checksums: Of the numbers and of the index of each, SHA-256; empty in stores of format 1, and in shards of it.
        parts: Number of shards of each store that was joined; a store that was not is one part.
        width: Numbers per row.
        dtype: Of the numbers in the files.
    """

    rows: list[int]
    inputs: list[int]
    checksums: list[tuple[str, str]]
    parts: list[int]
    width: int
    dtype: torch.dtype


@dataclass(frozen=True)
class ShardFacts:
    """Facts of one shard, which its index repeats.

    Attributes:
        start: Number of its first input in the call that wrote it.
        stop: Number after that of its last input.
        rows: Number of its rows.
        width: Numbers per row.
        dtype: Of the numbers in its file, by name.
        digest: Digest of its inputs' tokens and units.
        bytes: Size of the file with its numbers; -1: not known, as in format 1.
        sha256: Of that file; empty: not known.
        index_sha256: Of the file of its index, which does not hold it.
    """

    start: int
    stop: int
    rows: int
    width: int
    dtype: str
    digest: str
    bytes: int
    sha256: str
    index_sha256: str = field(default="", compare=False)

    @staticmethod
    def read(given: object, place: Path) -> ShardFacts:
        """Return facts as they were written, when each is there and of its type.

        Raises:
            FileError: one is not.
        """
        kinds = {one.name: str if one.name in ("dtype", "digest", "sha256") else int for one in fields(ShardFacts)}
        kinds.pop("index_sha256")
        if not isinstance(given, dict) or set(given) != set(kinds):
            raise damaged(place, "facts")
        for name, kind in kinds.items():
            if type(given[name]) is not kind or (kind is int and given[name] < 0):
                raise damaged(place, name)
        if given["dtype"] not in KEPT:
            raise damaged(place, "dtype")
        return ShardFacts(**given)

    def written(self) -> dict[str, Any]:
        """Return what is written of them."""
        return {name: value for name, value in asdict(self).items() if name != "index_sha256"}


def shard_name(shard: int) -> str:
    """Return how the names of a shard's files begin."""
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
    if index.get("format") not in READABLE:
        raise FileError(f"`path`: {str(folder)!r} is no activation store of this version of interpreto.")
    if not isinstance(index.get("complete"), bool):
        raise damaged(folder / INDEX, "complete")
    return index


def read_config(folder: Path, index: Mapping[str, Any]) -> StoreConfig:
    """Return the config in an index, when it has every entry and each is of its type."""
    given = index.get("config")
    kinds = {field.name: str if field.name != "rows_per_shard" else int for field in fields(StoreConfig)} | {"model": dict}
    kinds.pop("probe")
    if not isinstance(given, dict) or not set(kinds) <= set(given) <= {*kinds, "probe"}:
        raise damaged(folder / INDEX, "config")
    for name, kind in kinds.items():
        if type(given[name]) is not kind:
            raise damaged(folder / INDEX, f"config.{name}")
    if not all(isinstance(value, str) for value in given["model"].values()):
        raise damaged(folder / INDEX, "config.model")
    if given.get("probe") is not None:
        try:
            _read_probe(given["probe"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder / INDEX, "config.probe") from error
    return StoreConfig(**given)


def read_contents(folder: Path, index: Mapping[str, Any]) -> Contents:
    """Return the shards of a complete store, each of which has every entry."""
    place = folder / INDEX
    rows, width, dtype = index.get("rows"), index.get("width"), index.get("dtype")
    if not _counts(rows):
        raise damaged(place, "rows")
    if not is_whole(width) or width < 0:  # type: ignore[operator]  # whole
        raise damaged(place, "width")
    if not isinstance(dtype, str) or dtype not in KEPT:
        raise damaged(place, "dtype")
    inputs, checksums, parts = index.get("inputs", []), index.get("checksums", []), index.get("parts", [len(rows)])  # type: ignore[arg-type]
    if not _counts(inputs) or (index["format"] != 1 and len(inputs) != len(rows)):  # type: ignore[arg-type]
        raise damaged(place, "inputs")
    pairs = isinstance(checksums, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair) for pair in checksums
    )
    if not pairs or (index["format"] != 1 and len(checksums) != len(rows)):  # type: ignore[arg-type]
        raise damaged(place, "checksums")
    if not _counts(parts) or sum(parts) != len(rows):  # type: ignore[arg-type]
        raise damaged(place, "parts")
    return Contents(rows, inputs, [(a, b) for a, b in checksums], parts, int(width), KEPT[dtype])  # type: ignore[arg-type]


def _counts(values: object) -> bool:
    return isinstance(values, list) and all(is_whole(n) and n >= 0 for n in values)


def write_contents(folder: Path, config: StoreConfig, shards: Sequence[ShardFacts], parts: Sequence[int] = ()) -> None:
    """Write the index of a complete store.

    Args:
        folder: The store.
        config: Whose activations they are.
        shards: All shards, in order.
        parts: Number of shards of each store that was joined; empty: none was.
    """
    found: dict[str, Any] = {"format": FORMAT, "config": asdict(config), "complete": True}
    found |= {"rows": [one.rows for one in shards], "inputs": [one.stop - one.start for one in shards]}
    found |= {"width": max((one.width for one in shards), default=0), "dtype": shards[0].dtype if shards else "float32"}
    found["samples"] = sum(found["inputs"])
    found["checksums"] = [[one.sha256, one.index_sha256] for one in shards]
    if parts:
        found["parts"] = list(parts)
    write_json(folder / INDEX, found)


def read_old_shard(place: Path) -> dict[str, Any]:
    """Return a shard's index of format 1, with one entry per row in each of its lists."""
    index = read_json(place)
    rows = index.get("rows")
    if not is_whole(rows) or not isinstance(index.get("digest"), str):
        raise damaged(place, "rows")
    if not is_whole(index.get("width")) or index.get("dtype") not in KEPT:
        raise damaged(place, "width")
    for name, kind in (("samples", int), ("units", int), ("spans", list), ("texts", str)):
        values = index.get(name)
        if not isinstance(values, list) or len(values) != rows or not all(isinstance(value, kind) for value in values):
            raise damaged(place, name)
    if not all(len(span) == 2 and all(map(is_whole, span)) for span in index["spans"]):
        raise damaged(place, "spans")
    return index


def _read_probe(given: Mapping[str, Any]) -> fingerprint.Probe:
    return fingerprint.Probe(tuple(float(value) for value in given["values"]), bool(given["low_precision"]))


def damaged(place: Path, entry: str) -> FileError:
    """Return the error of an index with an entry that is missing, or not what a store writes."""
    return FileError(
        f"`path`: {str(place)!r} is damaged: its entry {entry!r} is missing or not what a store writes; delete the folder, and "
        "repeat the call that wrote the store."
    )
