"""Pairs of texts that a model encodes one by one: each is tokenized by itself, with special tokens of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from interpreto.errors import InputError
from interpreto.inputs.forms import is_pair, is_single, iterated
from interpreto.inputs.text import InputReader, TokenizedInput

TEXT_INDEX = "text_index"
"""Name of the input that says which text a token belongs to: 1 or 2."""


class SeparateTexts:
    """Read pairs of texts, and single texts, which are compared with a reference.

    Args:
        reader: Reads each text.
        reference: The text that single texts are compared with; its tokens are in no unit. None: there is none.
        alone: Single texts need no reference, as the model has an embedding of one.
    """

    takes_many = False

    def __init__(self, reader: InputReader, reference: str | None = None, alone: bool = False) -> None:
        self.reader, self.alone = reader, alone
        self.special_ids = reader.special_ids
        self.reference = None if reference is None else reader(reference)[0]

    def __call__(self, inputs: object, roles: Sequence[str] | None = None, first: int = 0) -> list[TokenizedInput]:
        """Return the tokenized inputs; of a pair, both texts in one, each with its special tokens.

        Raises:
            InputError: if an input is a single text and there is no reference, and as `InputReader` does.
        """
        if is_single(inputs):
            return self._read(inputs, roles, first)
        items = list(iterated(inputs))
        if not items:
            return self.reader(items, roles, first)  # which refuses it
        return [found for i, item in enumerate(items, first) for found in self._read(item, roles, i)]

    def _read(self, item: Any, roles: Sequence[str] | None, i: int) -> list[TokenizedInput]:
        if is_pair(item):
            a, b = (self.reader([text], roles, i)[0] for text in item)
            return [_joined(a, b)]
        rows = self.reader([item], roles, i)
        if self.reference is not None:
            return [_joined(row, self.reference, frozen=True) for row in rows]
        if not self.alone:
            raise InputError(
                f"`inputs[{i}]`: got one text ({rows[0].tokens.text[:40]!r}); pass a pair (text, text), or give the model a "
                "`reference` that texts are compared with."
            )
        return [_with_index(row, 1) for row in rows]


def _with_index(encoding: TokenizedInput, index: int) -> TokenizedInput:
    extras = {**encoding.extras, TEXT_INDEX: torch.full_like(encoding.input_ids, index)}
    return TokenizedInput(encoding.tokens, encoding.input_ids, extras)


def _joined(a: TokenizedInput, b: TokenizedInput, frozen: bool = False) -> TokenizedInput:
    """Return two texts as one input; the tokens of the second may be in no unit."""
    a, b = _with_index(a, 1), _with_index(b, 2)
    second = b.tokens.without([True] * len(b.tokens.names)) if frozen else b.tokens
    extras = {name: torch.cat([value, b.extras[name]]) for name, value in a.extras.items()}
    return TokenizedInput(a.tokens.followed_by(second, " "), torch.cat([a.input_ids, b.input_ids]), extras)
