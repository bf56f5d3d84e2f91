"""Ablations: what takes the place of the parts outside a circuit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.circuits.pairs import Read
from interpreto.errors import InputError
from interpreto.models.activations import ActivationRecorder

ABLATIONS = ("mean", "position", "corrupt")

States = list[list[Tensor]]
"""Activations ``(l, d)`` at each place, of each text."""


def replacements(
    recorder: ActivationRecorder, ablation: str, reads: Sequence[Read], others: Sequence[Read], corrupt: Sequence[Read] | None
) -> States:
    """Return the activations that take the place of those of each text.

    Args:
        recorder: Reads the model at all places.
        ablation: ``"mean"``: over all tokens of the reference, the first of each text apart, whose activations are of
            another size; ``"position"``: over its texts, at each token; ``"corrupt"``: those of the corrupt counterpart.
        reads: The texts.
        others: The reference.
        corrupt: The corrupt counterparts, if there are any.

    Raises:
        InputError: texts are not of one length, where positions are averaged.
    """
    if ablation == "corrupt":
        assert corrupt is not None
        return [list(states) for states in recorder.record([read.row for read in corrupt])]
    found = recorder.record([read.row for read in others])
    if ablation == "position":
        lengths = {len(read.row) for read in (*reads, *others)}
        if len(lengths) > 1:
            raise InputError(f"`inputs`: their lengths are {sorted(lengths)}, and 'position' needs one; use ablation='mean'.")
        means = [torch.stack(states).mean(0) for states in zip(*found, strict=True)]
        return [means] * len(reads)
    firsts = [torch.stack([rows[0] for rows in states]).mean(0) for states in zip(*found, strict=True)]
    rest = [_mean_of_rest(states, first) for states, first in zip(zip(*found, strict=True), firsts, strict=True)]
    return [
        [torch.cat([first[None], mean.expand(len(read.row) - 1, -1)]) for first, mean in zip(firsts, rest, strict=True)]
        for read in reads
    ]


def _mean_of_rest(states: Sequence[Tensor], first: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """Return the mean over all tokens but the first of each text; that of the first where there are no others."""
    rest = torch.cat([rows[1:] for rows in states])
    return rest.mean(0) if len(rest) else first
