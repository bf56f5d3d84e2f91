"""Files of ours: tensors as safetensors, everything else as JSON in the header. No code is run from them.

A file is written whole or not at all: under a name of its own, which then takes the place of what was there.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from interpreto.errors import FileError, OptionError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial"  # the ending of files that are being written


def check_writable(path: str | PathLike[str], name: str = "path") -> Path:
    """Return the path, ``~`` expanded, where a file can be written: before anything is computed for it.

    Raises:
        OptionError: it is no path.
        FileError: there is no such folder, or a folder has that name.
    """
    if not isinstance(path, (str, PathLike)):
        raise OptionError(f"`{name}`: got {path!r}; pass the path of a file.")
    found = Path(path).expanduser()
    folder = _followed(found).parent
    if not folder.is_dir():
        raise FileError(f"`{name}`: there is no folder {str(folder)!r} to write {found.name!r} into.")
    if found.is_dir():
        raise FileError(f"`{name}`: {str(found)!r} is a folder; pass the name of a file.")
    return found


def local_folder(path: str | PathLike[str], name: str = "path") -> Path:
    """Return the path of a folder of this machine, ``~`` expanded.

    Raises:
        OptionError: it is the address of something else, such as ``s3://…``, which would be made a folder of that name.
    """
    if "://" in str(path):
        raise OptionError(f"`{name}`: got {str(path)!r}; pass a folder; what is elsewhere is mounted, or copied.")
    return Path(path).expanduser()


@contextmanager
def replacing(path: str | PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Context manager that gives a new file to write, which takes the place of another once it is complete.

    Links are followed. What was there keeps its permissions, and stays as it is when writing fails; nothing half-written
    is left. A device (``/dev/stdout``) is not replaced: the finished file is copied into it.

    Args:
        path: The file that is replaced.
        durable: Wait until the disk holds the new file before it takes that place, so that no loss of power can leave a name
            without its content.

    Raises:
        FileError: the file cannot be written, because the disk is full, the folder is missing or must not be written to.
    """
    target = _followed(Path(path).expanduser())
    partial = target.with_name(f"{target.name}.{secrets.token_hex(8)}{PARTIAL}")
    device = target.exists() and not target.is_file()
    if device and not target.is_dir():
        partial = Path(_temporary_folder(), partial.name)
    try:
        yield partial
        if durable:
            _flush(partial)
        _put(partial, target)
        if durable:
            _flush(target.parent)
    except (OSError, SafetensorError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"`path`: {str(target)!r} cannot be written ({error}).") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _put(partial: Path, target: Path) -> None:
    """Put a complete file in the place of another, or into a device."""
    if target.is_file():
        with suppress(OSError):  # not on every file system
            shutil.copymode(target, partial)
    if target.exists() and not target.is_file() and not target.is_dir():
        with partial.open("rb") as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        return
    os.replace(partial, target)


def _flush(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a folder."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _followed(path: Path) -> Path:
    """Return the file that a path names, through every link."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise FileError(f"`path`: {str(path)!r} cannot be followed ({error}).") from error


def _temporary_folder() -> str:
    import tempfile  # noqa: PLC0415  # for devices only

    return tempfile.gettempdir()


def digest_of_file(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    found = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            found.update(block)
    return found.hexdigest()


@contextmanager
def alone_with(lock: Path) -> Iterator[None]:
    """Context manager that waits until no other process or thread is within it for the same file, which is made if missing.

    The lock ends with its process, however that ends. Where the system has no such locks (Windows, some network drives)
    nothing is waited for: writers still never share a file, since the names of partial files are unique.
    """
    try:
        handle = lock.open("a")
    except OSError as error:
        raise FileError(f"`path`: {str(lock.parent)!r} cannot be written to ({error}).") from error
    with handle:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_file(path: str | PathLike[str], kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a file of a kind; one that was there is replaced only once the new one is complete.

    Raises:
        FileError: there is no such folder, a folder has that name, or the disk is full.
        TypeError: a fact is not of JSON's types.
    """
    from safetensors.torch import save_file  # noqa: PLC0415

    header = json.dumps({"format": kind, **facts})
    with replacing(check_writable(path)) as partial:
        save_file(alone(tensors), partial, metadata={"interpreto": header})


def alone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in the form in which they can be written: each contiguous, and with memory of its own."""
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def read_file(path: str | PathLike[str], kind: str, what: str, name: str = "path") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the facts of a file of a kind.

    Raises:
        FileError: it is missing, cannot be read, or holds something else.
    """
    from safetensors import safe_open  # noqa: PLC0415

    path = str(Path(path).expanduser())
    if not Path(path).is_file():
        raise FileError(f"`{name}`: there is no file {path!r}.")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("interpreto", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise FileError(f"`{name}`: {path!r} cannot be read as {what} ({error}).") from error
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != kind:
        held = repr(found) if found else "nothing of interpreto's"
        raise FileError(f"`{name}`: {path!r} holds {held}; this version reads {kind!r}.")
    return tensors, facts
