"""Results of activation patching: what each part of one text's activations does to the metric of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.renderable import Renderable
from interpreto.rounding import noise_of
from interpreto.validation import check_count, shown

DENOISE, NOISE = "denoise", "noise"


@dataclass(frozen=True, eq=False, repr=False)
class PatchingOutput(Renderable):
    """Changes of a metric by parts × tokens, for a pair of texts.

    Attributes:
        clean: The clean text.
        corrupt: The corrupt one.
        tokens: Names of the clean text's ``l`` tokens.
        corrupt_tokens: Names of the corrupt text's.
        parts: Names of the ``r`` parts: layers, heads, or concepts, each layer's followed by its error.
        metric: What is measured.
        clean_score: The metric of the clean text.
        corrupt_score: That of the corrupt one.
        changes: For ``"denoise"`` (a part of the clean text in the corrupt one) and ``"noise"`` (a part of the corrupt text
            in the clean one) by how much the metric changes, ``(r, l)``, in its unit.
        method: ``"exact"``, ``"attribution"`` or ``"integrated"``.
        exact: Of the other methods, the changes of the largest cells by exact patching, NaN elsewhere; as `changes`.
        agreement: Spearman's correlation of the two over these cells; NaN where there are fewer than 3, or all are equal.
    """

    _subject: ClassVar[str] = "patching"

    clean: str
    corrupt: str
    tokens: tuple[str, ...]
    corrupt_tokens: tuple[str, ...]
    parts: tuple[str, ...]
    metric: str
    clean_score: float
    corrupt_score: float
    changes: Mapping[str, Float[Tensor, "r l"]]
    method: str
    exact: Mapping[str, Float[Tensor, "r l"]]
    agreement: Mapping[str, float]

    @property
    def directions(self) -> tuple[str, ...]:
        """Return the directions that were computed."""
        return tuple(self.changes)

    @property
    def gap(self) -> float:
        """Return the metric of the clean text less that of the corrupt one."""
        return self.clean_score - self.corrupt_score

    def effects(self, direction: str | None = None) -> Float[Tensor, "r l"]:
        """Return the changes as shares of the gap between the two texts.

        1 where the part alone moves the metric all the way to that of the other text, 0 where it does nothing; NaN where the
        metrics of both texts are the same within rounding.

        Args:
            direction: ``"denoise"`` or ``"noise"``; None: the first that was computed.

        Raises:
            OptionError: this direction was not computed.
        """
        direction = self._direction(direction)
        if abs(self.gap) <= noise_of(self.clean_score, self.corrupt_score):
            return torch.full_like(self.changes[direction], torch.nan)
        return self.changes[direction] / (self.gap if direction == DENOISE else -self.gap)

    def top(self, k: int = 10, direction: str | None = None) -> list[tuple[str, int, float]]:
        """Return the cells with the largest changes, by magnitude: part, token, change.

        Args:
            k: Number of cells.
            direction: ``"denoise"`` or ``"noise"``; None: the first that was computed.
        """
        flat = self.changes[self._direction(direction)].flatten()
        order = flat.abs().argsort(descending=True, stable=True)[: check_count(k, "k")].tolist()
        return [(self.parts[i // len(self.tokens)], i % len(self.tokens), float(flat[i])) for i in order if flat[i] != 0]

    def __repr__(self) -> str:
        return (
            f"PatchingOutput({self.clean[:40]!r}, {len(self.parts)} parts, {len(self.tokens)} tokens, {self.metric}, "
            f"{self.method})"
        )

    def _direction(self, direction: str | None) -> str:
        if direction is None:
            return self.directions[0]
        if direction not in self.changes:
            raise OptionError(f"`direction`: got {shown(direction)}; there is {' and '.join(map(repr, self.changes))}.")
        return direction
