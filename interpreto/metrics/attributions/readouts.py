"""What is read off the model for a metric: several numbers of one target, from one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from interpreto.errors import OptionError
from interpreto.inputs.samples import Targets
from interpreto.models.modes import InferenceModes, Mode, mode_name
from interpreto.models.tasks import Classification, Generation, Task, resolve_task

PROBABILITY = "probability"
LOG_PROBABILITY = "log_probability"
HOLDS = "holds"
SCORE = "score"
STRIDE = 2**40
"""Columns of one measure; those of the next begin behind them."""

Read = Callable[[Tensor, Tensor], Tensor]


class Measures:
    """Numbers that a metric may ask for of a target.

    ``probability``: of a class, by softmax (a label of several: by sigmoid; a regression: its output as it is); of a
    generation's row, the mean probability of its tokens; of a contrast, the difference of the two. ``log_probability``:
    its logarithm, and of several tokens the sum. ``holds``: 1 while the model's decision is the target (each of a row's
    tokens is the most probable one; a label of several has a positive logit). ``score``: what the explanation is of.

    The model's outputs count as the columns of one wide table, a stretch for each measure, so that they share a pass.

    Args:
        model: The explained model.
        tokenizer: Its tokenizer.
        task: What the model does, when its config does not say.
        longest: Most tokens that it takes.
        inference_mode: What ``score`` is, where the explanation's is a function of the user's.
    """

    def __init__(
        self, model: Any, tokenizer: Any, task: Any = None, longest: int | None = None, inference_mode: Mode | None = None
    ) -> None:
        self._model, self._tokenizer, self._task, self._longest = model, tokenizer, task, longest
        self._mode = inference_mode
        self._numbers: dict[tuple[str, str], int] = {}
        self._reads: list[Read] = []

    def number(self, measure: str, explained: str) -> int:
        """Which stretch of the table a measure has, for explanations of this inference mode."""
        key = (measure, explained if measure == SCORE else "")
        if key not in self._numbers:
            self._reads.append(self._reader(measure, explained))
            self._numbers[key] = len(self._numbers)
        return self._numbers[key]

    def read(self, logits: Tensor, ids: Int[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        """Columns of the table."""
        assert ids is not None
        which, columns = ids // STRIDE, ids % STRIDE
        out: Tensor | None = None
        for number in which.unique().tolist():
            found = self._reads[number](logits, columns).float()
            out = found if out is None else torch.where(which.to(found.device) == number, found, out)
        assert out is not None
        return out

    def targets(self, targets: Targets, measures: tuple[str, ...], explained: str) -> Targets:
        """One target's measures, as the scores of a sample."""
        numbers = [self.number(measure, explained) for measure in measures]
        readouts = []
        for readout in targets.readouts:
            weights = torch.ones(1, len(readout.ids)) if readout.weights is None else readout.weights
            rows = [_shares(weights) if measure in (PROBABILITY, HOLDS) else weights for measure in measures]
            ids = torch.cat([readout.ids + number * STRIDE for number in numbers])
            positions = None if readout.positions is None else readout.positions.repeat(len(numbers))
            readouts.append(replace(readout, ids=ids, positions=positions, weights=torch.block_diag(*rows)))
        return Targets(tuple(readouts), measures, targets.spans * len(measures))

    def _reader(self, measure: str, explained: str) -> Read:
        if measure == HOLDS:
            return self._holds
        kind = self._resolved(None)
        if measure == SCORE:
            return self._resolved(self._explained_mode(explained)).read
        log = measure == LOG_PROBABILITY
        if isinstance(kind, Classification) and kind.kind in ("regression", "scores"):
            return _logarithm_of(kind.read) if log and kind.kind == "scores" else kind.read
        if self.several_hold:
            return self._resolved(logsigmoid if log else InferenceModes.SIGMOID).read
        return self._resolved(InferenceModes.LOG_SOFTMAX if log else InferenceModes.SOFTMAX).read

    def knows(self, explained: str) -> bool:
        """Whether the score of explanations of this inference mode can be read."""
        mine = self._mode is not None and mode_name(self._mode) == explained
        return mine or explained in {mode.value for mode in InferenceModes}

    def _explained_mode(self, explained: str) -> Mode:
        if self._mode is not None and mode_name(self._mode) == explained:
            return self._mode
        if self.knows(explained):
            return InferenceModes(explained)
        raise OptionError(
            f"`inference_mode`: the explanations are of {explained!r}, a function of yours; pass the metric the same function."
        )

    def _resolved(self, mode: Mode | None) -> Task:
        return resolve_task(self._model, self._tokenizer, mode, self._task, self._longest)

    @property
    def decides(self) -> bool:
        """Whether the model's outputs are decisions; a regression's are none."""
        kind = self._resolved(None)
        return isinstance(kind, Generation) or (isinstance(kind, Classification) and kind.kind != "regression")

    @property
    def several_hold(self) -> bool:
        """Whether each output is a decision of its own."""
        kind = self._resolved(None)
        return isinstance(kind, Classification) and kind.kind == "multi-label"

    def _holds(self, logits: Tensor, ids: Int[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        ids = ids.to(logits.device)
        if self.several_hold:
            return (logits.gather(1, ids) > 0).float()
        best = logits.argmax(-1)
        return ((best[:, None] if logits.ndim == 2 else best) == ids).float()


def _logarithm_of(read: Read) -> Read:
    """Return scores that are probabilities as log-probabilities."""
    return lambda outputs, ids: read(outputs, ids).clamp(min=1e-30).log()


def _shares(weights: Float[Tensor, "1 k"]) -> Float[Tensor, "1 k"]:
    """The mean of those that count for a target, less the mean of those that count against it."""
    gain, loss = weights.clamp(min=0), (-weights).clamp(min=0)
    return gain / gain.sum().clamp(min=1e-30) - loss / loss.sum().clamp(min=1e-30)
