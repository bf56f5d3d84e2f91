"""Files of ours: tensors as safetensors, everything else as JSON in the header. No code is run from them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from interpreto.errors import FileError


def check_writable(path: str | PathLike[str], name: str = "path") -> Path:
    """The path, where a file can be written: before anything is computed for it.

    Raises:
        FileError: there is no such folder, or a folder has that name.
    """
    found = Path(path)
    if not found.parent.is_dir():
        raise FileError(f"`{name}`: there is no folder {str(found.parent)!r} to write {found.name!r} into.")
    if found.is_dir():
        raise FileError(f"`{name}`: {str(found)!r} is a folder; pass the name of a file.")
    return found


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write in the place of another, which is there until this one is complete."""
    partial = path.with_name(path.name + ".partial")
    yield partial
    os.replace(partial, path)


def write_file(path: str | PathLike[str], kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a file of a kind; one that was there is replaced only once the new one is complete.

    Raises:
        FileError: there is no such folder, or a folder has that name.
        TypeError: a fact is not of JSON's types.
    """
    from safetensors.torch import save_file  # noqa: PLC0415

    header = json.dumps({"format": kind, **facts})
    with replacing(check_writable(path)) as partial:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, partial, metadata={"interpreto": header})


def read_file(path: str | PathLike[str], kind: str, what: str, name: str = "path") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a file of a kind.

    Raises:
        FileError: it is missing, cannot be read, or holds something else.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    path = str(path)
    if not Path(path).is_file():
        raise FileError(f"`{name}`: there is no file {path!r}.")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("interpreto", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise FileError(f"`{name}`: {path!r} cannot be read as {what} ({error}).") from error
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != kind:
        held = repr(found) if found else "nothing of interpreto's"
        raise FileError(f"`{name}`: {path!r} holds {held}; this version reads {kind!r}.")
    return tensors, facts
