"""Keep what is recorded of a training: logits, and what the head read, by epoch and text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpreto.errors import InputError
from interpreto.validation import check_count, is_whole, shown

TextId = int | str
"""Name of a text in a record: a whole number or a string."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some texts at one epoch.

    Attributes:
        rows: Their places in the record, ``(b,)``.
        logits: ``(b, c)``.
        features: What the head read, ``(b, d)``; None where it was not given.
    """

    rows: Tensor
    logits: Tensor
    features: Tensor | None


def read_ids(ids: Iterable[Any] | Tensor) -> list[TextId]:
    """Return ids as Python's own numbers and strings.

    Raises:
        InputError: One is something else, or occurs twice.
    """
    given = ids.tolist() if isinstance(ids, Tensor) else list(ids)
    for one in given:
        if not is_whole(one) and not isinstance(one, str):
            raise InputError(f"`ids`: got {shown(one)}; pass whole numbers or strings.")
    found: list[TextId] = [one if isinstance(one, str) else int(one) for one in given]
    if len(set(found)) < len(found):
        raise InputError(f"`ids`: {shown(next(one for one in found if found.count(one) > 1))} occurs twice in one call.")
    return found


def read_labels(labels: Sequence[int] | Tensor, n: int, classes: int) -> Tensor:
    """Return labels as a tensor of numbers of classes.

    Raises:
        InputError: There is not one per text, or one is no class.
    """
    found = torch.as_tensor(labels).detach().cpu()
    if found.shape != (n,) or found.is_floating_point() or found.dtype == torch.bool:
        raise InputError(f"`labels`: got {shown(labels)}; pass the number of a class for each of {n} texts.")
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < classes:
        raise InputError(f"`labels`: got {int(found.min())} to {int(found.max())}; there are classes 0 to {classes - 1}.")
    return found.long()


def read_rows(values: Any, name: str, n: int) -> Tensor:
    """Return numbers with a row per text, as float32 on the CPU, detached.

    Raises:
        InputError: They have another shape.
    """
    found = torch.as_tensor(values).detach().to("cpu", torch.float32)
    if found.ndim != 2 or len(found) != n or not found.shape[1]:
        raise InputError(f"`{name}`: got shape {tuple(found.shape)}; pass one row for each of {n} texts.")
    return found.clone()


class Recording:
    """Logits by epoch and text, as they come.

    Attributes:
        ids: The texts, in the order in which they were first recorded.
        labels: Their assigned labels.
    """

    def __init__(self) -> None:
        self.ids: list[TextId] = []
        self.labels: list[int] = []
        self._rows: dict[TextId, int] = {}
        self._parts: dict[int, list[Part]] = {}
        self._table: tuple[Tensor, Tensor | None] | None = None

    @property
    def epochs(self) -> list[int]:
        """Return the epochs that were recorded, in order."""
        return sorted(self._parts)

    def add(self, epoch: object, ids: Iterable[Any] | Tensor, logits: Any, labels: Any, features: Any) -> None:
        """Keep some texts at one epoch; a text that was recorded at it before is replaced.

        Raises:
            InputError: Shapes do not fit, or a text has another label than before.
        """
        number, found = check_count(epoch, "epoch", 0), read_ids(ids)
        values = read_rows(logits, "logits", len(found))
        given = None if features is None else read_rows(features, "features", len(found))
        known = next((part for parts in self._parts.values() for part in parts), None)
        if known is not None and known.logits.shape[1] != values.shape[1]:
            raise InputError(f"`logits`: got {values.shape[1]} classes; {known.logits.shape[1]} were recorded before.")
        assigned = read_labels(labels, len(found), values.shape[1]).tolist()
        for one, label in zip(found, assigned, strict=True):
            row = self._rows.get(one)
            if row is not None and self.labels[row] != label:
                raise InputError(f"`labels`: text {one!r} has label {label}; it was recorded with {self.labels[row]} before.")
        for one, label in zip(found, assigned, strict=True):
            if one not in self._rows:
                self._rows[one] = len(self.ids)
                self.ids.append(one)
                self.labels.append(label)
        part = Part(torch.tensor([self._rows[one] for one in found], dtype=torch.long), values, given)
        self._parts.setdefault(number, []).append(part)
        self._table = None

    def table(self) -> tuple[Tensor, Tensor | None]:
        """Return logits ``(e, n, c)`` and features ``(e, n, d)``, NaN where a text was not recorded.

        Raises:
            InputError: Nothing was recorded.
        """
        if self._table is None:
            parts = [part for epoch in self.epochs for part in self._parts[epoch]]
            if not parts:
                raise InputError("`record`: nothing was recorded yet; call it once per epoch.")
            widths = {part.features.shape[1] for part in parts if part.features is not None}
            logits = torch.full((len(self._parts), len(self.ids), parts[0].logits.shape[1]), torch.nan)
            features = torch.full((*logits.shape[:2], widths.pop()), torch.nan) if len(widths) == 1 else None
            for values, epoch in zip(range(len(logits)), self.epochs, strict=True):
                for part in self._parts[epoch]:
                    logits[values, part.rows] = part.logits
                    if features is not None and part.features is not None:
                        features[values, part.rows] = part.features
            self._table = logits, features
        return self._table
