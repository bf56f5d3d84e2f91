"""Replacements of masked units: the largest uncontrolled choice of a mask method, so it has a name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.inputs.samples import Readout, Sample
from interpreto.models.embeddings import EmbeddingSpace, special_id
from interpreto.models.rows import Rows, plain_rows

NAMES = ("auto", "mask", "pad", "unk", "mean", "zero", "drop", "attention")


@dataclass(frozen=True, eq=False)
class Replacement:
    """How the tokens of a masked unit are replaced.

    ``mask``, ``pad``, ``unk`` or a token id put that token; ``mean`` and ``zero`` feed the mean of the embedding
    table, or zeros, through the embedding layer; ``drop`` takes the tokens out, and the text closes up;
    ``attention`` hides them from attention and leaves the positions as they are.
    """

    name: str | int
    token_id: int | None = None
    vector: Float[Tensor, " d"] | None = None

    def ready(self, space: EmbeddingSpace) -> Replacement:
        """Return the same with the vector that it feeds, if it feeds one."""
        return replace(self, vector=space.vector(self.name)) if self.name in ("mean", "zero") else self

    def rows(self, sample: Sample, mask: Float[Tensor, "r u"], readout: Readout | None = None) -> Rows:
        """Return the perturbed inputs of ``sample`` that ``mask`` asks for, as a readout runs them."""
        plain = plain_rows(sample, len(mask), readout)
        n = plain.ids.shape[1]
        removed = sample.units.spread(mask).bool()[:, :n]
        removed = torch.nn.functional.pad(removed, (0, n - removed.shape[1]))  # the readout's suffix is never masked
        if self.name == "drop":
            return _dropped(plain, removed, readout)
        if self.name == "attention":
            read_at = plain.positions
            if readout is not None and readout.causal:
                read_at = _kept_positions(read_at, ~removed, readout)
            return replace(plain, visible=~removed, positions=read_at)
        if self.token_id is None:
            return replace(plain, replaced=removed)
        return replace(plain, ids=torch.where(removed, self.token_id, plain.ids))


def _kept_positions(
    positions: Int[Tensor, "r k"] | None, kept: Bool[Tensor, "r l"], readout: Readout | None
) -> Int[Tensor, "r k"] | None:
    """Return where outputs are read when some tokens are hidden or dropped.

    A causal model is read at the last kept token up to each position: what is hidden must not predict either. Other models
    are read at the token itself, which may be hidden, but if it is dropped at the last kept one before it, or else the first.
    """
    if positions is None:
        return None
    position = torch.where(kept, torch.arange(kept.shape[1]), -1).cummax(1).values.gather(1, positions)
    if readout is not None and not readout.causal:
        return torch.where(position < 0, kept.int().argmax(1, keepdim=True), position)
    if int(position.min()) < 0:
        raise OptionError(
            "`replacement`: 'attention' and 'drop' leave nothing before the target when every unit is masked, as this "
            "tokenizer begins texts with no token of its own; use 'mean' or a token."
        )
    return position


def _dropped(rows: Rows, removed: Bool[Tensor, "r l"], readout: Readout | None) -> Rows:
    lengths = (~removed).sum(1)
    sources = None if rows.sources is None else (~removed[:, : int(rows.sources[0])]).sum(1)
    if int(lengths.min()) == 0 or (sources is not None and int(sources.min()) == 0):
        raise OptionError(
            "`replacement`: 'drop' leaves no token when every unit is masked, as this tokenizer adds none of its own; "
            "use 'mean', 'attention' or a token."
        )
    last = _kept_positions(rows.positions, ~removed, readout)
    positions = None if last is None else (~removed).cumsum(1).gather(1, last) - 1
    order = removed.int().argsort(dim=1, stable=True)[:, : int(lengths.max())]
    visible = torch.arange(order.shape[1]) < lengths[:, None]
    extras = {k: v.gather(1, order) for k, v in rows.extras.items()}
    return Rows(rows.ids.gather(1, order), lengths, visible, None, extras, positions, sources)


def read_replacement(value: str | int, tokenizer: Any) -> Replacement:
    """Return the replacement that an option names; ``auto`` is the mask token, else the mean embedding."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(tokenizer):
            raise OptionError(f"`replacement`: token id {value} is not in 0..{len(tokenizer) - 1}.")
        return Replacement(value, token_id=value)
    if value not in NAMES:
        raise OptionError(f"`replacement`: got {value!r}; pass one of {', '.join(map(repr, NAMES))} or a token id.")
    if value == "auto":
        value = "mask" if tokenizer.mask_token_id is not None else "mean"
    return Replacement(value, token_id=special_id(value, tokenizer, "replacement") if value in ("mask", "pad", "unk") else None)
