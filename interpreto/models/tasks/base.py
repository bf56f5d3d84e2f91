"""The interface of tasks, which read, join, score and name targets. Only here do tasks differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.inputs.samples import Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.text import InputReader, TokenizedInput
from interpreto.inputs.units import Units
from interpreto.models.forward import Forward
from interpreto.validation import shown

AGGREGATES = ("token", "unit", "sequence")


def no_generation(asked: Mapping[str, Any], returns: str) -> GenerationRequest:
    """Return the options of a task that generates nothing.

    Args:
        asked: Options of a call; None is their default.
        returns: What the model returns, for messages.

    Raises:
        OptionError: one of them was given.
    """
    for name, value in asked.items():
        if value is not None:
            raise OptionError(f"`{name}`: got {shown(value)}; only generations have it, and this model returns {returns}.")
    return GenerationRequest()


@dataclass(frozen=True)
class GenerationRequest:
    """The options of a call that concern generation.

    Attributes:
        aggregate: Rows of the explanation: one per target ``"token"``, one per ``"unit"`` of the target, or one for the
            whole ``"sequence"``.
        attribute_targets: Explain the target's tokens by the target's tokens before them too.
        generation_kwargs: Options of ``model.generate``, where no target is given.
        random_state: Seed of generation.
        batch_size: Prompts per pass of generation; None: as many as a token budget holds.
    """

    aggregate: str = "token"
    attribute_targets: bool = True
    generation_kwargs: Mapping[str, Any] = field(default_factory=dict)
    random_state: int | None = 0
    batch_size: int | None = None


class Task(ABC):
    """Relate inputs, targets and logits.

    Targets have three forms: the user's, one parsed form per input (of any type, known to the task alone), and the
    `Targets` of a sample.
    """

    name: str
    mode_name: str
    outputs: Callable[..., Tensor] | None = None
    """Takes the outputs ``(b, c)`` or ``(b, l, c)`` that are read from what the model returns; None: its ``logits``.

    One that has the attribute ``takes_lengths`` is given the tokens ``(b,)`` of each row too, beyond which there is padding.
    """
    reads: Callable[[InputReader], Any] | None = None
    """Takes the reader of inputs to the one that the task needs; None: it is used as it is."""
    holds: Callable[[Tensor, Tensor], Tensor] | None = None
    """Takes outputs and their columns ``(b, k)`` to 1 where the model decides for the column, else 0; None: the largest."""
    generates: bool = False
    """True where targets are texts that follow the input, and the model writes them where none is given."""
    encodes: bool = False
    """True where an encoder reads the input and a decoder the target."""
    decides: bool = True
    """True where the outputs are decisions; those of a regression are not."""

    @abstractmethod
    def request(self, **asked: Any) -> GenerationRequest:
        """Return the options of a call beyond inputs and targets; None is an option's default.

        Raises:
            OptionError: the task has no such option.
        """

    @abstractmethod
    def read_targets(self, targets: object, encodings: Sequence[TokenizedInput], single: bool) -> list[Any] | None:
        """Parse one target per input; None leaves them to the model.

        Args:
            targets: The user's targets.
            encodings: The inputs.
            single: The input was not in a list.
        """

    @abstractmethod
    def own_targets(
        self, forward: Forward, encodings: Sequence[TokenizedInput], request: GenerationRequest
    ) -> list[Any] | None:
        """Return the model's own outputs as targets, where these take runs of their own; None: the scores tell them."""

    @abstractmethod
    def joined(self, encoding: TokenizedInput, target: Any, request: GenerationRequest) -> TokenizedInput:
        """Return the input, followed by the tokens of its target that are explained."""

    @abstractmethod
    def targets(
        self, encoding: TokenizedInput, target: Any, request: GenerationRequest, cut: Callable[[Tokens], Units]
    ) -> Targets:
        """Return the targets of an input; ``cut`` makes units of tokens."""

    @abstractmethod
    def predicted(self, logits: Float[Tensor, " c"]) -> Targets:
        """Return the targets that the model itself predicts."""

    @abstractmethod
    def read(self, logits: Float[Tensor, ...], ids: Int[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        """Return the scores ``(b, k)`` of columns of the logits: ``(b, c)``, or ``(b, k, v)`` with a row per column.

        ``ids`` are the columns; None: all logits as they are.
        """
