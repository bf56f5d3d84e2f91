"""Hold what the files of a published autoencoder say, in one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Published:
    """A published autoencoder, whoever wrote it.

    Attributes:
        layout: Name of the writer's layout.
        tensors: Tensors of `PublishedSAE`.
        options: Options of `PublishedSAE`.
        hook: Name of the place where it reads, as the writer has it; None: the files do not say.
        facts: What else they say, such as the model and the length of the training's contexts.
    """

    layout: str
    tensors: Mapping[str, Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)
    hook: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def scaled(self, factor: float) -> Published:
        """Return the autoencoder of rows that are multiplied by a factor first, as one of the rows themselves.

        Thresholds and biases of the encoder are in the multiplied units, and stay.
        """
        changed = {
            "encoder_weight": self.tensors["encoder_weight"] * factor,
            "atoms": self.tensors["atoms"] / factor,
            "decoder_bias": self.tensors["decoder_bias"] / factor,
        }
        return replace(self, tensors={**self.tensors, **changed})


def linear(weight: Tensor, bias: Tensor, atoms: Tensor, offset: Tensor) -> dict[str, Tensor]:
    """Return the tensors that every autoencoder has, by our names."""
    return {"encoder_weight": weight, "encoder_bias": bias, "atoms": atoms, "decoder_bias": offset}


def kept(facts: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return some facts, those that JSON can hold."""
    plain = (str, int, float, bool)
    return {name: facts[name] for name in names if isinstance(facts.get(name), plain)}
