"""Tables of explanations: pandas, CSV, and Parquet files that hold the explanations too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from interpreto.errors import FileError, OptionError
from interpreto.storage import alone, replacing

if TYPE_CHECKING:
    import pandas

FORMAT = "interpreto.table/1"
CONTENT = "explanation"
"""Column of a Parquet file with an explanation as bytes of safetensors, in the first row of each text; null elsewhere."""

OF_NUMPY = frozenset({torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool})
Content = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""The tensors and the facts of an explanation."""


def load_pandas() -> Any:
    """Return the module pandas.

    Raises:
        OptionError: it is not installed.
    """
    try:
        import pandas  # noqa: PLC0415  # optional
    except ImportError as error:
        raise OptionError("`to_dataframe`: pandas is not installed; run `pip install pandas`.") from error
    return pandas


def write_csv(frame: pandas.DataFrame, file: Path) -> None:
    """Write a table as comma-separated values; a file that was there is replaced once the new one is complete."""
    with replacing(file) as partial:
        frame.to_csv(partial, index=False)


def write_parquet(frame: pandas.DataFrame, contents: Sequence[Content], file: Path) -> None:
    """Write a table with one more column, `CONTENT`, out of which `read_parquet` reads the explanations.

    Args:
        frame: Rows with a ``text_id``.
        contents: The explanation of each ``text_id``.
        file: Where to write.

    Raises:
        OptionError: pyarrow is not installed.
    """
    pyarrow, parquet = _pyarrow()
    first = ~frame["text_id"].duplicated()
    column: list[bytes | None] = [None] * len(frame)
    for place, content in zip(first.to_numpy().nonzero()[0].tolist(), contents, strict=True):
        column[place] = as_bytes(content)
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    table = table.append_column(CONTENT, pyarrow.array(column, type=pyarrow.binary()))
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"interpreto": FORMAT.encode()})
    with replacing(file) as partial:
        parquet.write_table(table, partial)


def read_parquet(path: str | PathLike[str]) -> list[tuple[dict[str, Tensor], dict[str, Any]]]:
    """Return the tensors and the facts of each explanation of a file that `write_parquet` wrote.

    Raises:
        FileError: the file is missing, damaged, or holds something else.
        OptionError: pyarrow is not installed.
    """
    pyarrow, parquet = _pyarrow()
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileError(f"`path`: there is no file {str(path)!r}.")
    try:
        schema = parquet.read_schema(file)
        if (schema.metadata or {}).get(b"interpreto") != FORMAT.encode():
            raise FileError(f"`path`: {str(path)!r} is a table, and none that `Explanations.save` wrote; read it with pandas.")
        column = parquet.read_table(file, columns=[CONTENT])[CONTENT].to_pylist()
        return [from_bytes(value) for value in column if value is not None]
    except (OSError, SafetensorError, ValueError, RecursionError, pyarrow.ArrowException) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"`path`: {str(path)!r} cannot be read as explanations ({error}).") from error


def as_bytes(content: Content) -> bytes:
    """Return the tensors and the facts of an explanation as the bytes of a safetensors file."""
    from safetensors import numpy  # noqa: PLC0415  # with torch
    from safetensors import torch as tensors_of  # noqa: PLC0415

    tensors, facts = content
    kept, header = alone(tensors), {"interpreto": json.dumps(dict(facts))}
    if all(value.device.type == "cpu" and value.dtype in OF_NUMPY for value in kept.values()):
        return numpy.save({name: value.numpy() for name, value in kept.items()}, metadata=header)  # the same bytes, sooner
    return tensors_of.save(kept, metadata=header)


def from_bytes(value: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the facts out of what `as_bytes` made of them.

    Raises:
        ValueError, SafetensorError: the bytes are something else.
    """
    from safetensors.torch import load  # noqa: PLC0415  # with torch

    length = int.from_bytes(value[:8], "little")  # of the header, which comes before the tensors
    header = json.loads(value[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["interpreto"])
    if not isinstance(facts, dict):
        raise ValueError("the header of an explanation is no mapping")
    return load(value), facts


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: PLC0415  # optional
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise OptionError("`path`: Parquet needs pyarrow; run `pip install pyarrow`.") from error
    return pyarrow, parquet
