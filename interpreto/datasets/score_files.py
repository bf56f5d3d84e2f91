"""Files of scores: a shard has a row per text and a column per method and metric, and keeps what else adds up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interpreto.datasets.manifest import Shard
from interpreto.datasets.shards import Entry, load_pyarrow, read_shard, write_table
from interpreto.datasets.sources import Rows
from interpreto.datasets.spec import plain
from interpreto.errors import FileError
from interpreto.metrics.cost import Cost
from interpreto.metrics.mean_curves import GRID, CurveSum
from interpreto.metrics.merging import CellFacts, TextScores

FACTS, CURVES = b"scores", b"curves"
OWN = ("id", "text", "error", "message")
"""Columns next to those of scores."""


@dataclass(frozen=True)
class ScoreFailure:
    """A text on which a method, or one of its metrics, failed.

    Attributes:
        id: Number of the input in the data.
        method: The method.
        metric: The metric; None: the method failed to explain.
        kind: Class of the error.
        message: What it says.
    """

    id: int
    method: str
    metric: str | None
    kind: str
    message: str

    def __str__(self) -> str:
        place = self.method if self.metric is None else f"{self.metric} of {self.method}"
        return f"{place}: {self.kind}: {self.message}"


def write_scores(
    folder: Path, shard: Shard, rows: Rows, scores: TextScores, failures: Sequence[ScoreFailure], *, run: str
) -> Entry:
    """Write the scores of a shard: whole and for good, or not at all.

    Args:
        folder: That of the data set.
        shard: The range of inputs.
        rows: The inputs.
        scores: Scores of each.
        failures: What failed.
        run: Digest of the manifest.

    Raises:
        FileError: the file cannot be written, because the disk is full or the folder is missing.
    """
    pyarrow, _ = load_pyarrow()
    first = {failure.id: failure for failure in reversed(failures)}
    numbers = range(shard.start, shard.stop)
    columns: dict[str, Any] = {
        "id": pyarrow.array(numbers, pyarrow.int64()),
        "text": pyarrow.array([one if isinstance(one, str) else str(one) for one in rows.inputs], pyarrow.string()),
        "error": pyarrow.array([first[i].kind if i in first else None for i in numbers], pyarrow.string()),
        "message": pyarrow.array([str(first[i]) if i in first else None for i in numbers], pyarrow.string()),
    }
    for place, values in scores.values.items():
        columns[column_name(*place)] = pyarrow.array(values.double().numpy())
    kept = {"failures": len(first), "run": run}
    return write_table(folder, shard, rows, pyarrow.table(columns), facts=kept, more=_packed(scores, failures))


def column_name(method: str, metric: str) -> str:
    """Return the name of the column of a method's scores by a metric."""
    return f"{method} / {metric}"


def _packed(scores: TextScores, failures: Sequence[ScoreFailure]) -> dict[bytes, bytes]:
    """Return everything but the scores of single texts."""
    cells = []
    for (name, column), facts in scores.facts.items():
        own = {field: plain(getattr(facts, field)) for field in CellFacts.__dataclass_fields__ if field != "curves"}
        cells.append([name, column, own, [curve.n for curve in facts.curves]])
    content = {
        "cells": cells,
        "cost": {name: cost.rows for name, cost in scores.cost.items()},  # seconds would make each file another one
        "failures": [asdict(failure) for failure in failures],
    }
    totals = [curve.total for facts in scores.facts.values() for curve in facts.curves]
    curves = np.concatenate(totals) if totals else np.zeros(0)
    return {FACTS: json.dumps(content).encode(), CURVES: curves.astype("<f8").tobytes()}


def read_scores(folder: Path, entry: Entry) -> tuple[TextScores, list[ScoreFailure]]:
    """Return the scores of a shard, and what failed.

    Raises:
        FileError: the file is missing or damaged.
    """
    table = read_shard(folder, entry)
    try:
        content = json.loads(table.schema.metadata[FACTS])
        curves = np.frombuffer(table.schema.metadata[CURVES], dtype="<f8").reshape(-1, GRID)
        return _unpacked(table, content, list(curves)), [ScoreFailure(**failure) for failure in content["failures"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FileError(
            f"`path`: the scores of inputs {entry.start} to {entry.stop} in {str(folder)!r} cannot be read ({error})."
        ) from error


def _unpacked(table: Any, content: dict[str, Any], curves: list[np.ndarray]) -> TextScores:
    values, facts = {}, {}
    for name, column, own, counts in content["cells"]:
        sums = tuple(CurveSum(curves.pop(0), n) for n in counts)
        low, high = own.pop("value_range")
        draws = tuple((n, total) for n, total in own.pop("draws"))
        own["skipped"] = tuple(own["skipped"])
        facts[name, column] = CellFacts(value_range=(low, high), draws=draws, curves=sums, **own)
        values[name, column] = torch.tensor(table[column_name(name, column)].to_numpy())
    return TextScores(len(table), values, facts, {name: Cost(rows) for name, rows in content["cost"].items()})
