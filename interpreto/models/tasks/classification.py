"""Classification: one row of logits per text; a target is a column of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import InputError, OptionError, TargetError, TaskError
from interpreto.inputs.samples import Prediction, Readout, Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.targets import CLASSES, Contrast, Label, as_lists, read_classes
from interpreto.inputs.text import InputReader, TokenizedInput
from interpreto.inputs.units import Units
from interpreto.models.forward import Forward
from interpreto.models.modes import InferenceModes, Mode, apply_mode, mode_name
from interpreto.models.tasks.base import GenerationRequest, Task, no_generation
from interpreto.validation import shown

MOST_NAMES = 10  # class names that an error lists
LABELS = "a class id or a class name for each input"


class Classification(Task):
    """Classification and regression: targets are columns of the logits ``(b, c)``.

    Args:
        mode: Transformation of the logits into the explained scores.
        kind: The kind of outputs, which decides what is predicted: ``single-label`` (the largest), ``multi-label`` (each
            positive logit), ``regression`` (each output) or ``scores`` (the largest).
        id2label: Names of the columns.
        shared: Read one-dimensional ids as targets of every input, not one per input.
        name: What the task is called; None: after the kind.
        pairs: Each input is a pair of texts.
        outputs: Takes the logits from what the model returns; None: those that it calls so.
        reads: Takes the reader of inputs to the one that the task needs; None: it is used as it is.
    """

    KINDS = ("single-label", "multi-label", "regression", "scores")

    def __init__(
        self,
        mode: Mode,
        kind: str = "single-label",
        id2label: dict[int, str] | None = None,
        shared: bool = False,
        *,
        name: str | None = None,
        pairs: bool = False,
        outputs: Callable[[Any], Tensor] | None = None,
        reads: Callable[[InputReader], Any] | None = None,
    ) -> None:
        self.name = name or (f"{kind} classification" if kind.endswith("-label") else kind)
        self.pairs, self.outputs, self.reads = pairs, outputs, reads
        self.kind, self.mode = kind, mode
        self.mode_name = mode_name(mode)
        self.id2label, self.shared, self.decides = id2label or {}, shared, kind != "regression"
        self._normalizes = mode in (InferenceModes.SOFTMAX, InferenceModes.LOG_SOFTMAX)
        if self._normalizes and kind != "single-label":
            raise OptionError(
                f"`inference_mode`: a softmax over the outputs of a {kind} model has no meaning; use 'logits'"
                + (" or 'sigmoid'." if kind == "multi-label" else ".")
            )

    def request(self, **asked: Any) -> GenerationRequest:
        return no_generation(asked, "a row of logits per text")

    def read_targets(self, targets: object, encodings: Sequence[TokenizedInput], single: bool) -> list[Targets] | None:
        if self.pairs:
            self._check_pairs(encodings)
        if isinstance(targets, str) and targets == "all" and "all" not in self.id2label.values() and self.id2label:
            targets = [list(self.id2label)] * len(encodings)
        rows = read_classes(targets, len(encodings), single=single, shared=self.shared)
        if rows is None:
            return None
        for_all = isinstance(targets, (Integral, str, Contrast))
        read: dict[int, Targets] = {}  # rows that all inputs share are read once
        for i, row in enumerate(rows):
            name = "`targets`" if for_all else f"`targets[{i}]`"
            if id(row) not in read:
                read[id(row)] = self._targets([self._classes(item, name) for item in row])
        return [read[id(row)] for row in rows]

    def _check_pairs(self, encodings: Sequence[TokenizedInput]) -> None:
        for i, encoding in enumerate(encodings):
            if len(encoding.tokens.segments) < 2:
                text = encoding.tokens.text
                raise InputError(f"`inputs[{i}]`: got one text ({text[:40]!r}); {self.name} takes a pair (text, text).")

    def _classes(self, item: Label, name: str) -> tuple[int, ...]:
        """Return the class of a target, or the two classes of a contrast."""
        if not isinstance(item, Contrast):
            return (self._class_id(item, name),)
        sides = [as_lists(side, f"{name.strip('`')} of the contrast", CLASSES) for side in (item.a, item.b)]
        pair = tuple(self._class_id(side, name) for side in sides)
        if pair[0] == pair[1]:
            raise TargetError(f"{name}: the contrast is between class {pair[0]} and itself.")
        return pair

    def _class_id(self, target: object, name: str) -> int:
        if isinstance(target, int):
            if target < 0:
                known = f"not in 0..{len(self.id2label) - 1}" if self.id2label else "negative; classes begin at 0"
                raise TargetError(f"{name}: class {target} is {known}.")
            return target  # `read` checks it by the model's own outputs, as a config may name fewer classes than there are
        if not isinstance(target, str):
            raise TargetError(f"{name}: got {shown(target)}; a class is an integer or a name.")
        found = [i for i, label in self.id2label.items() if label == target]
        if len(found) > 1:
            raise TargetError(f"{name}: {len(found)} classes are called {target!r} ({shown(found)}); pass the id of one.")
        if found:
            return found[0]
        near = difflib.get_close_matches(target, self.id2label.values(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise TargetError(f"{name}: no class is called {shown(target)}; there are {self._names()}.{hint}")

    def _names(self) -> str:
        """Return the names of the classes, at most the first ten."""
        names = list(map(repr, self.id2label.values()))
        if not names:
            return "no names"
        more = f", … ({len(names):,} names)" if len(names) > MOST_NAMES else ""
        return ", ".join(names[:MOST_NAMES]) + more

    def _targets(self, classes: Sequence[tuple[int, ...]]) -> Targets:
        """Return one score per tuple: the output of its class, or the difference of the two."""
        labels = tuple(" − ".join(self.label(i) for i in row) for row in classes)
        ids = torch.tensor([i for row in classes for i in row])
        weights = None
        if len(ids) > len(classes):
            weights, k = torch.zeros(len(classes), len(ids)), 0
            for i, row in enumerate(classes):
                weights[i, k : k + len(row)] = torch.tensor([1.0, -1.0])[: len(row)]
                k += len(row)
        return Targets((Readout(ids, weights=weights),), labels, (None,) * len(classes))

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
        return self._targets([(int(i),) for i in found])

    def prediction(self, logits: Float[Tensor, " c"]) -> Prediction:
        """Return what the model decides, given all its outputs for an input."""
        if self.kind == "multi-label":
            return Prediction(", ".join(self.label(int(i)) for i in (logits > 0).nonzero()[:, 0]))
        logits = logits.detach()
        best = int(logits.argmax())
        certain = self.kind == "single-label" and len(logits) > 1
        return Prediction(self.label(best), float(logits.double().softmax(-1)[best]) if certain else None)

    def true_label(self, value: object, name: str) -> str:
        """Return the name of the true class of an input; of several classes, their names in the order of the outputs.

        Args:
            value: A class id, a class name, or a list of these for a model that decides for several classes.
            name: The argument, for messages.

        Raises:
            TargetError: there is no such class.
        """
        found = as_lists(value, name.strip("`"), LABELS)
        several = isinstance(found, list)
        if several and self.kind != "multi-label" and len(found) != 1:
            raise TargetError(f"{name}: got {shown(value)}; an input of this model has one class.")
        ids = sorted(self._class_id(item, name) for item in (found if several else [found]))
        if self.id2label and (unknown := [i for i in ids if i not in self.id2label]):
            raise TargetError(f"{name}: class {unknown[0]} is not in 0..{len(self.id2label) - 1}.")
        return ", ".join(self.label(i) for i in ids)

    def read(self, logits: Float[Tensor, ...], ids: Int[Tensor, "b k"] | None) -> Tensor:
        if logits.ndim != 2:
            advice = (
                "If it is a language model, pass task='generation'"
                if logits.ndim == 3
                else "Load it with its classification head (AutoModelForSequenceClassification)"
            )
            raise TaskError(
                f"`model`: returned logits of shape {tuple(logits.shape)}; a classifier returns (batch, classes). {advice}."
            )
        if self.kind == "single-label" and logits.shape[1] == 1 and self._normalizes:
            raise TaskError(
                f"`inference_mode`: {self.mode_name!r} of a single output is the same for every text; for a model with one "
                "output pass task='regression' or task='multi-label'."
            )
        if ids is None:
            return logits
        if int(ids.max()) >= logits.shape[1]:
            raise TargetError(f"`targets`: class {int(ids.max())} is not in 0..{logits.shape[1] - 1}.")
        return self.scores(logits).gather(1, ids.to(logits.device))

    def scores(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
        """Return the explained scores ``(b, c)``: the logits, transformed by the mode."""
        return apply_mode(self.mode, logits)

    def label(self, target: int) -> str:
        """Return the name of a class; its id where it has none."""
        return str(self.id2label.get(target, target))
