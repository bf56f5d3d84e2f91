"""Models that read texts: masks are rendered as text, and equal texts are asked for once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from interpreto.errors import InputError, OptionError
from interpreto.inputs.characters import CharacterReader
from interpreto.inputs.samples import MaskVariants, Sample
from interpreto.inputs.units import Granularity
from interpreto.models.alternatives import ReplacedBy, TextAlternatives, read_alternatives
from interpreto.models.batching import Budget, map_batches, windows
from interpreto.models.options import EngineOptions
from interpreto.models.protocol import Need
from interpreto.models.report import EngineLog
from interpreto.models.rows import Read
from interpreto.models.scorer import finite, mixed, unique_rows
from interpreto.validation import shown

TEXTS_A_CALL = 64  # where `batch_size` does not say
WINDOW = 64  # calls whose texts are rendered together
Self = TypeVar("Self", bound="TextModel")
Becomes = str | tuple[str | None, ...] | None
"""Texts that masked units become, as `Sample.render` takes them."""
WITHOUT = {
    "one_pass": "a {} returns one row of scores per text, and all its targets are read off it",
    "kept_logits": "a {} returns scores, and has no logits of single tokens",
    "prefix": "a {} reads whole texts, and has no keys and values to share",
    "shared_backward": "a {} has no gradients",
    "mixed_lengths": "a {} reads texts, which are not padded",
}
"""Why optimizations do not apply; ``distinct`` does."""


class TextReplacement:
    """Text that masked units become.

    Attributes:
        name: ``"drop"``, or the text.
        text: The text; None: units are dropped.
    """

    token_id = None

    def __init__(self, value: str) -> None:
        self.name, self.text = value, None if value == "drop" else value


def _nothing() -> None:
    """Do nothing: a function by name, so that models can be sent to other processes."""


class TextModel(ABC):
    """A model of which only scores of texts can be asked. Implements `Model`.

    A subclass says what a masked sample asks, and returns the outputs of some of what was asked.

    Args:
        what: Name of its kind, for messages.
        writes: It writes on: a question about documents ends where its answer begins.
    """

    provides: frozenset[Need] = frozenset(("scores",))

    def __init__(self, what: str, writes: bool = False) -> None:
        self._what, self._writes = what, writes
        self._asked, self.options = [0], EngineOptions()
        self.log = self._new_log()
        self._read: Read | None = None
        self._replacement: TextReplacement | TextAlternatives = TextReplacement("drop")
        self._batch_size: int | None = None
        self._on_pass: Callable[[], object] = _nothing

    @property
    @abstractmethod
    def name(self) -> str:
        """Return its name, for messages."""

    @property
    @abstractmethod
    def config(self) -> SimpleNamespace:
        """Return what a Hugging Face config would say of it."""

    @abstractmethod
    def questions(self, sample: Sample, mask: Float[Tensor, "r u"], replacement: Becomes) -> Sequence[Hashable]:
        """Return what a sample asks under each mask; equal ones are asked once."""

    @abstractmethod
    def width(self, questions: Sequence[Any]) -> int | None:
        """Return the largest number of outputs for a question; None: all have the same."""

    def length(self, question: Any) -> int:
        """Return the length by which questions are put in order, so that a call has those of about one length."""
        return 0

    @abstractmethod
    def answers(self, questions: Sequence[Any]) -> Float[Tensor, "b k"]:
        """Return the outputs for some questions; a question with fewer than another has zeros after them."""

    @property
    def asked(self) -> int:
        """Number of texts that the model was given so far."""
        return self._asked[0]

    def replacement(self, value: ReplacedBy) -> TextReplacement | TextAlternatives:
        """Return the replacement of that name, or by other texts."""
        if isinstance(value, Mapping) or callable(value):
            return read_alternatives(value, None)
        if not isinstance(value, str | int):
            raise OptionError(
                f"`replacement`: got {shown(value)}; texts of a background replace tokens, and {self.name} has none: "
                "pass a dictionary from units to their alternatives, or a function from the text of a unit to them."
            )
        if not isinstance(value, str):
            raise OptionError(
                f"`replacement`: got {value!r}; a {self._what} reads texts: pass 'drop' or a text, such as '[MASK]'."
            )
        return TextReplacement("drop" if value == "auto" else value)

    def configured(
        self: Self,
        read: Read,
        *,
        replacement: TextReplacement | TextAlternatives | None = None,
        batch_size: int | None = None,
        on_pass: Callable[[], object] = lambda: None,
    ) -> Self:
        """Return the same model, ready for a call; see `HuggingFaceModel.configured`."""
        self.log = self._new_log()  # read by `report` after the call
        box = copy(self)
        box._read, box._batch_size, box._on_pass = read, batch_size, on_pass
        box._replacement = TextReplacement("drop") if replacement is None else replacement
        return box

    def with_options(self: Self, options: EngineOptions | None) -> Self:
        """Return the same model with these optimizations, and a report of its own."""
        box = copy(self)
        box.options = EngineOptions() if options is None else options
        box.log = box._new_log()
        return box

    def _new_log(self) -> EngineLog:
        return EngineLog(self.options, {name: why.format(self._what) for name, why in WITHOUT.items()})

    def reader(self, granularity: Any) -> CharacterReader:
        """Return what reads its inputs where there is no tokenizer."""
        if granularity in (Granularity.TOKEN, Granularity.ALL_TOKENS):
            raise OptionError(
                f"`granularity`: got {granularity.value!r}, and {self.name} has no tokenizer; pass 'word', 'sentence' or "
                "'paragraph', a function that cuts a text, or a tokenizer."
            )
        return CharacterReader(self._writes)

    def session(self) -> AbstractContextManager[None]:
        """Return a context manager that does nothing: there is nothing to restore."""
        return nullcontext()

    def scores(self, variants: Iterable[MaskVariants]) -> Iterator[tuple[MaskVariants, Float[Tensor, "p1 t"]]]:
        """Yield the scores of each sample's perturbed inputs; see `Model`. Equal texts are asked for once."""
        limit = WINDOW * (self._batch_size or TEXTS_A_CALL)
        for window in windows(variants, lambda v: len(v.mask) + 1, limit):
            masks = [self._masks(v) for v in window]
            asked = [self.questions(v.sample, mask, self._other(v.sample)) for v, (mask, _) in zip(window, masks, strict=True)]
            outputs = self._outputs_of_each([question for own in asked for question in own]).split([*map(len, asked)])
            for v, own, (_, inverse) in zip(window, outputs, masks, strict=True):
                yield v, finite(self._scores(own, v.sample), v.sample)[inverse]

    def draws(self, sample: Sample) -> int:
        """Return the number of draws that a sample has of a replacement by texts."""
        assert isinstance(self._replacement, TextAlternatives)
        return self._replacement.draws(sample)

    def with_draw(self: Self, draw: int) -> Self:
        """Return the same model with one draw of its replacement by texts."""
        assert isinstance(self._replacement, TextAlternatives)
        box = copy(self)
        box._replacement = self._replacement.at(draw)
        return box

    @property
    def samples_draws(self) -> bool:
        """Return False: the draws of alternatives are all that there are."""
        return False

    def _other(self, sample: Sample) -> Becomes:
        """Return what masked units of a sample become."""
        found = self._replacement
        return tuple(found.texts(sample)) if isinstance(found, TextAlternatives) else found.text

    def _masks(self, v: MaskVariants) -> tuple[Float[Tensor, "r u"], Int[Tensor, " p1"]]:
        """Return the masks to render, an empty one among them, and the number of each asked one; the first is empty."""
        mask = torch.cat([v.mask.new_zeros(1, v.mask.shape[1]), v.mask])
        if not self.options.distinct:
            return mask, torch.arange(len(mask))
        distinct, inverse = unique_rows(mask)
        if len(distinct) < len(mask):
            self.log.use("distinct")
        return distinct, inverse

    def _outputs_of_each(self, questions: list[Any]) -> Float[Tensor, "n k"]:
        """Return the outputs for questions, some of which may be equal."""
        if not self.options.distinct:
            return self._outputs(questions)
        numbers = {question: i for i, question in enumerate(dict.fromkeys(questions))}
        if len(numbers) < len(questions):
            self.log.use("distinct")
        return self._outputs(list(numbers))[[numbers[question] for question in questions]]

    def _outputs(self, questions: list[Any]) -> Float[Tensor, "n k"]:
        budget, width = Budget(self._batch_size or TEXTS_A_CALL, 0), self.width(questions)
        order = sorted(range(len(questions)), key=lambda i: self.length(questions[i]))

        def outputs_of(picked: list[int]) -> Tensor:
            self._asked[0] += len(picked)
            outputs = self.answers([questions[order[i]] for i in picked])
            self._on_pass()
            return outputs if width is None else pad(outputs, (0, width - outputs.shape[1]))

        found = map_batches([1] * len(questions), outputs_of, budget)  # full calls: we pad nothing
        outputs = torch.empty_like(found)
        outputs[order] = found
        return outputs

    def _scores(self, outputs: Float[Tensor, "r k"], sample: Sample) -> Float[Tensor, "r t"]:
        if sample.targets is None:
            return outputs
        assert self._read is not None
        scores = []
        for readout in sample.targets.readouts:
            if readout.positions is not None or readout.suffix is not None:
                raise InputError(f"`targets`: {self.name} returns one row of scores per text, and none per token.")
            scores.append(mixed(self._read(outputs, readout.ids.expand(len(outputs), -1)), readout))
        return torch.stack(scores).sum(0)
