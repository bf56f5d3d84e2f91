"""Pairs of texts that are patched into each other: read, and checked to have the same number of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from interpreto.concepts.circuits.tokens import token_names
from interpreto.concepts.splitters.base import ModelSplitter, TokenSplitter
from interpreto.errors import InputError, OptionError
from interpreto.inputs.forms import is_single
from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.streaming import encodings
from interpreto.inputs.text import InputReader


@dataclass(frozen=True, eq=False)
class Read:
    """One text as the model reads it.

    Attributes:
        text: The text.
        row: Its tokens.
        tokens: Their names.
    """

    text: str
    row: SplitInput
    tokens: tuple[str, ...]

    @property
    def ids(self) -> Int[Tensor, " l"]:
        """Return the ids of its tokens."""
        return self.row.input_ids


def check_splitter(splitter: Any) -> TokenSplitter:
    """Return a splitter that reads activations of tokens.

    Raises:
        OptionError: it is something else, or runs an encoder and a decoder.
    """
    if not isinstance(splitter, TokenSplitter):
        raise OptionError(
            f"`splitter`: got {type(splitter).__name__}; pass a ModelWithSplitPoints or a SplitterForGeneration, which read "
            "the activations of tokens."
        )
    if getattr(getattr(splitter.model, "config", None), "is_encoder_decoder", False):
        raise OptionError(
            f"`splitter`: {type(splitter.model).__name__} has two stacks; circuits are traced in models with one."
        )
    return splitter


def read_texts(splitter: ModelSplitter, inputs: Any, name: str) -> list[Read]:
    """Return texts without anything that ends them or that the model writes after them.

    Raises:
        InputError: there is no text.
    """
    reader, tokenizer = splitter.encoder, splitter.tokenizer
    can_generate: Any = getattr(splitter.model, "can_generate", bool)
    if can_generate():
        reader = InputReader(tokenizer, reader.max_length, reader.truncation, replies=True, ends=False)
    found = []
    for encoding in encodings(reader, inputs if is_single(inputs) or not isinstance(inputs, Iterable) else list(inputs)):
        ids = encoding.input_ids
        row = SplitInput(ids, ids.new_zeros(len(ids)), 1, encoding.extras)
        found.append(Read(encoding.tokens.text, row, token_names(tokenizer, ids)))
    if not found:
        raise InputError(f"`{name}`: there is nothing in it; pass texts, or an iterable of them.")
    return found


def read_pairs(splitter: ModelSplitter, clean: Any, corrupt: Any) -> list[tuple[Read, Read]]:
    """Return pairs of texts with the same number of tokens.

    Raises:
        InputError: there are not as many of one kind as of the other, or the texts of a pair differ in length.
    """
    first, second = read_texts(splitter, clean, "clean"), read_texts(splitter, corrupt, "corrupt")
    if len(first) != len(second):
        raise InputError(f"`corrupt`: got {len(second)} texts for {len(first)} of `clean`; pass one for each.")
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        if len(a.tokens) != len(b.tokens):
            raise InputError(_uneven(i, a, b))
    return list(zip(first, second, strict=True))


def _uneven(i: int, a: Read, b: Read) -> str:
    """Return what is wrong with a pair, and where it parts."""
    part = next((t for t, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=False)) if x != y), None)
    part = min(len(a.tokens), len(b.tokens)) if part is None else part
    ahead = [repr("".join(tokens[part : part + 3])) if part < len(tokens) else "the end" for tokens in (a.tokens, b.tokens)]
    return (
        f"`clean[{i}]`, `corrupt[{i}]`: {len(a.tokens)} tokens and {len(b.tokens)}; patching exchanges token by token, so pass "
        f"texts of equal length. They part at token {part}: {ahead[0]} and {ahead[1]}, in {a.text[:60]!r}."
    )


def first_difference(a: Read, b: Read) -> int:
    """Return the first token in which two texts of one length differ; their length where they do not."""
    apart = (a.ids != b.ids).nonzero()
    return int(apart[0]) if len(apart) else len(a.ids)


def lengths_of(reads: Sequence[Read]) -> list[int]:
    """Return the number of tokens of each text."""
    return [len(read.row) for read in reads]
