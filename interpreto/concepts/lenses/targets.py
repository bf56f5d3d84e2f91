"""Outputs that a lens follows through the layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interpreto.errors import TargetError
from interpreto.inputs.samples import Sample
from interpreto.models.tasks import Classification, Task
from interpreto.validation import is_whole, shown

NEXT = "next"


def followed(targets: Any, samples: Sequence[Sample], task: Task, tokenizer: Any) -> list[Tensor | None]:
    """Return the output that is followed at each token of each text; -1, or None for all: the one that is predicted.

    Args:
        targets: See `LogitLens`.
        samples: The texts.
        task: Of the model.
        tokenizer: Reads tokens that are given as text.

    Raises:
        TargetError: a target is not one output of the model.
    """
    if targets is None:
        return [None] * len(samples)
    if isinstance(targets, str) and targets == NEXT and not isinstance(task, Classification):
        return [torch.cat([sample.input_ids[sample.source + 1 :], torch.tensor([-1])]) for sample in samples]
    each = [targets] * len(samples) if isinstance(targets, str) or is_whole(targets) else list(targets)
    if len(each) != len(samples):
        raise TargetError(f"`targets`: got {len(each)} for {len(samples)} texts; pass one for each, or one for all.")
    found: list[Tensor | None] = []
    for i, (sample, target) in enumerate(zip(samples, each, strict=True)):
        length = 1 if isinstance(task, Classification) else len(sample) - sample.source
        found.append(torch.full((length,), _id(target, task, tokenizer, f"`targets[{i}]`")))
    return found


def _id(target: Any, task: Task, tokenizer: Any, name: str) -> int:
    if isinstance(task, Classification):
        classes = {label.casefold(): i for i, label in (task.id2label or {}).items()}
        own = classes.get(target.casefold()) if isinstance(target, str) else target
        if is_whole(own) and 0 <= int(own) < max(1, len(task.id2label or {})):  # type: ignore[arg-type]  # whole, as checked
            return int(own)  # type: ignore[arg-type]  # whole, as checked
        raise TargetError(f"{name}: got {shown(target)}; pass a class: {', '.join(map(repr, (task.id2label or {}).values()))}.")
    if is_whole(target) and 0 <= int(target) < len(tokenizer):
        return int(target)
    if not isinstance(target, str):
        raise TargetError(f"{name}: got {shown(target)}; pass a token, as text or id.")
    ids = tokenizer.encode(target, add_special_tokens=False)
    if len(ids) != 1:
        raise TargetError(f"{name}: {shown(target)} is {len(ids)} tokens; a lens follows one, such as its first.")
    return int(ids[0])
