"""KL divergence of a language model's predictions from those that it makes without the context."""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import TargetError, TaskError
from interpreto.inputs.samples import Readout, Targets
from interpreto.models.forward import Batch, Forward, promoted

CHUNK = 2**22  # logits whose softmax is taken at once

_numbers = itertools.count()


class Prediction:
    """A distribution over the vocabulary, with a number by which it is found as long as something holds it.

    Attributes:
        log_probabilities: On the CPU.
    """

    def __init__(self, log_probabilities: Float[Tensor, " v"]) -> None:
        self.log_probabilities, self.number = log_probabilities, next(_numbers)
        _known[self.number] = self


_known: weakref.WeakValueDictionary[int, Prediction] = weakref.WeakValueDictionary()


@dataclass(frozen=True, eq=False)
class DivergenceReadout(Readout):
    """A readout whose ``ids`` are the numbers of predictions, and which holds these.

    Attributes:
        predictions: What the model predicts without the context.
    """

    predictions: tuple[Prediction, ...] = ()


class Divergence:
    """Score predictions by how far the context moves them: ``Σ_v p(v) (log p(v) − log q(v))``.

    ``p`` is the prediction of a token of the target, ``q`` that without the context: of the target's tokens before it, after
    the tokens of the prompt that are in no unit (special ones, a chat's template). Where there are none, the text begins with
    the token that begins or ends texts.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.forward, self.tokenizer = Forward(model), tokenizer

    def targets(self, targets: Targets, ids: Int[Tensor, " l"], frozen: Int[Tensor, " l"], prompt: int, source: int) -> Targets:
        """Return the divergences of a target's tokens, in place of their scores.

        Args:
            targets: Scores of the tokens.
            ids: The prompt, followed by the target or not.
            frozen: 1 for tokens in no unit.
            prompt: Tokens of the prompt.
            source: Tokens of it that an encoder reads; 0: one stack reads all.
        """
        (readout,) = targets.readouts
        kept = [ids[:source][frozen[:source] == 1], ids[source:prompt][frozen[source:prompt] == 1]]
        kept = [part if len(part) or (i == 0 and not source) else self._begin() for i, part in enumerate(kept)]
        predictions = tuple(map(Prediction, self._predicted(kept[0], kept[1], readout.ids)))
        numbers = torch.tensor([prediction.number for prediction in predictions])
        weights = torch.eye(len(numbers)) if readout.weights is None else readout.weights
        return replace(targets, readouts=(DivergenceReadout(numbers, readout.positions, weights, predictions=predictions),))

    def _begin(self) -> Int[Tensor, " 1"]:
        names = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, *sorted(self.forward.end_ids))
        first = next((value for value in names if value is not None), None)
        if first is None:
            raise TargetError(
                "`inference_mode`: 'kl_divergence' asks for the prediction without the prompt, and the tokenizer has no token "
                "that begins or ends a text; begin the prompts with a special token."
            )
        return torch.tensor([first])

    def _predicted(self, source: Tensor, start: Tensor, target: Int[Tensor, " k"]) -> Float[Tensor, "k v"]:
        """Return log-probabilities at each token of a target after a beginning; one pass."""
        row = torch.cat([source, start, target[:-1]])[None]
        batch = Batch(
            ids=row,
            lengths=torch.tensor([row.shape[1]]),
            visible=torch.ones_like(row).bool(),
            extras={},
            positions=(len(source) + len(start) - 1 + torch.arange(len(target)))[None],
            sources=torch.tensor([len(source)]) if len(source) else None,
        )
        with self.forward.session(), self.forward.padding(set(row[0].tolist())), torch.no_grad():
            return promoted(self.forward(batch))[0].log_softmax(-1).cpu()

    def read(self, logits: Float[Tensor, "b k v"], numbers: Int[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Return the divergence of each row of logits from the prediction of that number.

        Raises:
            TaskError: the explanation was loaded from a file, without its predictions.
        """
        distinct, where = numbers.unique(return_inverse=True)
        found = [_known.get(int(number)) for number in distinct]
        known = [prediction.log_probabilities for prediction in found if prediction is not None]
        if len(known) < len(found):
            raise TaskError(
                "`targets`: the predictions without the context are gone, as a file does not keep them; explain again."
            )
        reference, where = torch.stack(known).to(logits.device), where.flatten().to(logits.device)
        flat = logits.flatten(0, 1)
        size = max(1, CHUNK // flat.shape[1])
        parts = zip(flat.split(size), where.split(size), strict=True)
        return torch.cat([_divergences(promoted(part), reference[rows]) for part, rows in parts]).reshape(numbers.shape)


def _divergences(logits: Float[Tensor, "r v"], log_q: Float[Tensor, "r v"]) -> Float[Tensor, " r"]:
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q.to(log_p))).sum(-1)
