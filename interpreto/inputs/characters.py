"""Texts as sequences of characters, for models that need no tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from interpreto.errors import InputError, OptionError
from interpreto.inputs.boundaries import Span
from interpreto.inputs.documents import Documents
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.text import TokenizedInput

ACCEPTED = "a text, Documents, or a list of these"


class CharacterReader:
    """Reads texts with a position for each character, so that units of any granularity but tokens can be cut from them.

    Args:
        replies: The model writes on: a question about documents then ends where its answer begins.
    """

    def __init__(self, replies: bool = False) -> None:
        self.replies = replies

    def __call__(self, inputs: object, roles: Sequence[str] | None = None, first: int = 0) -> list[TokenizedInput]:
        """Return one text, or a list of texts, read.

        Args:
            inputs: A text or `Documents`, or an iterable of these.
            roles: Refused; texts have none.
            first: Number of the first text among all, for messages.

        Raises:
            InputError: for anything else than texts, and for blank ones.
        """
        if roles is not None:
            raise OptionError(f"`roles`: got {roles!r}, but a black box reads texts; they have no roles.")
        if isinstance(inputs, (str, Documents)):
            return [self._read(inputs, "`inputs`")]
        if not isinstance(inputs, Iterable) or isinstance(inputs, (bytes, bytearray, dict)):
            raise InputError(f"`inputs`: got {type(inputs).__name__}; a black box reads {ACCEPTED}.")
        found = [self._read(item, f"`inputs[{first + i}]`") for i, item in enumerate(inputs)]
        if not found:
            raise InputError(f"`inputs`: got nothing to explain ({inputs!r:.60}); pass {ACCEPTED}.")
        return found

    def _read(self, text: object, name: str) -> TokenizedInput:
        if isinstance(text, Documents):
            whole, spans, _ = text.rendered(None, name, self.replies)
            return self._of(whole, spans)
        if not isinstance(text, str):
            raise InputError(f"{name}: got {text!r:.60}; a black box reads {ACCEPTED}.")
        if not text.strip():
            raise InputError(f"{name}: the text is empty ({text!r:.60}); there is nothing to explain.")
        return self._of(text, [(0, len(text))])

    @staticmethod
    def _of(text: str, spans: list[Span]) -> TokenizedInput:
        """Return a text of which some parts are free."""
        places = tuple((i, i + 1) for i in range(len(text)))
        frozen = [True] * len(text)
        for start, end in spans:
            frozen[start:end] = [False] * (end - start)
        fixed = tuple(frozen) if any(frozen) else ()
        tokens = Tokens(text, places, tuple(text), tuple(frozen), tuple(spans), fixed)
        return TokenizedInput(tokens, torch.tensor([*map(ord, text)]), {})
