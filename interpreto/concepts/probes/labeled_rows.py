"""Rows of activations with their labels, and the text that each row is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from interpreto.concepts.activation_store import ActivationStore
from interpreto.errors import InputError, OptionError
from interpreto.validation import shown


@dataclass(frozen=True, eq=False)
class LabeledRows:
    """Rows with labels.

    Attributes:
        rows: Activations ``(n, d)``, in float64.
        labels: 1 where a row has the concept, else 0, ``(n, c)``.
        groups: Number of the text of each row, from 0 on without a gap.
        names: Of the concepts.
        exclusive: Each row has exactly one of the concepts: they are classes.
    """

    rows: Float[Tensor, "n d"]
    labels: Float[Tensor, "n c"]
    groups: Int[Tensor, " n"]
    names: tuple[str, ...]
    exclusive: bool

    @property
    def texts(self) -> int:
        """Return the number of texts."""
        return int(self.groups.max()) + 1

    def of_texts(self, values: Float[Tensor, "n c"]) -> Float[Tensor, "g c"]:
        """Return the mean of rows' values over the rows of each text."""
        sizes = torch.bincount(self.groups, minlength=self.texts).to(values)
        return values.new_zeros(self.texts, values.shape[1]).index_add_(0, self.groups, values) / sizes[:, None]

    @property
    def labels_are_of_texts(self) -> bool:
        """Return True if all rows of a text have the same labels."""
        return bool((self.of_texts(self.labels)[self.groups] == self.labels).all())

    def folds(self, count: int, generator: Generator) -> Int[Tensor, " n"]:
        """Deal the texts to folds: all rows of a text to one, texts of the same labels evenly.

        Returns:
            The fold of each row, from 0 to ``count − 1``.
        """
        keys = [tuple(row) for row in (self.of_texts(self.labels) >= 0.5).tolist()]
        order = sorted(torch.randperm(self.texts, generator=generator).tolist(), key=keys.__getitem__)
        folds = torch.empty(self.texts, dtype=torch.int64)
        folds[torch.tensor(order)] = torch.arange(self.texts) % count
        return folds.to(self.groups.device)[self.groups]

    def where(self, kept: Bool[Tensor, " n"]) -> LabeledRows:
        """Return some of the rows."""
        groups = self.groups[kept].unique(return_inverse=True)[1]
        return LabeledRows(self.rows[kept], self.labels[kept], groups, self.names, self.exclusive)

    def shuffled(self, generator: Generator) -> Float[Tensor, "n c"]:
        """Return the labels in another order: those of whole texts, or, where rows of a text differ, within each text."""
        if self.labels_are_of_texts:
            order = torch.randperm(self.texts, generator=generator).to(self.groups.device)
            return self.of_texts(self.labels)[order][self.groups]
        draws = torch.rand(len(self.rows), generator=generator, dtype=torch.float64).to(self.groups.device)
        places = torch.argsort(self.groups, stable=True)
        moved = torch.argsort(self.groups.double() + draws)  # texts in order, the rows of each text in a random one
        found = torch.empty_like(self.labels)
        found[places] = self.labels[moved]
        return found


def read_labels(labels: Any, names: Sequence[str] | None = None) -> tuple[Float[Tensor, "n c"], tuple[str, ...], bool]:
    """Return labels as a table of 0 and 1, the names of its columns, and whether these are classes.

    Args:
        labels: ``(n,)`` of 0 and 1 or of truth values: one concept; ``(n,)`` of names or other whole numbers: a concept for
            each that occurs, in order; ``(n, c)`` of 0 and 1: ``c`` concepts.
        names: Of the concepts; None: those in the labels, else "concept 0" and so on.

    Raises:
        InputError: they are something else.

    Examples:
        >>> read_labels(["praise", "blame", "praise"])
        (tensor([[0., 1.],
                [1., 0.],
                [0., 1.]], dtype=torch.float64), ('blame', 'praise'), True)
    """
    given = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    if not given:
        raise InputError("`labels`: there is none; pass one for each row.")
    if all(isinstance(label, str) for label in given):
        return _of_classes(given, names)
    try:
        table = torch.tensor(given, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"`labels`: got {shown(given)}; pass names, or 0 and 1 in a shape of (n,) or (n, c).") from error
    binary = bool(((table == 0) | (table == 1)).all())
    if table.ndim == 1 and not binary and bool((table == table.round()).all()):
        return _of_classes([int(label) for label in given], names)
    if table.ndim not in (1, 2) or not binary or 0 in table.shape:
        raise InputError(f"`labels`: got {shown(given)}; pass names, or 0 and 1 in a shape of (n,) or (n, c).")
    table = table.reshape(len(table), -1)
    exclusive = table.shape[1] > 1 and bool((table.sum(1) == 1).all())
    return table, _named(table.shape[1], None, names), exclusive


def read_labeled(
    rows: Float[Tensor, "n d"], labels: Any, groups: Any = None, names: Sequence[str] | None = None
) -> LabeledRows:
    """Return rows with their labels and texts.

    Args:
        rows: Activations.
        labels: See `read_labels`; also one for each text, where there are several rows per text.
        groups: The text of each row, by number or name; None: each row is a text.
        names: Of the concepts.

    Raises:
        InputError: numbers of rows and labels differ, or a concept is in all rows or in none.
    """
    table, called, exclusive = read_labels(labels, names)
    texts = torch.arange(len(rows)) if groups is None else _numbered(groups)
    if len(texts) != len(rows):
        raise InputError(f"`groups`: got {len(texts)} for {len(rows)} rows; pass the text of each row.")
    if len(table) == int(texts.max()) + 1 != len(rows):
        table = table[texts]
    if len(table) != len(rows):
        raise InputError(f"`labels`: got {len(table)} for {len(rows)} rows; pass one for each row, or one for each text.")
    for name, share in zip(called, table.mean(0).tolist(), strict=True):
        if share in (0.0, 1.0):
            raise InputError(f"`labels`: {'all' if share else 'no'} rows have {name!r}; pass rows with it and rows without it.")
    return LabeledRows(rows.double(), table.to(rows.device), texts.to(rows.device), called, exclusive)


def split_texts(activations: Any, split_point: str | None) -> tuple[Any, Any]:
    """Return activations that concept models read, and the text of each row, where this is known.

    Args:
        activations: Anything that `read_activations` takes, or a list with a tensor ``(g, d)`` for each text, as
            ``get_activations(..., flatten_activations=False)`` returns it by split point.
        split_point: The one to read.
    """
    if isinstance(activations, Mapping) and split_point in activations:
        activations = activations[split_point]
    elif isinstance(activations, Mapping) and len(activations) == 1:
        activations = next(iter(activations.values()))
    if isinstance(activations, ActivationStore):
        return activations, [unit.sample for unit in activations.units()]
    if isinstance(activations, list) and activations and all(isinstance(rows, Tensor) for rows in activations):
        return torch.cat(activations), [i for i, rows in enumerate(activations) for _ in range(len(rows))]
    return activations, None


def _of_classes(labels: Sequence[Any], names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...], bool]:
    found = sorted(set(labels))
    table = torch.tensor([[float(label == name) for name in found] for label in labels], dtype=torch.float64)
    return table, _named(len(found), [str(name) for name in found], names), True


def _named(count: int, found: Sequence[str] | None, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(found or (f"concept {i}" for i in range(count)))
    if len(names) != count or len(set(names)) != count:
        raise OptionError(f"`names`: got {shown(list(names))}, and the labels have {count} concepts; pass one name for each.")
    return tuple(names)


def _numbered(groups: Any) -> Int[Tensor, " n"]:
    given = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    numbers: dict[Any, int] = {}
    return torch.tensor([numbers.setdefault(group, len(numbers)) for group in given], dtype=torch.int64)
