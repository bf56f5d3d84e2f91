"""Read what users pass as targets. Every task, metric and concept explainer reads targets here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MappingView, Sequence, Set
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpreto.errors import TargetError
from interpreto.validation import shown

CLASSES = (
    "None (the prediction), a class id, a class name, a Contrast of two, "
    "or one of these, a list of these or a 1-D tensor for each input"
)
CONTINUATIONS = (
    "None (the model generates), a text, a 1-D tensor or a list of ids, a BatchEncoding, a Contrast of two, "
    "or one of these for each input"
)


@dataclass(frozen=True)
class Contrast:
    """A target: why ``a`` rather than ``b``. The explained score is score(a) − score(b).

    For a classifier two classes; for a language model two texts (or ids) that may follow the prompt. What both texts
    begin with cancels out, so only what sets them apart is scored.

    Args:
        a: A class id or name; a text, or a 1-D tensor or list of ids.
        b: The same, for the alternative.

    Examples:
        >>> from interpreto import Contrast, Occlusion, demo
        >>> explanation = Occlusion(*demo.load_classifier())("A gorgeous film.", Contrast("positive", "negative"))[0]
        >>> explanation.target_labels
        ['positive − negative']

    References:
        Yin and Neubig, EMNLP 2022, https://arxiv.org/abs/2202.10419.
    """

    a: Any
    b: Any


Label = int | str | Contrast
"""One target of a classifier: a class id, a class name, or a contrast of two."""

Continued = str | list[int] | Contrast
"""One target of a language model: a text or ids that follow the prompt, or a contrast of two."""


def read_classes(
    targets: object, n: int, *, single: bool = False, shared: bool = False, name: str = "targets"
) -> list[list[Label]] | None:
    """Return the classes that each input is explained for.

    Lists, tuples, generators, tensors, numpy arrays of numbers or names, pandas Series and columns of data sets are read
    alike; whole numbers of numpy are whole numbers.

    Args:
        targets: What the user passed.
        n: Number of inputs.
        single: The input was not in a list: several classes in one dimension are all meant for it.
        shared: Classes in one dimension are meant for every input, not one for each.
        name: The argument, for messages.

    Returns:
        For each input its classes, at least one; None, where ``targets`` is None.

    Raises:
        TargetError: if a target is no class, or there is not one for each input.
    """
    if targets is None:
        return None
    found = as_lists(targets, name, CLASSES)
    if not isinstance(found, list):
        return [[_label(found, f"`{name}`")]] * n
    flat = all(not isinstance(item, list) for item in found)
    if flat and (shared or (single and n == 1 and len(found) != 1)):
        return [[_label(item, f"`{name}[{i}]`") for i, item in enumerate(_some(found, f"`{name}`"))]] * n
    rows = []
    for i, row in enumerate(one_each(found, n, name)):
        where = f"`{name}[{i}]`"
        rows.append([_label(item, where) for item in _some(row if isinstance(row, list) else [row], where)])
    return rows


def read_continuations(targets: object, n: int, single: bool = False, name: str = "targets") -> list[Continued]:
    """Return what follows each input: a text, ids, or a contrast of two.

    Args:
        targets: What the user passed.
        n: Number of inputs.
        single: The input was not in a list.
        name: The argument, for messages.

    Raises:
        TargetError: if a target is neither, or there is not one for each input.
    """
    if isinstance(targets, Mapping):
        return list(one_each(_batch_rows(targets, name), n, name))
    found = as_lists(targets, name, CONTINUATIONS)
    if isinstance(found, (str, Contrast)):
        return [found] * n
    if isinstance(found, int):
        found = [found]
    if all(isinstance(item, int) for item in found):
        if n > 1 and hasattr(targets, "ndim"):
            raise TargetError(
                f"`{name}`: got ids of one target for {n} inputs; pass a list with the ids of each, or one text for all."
            )
        found = [found] if n == 1 else found
    return [_continuation(item, f"`{name}[{i}]`") for i, item in enumerate(one_each(found, n, name))]


def read_ids(item: object, name: str) -> list[int]:
    """Return the ids of one target, such as one side of a contrast.

    Raises:
        TargetError: if they are no whole numbers in one dimension.
    """
    found = as_lists(item, name.strip("`"), CONTINUATIONS)
    found = [found] if isinstance(found, int) else found
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]  # a batch of one row
    if isinstance(found, list) and all(isinstance(i, int) for i in found):
        return found
    what = "lists of ids" if isinstance(found, list) and any(isinstance(i, list) for i in found) else shown(item)
    raise TargetError(f"{name}: got {what}; pass {CONTINUATIONS}.")


def one_each(rows: Sequence[Any], n: int, name: str = "targets") -> Sequence[Any]:
    """Return the rows, if there is one for each input.

    Raises:
        TargetError: if there is another number of them.
    """
    if len(rows) != n:
        raise TargetError(f"`{name}`: got {len(rows)} for {n} inputs; pass one per input, or None to explain the prediction.")
    return rows


def as_lists(targets: object, name: str, accepted: str) -> Any:
    """Return targets as Python's numbers, texts and lists of them, whatever container they came in.

    Args:
        targets: A target, or a container of targets: a list, an array, a tensor, a Series, a column of a data set, a
            generator.
        name: The argument, for messages.
        accepted: What is accepted, for messages.

    Raises:
        TargetError: for floats, booleans, missing values, tables, sets and mappings.
    """
    if isinstance(targets, (Contrast, Mapping)):
        return targets
    if isinstance(targets, str):
        return str(targets)  # numpy's texts are texts
    if isinstance(targets, Integral) and not isinstance(targets, bool):
        return int(targets)
    if isinstance(targets, Tensor):
        return _whole(targets, name, accepted)
    if isinstance(targets, (np.ndarray, np.generic)):
        return _of_array(np.asarray(targets), targets, name, accepted)
    kind = type(targets).__name__
    if hasattr(targets, "columns") or hasattr(targets, "column_names"):
        raise TargetError(f"`{name}`: got a {kind}; pass one of its columns, as in table['label'].")
    if isinstance(targets, (Set, MappingView)):
        raise TargetError(f"`{name}`: got a {kind}, whose order is easily lost; pass a list.")
    if isinstance(targets, (bool, float, bytes)) or not isinstance(targets, Iterable):
        got = shown(targets) if "[" in name or isinstance(targets, bool) else kind
        raise TargetError(f"`{name}`: got {got}; pass {accepted}.")
    return [as_lists(item, f"{name}[{i}]", accepted) for i, item in enumerate(targets)]


def _of_array(array: np.ndarray, given: object, name: str, accepted: str) -> Any:
    if array.dtype.kind in "iu":
        return array.tolist()
    if array.dtype.kind in "US":
        return np.char.decode(array).tolist() if array.dtype.kind == "S" else array.tolist()
    if array.dtype.kind == "O" and array.ndim:
        return [as_lists(item, f"{name}[{i}]", accepted) for i, item in enumerate(array)]
    if array.dtype.kind == "f" and array.ndim:
        what = _ids(accepted)
        raise TargetError(f"`{name}`: got {array.dtype} values; {what} are integers (a missing value makes a column floats).")
    raise TargetError(f"`{name}`: got {shown(given)}; pass {accepted}.")


def _whole(values: Tensor, name: str, accepted: str) -> Any:
    if values.dtype.is_floating_point or values.dtype is torch.bool:
        raise TargetError(f"`{name}`: got {values.dtype} values; {_ids(accepted)} are integers.")
    if values.ndim > 2:
        raise TargetError(f"`{name}`: got a tensor of {values.ndim} dimensions; ids have one or two (a row for each input).")
    return values.detach().cpu().long().tolist()


def _ids(accepted: str) -> str:
    return "class ids" if accepted is CLASSES else "token ids"


def _some(items: list[Any], name: str) -> list[Any]:
    if not items:
        raise TargetError(f"{name}: names no class; pass {CLASSES}.")
    return items


def _label(item: Any, name: str) -> Label:
    if isinstance(item, (int, str, Contrast)):
        return item
    raise TargetError(f"{name}: got {shown(item)}; pass {CLASSES}.")


def _continuation(item: Any, name: str) -> str | list[int] | Contrast:
    if isinstance(item, (str, Contrast)):
        return item
    if isinstance(item, Mapping):
        rows = _batch_rows(item, name.strip("`"))
        if len(rows) != 1:
            raise TargetError(f"{name}: got a batch of {len(rows)}; pass one target per input.")
        return rows[0]
    return read_ids(item, name)


def _batch_rows(batch: Mapping[str, Any], name: str) -> list[list[int]]:
    """Return the rows of a tokenizer's batch without padding."""
    if "input_ids" not in batch:
        raise TargetError(f"`{name}`: got a mapping without 'input_ids' ({shown(list(batch))}); pass {CONTINUATIONS}.")
    rows = as_lists(batch["input_ids"], f"{name}['input_ids']", CONTINUATIONS)
    rows = rows if rows and isinstance(rows[0], list) else [rows]
    mask = batch.get("attention_mask")
    if mask is None:
        return rows
    kept = torch.atleast_2d(torch.as_tensor(mask)).bool().tolist()
    return [[i for i, inside in zip(row, own, strict=True) if inside] for row, own in zip(rows, kept, strict=True)]
