"""Activations that are computed when they are read, and nowhere kept: a model and inputs in place of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from interpreto.errors import InputError
from interpreto.inputs.samples import Sample

AT_ONCE = 8192  # rows that are computed in one call of the model's reader
INPUTS_AT_ONCE = 256


@dataclass(frozen=True)
class StreamConfig:
    """Say whose activations a stream has.

    Attributes:
        split_point: Where they are read.
        buffer_rows: Rows that are in memory, and mixed, at a time.
    """

    split_point: str
    buffer_rows: int


class ActivationStream:
    """Activations ``(n, d)`` of inputs, computed anew at each reading. A splitter's ``stream_activations`` makes it.

    A shuffled reading draws the order of the inputs, computes activations until a buffer is full, and mixes its rows. So
    memory holds one buffer, whatever the number of inputs; the order depends on the generator alone.

    Args:
        inputs: What is read, again and again.
        model: The model.
        read: Returns some inputs as samples.
        activations_of: Returns the activations ``(u, d)`` of the units of some samples, in order.
        config: Whose activations they are.

    Raises:
        InputError: there are no inputs, or none has a unit.

    Examples:
        >>> from interpreto import demo
        >>> from interpreto.concepts.splitters import ModelWithSplitPoints
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> stream = splitter.stream_activations(["A charming film.", "Dull."], "word")
        >>> stream.shape, [len(batch) for batch in stream.batches(4)]
        ((6, 128), [4, 2])
    """

    reads_ahead = False  # a model's passes gain nothing from a thread next to the training's

    def __init__(
        self,
        inputs: Any,
        model: nn.Module,
        read: Callable[[Sequence[Any]], Sequence[Sample]],
        activations_of: Callable[[Sequence[Sample]], Tensor],
        config: StreamConfig,
    ) -> None:
        self.inputs = [inputs] if isinstance(inputs, str) else inputs if isinstance(inputs, Sequence) else list(inputs)
        self.model, self.read_inputs, self.activations_of, self.config = model, read, activations_of, config
        chunks = (self.inputs[i : i + INPUTS_AT_ONCE] for i in range(0, len(self.inputs), INPUTS_AT_ONCE))
        self._counts = [len(sample.units) for chunk in chunks for sample in read(chunk)]
        if not sum(self._counts):
            raise InputError(f"`inputs`: got {len(self.inputs)}, with no unit to compute activations of; pass some texts.")

    def __repr__(self) -> str:
        return f"ActivationStream({len(self.inputs)} inputs, shape={self.shape}, dtype={self.dtype})"

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows and their width."""
        return sum(self._counts), self._some.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the rows."""
        return self._some.dtype

    @cached_property
    def _some(self) -> Tensor:
        """Return rows of the first input that has some, for their width and dtype."""
        first = next(i for i, count in enumerate(self._counts) if count)
        return self._compute([first])[:1].clone()

    def batches(self, size: int, generator: Generator | None = None) -> Iterator[Float[Tensor, "b d"]]:
        """Yield all rows once, ``size`` at a time: in order, or with a generator shuffled."""
        count = len(self._counts)
        order = list(range(count)) if generator is None else torch.randperm(count, generator=generator).tolist()
        portions = list(self._portions(order))
        largest = max(sum(self._counts[i] for i in portion) for portion in portions)
        buffer = torch.empty(min(largest + size - 1, self.shape[0]), self.shape[1], dtype=self.dtype)
        kept = 0
        for number, portion in enumerate(portions):
            filled = self._fill(buffer, kept, portion)
            mixed = torch.arange(filled) if generator is None else torch.randperm(filled, generator=generator)
            leaving = filled if number == len(portions) - 1 else filled // size * size
            for index in mixed[:leaving].split(size) if leaving else ():
                yield buffer.index_select(0, index)
            kept = filled - leaving
            buffer[:kept] = buffer.index_select(0, mixed[leaving:])

    def read(self) -> Float[Tensor, "n d"]:
        """Return all rows, in memory."""
        return torch.cat(list(self.batches(AT_ONCE)))

    def check_model(self, model: nn.Module, split_point: str) -> None:
        """Refuse a model, or a split point, that the activations are not of.

        Raises:
            InputError: it is another one.
        """
        if model is not self.model or split_point != self.config.split_point:
            raise InputError(
                f"`activations`: the stream is of split point {self.config.split_point!r} of a {type(self.model).__name__}; "
                "make it with the explainer's splitter."
            )

    def _portions(self, order: Sequence[int]) -> Iterator[list[int]]:
        """Yield consecutive inputs with as many rows as the buffer holds, one input at least."""
        portion: list[int] = []
        held = 0
        for i in order:
            if portion and held + self._counts[i] > self.config.buffer_rows:
                yield portion
                portion, held = [], 0
            portion.append(i)
            held += self._counts[i]
        yield portion

    def _fill(self, buffer: Tensor, kept: int, portion: Sequence[int]) -> int:
        """Write activations of inputs behind the rows that are kept, and return the number of rows."""
        chunk: list[int] = []
        for i in portion:
            chunk.append(i)
            if sum(self._counts[j] for j in chunk) >= AT_ONCE or len(chunk) == INPUTS_AT_ONCE:
                kept = _append(buffer, kept, self._compute(chunk))
                chunk = []
        return _append(buffer, kept, self._compute(chunk)) if chunk else kept

    @torch.no_grad()
    def _compute(self, chunk: Sequence[int]) -> Float[Tensor, "u d"]:
        return self.activations_of(self.read_inputs([self.inputs[i] for i in chunk])).detach().cpu()


def _append(buffer: Tensor, filled: int, rows: Tensor) -> int:
    buffer[filled : filled + len(rows)] = rows
    return filled + len(rows)
