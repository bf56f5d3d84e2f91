"""The boundary between methods that read attention and the engine: maps of a batch in, one row per sample and score out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from interpreto.inputs.samples import Sample
from interpreto.models.attention import AttentionMap
from interpreto.models.sublayers import Normalization, Projection


@dataclass(frozen=True, eq=False)
class Rows:
    """One row of values for each row of a batch.

    Attributes:
        own: Values of the tokens that the queries are among.
        source: Values of the tokens that an encoder reads, where a decoder reads the others.
    """

    own: Float[Tensor, "b l"]
    source: Float[Tensor, "b s"] | None = None


@dataclass(frozen=True, eq=False)
class LayerStates:
    """Hidden states around the attention of a layer, and what its values are multiplied by.

    Attributes:
        inputs: Hidden states that the layer's block begins with.
        keys: Those that the keys are made of: the same, or the output of the encoder.
        projection: Linear map of the concatenated values of all heads to the width of the hidden states.
        addition: What it returns, and what is added to the residual stream: the same, or what a normalization makes of it;
            None where that was not seen.
        normalization: Layer normalization that the residual stream goes through behind the attention; None: there is none.
    """

    inputs: Float[Tensor, "b q d"]
    keys: Float[Tensor, "b k d"]
    projection: Projection
    addition: tuple[Float[Tensor, "b q d"], Float[Tensor, "b q d"]] | None = None
    normalization: Normalization | None = None


class Flow(ABC):
    """Follows the attention of one batch through the layers, and reduces it as it comes.

    Attributes:
        backward: The flow reads gradients: the layers are felt from the last down, once for each score.
        closes: The flow reads hidden states: each layer is closed when its block has ended.
    """

    backward: ClassVar[bool] = False
    closes: ClassVar[bool] = False

    def see(self, layer: AttentionMap) -> None:  # noqa: B027  # flows that read gradients have nothing to do here
        """Take the attention of a layer, from the first layer up."""

    def close(self, layer: AttentionMap, states: LayerStates) -> None:  # noqa: B027  # as above
        """Take the attention of a layer again, with its hidden states."""

    def start(self, read: Float[Tensor, "b q"], two_stacks: bool) -> None:  # noqa: B027  # as above
        """Begin with a score; ``read`` is the share of each query in it."""

    def feel(self, layer: AttentionMap, gradient: Float[Tensor, "b h q k"]) -> None:  # noqa: B027  # as above
        """Take the gradient of a score in the attention of a layer, from the last layer down."""

    @abstractmethod
    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        """Return the row of a score that is read at these shares of the queries."""


class AttentionRule(ABC):
    """Make a flow for each batch.

    Attributes:
        steps: Points between the zero embedding and the input at which the gradients of a score in the last layer's
            attention are averaged; their positive part, averaged over heads, multiplies the row. 0: nothing does.
        directed: The flow is given the gradients of the scores in the last hidden states, normalizations kept fixed. Layers
            are then followed in a second pass.
        zeroing: The flow sees, in place of attention, how far the outputs of each block turn when a value is zero: shares that
            sum to 1, as the only head.
    """

    steps: int = 0
    directed: bool = False
    zeroing: bool = False

    @abstractmethod
    def flow(self, directions: Float[Tensor, "b t q d"] | None = None) -> Flow:
        """Return a new flow, for one batch."""


@dataclass(frozen=True, eq=False)
class Attended:
    """The row of each score of a sample.

    Attributes:
        sample: With its targets.
        scores: Scores of the input.
        values: One value per token.
    """

    sample: Sample
    scores: Float[Tensor, " t"]
    values: Float[Tensor, "t l"]
