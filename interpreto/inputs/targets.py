"""What users pass as targets: contrasts for every task, and the forms that a generation's targets come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from interpreto.errors import TargetError

ACCEPTED = (
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


def one_each(rows: Sequence[Any], n: int) -> Sequence[Any]:
    """The rows, if there is one for each input."""
    if len(rows) != n:
        raise TargetError(f"`targets`: got {len(rows)} for {n} inputs; pass one per input, or None to explain the prediction.")
    return rows


def read_rows(targets: object, n: int, single: bool) -> list[Any]:
    """Whatever a user passes as targets of a generation, as one text, list of ids or contrast for each input."""
    if hasattr(targets, "__array__") and not isinstance(targets, Tensor):
        targets = torch.as_tensor(targets)  # type: ignore[arg-type]  # an array
    if isinstance(targets, (str, Contrast)):
        return [targets] * n
    if isinstance(targets, Mapping):
        return list(one_each(_batch_rows(targets), n))
    if isinstance(targets, Tensor):
        targets = _whole(targets)
        if targets.ndim < 2:
            if n > 1:
                raise TargetError(
                    f"`targets`: got ids of one target for {n} inputs; pass a list with the ids of each, or one text for all."
                )
            return [targets.reshape(-1).tolist()]
        if targets.ndim > 2:
            raise TargetError(f"`targets`: got a tensor of {targets.ndim} dimensions; ids have one or two (a row an input).")
        return list(one_each(targets.tolist(), n))
    if isinstance(targets, Integral):
        targets = [targets]
    if not isinstance(targets, Iterable):
        raise TargetError(f"`targets`: got {type(targets).__name__}; pass {ACCEPTED}.")
    items: list[Any] = list(targets)
    if single and n == 1 and items and all(isinstance(item, Integral) for item in items):
        items = [items]
    return [_row(item, f"`targets[{i}]`") for i, item in enumerate(one_each(items, n))]


def _row(item: Any, name: str) -> Any:
    """A text or a contrast as it is; ids as a list."""
    if isinstance(item, (str, Contrast)):
        return item
    if isinstance(item, Mapping):
        rows = _batch_rows(item)
        if len(rows) != 1:
            raise TargetError(f"{name}: got a batch of {len(rows)}; pass one target per input.")
        return rows[0]
    return read_ids(item, name)


def read_ids(item: Any, name: str) -> list[int]:
    """Ids of one target."""
    if isinstance(item, Tensor):
        item = _whole(item, name)
        if item.ndim > 1 and item.shape[0] != 1:
            raise TargetError(f"{name}: got a tensor of shape {tuple(item.shape)}; the ids of one target have one dimension.")
        return item.reshape(-1).tolist()
    if isinstance(item, Integral) and not isinstance(item, bool):
        return [int(item)]
    if isinstance(item, Iterable) and not isinstance(item, (bytes, str)):
        ids = list(item)
        if all(isinstance(i, Integral) and not isinstance(i, bool) for i in ids):
            return [int(i) for i in ids]
    raise TargetError(f"{name}: got {item!r:.60}; pass {ACCEPTED}.")


def _batch_rows(batch: Mapping[str, Any]) -> list[list[int]]:
    """The rows of a tokenizer's answer, without padding."""
    if "input_ids" not in batch:
        raise TargetError(f"`targets`: got a mapping without 'input_ids' ({list(batch)}); pass {ACCEPTED}.")
    ids = torch.atleast_2d(_whole(torch.as_tensor(batch["input_ids"])))
    mask = batch.get("attention_mask")
    kept = torch.ones_like(ids).bool() if mask is None else torch.atleast_2d(torch.as_tensor(mask)).bool().cpu()
    return [row[inside].tolist() for row, inside in zip(ids, kept, strict=True)]


def _whole(values: Tensor, name: str = "`targets`") -> Tensor:
    if values.dtype.is_floating_point or values.dtype is torch.bool:
        raise TargetError(f"{name}: got {values.dtype} values; token ids are integers.")
    return values.detach().cpu().long()
