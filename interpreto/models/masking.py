"""Replacements of masked units."""

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
    """Replacement of the tokens of masked units.

    ``mask``, ``pad``, ``unk`` or a token id: that token. ``mean`` and ``zero``: the mean of the embedding table, or zeros,
    as the output of the embedding layer. ``drop``: nothing, so that later tokens move up. ``attention``: the tokens are
    hidden from attention, and all positions stay.
    """

    name: str | int
    token_id: int | None = None
    vector: Float[Tensor, " d"] | None = None

    def ready(self, space: EmbeddingSpace) -> Replacement:
        """Return the replacement with its embedding, for those that need one."""
        return replace(self, vector=space.vector(self.name)) if self.name in ("mean", "zero") else self

    def rows(self, sample: Sample, mask: Float[Tensor, "r u"], readout: Readout | None = None) -> Rows:
        """Return the perturbed inputs of ``sample`` under ``mask``, as a readout runs them."""
        plain = plain_rows(sample, len(mask), readout)
        n = plain.ids.shape[1]
        masked = sample.units.spread(mask).bool()[:, :n]
        masked = torch.nn.functional.pad(masked, (0, n - masked.shape[1]))  # the readout's suffix is never masked
        if self.name == "drop":
            return _dropped(plain, masked, readout)
        if self.name == "attention":
            read_at = plain.positions
            if readout is not None and readout.causal:
                read_at = _kept_positions(read_at, ~masked, readout)
            return replace(plain, visible=~masked, positions=read_at)
        if self.token_id is None:
            return replace(plain, replaced=masked)
        return replace(plain, ids=torch.where(masked, self.token_id, plain.ids))


def _kept_positions(
    positions: Int[Tensor, "r k"] | None, kept: Bool[Tensor, "r l"], readout: Readout | None
) -> Int[Tensor, "r k"] | None:
    """Return the positions at which outputs are read when some tokens are hidden or dropped.

    A causal model is read at the last kept token up to each position, as a hidden token must not predict either. Other
    models are read at the token itself, which may be hidden; if it is dropped, at the last kept one before it, or else at
    the first.
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


def _dropped(rows: Rows, masked: Bool[Tensor, "r l"], readout: Readout | None) -> Rows:
    """Return the rows without their masked tokens."""
    lengths = (~masked).sum(1)
    sources = None if rows.sources is None else (~masked[:, : int(rows.sources[0])]).sum(1)
    if int(lengths.min()) == 0 or (sources is not None and int(sources.min()) == 0):
        raise OptionError(
            "`replacement`: 'drop' leaves no token when every unit is masked, as this tokenizer adds none of its own; "
            "use 'mean', 'attention' or a token."
        )
    last = _kept_positions(rows.positions, ~masked, readout)
    positions = None if last is None else (~masked).cumsum(1).gather(1, last) - 1
    order = masked.int().argsort(dim=1, stable=True)[:, : int(lengths.max())]
    visible = torch.arange(order.shape[1]) < lengths[:, None]
    extras = {k: v.gather(1, order) for k, v in rows.extras.items()}
    return Rows(rows.ids.gather(1, order), lengths, visible, None, extras, positions, sources)


def read_replacement(value: str | int, tokenizer: Any) -> Replacement:
    """Return the replacement of an option; ``auto`` is the mask token, else the mean embedding.

    Raises:
        OptionError: there is no such replacement, or the tokenizer has no such token.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(tokenizer):
            raise OptionError(f"`replacement`: token id {value} is not in 0..{len(tokenizer) - 1}.")
        return Replacement(value, token_id=value)
    if value not in NAMES:
        raise OptionError(f"`replacement`: got {value!r}; pass one of {', '.join(map(repr, NAMES))} or a token id.")
    if value == "auto":
        value = "mask" if tokenizer.mask_token_id is not None else "mean"
    return Replacement(value, token_id=special_id(value, tokenizer, "replacement") if value in ("mask", "pad", "unk") else None)
