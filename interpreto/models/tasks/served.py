"""Generation by a served model: a target is a text, whose tokens are the server's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import OptionError, TargetError, TaskError
from interpreto.inputs.samples import Readout, Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.targets import read_continuations
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Units
from interpreto.models.modes import InferenceModes, Mode, mode_name
from interpreto.models.served import ServedModel
from interpreto.models.tasks.base import AGGREGATES, GenerationRequest, Task
from interpreto.models.tasks.generation import answer_rows
from interpreto.validation import shown

MODES = (InferenceModes.LOG_SOFTMAX, InferenceModes.SOFTMAX)


class ServedGeneration(Task):
    """Generation by a served model.

    Args:
        mode: Log-probabilities or probabilities of tokens; a server tells nothing else.
        model: The model.
    """

    generates = True
    name = "generation"

    def __init__(self, mode: Mode, model: ServedModel) -> None:
        if mode not in MODES:
            raise OptionError(
                f"`inference_mode`: got {mode_name(mode)!r}, and {model.name} tells log-probabilities alone; pass "
                "'log_softmax' or 'softmax'."
            )
        self.mode, self.model, self.mode_name = mode, model, mode_name(mode)

    def request(self, **asked: Any) -> GenerationRequest:
        given = {name: value for name, value in asked.items() if value is not None}
        if given.get("aggregate", "token") not in AGGREGATES:
            raise OptionError(f"`aggregate`: got {given['aggregate']!r}; pass one of {', '.join(map(repr, AGGREGATES))}.")
        if given.get("attribute_targets"):
            raise OptionError("`attribute_targets`: a served model is asked for whole targets, whose tokens cannot be masked.")
        return GenerationRequest(**{**given, "attribute_targets": False})

    def read_targets(self, targets: object, encodings: Sequence[TokenizedInput], single: bool) -> list[str] | None:
        if targets is None:
            return None
        found = read_continuations(targets, len(encodings), single)
        for target in found:
            if not isinstance(target, str) or not target:
                raise TargetError(f"`targets`: got {shown(target)}; of a served model, pass the text of the answer.")
        return [str(target) for target in found]

    def own_targets(self, forward: Any, encodings: Sequence[TokenizedInput], request: GenerationRequest) -> list[str]:
        """Return the texts that the server writes.

        Raises:
            TargetError: it writes nothing after an input.
        """
        found = self.model.write([encoding.tokens.text for encoding in encodings], request.generation_kwargs)
        for i, text in enumerate(found):
            if not text:
                raise TargetError(f"`targets`: {self.model.name} writes nothing after `inputs[{i}]`; pass a target.")
        return found

    def joined(self, encoding: TokenizedInput, target: str, request: GenerationRequest) -> TokenizedInput:
        n = len(target)
        own = Tokens(target, tuple((i, i + 1) for i in range(n)), tuple(target), (True,) * n, ((0, n),), (True,) * n)
        ids = torch.cat([encoding.input_ids, torch.tensor([*map(ord, target)])])
        return TokenizedInput(encoding.tokens.followed_by(own), ids, {}, prompt=len(encoding.input_ids))

    def targets(
        self, encoding: TokenizedInput, target: str, request: GenerationRequest, cut: Callable[[Tokens], Units]
    ) -> Targets:
        shift = len(encoding.tokens.text) - len(target)
        spans = self.model.tokens(encoding.tokens.text[:shift], target).spans
        names = tuple(target[a:b] for a, b in spans)
        tokens = Tokens(target, spans, names, (False,) * len(spans), ((0, len(target)),))
        weights, labels, own = answer_rows(tokens, request.aggregate, cut)
        return Targets(
            (Readout(torch.arange(len(spans)), weights=weights),), labels, tuple((a + shift, b + shift) for a, b in own)
        )

    def predicted(self, logits: Float[Tensor, " c"]) -> Targets:
        raise TaskError("A generation's targets are read before it is scored.")

    def read(self, logits: Float[Tensor, "b c"], ids: Int[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        """Return the scores of target tokens."""
        if ids is None:
            raise TaskError("`task`: a generation is scored for its targets; none were read.")
        found = logits.gather(1, ids)
        return found.exp() if self.mode is InferenceModes.SOFTMAX else found
