"""Results of lenses: the likeliest tokens after each layer, at each token of a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.renderable import Renderable


@dataclass(frozen=True, eq=False, repr=False)
class LensOutput(Renderable):
    """Distributions over outputs after each layer, at each token of a text.

    A classifier has one distribution per text, and so one column, which is named by the text.

    Attributes:
        text: The text.
        tokens: Names of its ``l`` tokens.
        layers: Names of the ``m`` layers, the first one first.
        ids: The ``k`` likeliest outputs ``(m, l, k)``, the likeliest first.
        probabilities: Of these, ``(m, l, k)``.
        entropy: Of each distribution ``(m, l)``, in nats.
        divergence: Kullback-Leibler divergence of each distribution from the model's own, ``(m, l)``, in nats.
        target_ids: The output that is followed at each token ``(l,)``.
        target_probabilities: Of this output after each layer, ``(m, l)``.
        target_ranks: Of this output after each layer, ``(m, l)``; 1 is the likeliest.
        labels: Names of all outputs that occur.
        method: Name of the lens.
        is_aligned: Columns are what the model answers before each token, in its place; False: after it.
    """

    _subject: ClassVar[str] = "lens"

    text: str
    tokens: tuple[str, ...]
    layers: tuple[str, ...]
    ids: Int[Tensor, "m l k"]
    probabilities: Float[Tensor, "m l k"]
    entropy: Float[Tensor, "m l"]
    divergence: Float[Tensor, "m l"]
    target_ids: Int[Tensor, " l"]
    target_probabilities: Float[Tensor, "m l"]
    target_ranks: Int[Tensor, "m l"]
    labels: Mapping[int, str]
    method: str = "LogitLens"
    is_aligned: bool = False

    @property
    def target_labels(self) -> list[str]:
        """Return the name of the output that is followed at each token."""
        return [self.labels[i] for i in self.target_ids.tolist()]

    @property
    def depth(self) -> Float[Tensor, " l"]:
        """Return the first layer, as a row number, from which on the followed output is the likeliest; m where it never is."""
        first = self.target_ranks == 1
        lasting = first.flip(0).long().cumprod(0).sum(0)
        return (len(self.layers) - lasting).float()

    @property
    def top_indices(self) -> Int[Tensor, "m l k"]:
        """Return `ids`, by another name."""
        return self.ids

    @property
    def top_scores(self) -> Float[Tensor, "m l k"]:
        """Return `probabilities`, by another name."""
        return self.probabilities

    def top(self, layer: int | str = -1, token: int = -1) -> list[tuple[str, float]]:
        """Return the likeliest outputs after a layer, at one token, with their probabilities.

        Args:
            layer: Name of the layer, or its row.
            token: Number of the token.

        Raises:
            OptionError: there is no such layer or token.
        """
        row = self._row(layer)
        if not -len(self.tokens) <= token < len(self.tokens):
            raise OptionError(f"`token`: got {token}, and there are {len(self.tokens)}.")
        names = [self.labels[i] for i in self.ids[row, token].tolist()]
        return list(zip(names, self.probabilities[row, token].tolist(), strict=True))

    def ranks(self, token: int = -1) -> list[int]:
        """Return the rank of the followed output after each layer, at one token; 1 is the likeliest."""
        return self.target_ranks[:, token].tolist()

    def aligned(self) -> LensOutput:
        """Return the same with each distribution at the token that it is a prediction of: the next one.

        The first token, which nothing predicts, and the distribution after the last one are left out. A text of one column
        stays as it is, as a classifier's does.
        """
        if self.is_aligned or len(self.tokens) == 1:
            return self
        return replace(
            self,
            tokens=self.tokens[1:],
            ids=self.ids[:, :-1],
            probabilities=self.probabilities[:, :-1],
            entropy=self.entropy[:, :-1],
            divergence=self.divergence[:, :-1],
            target_ids=self.target_ids[:-1],
            target_probabilities=self.target_probabilities[:, :-1],
            target_ranks=self.target_ranks[:, :-1],
            is_aligned=True,
        )

    def __repr__(self) -> str:
        return f"LensOutput({self.text[:40]!r}, {len(self.layers)} layers, {len(self.tokens)} tokens, k={self.ids.shape[-1]})"

    def _row(self, layer: int | str) -> int:
        if isinstance(layer, str):
            if layer not in self.layers:
                raise OptionError(f"`layer`: got {layer!r}; pass one of {', '.join(map(repr, self.layers))}.")
            return self.layers.index(layer)
        if not -len(self.layers) <= layer < len(self.layers):
            raise OptionError(f"`layer`: got {layer}, and there are {len(self.layers)}.")
        return layer % len(self.layers)
