"""Masked language models: a row of logits per token; a target is the word that fills a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import TargetError, TaskError
from interpreto.inputs.boundaries import Span, trimmed
from interpreto.inputs.fillings import Filling, Fillings, held_out, read_fillings
from interpreto.inputs.samples import Readout, Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.targets import Contrast
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Units
from interpreto.models.forward import Forward
from interpreto.models.logits import per_token, read_logits
from interpreto.models.modes import Mode, mode_name
from interpreto.models.tasks.base import GenerationRequest, Task, no_generation
from interpreto.models.tasks.columns import read_columns
from interpreto.models.tasks.predictions import outputs_at


@dataclass(frozen=True)
class Filled:
    """A target: a mask and the token that fills it; of a contrast, both tokens.

    Attributes:
        mask: Number of the mask token.
        tokens: The token; of a contrast, both.
        label: What the target is called.
        span: Characters of the mask.
    """

    mask: int
    tokens: tuple[int, ...]
    label: str
    span: Span


class MaskedLM(Task):
    """Masked language models: a target is a token in the place of a mask of the input, read at that mask.

    The masks of the input are in no unit. A perturbation that puts the mask token in the place of a word makes no further
    target: outputs are read where the input has its masks.

    Args:
        mode: Transformation of the logits into the explained scores; log-probabilities by default.
        tokenizer: The model's tokenizer.
        pretraining: The model returns the logits under another name, next to those of another head.
    """

    name = "masked language modeling"

    def __init__(self, mode: Mode, tokenizer: Any, pretraining: bool = False) -> None:
        self.mode, self.mode_name, self.fillings = mode, mode_name(mode), Fillings(tokenizer)
        self.outputs = prediction_logits if pretraining else None

    def request(self, **asked: Any) -> GenerationRequest:
        return no_generation(asked, "a row of logits per token")

    # --- Targets

    def read_targets(
        self, targets: object, encodings: Sequence[TokenizedInput], single: bool
    ) -> list[tuple[Filled, ...]] | None:
        rows = read_fillings(targets, [self.fillings.masks_of(encoding) for encoding in encodings], single)
        if rows is None:
            return None
        return [
            tuple(self._filled(mask, word, encoding.tokens, f"`targets[{i}]`") for mask, word in row)
            for i, (row, encoding) in enumerate(zip(rows, encodings, strict=True))
        ]

    def _filled(self, mask: int, word: Filling, tokens: Tokens, name: str) -> Filled:
        sides = (word.a, word.b) if isinstance(word, Contrast) else (word,)
        ids = tuple(self.fillings.token_of(side, tokens, mask, name) for side in sides)
        if len(ids) > 1 and ids[0] == ids[1]:
            raise TargetError(f"{name}: the contrast is between {sides[0]!r} and itself.")
        span = tokens.offsets[mask]
        return Filled(mask, ids, " − ".join(map(self.fillings.label, ids)), trimmed(tokens.text, span) or span)

    def own_targets(
        self, forward: Forward, encodings: Sequence[TokenizedInput], request: GenerationRequest
    ) -> list[tuple[Filled, ...]]:
        """Return the likeliest token of each mask."""
        masks = [torch.tensor(self.fillings.masks_of(encoding)) for encoding in encodings]
        found = outputs_at(forward, encodings, masks, lambda logits: per_token(logits).argmax(-1), request.batch_size)
        return [
            tuple(
                self._filled(int(mask), int(token), encoding.tokens, "`targets`")
                for mask, token in zip(own, tokens, strict=True)
            )
            for encoding, own, tokens in zip(encodings, masks, found, strict=True)
        ]

    def joined(self, encoding: TokenizedInput, target: Any, request: GenerationRequest) -> TokenizedInput:
        masks = self.fillings.masks_of(encoding)
        return TokenizedInput(held_out(encoding.tokens, masks), encoding.input_ids, encoding.extras)

    def targets(
        self, encoding: TokenizedInput, target: Sequence[Filled], request: GenerationRequest, cut: Callable[[Tokens], Units]
    ) -> Targets:
        ids = [token for filled in target for token in filled.tokens]
        positions = [filled.mask for filled in target for _ in filled.tokens]
        weights, k = torch.zeros(len(target), len(ids)), 0
        for i, filled in enumerate(target):
            weights[i, k : k + len(filled.tokens)] = torch.tensor([1.0, -1.0])[: len(filled.tokens)]
            k += len(filled.tokens)
        alone = len(ids) == len(target)
        readout = Readout(torch.tensor(ids), torch.tensor(positions), None if alone else weights, causal=False)
        return Targets((readout,), tuple(filled.label for filled in target), tuple(filled.span for filled in target))

    def predicted(self, logits: Float[Tensor, " c"]) -> Targets:
        raise TaskError("The targets of a masked language model are read before it is scored.")

    # --- Scores

    def read(self, logits: Float[Tensor, ...], ids: Int[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        if ids is None:
            raise TaskError("`task`: a masked language model is scored for its targets; none were read.")
        return read_columns(self.mode, per_token(logits), ids)


def prediction_logits(output: Any) -> Float[Tensor, "b l v"]:
    """Return the logits of the vocabulary from what a model for pre-training returns."""
    found = getattr(output, "prediction_logits", None)
    return read_logits(output) if found is None else found
