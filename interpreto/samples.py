"""A sample: one input, tokenized once, with everything later stages need; and its variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jaxtyping import Float, Int
from torch import Tensor

from interpreto.granularity import Units


@dataclass(frozen=True, eq=False)
class Sample:
    """One unpadded input and what to explain in it.

    Attributes:
        text: What the model read, as a reader sees it; the units' spans count its characters.
        input_ids: Token ids, special ones included.
        units: Partition of the tokens into explained units.
        extras: Other inputs of the model with one value a token, such as ``token_type_ids``.
        targets: Ids of the explained outputs; None while the model's own prediction has not been read.
    """

    text: str
    input_ids: Int[Tensor, " l"]
    units: Units
    extras: Mapping[str, Int[Tensor, " l"]] = field(default_factory=dict)
    targets: Int[Tensor, " t"] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def aimed_at(self, targets: Int[Tensor, " t"]) -> Sample:
        """The same sample, explained for these targets."""
        return replace(self, targets=targets)


@dataclass(frozen=True, eq=False)
class MaskVariants:
    """``p`` copies of a sample with units removed.

    Attributes:
        mask: 1 where a unit is removed.
        weights: What a copy counts for in its aggregator's regression; None: all the same.
        groups: Copies that were drawn together share a number, for standard errors; ``-1``: not drawn, enumerated.
    """

    sample: Sample
    mask: Float[Tensor, "p u"]
    weights: Float[Tensor, " p"] | None = None
    groups: Int[Tensor, " p"] | None = None


@dataclass(frozen=True, eq=False)
class EmbeddingVariants:
    """``p`` copies of a sample with its embeddings moved; their gradients are read.

    Attributes:
        points: Embeddings of each copy, fed in place of the embedding layer's output.
        direction: What the gradients are contracted with, for all copies or for each; None for their L2 norm.
        weights: Quadrature weights of the copies, which sum to 1; None: all the same.
        baseline: Where a path begins; its score is recorded as the reference.
    """

    sample: Sample
    points: Float[Tensor, "p l d"]
    direction: Float[Tensor, "#p l d"] | None = None
    weights: Float[Tensor, " p"] | None = None
    baseline: Float[Tensor, "l d"] | None = None


Variants = MaskVariants | EmbeddingVariants
