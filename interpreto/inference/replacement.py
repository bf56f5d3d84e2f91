"""What stands where a unit was removed: the largest uncontrolled choice of a mask method, so it has a name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.inference.embedding import EmbeddingSpace, special_id
from interpreto.samples import Sample

NAMES = ("auto", "mask", "pad", "unk", "mean", "zero", "drop", "attention")


@dataclass(frozen=True, eq=False)
class Rows:
    """Copies of samples, ready to be run: ids, and what differs from reading them plainly.

    Attributes:
        lengths: Tokens of each row; what follows is padding.
        visible: False where attention must not look.
        replaced: True where the embedding is the replacement's vector.
    """

    ids: Int[Tensor, "r l"]
    lengths: Int[Tensor, " r"]
    visible: Bool[Tensor, "r l"]
    replaced: Bool[Tensor, "r l"] | None
    extras: dict[str, Int[Tensor, "r l"]]


@dataclass(frozen=True, eq=False)
class Replacement:
    """How the tokens of a removed unit are replaced.

    ``mask``, ``pad``, ``unk`` or a token id put that token; ``mean`` and ``zero`` feed the mean of the embedding
    table, or zeros, through the embedding layer; ``drop`` takes the tokens out, and the text closes up;
    ``attention`` hides them from attention and leaves the positions as they are.
    """

    name: str | int
    token_id: int | None = None
    vector: Float[Tensor, " d"] | None = None

    def ready(self, space: EmbeddingSpace) -> Replacement:
        """The same, with the vector that it feeds, if it feeds one."""
        return replace(self, vector=space.vector(self.name)) if self.name in ("mean", "zero") else self

    def rows(self, sample: Sample, mask: Float[Tensor, "r u"]) -> Rows:
        """The copies of ``sample`` that ``mask`` asks for."""
        removed = sample.units.spread(mask).bool()
        ids = sample.input_ids.expand(len(removed), -1)
        extras = {name: value.expand_as(ids) for name, value in sample.extras.items()}
        lengths = torch.full((len(removed),), len(sample))
        everything = torch.ones_like(removed)
        if self.name == "drop":
            return _dropped(ids, removed, extras)
        if self.name == "attention":
            return Rows(ids, lengths, ~removed, None, extras)
        if self.token_id is None:
            return Rows(ids, lengths, everything, removed, extras)
        return Rows(torch.where(removed, self.token_id, ids), lengths, everything, None, extras)


def _dropped(ids: Tensor, removed: Tensor, extras: dict[str, Tensor]) -> Rows:
    lengths = (~removed).sum(1)
    if int(lengths.min()) == 0:
        raise OptionError(
            "`replacement`: 'drop' leaves no token when every unit is removed, as this tokenizer adds none of its own; "
            "use 'mean', 'attention' or a token."
        )
    order = removed.int().argsort(dim=1, stable=True)[:, : int(lengths.max())]
    visible = torch.arange(order.shape[1]) < lengths[:, None]
    return Rows(ids.gather(1, order), lengths, visible, None, {k: v.gather(1, order) for k, v in extras.items()})


def read_replacement(value: str | int, tokenizer: Any) -> Replacement:
    """The replacement that an option names; ``auto`` is the mask token, else the mean embedding."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(tokenizer):
            raise OptionError(f"`replacement`: token id {value} is not in 0..{len(tokenizer) - 1}.")
        return Replacement(value, token_id=value)
    if value not in NAMES:
        raise OptionError(f"`replacement`: got {value!r}; pass one of {', '.join(map(repr, NAMES))} or a token id.")
    if value == "auto":
        value = "mask" if tokenizer.mask_token_id is not None else "mean"
    return Replacement(value, token_id=special_id(value, tokenizer, "replacement") if value in ("mask", "pad", "unk") else None)
