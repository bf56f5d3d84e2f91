"""What a model's output means: which logits answer for a target, and how targets are read and named."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import ModelError, OptionError, TargetError, TaskError
from interpreto.inference.modes import InferenceModes, Mode, apply_mode
from interpreto.samples import Sample

FORMS = "None (the prediction), a class id, a class name, or one of these, a list of these or a 1-D tensor for each input"


class Task(ABC):
    """How inputs, targets and logits relate. The only place where tasks differ."""

    name: str

    @abstractmethod
    def read_targets(self, targets: object, n: int, single: bool) -> list[Int[Tensor, " t"]] | None:
        """Target ids of each of ``n`` inputs; None leaves them to the model. ``single``: the input was not in a list."""

    @abstractmethod
    def predicted(self, logits: Float[Tensor, ...]) -> Int[Tensor, " t"]:
        """The targets that explain the model's own output."""

    @abstractmethod
    def read(self, logits: Float[Tensor, ...], samples: Sequence[Sample]) -> Float[Tensor, "b t"]:
        """Scores of each row for the targets of its sample, or its raw outputs while it has no targets."""

    @abstractmethod
    def label(self, target: int) -> str:
        """What a target is called."""


class Classification(Task):
    """Targets are columns of the logits ``(b, c)``.

    Args:
        mode: What a logit becomes before it is explained.
        kind: ``single-label`` (the prediction is the largest), ``multi-label`` (each positive logit) or
            ``regression`` (each output).
        id2label: Names of the columns.
    """

    KINDS = ("single-label", "multi-label", "regression")

    def __init__(self, mode: Mode, kind: str = "single-label", id2label: dict[int, str] | None = None) -> None:
        self.name, self.kind, self.mode = f"{kind} classification" if kind != "regression" else kind, kind, mode
        self.id2label = id2label or {}
        soft = mode in (InferenceModes.SOFTMAX, InferenceModes.LOG_SOFTMAX)
        if soft and kind != "single-label":
            raise OptionError(
                f"`inference_mode`: a softmax over the outputs of a {kind} model has no meaning; use 'logits'"
                + (" or 'sigmoid'." if kind == "multi-label" else ".")
            )

    def read_targets(self, targets: object, n: int, single: bool) -> list[Tensor] | None:
        if targets is None:
            return None
        if hasattr(targets, "__array__") and not isinstance(targets, Tensor):
            targets = torch.as_tensor(np.asarray(targets))
        if isinstance(targets, Tensor) and targets.ndim == 0:
            targets = int(_integers(targets, "`targets`"))
        if isinstance(targets, (int, str)):
            return [self._read_one(targets, "`targets`")] * n
        if isinstance(targets, Tensor):
            rows: list[Any] = [targets] if single and targets.ndim == 1 and n == 1 else list(_integers(targets, "`targets`"))
        elif isinstance(targets, Iterable):
            rows = list(targets)
            if single and n == 1 and len(rows) != 1 and all(isinstance(row, (int, str)) for row in rows):
                rows = [rows]
        else:
            raise TargetError(f"`targets`: got {type(targets).__name__}; pass {FORMS}.")
        if len(rows) != n:
            raise TargetError(
                f"`targets`: got {len(rows)} for {n} inputs; pass one per input, or None to explain the prediction."
            )
        return [self._read_one(row, f"`targets[{i}]`") for i, row in enumerate(rows)]

    def _read_one(self, target: Any, name: str) -> Tensor:
        if isinstance(target, Tensor):
            if target.ndim > 1:
                raise TargetError(f"{name}: got a tensor of {target.ndim} dimensions; the ids of one input have one.")
            ids = [int(i) for i in _integers(target, name).reshape(-1)]
        elif isinstance(target, (Integral, str)):
            ids = [self._class_id(target, name)]
        elif isinstance(target, Iterable):
            ids = [self._class_id(item, name) for item in target]
        else:
            raise TargetError(f"{name}: got {target!r:.60}; pass {FORMS}.")
        if not ids:
            raise TargetError(f"{name}: names no class; pass {FORMS}.")
        for i in ids:
            if i < 0 or (self.id2label and i >= len(self.id2label)):
                classes = f"is not in 0..{len(self.id2label) - 1}" if self.id2label else "is negative; classes begin at 0"
                raise TargetError(f"{name}: class {i} {classes}.")
        return torch.tensor(ids)

    def _class_id(self, target: Any, name: str) -> int:
        if isinstance(target, Tensor) and target.ndim == 0:
            target = _integers(target, name).item()
        if isinstance(target, Integral) and not isinstance(target, bool):
            return int(target)
        if not isinstance(target, str):
            raise TargetError(f"{name}: got {target!r:.60}; a class is an integer or a name.")
        names = {label: i for i, label in self.id2label.items()}
        if target not in names:
            near = difflib.get_close_matches(target, names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TargetError(
                f"{name}: no class is called {target!r}; there are {', '.join(map(repr, names)) or 'no names'}.{hint}"
            )
        return names[target]

    def predicted(self, logits: Float[Tensor, " c"]) -> Tensor:
        if self.kind == "regression":
            return torch.arange(len(logits))
        positive = (logits > 0).nonzero()[:, 0]
        return positive if self.kind == "multi-label" and len(positive) else logits.argmax(-1, keepdim=True)

    def read(self, logits: Float[Tensor, ...], samples: Sequence[Sample]) -> Tensor:
        if logits.ndim != 2:
            raise TaskError(
                f"`model`: answered logits of shape {tuple(logits.shape)}; a classifier answers (batch, classes). "
                "Load it with its classification head (AutoModelForSequenceClassification)."
            )
        first = samples[0].targets
        if first is None:
            return logits
        if all(sample is samples[0] for sample in samples):
            targets = first.expand(len(samples), -1)
        else:
            rows = [_some(sample.targets) for sample in samples]
            width = max(map(len, rows))
            targets = torch.stack([torch.nn.functional.pad(row, (0, width - len(row)), value=int(row[-1])) for row in rows])
        if int(targets.max()) >= logits.shape[1]:
            raise TargetError(f"`targets`: class {int(targets.max())} is not in 0..{logits.shape[1] - 1}.")
        return self.scores(logits).gather(1, targets.to(logits.device))

    def scores(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
        """What the logits become before they are explained."""
        return apply_mode(self.mode, logits)

    def label(self, target: int) -> str:
        return str(self.id2label.get(target, target))


def resolve_task(model: Any, mode: Mode, task: str | Task | None) -> Task:
    """The task of a model, from its config and its kind, or as the user says.

    Wrappers (PEFT, ``torch.compile``) hand their model's config on, so the class's name never decides alone.
    """
    if isinstance(task, Task):
        return task
    config = getattr(model, "config", None)
    id2label = {int(i): str(label) for i, label in (getattr(config, "id2label", None) or {}).items()}
    if task is None or task == "classification":
        if task is None and _generates(model, config):
            raise TaskError(
                f"`model`: {type(model).__name__} generates text; this release explains classifiers. "
                "If it does answer one row of logits per text, pass task='classification'."
            )
        declared = getattr(config, "problem_type", None)
        kinds = {"multi_label_classification": "multi-label", "regression": "regression"}
        alone = declared is None and len(id2label) == 1
        task = "regression" if alone else kinds.get(str(declared), "single-label")
    if task not in Classification.KINDS:
        raise TaskError(f"`task`: got {task!r}; pass 'classification', {', '.join(map(repr, Classification.KINDS))} or None.")
    return Classification(mode, task, id2label)


def _generates(model: Any, config: Any) -> bool:
    """Whether a model is a language model: it can generate, and no classification head is declared."""
    architectures = " ".join(getattr(config, "architectures", None) or [])
    if "Classification" in architectures or "Classification" in type(model).__name__:
        return False
    can_generate = getattr(model, "can_generate", None)
    return bool(callable(can_generate) and can_generate())


def _integers(values: Tensor, name: str) -> Tensor:
    if values.dtype.is_floating_point or values.dtype is torch.bool:
        raise TargetError(f"{name}: got {values.dtype} values; class ids are integers.")
    return values.detach().cpu().long()


def _some(targets: Tensor | None) -> Tensor:
    if targets is None:
        raise ModelError("a sample without targets was scored among samples with targets")
    return targets
