"""Classification: one row of logits a text; a target is a column of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import OptionError, TargetError, TaskError
from interpreto.inputs.samples import Readout, Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.targets import Contrast, one_each
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Units
from interpreto.models.forward import Forward
from interpreto.models.modes import InferenceModes, Mode, apply_mode, mode_name
from interpreto.models.tasks.base import GenerationRequest, Task

FORMS = (
    "None (the prediction), a class id, a class name, a Contrast of two, "
    "or one of these, a list of these or a 1-D tensor for each input"
)


class Classification(Task):
    """Targets are columns of the logits ``(b, c)``.

    Args:
        mode: What a logit becomes before it is explained.
        kind: ``single-label`` (the prediction is the largest), ``multi-label`` (each positive logit), ``regression`` (each
            output) or ``scores`` (the prediction is the largest; they are read as they are).
        id2label: Names of the columns.
        shared: Whether ids given in one dimension are meant for every input, not one for each.
    """

    KINDS = ("single-label", "multi-label", "regression", "scores")

    def __init__(
        self, mode: Mode, kind: str = "single-label", id2label: dict[int, str] | None = None, shared: bool = False
    ) -> None:
        self.name = f"{kind} classification" if kind.endswith("-label") else kind
        self.kind, self.mode = kind, mode
        self.mode_name = mode_name(mode)
        self.id2label, self.shared = id2label or {}, shared
        soft = mode in (InferenceModes.SOFTMAX, InferenceModes.LOG_SOFTMAX)
        if soft and kind != "single-label":
            raise OptionError(
                f"`inference_mode`: a softmax over the outputs of a {kind} model has no meaning; use 'logits'"
                + (" or 'sigmoid'." if kind == "multi-label" else ".")
            )

    def request(self, **asked: Any) -> GenerationRequest:
        for name, value in asked.items():
            if value is not None:
                raise OptionError(f"`{name}`: got {value!r}; only generations have it, and this model answers a row of logits.")
        return GenerationRequest()

    def read_targets(self, targets: object, encodings: Sequence[TokenizedInput], single: bool) -> list[Targets] | None:
        if targets is None:
            return None
        n = len(encodings)
        if hasattr(targets, "__array__") and not isinstance(targets, Tensor):
            targets = torch.as_tensor(np.asarray(targets))
        if isinstance(targets, Tensor) and targets.ndim == 0:
            targets = int(integers(targets, "`targets`"))
        if isinstance(targets, (int, str, Contrast)) or (self.shared and _in_one_dimension(targets)):
            return [self._read_one(targets, "`targets`")] * n
        if isinstance(targets, Tensor):
            rows: list[Any] = [targets] if single and targets.ndim == 1 and n == 1 else list(integers(targets, "`targets`"))
        elif isinstance(targets, Iterable):
            rows = list(targets)
            if single and n == 1 and len(rows) != 1 and all(isinstance(row, (int, str, Contrast)) for row in rows):
                rows = [rows]
        else:
            raise TargetError(f"`targets`: got {type(targets).__name__}; pass {FORMS}.")
        return [self._read_one(row, f"`targets[{i}]`") for i, row in enumerate(one_each(rows, n))]

    def _read_one(self, target: Any, name: str) -> Targets:
        if isinstance(target, Tensor):
            if target.ndim > 1:
                raise TargetError(f"{name}: got a tensor of {target.ndim} dimensions; the ids of one input have one.")
            items: list[Any] = [int(i) for i in integers(target, name).reshape(-1)]
        elif isinstance(target, (Integral, str, Contrast)):
            items = [target]
        elif isinstance(target, Iterable):
            items = list(target)
        else:
            raise TargetError(f"{name}: got {target!r:.60}; pass {FORMS}.")
        if not items:
            raise TargetError(f"{name}: names no class; pass {FORMS}.")
        return self._aim([self._classes(item, name) for item in items])

    def _classes(self, item: Any, name: str) -> tuple[int, ...]:
        """A class, or the two of a contrast."""
        if not isinstance(item, Contrast):
            return (self._known(self._class_id(item, name), name),)
        pair = tuple(self._known(self._class_id(part, name), name) for part in (item.a, item.b))
        if pair[0] == pair[1]:
            raise TargetError(f"{name}: the contrast is between class {pair[0]} and itself.")
        return pair

    def _aim(self, classes: Sequence[tuple[int, ...]]) -> Targets:
        labels = tuple(" − ".join(self.label(i) for i in row) for row in classes)
        ids = torch.tensor([i for row in classes for i in row])
        weights = None
        if len(ids) > len(classes):
            weights, k = torch.zeros(len(classes), len(ids)), 0
            for i, row in enumerate(classes):
                weights[i, k : k + len(row)] = torch.tensor([1.0, -1.0])[: len(row)]
                k += len(row)
        return Targets((Readout(ids, weights=weights),), labels, (None,) * len(classes))

    def _known(self, i: int, name: str) -> int:
        if i < 0 or (self.id2label and i >= len(self.id2label)):
            classes = f"is not in 0..{len(self.id2label) - 1}" if self.id2label else "is negative; classes begin at 0"
            raise TargetError(f"{name}: class {i} {classes}.")
        return i

    def _class_id(self, target: Any, name: str) -> int:
        if isinstance(target, Tensor) and target.ndim == 0:
            target = integers(target, name).item()
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

    def own_targets(self, forward: Forward, encodings: Sequence[TokenizedInput], request: GenerationRequest) -> None:
        return None

    def joined(self, encoding: TokenizedInput, target: Targets | None, request: GenerationRequest) -> TokenizedInput:
        return encoding

    def targets(
        self, encoding: TokenizedInput, target: Targets, request: GenerationRequest, cut: Callable[[Tokens], Units]
    ) -> Targets:
        return target

    def predicted(self, logits: Float[Tensor, " c"]) -> Targets:
        if self.kind == "regression":
            found = torch.arange(len(logits))
        else:
            positive = (logits > 0).nonzero()[:, 0]
            found = positive if self.kind == "multi-label" and len(positive) else logits.argmax(-1, keepdim=True)
        return self._aim([(int(i),) for i in found])

    def read(self, logits: Float[Tensor, ...], ids: Int[Tensor, "b k"] | None) -> Tensor:
        if logits.ndim != 2:
            raise TaskError(
                f"`model`: answered logits of shape {tuple(logits.shape)}; a classifier answers (batch, classes). "
                "Load it with its classification head (AutoModelForSequenceClassification)."
            )
        if ids is None:
            return logits
        if int(ids.max()) >= logits.shape[1]:
            raise TargetError(f"`targets`: class {int(ids.max())} is not in 0..{logits.shape[1] - 1}.")
        return self.scores(logits).gather(1, ids.to(logits.device))

    def scores(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
        """What the logits become before they are explained."""
        return apply_mode(self.mode, logits)

    def label(self, target: int) -> str:
        return str(self.id2label.get(target, target))


def integers(values: Tensor, name: str) -> Tensor:
    """The values on the CPU, if they are whole numbers."""
    if values.dtype.is_floating_point or values.dtype is torch.bool:
        raise TargetError(f"{name}: got {values.dtype} values; class ids are integers.")
    return values.detach().cpu().long()


def _in_one_dimension(targets: object) -> bool:
    if isinstance(targets, Tensor):
        return targets.ndim == 1
    return isinstance(targets, (list, tuple, range)) and all(isinstance(item, (Integral, str, Contrast)) for item in targets)
