"""Files of training dynamics: safetensors, or a Parquet table with a row per text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interpreto.errors import FileError, OptionError
from interpreto.storage import check_writable, read_file, replacing, write_file
from interpreto.training.recording import TextId

KIND = "interpreto.training_dynamics/1"


@dataclass(frozen=True, eq=False)
class Saved:
    """Contents of a file of training dynamics.

    Attributes:
        ids: The texts, in order.
        texts: Texts by id, where they are known.
        classes: Names of the classes, where they are known.
        epochs: Numbers of the epochs.
        logits: ``(e, n, c)``.
        features: ``(e, n, d)``, where they were recorded.
        labels: ``(n,)``.
    """

    ids: Sequence[TextId]
    texts: dict[TextId, str]
    classes: Sequence[str] | None
    epochs: Sequence[int]
    logits: Tensor
    features: Tensor | None
    labels: Tensor


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


def write_saved(path: Path, saved: Saved) -> None:
    """Write a file: a Parquet table where the name ends so, else safetensors."""
    if path.suffix == ".parquet":
        _write_parquet(path, saved)
        return
    tensors = {"logits": saved.logits, "labels": saved.labels}
    if saved.features is not None:
        tensors["features"] = saved.features
    facts = {"ids": list(saved.ids), "texts": list(saved.texts.items()), "classes": saved.classes, "epochs": list(saved.epochs)}
    write_file(path, KIND, tensors, facts)


def read_saved(path: Path) -> Saved:
    """Read a file that `write_saved` wrote.

    Raises:
        FileError: It is missing, damaged, or holds something else.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path)
    tensors, facts = read_file(path, KIND, "training dynamics")
    try:
        texts = {one: str(text) for one, text in facts["texts"]}
        found = (tensors["logits"], tensors.get("features"), tensors["labels"])
        return Saved(facts["ids"], texts, facts["classes"], facts["epochs"], *found)
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"`path`: {str(path)!r} is damaged ({error!r}).") from error


def _write_parquet(path: Path, saved: Saved) -> None:
    pyarrow, parquet = _pyarrow()
    shape = saved.logits.shape
    rows = saved.logits.transpose(0, 1).reshape(shape[1], -1)
    columns = {
        "id": [json.dumps(one) for one in saved.ids],
        "text": [saved.texts.get(one) for one in saved.ids],
        "label": saved.labels.tolist(),
        "logits": pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(rows.flatten().numpy(), pyarrow.float32()), rows.shape[1]
        ),
    }
    facts = {"format": KIND, "classes": saved.classes, "epochs": list(saved.epochs), "n_classes": shape[2]}
    table = pyarrow.table(columns).replace_schema_metadata({"interpreto": json.dumps(facts)})
    with replacing(check_writable(path)) as partial:
        parquet.write_table(table, partial)


def _read_parquet(path: Path) -> Saved:
    pyarrow, parquet = _pyarrow()
    file = path.expanduser()
    if not file.is_file():
        raise FileError(f"`path`: there is no file {str(path)!r}.")
    try:
        table = parquet.read_table(file)
        facts = json.loads((table.schema.metadata or {}).get(b"interpreto", b"{}"))
        if facts.get("format") != KIND:
            raise FileError(f"`path`: {str(path)!r} is a table, and no training dynamics; read it with pandas.")
        ids = [json.loads(one) for one in table["id"].to_pylist()]
        flat = torch.from_numpy(table["logits"].combine_chunks().flatten().to_numpy(zero_copy_only=False).copy())
        logits = flat.reshape(len(ids), len(facts["epochs"]), facts["n_classes"]).transpose(0, 1).contiguous()
        texts = {one: text for one, text in zip(ids, table["text"].to_pylist(), strict=True) if text is not None}
        labels = torch.tensor(table["label"].to_pylist(), dtype=torch.long)
        return Saved(ids, texts, facts["classes"], facts["epochs"], logits, None, labels)
    except (OSError, KeyError, ValueError, RuntimeError, pyarrow.ArrowException) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"`path`: {str(path)!r} cannot be read as training dynamics ({error}).") from error


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: PLC0415  # optional
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise OptionError("`path`: Parquet needs pyarrow; run `pip install pyarrow`.") from error
    return pyarrow, parquet
