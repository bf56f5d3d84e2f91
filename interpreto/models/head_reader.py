"""Read what the linear head of a classifier reads, and its logits; also while the model is being trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.streaming import encodings
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.activations import ActivationRecorder
from interpreto.models.classifier_head import find_linear_head

_PROBE = "It is so, and it was so."


@dataclass(frozen=True, eq=False)
class HeadOutputs:
    """Inputs and outputs of the linear head for some texts, in float32 on the CPU.

    Attributes:
        features: What the head reads, ``(n, d)``.
        logits: ``(n, c)``.
    """

    features: Float[Tensor, "n d"]
    logits: Float[Tensor, "n c"]


class HeadReader:
    """Run a classifier on texts and read its linear head.

    The model is in evaluation mode and without gradients meanwhile, and as it was after every call.

    Args:
        model: A classifier whose last layer is linear.
        tokenizer: Its tokenizer.
        batch_size: Texts per pass; None: as many as a token budget holds.

    Raises:
        ModelError: the logits are not those of a linear layer on one vector per text.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, batch_size: int | None = None) -> None:
        plain = ActivationRecorder(model, tokenizer, [], batch_size, "hooks")
        ids = (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.cls_token_id)
        filler = next((i for i in ids if i is not None), 0)
        (probe,) = encodings(plain.reader, _PROBE)
        row = SplitInput(probe.input_ids, torch.zeros_like(probe.input_ids), 1, probe.extras)
        self._head = find_linear_head(plain, row, filler)
        self._recorder = ActivationRecorder(model, tokenizer, [self._head.point], batch_size, "hooks", truncation=True)

    @property
    def layer(self) -> nn.Linear:
        """Return the head."""
        module = self._head.point.module
        assert isinstance(module, nn.Linear)
        return module

    def rows(self, texts: Sequence[Any]) -> list[SplitInput]:
        """Return the texts as rows of the model; what is longer than it takes is cut."""
        read = encodings(self._recorder.reader, list(texts))
        return [self._head.row(SplitInput(each.input_ids, each.input_ids, 1, each.extras)) for each in read]

    def read(self, texts: Sequence[Any]) -> HeadOutputs:
        """Return what the head reads of each text, and its logits."""
        parts = list(self._recorder.read(self.rows(texts), GranularityAggregationStrategy.MEAN, with_logits=True))
        logits = [part.logits for part in parts if part.logits is not None]
        return HeadOutputs(torch.cat([part.activations[0].float() for part in parts]), torch.cat(logits).float())

    @property
    def recorder(self) -> ActivationRecorder:
        """Return what runs the model."""
        return self._recorder
