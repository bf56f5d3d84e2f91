"""The history of a training: one record per epoch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class TrainingRecord:
    """Averages over the training steps of an epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        step: Steps up to its end.
        loss: Mean of the unexplained fraction and the sparsity penalty.
        explained_variance: 1 − the unexplained fraction of the variance of all rows; at most 1, higher is better.
        l0: Mean number of concepts of a row.
        dead_fraction: Fraction of the concepts that no row had, ``[0, 1]``.
        ordinary_explained_variance: Explained variance of the rows that are not outliers; the same number where there are no
            outliers, and NaN in histories that were written before it was measured.
    """

    epoch: int
    step: int
    loss: float
    explained_variance: float
    l0: float
    dead_fraction: float
    ordinary_explained_variance: float = float("nan")


@dataclass
class Progress:
    """State of a training. Everything random follows from the seed and the step, so no generator is kept.

    Attributes:
        step: Steps done.
        sums: Sums over the rows of this epoch, ``(6,)``: loss, squared error, number of codes, ordinary rows, the
            squared error of these, and rows.
        fired: Which concepts a row had in this epoch, ``(c,)``.
        history: Records of the epochs done.
    """

    step: int
    sums: Tensor
    fired: Tensor
    history: list[TrainingRecord]


def read_history(records: Any) -> list[TrainingRecord]:
    """Return the records of a file.

    Raises:
        TypeError: they are no list of records, or hold something else than numbers.
    """
    wanted = {field.name for field in fields(TrainingRecord)}
    for record in records:
        if not {*record} <= wanted or not all(type(value) in (int, float) for value in record.values()):
            raise TypeError(f"the history has {record!r}")
    return [TrainingRecord(**record) for record in records]
