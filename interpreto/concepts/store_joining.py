"""Join stores into one, and check the files of a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from interpreto.concepts.store_index import (
    FORMAT,
    INDEX,
    LOCK,
    Contents,
    ShardFacts,
    StoreConfig,
    read_index,
    shard_name,
    write_contents,
    write_json,
)
from interpreto.concepts.store_reading import Shards
from interpreto.concepts.store_units import numbers_of_units, read_facts
from interpreto.concepts.store_writing import make_folder
from interpreto.errors import FileError, OptionError
from interpreto.storage import alone_with, digest_of_file, replacing

ENDINGS = (".safetensors", ".arrow")


@dataclass(frozen=True)
class Part:
    """A store that is joined.

    Attributes:
        folder: Where it is.
        config: Whose activations it holds.
        contents: Its shards.
    """

    folder: Path
    config: StoreConfig
    contents: Contents


@dataclass(frozen=True)
class CheckedStore:
    """Result of a check of a store's files; true if each is as it was written, and in its place.

    Attributes:
        shards: Number of shards.
        damaged: Names of files that are missing, or not as they were written.
        misplaced: Names of indexes whose inputs are not those that follow the inputs of the shard before.
        unknown: Names of files of format 1, whose checksums are not known; their rows can be read.
    """

    shards: int
    damaged: tuple[str, ...] = ()
    misplaced: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not (self.damaged or self.misplaced)


def join_parts(parts: Sequence[Part], folder: Path) -> None:
    """Write a store with the shards of others, one store's after the other's.

    Files are not copied where the file system has hard links.

    Args:
        parts: Complete stores, in the order of their inputs.
        folder: Made if missing.

    Raises:
        FileError: they are not of one model and one way to read it, or the folder holds something else.
        OptionError: there is none, or one of them twice.
    """
    _check_parts(parts)
    make_folder(folder)
    with alone_with(folder / LOCK):
        if (folder / INDEX).exists() and "parts" not in read_index(folder):
            raise FileError(f"`path`: {str(folder)!r} holds another store; pass an empty folder, or one that does not exist.")
        write_json(folder / INDEX, {"format": FORMAT, "config": asdict(parts[0].config), "complete": False, "parts": []})
        shards: list[ShardFacts] = []
        for part in parts:
            for i, checksums in enumerate(part.contents.checksums):
                facts = read_facts(part.folder / f"{shard_name(i)}.arrow")
                shards.append(replace(facts, index_sha256=checksums[1]))
                if facts.rows != part.contents.rows[i] or facts.stop - facts.start != part.contents.inputs[i]:
                    raise FileError(f"`parts`: {shard_name(i)}.arrow in {str(part.folder)!r} is not of this store.")
                for ending in ENDINGS:
                    _put(part.folder / f"{shard_name(i)}{ending}", folder / f"{shard_name(len(shards) - 1)}{ending}")
        for ending in ENDINGS:  # of an earlier call with more parts
            (folder / f"{shard_name(len(shards))}{ending}").unlink(missing_ok=True)
        write_contents(folder, parts[0].config, shards, [n for part in parts for n in part.contents.parts])


def _check_parts(parts: Sequence[Part]) -> None:
    """Refuse stores that are not of one kind."""
    if not parts:
        raise OptionError("`parts`: got none; pass the folders of stores.")
    seen: set[Path] = set()
    for part in parts:
        place = part.folder.resolve()
        if place in seen:
            raise OptionError(f"`parts`: got {str(part.folder)!r} twice; its inputs would be in the store twice.")
        seen.add(place)
        if len(part.contents.inputs) != len(part.contents.rows) or any(not b for _, b in part.contents.checksums):
            raise FileError(f"`parts`: the store at {str(part.folder)!r} is of an earlier version; write it anew to join it.")
        differing = [name for name in parts[0].config.differences(part.config) if name != "rows_per_shard"]
        if part.contents.rows and parts[0].contents.rows:
            differing += [n for n in ("width", "dtype") if getattr(part.contents, n) != getattr(parts[0].contents, n)]
        if differing:
            raise FileError(
                f"`parts`: the stores at {str(parts[0].folder)!r} and {str(part.folder)!r} differ in "
                f"{', '.join(dict.fromkeys(differing))}; only stores of one model, read in one way, are joined."
            )


def _put(source: Path, target: Path) -> None:
    """Put a file into another folder too: by a second name where that is possible, else by a copy."""
    with replacing(target) as partial:
        try:
            os.link(source, partial)
        except OSError:  # another drive, or a file system without links
            shutil.copyfile(source, partial)


def check_store(folder: Path, contents: Contents) -> CheckedStore:
    """Return which files of a store are not as they were written, or not in their place.

    Each file is read whole.
    """
    damaged, misplaced, unknown = [], [], []
    shards = Shards(folder, contents.rows, contents.width, contents.dtype)
    begins = {sum(contents.parts[:i]) for i in range(len(contents.parts))}
    start = 0
    for i, rows in enumerate(contents.rows):
        numbers, index = (f"{shard_name(i)}{ending}" for ending in ENDINGS)
        known = contents.checksums[i] if contents.checksums else ("", "")
        if not _is_readable(shards, i) or (known[0] and _differs(folder / numbers, known[0])):
            damaged.append(numbers)
        if not known[1]:
            unknown += [numbers, f"{shard_name(i)}.json"]
            start = -1
            continue
        start = 0 if i in begins else start
        facts = None if _differs(folder / index, known[1]) else _facts(folder / index, rows, contents.inputs[i])
        if facts is None:
            damaged.append(index)
        elif start >= 0 and facts.start != start:
            misplaced.append(index)
        start = -1 if facts is None else facts.stop
    return CheckedStore(len(contents.rows), tuple(damaged), tuple(misplaced), tuple(unknown))


def _is_readable(shards: Shards, shard: int) -> bool:
    """Return whether the file with a shard's numbers has its shape and its dtype."""
    try:
        shards.check(shard)
    except FileError:
        return False
    return True


def _differs(file: Path, sha256: str) -> bool:
    try:
        return digest_of_file(file) != sha256
    except OSError:
        return True


def _facts(index: Path, rows: int, inputs: int) -> ShardFacts | None:
    """Return the facts of a shard whose index has each unit of each input once, in order; else None."""
    try:
        facts = read_facts(index)
        found, units = numbers_of_units(index, rows)
    except FileError:
        return None
    if facts.rows != rows or facts.stop - facts.start != inputs or any(not 0 <= n < inputs for n in found):
        return None
    before, expected = -1, 0
    for number, unit in zip(found, units, strict=True):
        expected = expected + 1 if number == before else 0
        if number < before or unit != expected:
            return None
        before = number
    return facts
