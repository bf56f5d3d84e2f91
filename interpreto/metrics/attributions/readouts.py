"""Measures that metrics read from the model's logits: several numbers of one target, from one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from interpreto.errors import OptionError
from interpreto.inputs.samples import Targets
from interpreto.models.modes import InferenceModes, Mode, mode_name
from interpreto.models.tasks import Classification, Task, resolve_task
from interpreto.validation import check_choice

PROBABILITY = "probability"
LOG_PROBABILITY = "log_probability"
HOLDS = "holds"
SCORE = "score"

Read = Callable[[Tensor, Tensor], Tensor]
"""Outputs ``(b, k)`` from a batch's logits, for the columns ``(b, k)``."""


class Measures:
    """The measures of a target that a metric may ask for.

    ``probability``: of a class, by softmax (multi-label: by sigmoid; regression: the output itself); of a target of several
    tokens, the mean probability of the tokens; of a contrast, the difference of the two sides. ``log_probability``: its
    logarithm, and of several tokens the sum. ``holds``: 1 while the model's decision is the target (each token is the most
    probable one; the logit of a label is positive). ``score``: the explained score.

    A readout's ids number (measure, column) pairs, so that one pass reads several measures.

    Args:
        model: The explained model.
        tokenizer: Its tokenizer.
        task: The model's task, where its config does not tell.
        longest: Largest number of tokens that the model takes.
        inference_mode: The explained score, where it is a function of the user's.
    """

    def __init__(
        self, model: Any, tokenizer: Any, task: Any = None, longest: int | None = None, inference_mode: Mode | None = None
    ) -> None:
        self._model, self._tokenizer, self._task, self._longest = model, tokenizer, task, longest
        self._mode = inference_mode
        self._readers: list[Read] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._pairs: dict[tuple[int, int], int] = {}
        self._table = torch.zeros(0, 2, dtype=torch.long)

    def read(self, logits: Tensor, ids: Int[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        """Return the measures that readouts made by `targets` ask for, from a batch's logits."""
        assert ids is not None
        if len(self._table) < len(self._pairs):
            self._table = torch.tensor(list(self._pairs), dtype=torch.long)
        measures, columns = self._table[ids.cpu()].unbind(-1)
        out: Tensor | None = None
        for measure in measures.unique().tolist():
            found = self._readers[measure](logits, columns).float()
            out = found if out is None else torch.where((measures == measure).to(found.device), found, out)
        assert out is not None
        return out

    def targets(self, targets: Targets, measures: Sequence[str], explained: str) -> Targets:
        """Return targets whose scores are the measures of one target.

        Args:
            targets: One target.
            measures: What is read of it.
            explained: The inference mode of the explanation.
        """
        numbers = [self._number(measure, explained) for measure in measures]
        readouts = []
        for readout in targets.readouts:
            weights = torch.ones(1, len(readout.ids)) if readout.weights is None else readout.weights
            rows = [_mean_weights(weights) if measure in (PROBABILITY, HOLDS) else weights for measure in measures]
            columns = readout.ids.tolist()
            ids = torch.tensor([self._pair(number, column) for number in numbers for column in columns])
            positions = None if readout.positions is None else readout.positions.repeat(len(numbers))
            readouts.append(replace(readout, ids=ids, positions=positions, weights=torch.block_diag(*rows)))
        return Targets(tuple(readouts), tuple(measures), targets.spans * len(measures))

    def _number(self, measure: str, explained: str) -> int:
        """Return the number of a measure, for explanations of this inference mode."""
        key = (measure, explained if measure == SCORE else "")
        if key not in self._numbers:
            self._readers.append(self._reader(measure, explained))
            self._numbers[key] = len(self._numbers)
        return self._numbers[key]

    def _pair(self, measure: int, column: int) -> int:
        """Return the number of a (measure, column) pair."""
        return self._pairs.setdefault((measure, column), len(self._pairs))

    def _reader(self, measure: str, explained: str) -> Read:
        task = self.task
        if measure == HOLDS:
            return self._holds if task.holds is None else task.holds
        if measure == SCORE:
            return self._resolved(self._explained_mode(explained)).read
        log = measure == LOG_PROBABILITY
        if isinstance(task, Classification) and task.kind in ("regression", "scores"):
            return _logarithm_of(task.read) if log and task.kind == "scores" else task.read
        if self.is_multi_label:
            return self._resolved(logsigmoid if log else InferenceModes.SIGMOID).read
        return self._resolved(InferenceModes.LOG_SOFTMAX if log else InferenceModes.SOFTMAX).read

    def knows(self, explained: str) -> bool:
        """Return whether the score of explanations of this inference mode can be read."""
        own = self._mode is not None and mode_name(self._mode) == explained
        return own or explained in {mode.value for mode in InferenceModes}

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
        """True where the model's outputs are decisions; those of a regression are not."""
        return self.task.decides

    @property
    def task(self) -> Task:
        """Return the model's task, with its own scores."""
        return self._resolved(None)

    @property
    def is_multi_label(self) -> bool:
        """True where each output is a decision of its own."""
        task = self.task
        return isinstance(task, Classification) and task.kind == "multi-label"

    def _holds(self, logits: Tensor, columns: Int[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        columns = columns.to(logits.device)
        if self.is_multi_label:
            return (logits.gather(1, columns) > 0).float()
        best = logits.argmax(-1)
        return ((best[:, None] if logits.ndim == 2 else best) == columns).float()


def check_measure(value: str) -> str:
    """Return a measure that a curve may be read in.

    Raises:
        OptionError: It is another one.
    """
    return check_choice(value, "measure", (PROBABILITY, LOG_PROBABILITY, SCORE))


def _mean_weights(weights: Float[Tensor, "1 k"]) -> Float[Tensor, "1 k"]:
    """Return weights of the mean over the outputs that count for a target, less the mean over those that count against it."""
    gain, loss = weights.clamp(min=0), (-weights).clamp(min=0)
    return gain / gain.sum().clamp(min=1e-30) - loss / loss.sum().clamp(min=1e-30)


def _logarithm_of(read: Read) -> Read:
    """Return scores that are probabilities as log-probabilities."""
    return lambda outputs, ids: read(outputs, ids).clamp(min=1e-30).log()
