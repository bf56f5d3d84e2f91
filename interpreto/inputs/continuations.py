"""Reads what follows a prompt: a text or ids become tokens that continue it, with no space, no start and no end added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interpreto.errors import TargetError, TokenizerError
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.text import decoded
from interpreto.inputs.units import Span

_ANCHORS = ("\n", ".", "a", "0", "=")
_CONTEXT = 8  # tokens of the prompt that tell how the first tokens of given ids read


@dataclass(frozen=True, eq=False)
class Continuation:
    """Tokens that follow an input.

    Attributes:
        ids: Exactly those that are explained.
        tokens: The same, with their text.
        lead: Ids that a decoder reads in front of them; empty for one that reads the prompt.
    """

    ids: Int[Tensor, " c"]
    tokens: Tokens
    lead: tuple[int, ...] = ()


class ContinuationTokenizer:
    """Reads continuations.

    Args:
        tokenizer: A fast tokenizer, for texts.
        start: The id a decoder of its own begins with; None: the decoder reads the prompt.
    """

    def __init__(self, tokenizer: Any, start: int | None = None) -> None:
        self.tokenizer, self.start = tokenizer, start
        self.special_ids = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}

    def text(self, text: str, name: str) -> Continuation:
        """A text as it stands: ``"Paris"`` stays ``"Paris"``, whatever the tokenizer puts in front of texts."""
        if not text:
            raise TargetError(f"{name}: the text is empty; there is nothing to explain.")
        if not self.tokenizer.is_fast:
            raise TokenizerError(
                f"`tokenizer`: {type(self.tokenizer).__name__} cannot say which characters a token stands for; "
                "load the fast one (use_fast=True), or pass token ids as `targets`."
            )
        fresh = self.start is not None or not self._adds_space()
        ids, offsets = self._encode(text) if fresh else self._behind_anchor(text, name)
        if not ids:
            raise TargetError(f"{name}: {text!r:.60} has no token; there is nothing to explain.")
        return self._finish(ids, text, offsets, self.lead())

    def ids(self, ids: Sequence[int], context: Sequence[int], name: str, lead: Sequence[int] | None = None) -> Continuation:
        """Exactly these ids; ``context`` are those in front of them."""
        size = len(self.tokenizer)
        if not len(ids):
            raise TargetError(f"{name}: there are no ids; there is nothing to explain.")
        if min(ids) < 0 or max(ids) >= size:
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
        names = tuple(str(token) for token in self.tokenizer.convert_ids_to_tokens(ids))
        frozen = tuple(i in self.special_ids for i in ids)
        tokens = Tokens(text, tuple((max(a, 0), max(b, 0)) for a, b in offsets), names, frozen, ((0, len(text)),))
        return Continuation(torch.tensor(ids), tokens, lead)

    def _encode(self, text: str) -> tuple[list[int], list[Span]]:
        # A decoder's own text may be tokenized in its own way (`text_target`), as translation models do.
        given = {"text": text} if self.start is None else {"text_target": text}
        encoded = self.tokenizer(**given, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]]

    def _behind_anchor(self, text: str, name: str) -> tuple[list[int], list[Span]]:
        """The tokens of a text that something stands in front of."""
        for anchor in _ANCHORS:
            (head, _), (ids, offsets) = self._encode(anchor), self._encode(anchor + text)
            k = len(head)
            if 0 < k < len(ids) and ids[:k] == head and offsets[k][0] >= len(anchor):
                return ids[k:], [(a - len(anchor), b - len(anchor)) for a, b in offsets[k:]]
        raise TokenizerError(
            f"{name}: {type(self.tokenizer).__name__} cannot read {text!r:.60} as the continuation of a text; pass its ids."
        )

    def _adds_space(self) -> bool:
        """Whether the tokenizer puts a space in front of a text that has none."""
        alone, _ = self._encode("x")
        return not any(self._encode(anchor + "x")[0] == self._encode(anchor)[0] + alone for anchor in _ANCHORS[:2])

    def lead(self) -> tuple[int, ...]:
        """What a decoder of its own reads first: its start, then what the tokenizer puts in front of a text."""
        if self.start is None:
            return ()
        written = self.tokenizer(text_target="x")["input_ids"]
        special = written[: next((k for k, i in enumerate(written) if i not in self.special_ids), 0)]
        return (self.start, *(i for i in special if i != self.start))

    def _begins(self, first: int) -> bool:
        bos = self.tokenizer.bos_token_id
        if self.start is not None or first != bos or bos == self.tokenizer.eos_token_id:
            return False
        return self.tokenizer("x")["input_ids"][:1] == [bos]
