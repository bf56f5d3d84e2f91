"""The manifest of a data set of explanations: what was explained, by which model and method, and which shards are there."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import transformers

import interpreto
from interpreto.errors import FileError
from interpreto.models.fingerprint import UNREAD, digest
from interpreto.storage import alone_with, replacing
from interpreto.validation import is_whole, shown

FORMAT = "interpreto.dataset/1"
OF_SCORES = "interpreto.benchmark/1"
KINDS = {FORMAT: "explanations", OF_SCORES: "scores"}
MANIFEST = "manifest.json"
LOCK = ".lock"  # held while a manifest is written
WHOLE = {"format": str, "data": dict, "explainer": dict, "call": dict, "rows": int, "rows_per_shard": int}


@dataclass(frozen=True)
class Manifest:
    """Description of a data set of explanations. Two runs with equal ones write equal shards.

    Attributes:
        data: Fingerprint, number of rows and columns of the inputs, and where they were.
        explainer: Method, model, tokenizer and options; see `interpreto.datasets.spec.described`.
        call: What else was passed to `explain`.
        rows: Number of inputs.
        rows_per_shard: Number of inputs of each shard but the last.
        versions: Versions of the libraries that the run was begun with.
        format: What the shards hold.
    """

    data: dict[str, Any]
    explainer: dict[str, Any]
    call: dict[str, Any]
    rows: int
    rows_per_shard: int
    versions: dict[str, str] = field(default_factory=dict)
    format: str = FORMAT

    @property
    def run(self) -> str:
        """Return a digest of all that decides the shards' content, which each shard repeats."""
        data = {name: value for name, value in self.data.items() if name != "name"}
        return digest([self.format, data, self.explainer, self.call, self.rows, self.rows_per_shard])

    @property
    def n_shards(self) -> int:
        """Return the number of shards of a complete run."""
        return -(-self.rows // self.rows_per_shard)

    def shards(self) -> Iterator[Shard]:
        """Yield all shards of a complete run."""
        return (self.shard(number) for number in range(self.n_shards))

    def shard(self, number: int) -> Shard:
        """Return the shard of a number."""
        start = number * self.rows_per_shard
        return Shard(number, start, min(start + self.rows_per_shard, self.rows))

    def differences(self, other: Manifest) -> list[str]:
        """Return how another run differs, a sentence each, beginning with the name of what differs."""
        found = []
        for what in ("rows", "fingerprint", "columns"):
            if self.data.get(what) != other.data.get(what):
                found.append(f"data ({what}: {shown(self.data.get(what))}, now {shown(other.data.get(what))})")
        model, others = self.explainer["model"], other.explainer["model"]
        for what in sorted({*model, *others}):
            if model.get(what) != others.get(what) and UNREAD not in (model.get(what), others.get(what)):
                found.append(f"model ({what}: {shown(model.get(what))}, now {shown(others.get(what))})")
        for what in ("method", "tokenizer"):
            if self.explainer.get(what) != other.explainer.get(what):
                found.append(f"{what} ({shown(self.explainer.get(what))}, now {shown(other.explainer.get(what))})")
        pairs = (("option", self.explainer["options"], other.explainer["options"]), ("argument", self.call, other.call))
        for kind, before, now in pairs:
            for what in sorted({*before, *now}):
                if before.get(what) != now.get(what):
                    found.append(f"{kind} `{what}` ({shown(before.get(what))}, now {shown(now.get(what))})")
        if self.rows_per_shard != other.rows_per_shard:
            found.append(f"`rows_per_shard` ({self.rows_per_shard}, now {other.rows_per_shard})")
        return found


@dataclass(frozen=True)
class Shard:
    """A range of inputs.

    Attributes:
        number: Its place among the shards.
        start: Number of its first input.
        stop: Number after that of its last input.
    """

    number: int
    start: int
    stop: int

    @property
    def file(self) -> str:
        """Return the name of its file, which says which inputs it is of."""
        return f"rows-{self.start:012d}-{self.stop:012d}.parquet"


def versions() -> dict[str, str]:
    """Return the versions of what decides numbers."""
    return {
        "interpreto": interpreto.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def begin(folder: Path, manifest: Manifest, only: Sequence[str] = ()) -> Manifest:
    """Write the manifest of a new data set, or return that of one which is taken up again.

    Args:
        folder: Where the data set is; made if missing.
        manifest: What is to be computed.
        only: Names that may be in a folder without a manifest.

    Raises:
        FileError: the folder holds something else, or a data set of other data, another model or other options: the message
            names each difference.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = [file.name for file in folder.iterdir() if file.name not in (LOCK, *only)]
    except OSError as error:
        raise FileError(f"`out`: the folder {str(folder)!r} cannot be made ({error}).") from error
    with alone_with(folder / LOCK):
        if (folder / MANIFEST).exists():
            before = read_manifest(folder, manifest.format)
            if differing := before.differences(manifest):
                raise FileError(
                    f"`out`: {str(folder)!r} was begun with something else: {'; '.join(differing)}. Pass what it was begun "
                    "with, or another folder."
                )
            return before
        if [name for name in held if not name.startswith(MANIFEST)]:
            raise FileError(f"`out`: {str(folder)!r} holds something else; pass an empty folder, or one that does not exist.")
        with replacing(folder / MANIFEST, durable=True) as partial:
            content = {"format": manifest.format, **{f.name: getattr(manifest, f.name) for f in fields(manifest)}}
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return manifest


def read_manifest(folder: Path, format: str = FORMAT) -> Manifest:
    """Return the manifest of a data set of explanations, or of scores.

    Args:
        folder: The data set.
        format: What its shards shall hold.

    Raises:
        FileError: there is none, or it is damaged.
    """
    file = folder / MANIFEST
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileError(f"`path`: {str(folder)!r} holds no data set of {KINDS[format]} ({MANIFEST} is missing).") from error
    except (OSError, ValueError) as error:
        raise FileError(f"`path`: {str(file)!r} cannot be read ({error}).") from error
    if not isinstance(found, dict) or found.get("format") != format:
        other = KINDS.get(str(found.get("format"))) if isinstance(found, dict) else None
        hint = "" if other is None else f" It is one of {other}."
        raise FileError(f"`path`: {str(file)!r} is no manifest of {KINDS[format]} of this version ({format!r}).{hint}")
    for name, kind in WHOLE.items():
        if type(found.get(name)) is not kind:
            raise FileError(f"`path`: {str(file)!r} is damaged: its entry {name!r} is missing or of another type.")
    for where, name in (("data", "fingerprint"), ("explainer", "model"), ("explainer", "options"), ("explainer", "method")):
        if name not in found[where]:
            raise FileError(f"`path`: {str(file)!r} is damaged: its entry '{where}.{name}' is missing.")
    if not is_whole(found["rows_per_shard"]) or found["rows_per_shard"] < 1 or found["rows"] < 0:
        raise FileError(f"`path`: {str(file)!r} is damaged: its entry 'rows_per_shard' is no number of rows.")
    return Manifest(**{f.name: found[f.name] for f in fields(Manifest) if f.name in found})


def as_json(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest in JSON's types."""
    return asdict(manifest)
