"""Tokenize what follows a prompt: a text or ids, with no space, no start and no end added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interpreto.errors import TargetError, TokenizerError
from interpreto.inputs.decoding import decoded, token_names
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.tokenizers import held, in_one_piece, read_tokenizer, special_ids
from interpreto.inputs.units import Span
from interpreto.validation import shown

_ANCHORS = ("\n", ".", "a", "0", "=")
_CONTEXT = 8  # tokens of the prompt that tell how the first tokens of given ids read


@dataclass(frozen=True, eq=False)
class Continuation:
    """Tokens that follow an input.

    Attributes:
        ids: Ids that are explained.
        tokens: The same, with their text.
        lead: Ids that a decoder reads before them; empty for one that reads the prompt.
    """

    ids: Int[Tensor, " c"]
    tokens: Tokens
    lead: tuple[int, ...] = ()


class ContinuationTokenizer:
    """Tokenize continuations of a prompt.

    Args:
        tokenizer: The model's tokenizer.
        start: The id that a separate decoder begins with; None: the decoder reads the prompt.
    """

    def __init__(self, tokenizer: Any, start: int | None = None) -> None:
        self.tokenizer, self.start = read_tokenizer(tokenizer), start
        self.special_ids = special_ids(self.tokenizer) | ({self.tokenizer.mask_token_id} - {None})

    def text(self, text: str, name: str) -> Continuation:
        """Return a text unchanged as a continuation: no space is put before it, whatever the tokenizer does with texts.

        Args:
            text: The text.
            name: How messages call it.

        Raises:
            TargetError: if the text is empty, or has no token.
            TokenizerError: if the tokenizer cannot read a text as a continuation.
        """
        if not text:
            raise TargetError(f"{name}: the text is empty; there is nothing to explain.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise TargetError(f"{name}: {shown(text)} holds half a surrogate pair, which is no character.")
        fresh = self.start is not None or not self._adds_space()
        ids, offsets = self._encode(text) if fresh else self._after_anchor(text, name)
        if not ids:
            raise TargetError(f"{name}: {shown(text)} has no token; there is nothing to explain.")
        return self._finish(ids, text, offsets, self.lead())

    def ids(self, ids: Sequence[int], context: Sequence[int], name: str, lead: Sequence[int] | None = None) -> Continuation:
        """Return these ids unchanged as a continuation.

        Args:
            ids: The ids.
            context: Ids before them.
            name: How messages call them.
            lead: Ids that a decoder read before the model wrote these; then they may be beyond the tokenizer's, as where a
                model's table is padded. None: a user passed them.

        Raises:
            TargetError: if there are none, or one is not in the vocabulary, or they begin a text.
        """
        size = len(self.tokenizer)
        if not len(ids):
            raise TargetError(f"{name}: there are no ids; there is nothing to explain.")
        if lead is None and (min(ids) < 0 or max(ids) >= size):
            raise TargetError(f"{name}: token id {max(ids) if max(ids) >= size else min(ids)} is not in 0..{size - 1}.")
        if lead is None and self._begins(ids[0]):
            raise TargetError(
                f"{name}: begins with {self.tokenizer.convert_ids_to_tokens([ids[0]])[0]!r}, which begins a text; a target "
                "follows the input: pass the text itself, or tokenize it with add_special_tokens=False."
            )
        before = list(context)[-_CONTEXT:] if self.start is None else []
        whole, spans = decoded(self.tokenizer, [*before, *ids])
        shift = spans[len(before) - 1][1] if before else 0
        offsets = [(a - shift, b - shift) for a, b in spans[len(before) :]]
        return self._finish(list(ids), whole[shift:], offsets, self.lead() if lead is None else tuple(lead))

    def _finish(self, ids: list[int], text: str, offsets: list[Span], lead: tuple[int, ...]) -> Continuation:
        names = token_names(self.tokenizer, ids)
        frozen = tuple(i in self.special_ids for i in ids)
        tokens = Tokens(text, tuple((max(a, 0), max(b, 0)) for a, b in offsets), names, frozen, ((0, len(text)),))
        return Continuation(torch.tensor(ids), tokens, lead)

    def _encode(self, text: str) -> tuple[list[int], list[Span]]:
        # The text of a separate decoder may be tokenized differently (`text_target`), as in translation models.
        given = {"text": text} if self.start is None else {"text_target": text}
        if not self.tokenizer.is_fast:
            encoded = in_one_piece(self.tokenizer, text, "`targets`", add_special_tokens=False)
        else:
            with held(self.tokenizer):
                encoded = self.tokenizer(**given, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]]

    def _after_anchor(self, text: str, name: str) -> tuple[list[int], list[Span]]:
        """Return the tokens of a text that follows another."""
        for anchor in _ANCHORS:
            (head, _), (ids, offsets) = self._encode(anchor), self._encode(anchor + text)
            k = len(head)
            if 0 < k < len(ids) and ids[:k] == head and offsets[k][0] >= len(anchor):
                return ids[k:], [(a - len(anchor), b - len(anchor)) for a, b in offsets[k:]]
        raise TokenizerError(
            f"{name}: {type(self.tokenizer).__name__} cannot read {shown(text)} as the continuation of a text; pass its ids."
        )

    def _adds_space(self) -> bool:
        """Return whether the tokenizer puts a space before a text that has none."""
        alone, _ = self._encode("x")
        return not any(self._encode(anchor + "x")[0] == self._encode(anchor)[0] + alone for anchor in _ANCHORS[:2])

    def lead(self) -> tuple[int, ...]:
        """Return what a separate decoder reads first: its start, then what the tokenizer puts before a text."""
        if self.start is None:
            return ()
        with held(self.tokenizer):
            written = self.tokenizer(text_target="x")["input_ids"]
        special = written[: next((k for k, i in enumerate(written) if i not in self.special_ids), 0)]
        return (self.start, *(i for i in special if i != self.start))

    def _begins(self, first: int) -> bool:
        """Return whether an id is the one that the tokenizer puts before every text."""
        bos = self.tokenizer.bos_token_id
        if self.start is not None or first != bos or bos == self.tokenizer.eos_token_id:
            return False
        with held(self.tokenizer):
            return self.tokenizer("x")["input_ids"][:1] == [bos]
