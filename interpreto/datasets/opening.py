"""Read what users pass as data: files, tables, lists."""

from __future__ import annotations

from os import PathLike
from typing import Any

from interpreto.datasets.files import open_files
from interpreto.datasets.sources import Source, in_memory
from interpreto.errors import InputError
from interpreto.validation import shown


def read_source(data: Any, text: str | tuple[str, str] | None, target: str | None, label: str | None) -> Source:
    """Return what a user passes as data, readable by ranges of rows.

    Args:
        data: Files, a table or a list; see `interpreto.explain_dataset`.
        text: Column of the texts; None: found by its name.
        target: Column of the targets; None: there is none.
        label: Column of the true classes; None: there is none.

    Raises:
        FileError, InputError, OptionError: it cannot be read.
    """
    paths = isinstance(data, (list, tuple)) and len(data) > 0 and all(isinstance(one, PathLike) for one in data)
    is_file = isinstance(data, (str, PathLike)) or paths
    source = open_files(data, text, target, label) if is_file else in_memory(data, text, target, label)
    if not len(source):
        raise InputError(f"`data`: {shown(source.name)} has no rows.")
    return source
