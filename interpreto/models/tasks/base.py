"""What a task must know: how targets are read, joined to the input, scored and named. The only place where tasks differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from interpreto.inputs.samples import Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Units
from interpreto.models.forward import Forward

AGGREGATES = ("token", "unit", "sequence")


@dataclass(frozen=True)
class GenerationRequest:
    """What a call asks of a generation beyond inputs and targets.

    Attributes:
        aggregate: Rows of a generation: one for each target ``"token"``, for each ``"unit"`` of the target, or one for
            the whole ``"sequence"``.
        attribute_targets: Whether the target's own tokens are explained by those before them, too.
        generation_kwargs: How the model generates where no target is given.
        random_state: Seed of what is drawn while generating.
        batch_size: Prompts per pass of a model that writes; None: as many as a token budget holds.
    """

    aggregate: str = "token"
    attribute_targets: bool = True
    generation_kwargs: Mapping[str, Any] = field(default_factory=dict)
    random_state: int | None = 0
    batch_size: int | None = None


class Task(ABC):
    """How inputs, targets and logits relate.

    Targets pass through three forms: what the user gave, one *reading* of it for each input (of any type, known to the
    task alone), and the `Targets` of a sample.
    """

    name: str
    mode_name: str
    outputs: Callable[[Any], Tensor] | None = None
    """Takes the outputs ``(b, c)`` or ``(b, l, c)`` that are read out of what the model returns; None: its ``logits``."""

    @abstractmethod
    def request(self, **asked: Any) -> GenerationRequest:
        """What a call asks beyond inputs and targets (see `GenerationRequest`; None: not asked), or an error."""

    @abstractmethod
    def read_targets(self, targets: object, encodings: Sequence[TokenizedInput], single: bool) -> list[Any] | None:
        """A target for each input; None leaves them to the model. ``single``: the input was not in a list."""

    @abstractmethod
    def own_targets(
        self, forward: Forward, encodings: Sequence[TokenizedInput], request: GenerationRequest
    ) -> list[Any] | None:
        """What the model itself answers, where that takes runs of its own; None: it is read off the scores."""

    @abstractmethod
    def joined(self, encoding: TokenizedInput, target: Any, request: GenerationRequest) -> TokenizedInput:
        """The input with what is explained of its target."""

    @abstractmethod
    def targets(
        self, encoding: TokenizedInput, target: Any, request: GenerationRequest, cut: Callable[[Tokens], Units]
    ) -> Targets:
        """What is explained of an input; ``cut`` makes units of tokens."""

    @abstractmethod
    def predicted(self, logits: Float[Tensor, " c"]) -> Targets:
        """The aim that explains the model's own output."""

    @abstractmethod
    def read(self, logits: Float[Tensor, ...], ids: Int[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        """Scores of columns of the logits: ``(b, c)``, or ``(b, k, v)`` with a row for each column. None: the logits whole."""
