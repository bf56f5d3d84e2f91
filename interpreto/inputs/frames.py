"""Columns of tables: what a data frame or a data set holds of inputs, targets and labels."""

from __future__ import annotations

import difflib
from typing import Any

from interpreto.errors import InputError
from interpreto.validation import shown


def read_columns(
    frame: Any, text: str | tuple[str, str], target: str | None = None, label: str | None = None
) -> tuple[list[Any], list[Any] | None, list[Any] | None]:
    """Return the inputs, the targets and the labels of a table.

    Args:
        frame: A ``pandas.DataFrame``, a ``datasets.Dataset``, or anything with ``columns`` or ``column_names``.
        text: Column of the texts, or two of them, whose rows are pairs.
        target: Column of the targets; None: there are none.
        label: Column of the true classes; None: there are none.

    Raises:
        InputError: there is no such column, or the object is no table.
    """
    columns = column_names(frame)
    if columns is None:
        raise InputError(f"`frame`: got {type(frame).__name__}; pass a table with columns, such as a pandas.DataFrame.")
    pair = isinstance(text, (tuple, list))
    texts = [_column(frame, name, columns, "text") for name in (text if pair else [text])]
    inputs = list(zip(*texts, strict=True)) if pair else texts[0]
    targets = None if target is None else _column(frame, target, columns, "target")
    return inputs, targets, None if label is None else _column(frame, label, columns, "label")


def column_names(frame: Any) -> list[Any] | None:
    """Return the names of the columns of a table; None for an object that is none."""
    for attribute in ("columns", "column_names"):
        names = getattr(frame, attribute, None)
        if isinstance(names, (list, tuple)) or hasattr(names, "tolist"):
            return list(names)  # type: ignore[arg-type]  # iterable, as pandas' own
    return None


def _column(frame: Any, name: Any, columns: list[Any], option: str) -> list[Any]:
    if name not in columns:
        near = difflib.get_close_matches(str(name), columns, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"`{option}`: the table has no column {shown(name)}; it has {', '.join(map(repr, columns[:10])) or 'none'}.{hint}"
        )
    found = frame[name]
    return found.tolist() if hasattr(found, "tolist") else list(found)
