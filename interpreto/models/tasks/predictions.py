"""The outputs at tokens of inputs as they are, from which a task reads what the model predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from interpreto.errors import InputError
from interpreto.inputs.text import TokenizedInput
from interpreto.models.batching import TOKENS_A_PASS, Budget, map_batches
from interpreto.models.forward import Forward
from interpreto.models.rows import RowRunner, Rows, concatenated


def outputs_at(
    forward: Forward,
    encodings: Sequence[TokenizedInput],
    positions: Sequence[Tensor],
    reduce: Callable[[Tensor], Tensor],
    batch_size: int | None = None,
) -> list[Tensor]:
    """Return what is read at tokens of each input, in one pass of each; to be called within a session.

    Args:
        forward: The model.
        encodings: The inputs.
        positions: Tokens of each input.
        reduce: Takes the outputs ``(b, k, c)`` of a batch to what is kept of them, ``(b, k, ...)``.
        batch_size: Rows per pass; None: as many as a token budget holds.

    Returns:
        For each input ``(k, ...)``, on the CPU.
    """
    _check_ids(forward, encodings)
    budget = Budget(batch_size, TOKENS_A_PASS["cuda" if forward.device.type == "cuda" else "cpu"])
    runner = RowRunner(forward, budget, lambda logits, _: logits)
    rows = concatenated([_row(encoding, own) for encoding, own in zip(encodings, positions, strict=True)])

    def read(picked: list[int]) -> list[Tensor]:
        with torch.no_grad():
            found = reduce(forward(runner.batch(rows, picked))).cpu()
        return [own[: len(positions[i])] for own, i in zip(found, picked, strict=True)]

    with forward.padding({int(i) for encoding in encodings for i in encoding.input_ids}):
        lengths = rows.lengths.tolist()
        return map_batches(lengths, read, budget, runner.may_mix(rows, lengths))


def _row(encoding: TokenizedInput, positions: Int[Tensor, " k"]) -> Rows:
    ids = encoding.input_ids[None]
    return Rows(
        ids=ids,
        lengths=torch.tensor([ids.shape[1]]),
        visible=torch.ones_like(ids).bool(),
        replaced=None,
        extras={name: value[None] for name, value in encoding.extras.items()},
        positions=positions[None],
    )


def _check_ids(forward: Forward, encodings: Sequence[TokenizedInput]) -> None:
    known = forward.embeddings.vocabulary
    for encoding in encodings:
        if known is not None and len(encoding.input_ids) and int(encoding.input_ids.max()) >= known:
            raise InputError(
                f"`inputs`: {encoding.tokens.text[:40]!r} has token {int(encoding.input_ids.max())}, and the model knows "
                f"{known}."
            )
