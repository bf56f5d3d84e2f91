"""Check the files of a data set of explanations: each whole, each input once, and of the data that they are said to be of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpreto.datasets.manifest import Manifest, Shard
from interpreto.datasets.opening import read_source
from interpreto.datasets.shards import SHARDS, Entry, digest_of_file, read_shard
from interpreto.errors import FileError


@dataclass(frozen=True)
class Checked:
    """Result of a check of the files; true if everything is as it should be.

    Attributes:
        shards: Number of shards that are there.
        missing: Ranges of inputs without a shard.
        damaged: Names of files that are not as they were written.
        changed: Names of files whose inputs are not those of the data.
    """

    shards: int
    missing: tuple[tuple[int, int], ...] = ()
    damaged: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not (self.missing or self.damaged or self.changed)


def check_files(folder: Path, manifest: Manifest, entries: Sequence[Entry], data: Any) -> Checked:
    """Return what is missing, damaged or of other inputs.

    Args:
        folder: The data set.
        manifest: What it is of.
        entries: Its shards.
        data: The inputs; None: they are not compared.
    """
    there = {entry.start for entry in entries}
    missing = tuple((s.start, s.stop) for s in manifest.shards() if s.start not in there)
    columns = manifest.data["columns"]
    text = columns["text"] if isinstance(columns["text"], str) else tuple(columns["text"])
    named = not (data is not None and isinstance(data, (list, tuple)))
    source = None
    if data is not None:
        source = read_source(data, *((text, columns["target"], columns["label"]) if named else (None, None, None)))
    damaged, changed = [], []
    for entry in entries:
        file = Shard(0, entry.start, entry.stop).file
        if not _is_whole(folder, entry, file):
            damaged.append(file)
        elif source is not None and source.part(entry.start, entry.stop).rows().digest != entry.inputs:
            changed.append(file)
    return Checked(len(entries), missing, tuple(damaged), tuple(changed))


def _is_whole(folder: Path, entry: Entry, file: str) -> bool:
    try:
        if digest_of_file(folder / SHARDS / file) != entry.sha256:
            return False
        table = read_shard(folder, entry, ("id", "error"))
    except (OSError, FileError):
        return False
    errors = len(table) - table["error"].null_count
    return table["id"].to_pylist() == list(range(entry.start, entry.stop)) and errors == entry.failures
