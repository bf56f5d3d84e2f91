"""Read inputs of every form: texts, pairs, chats, encodings and ids become tokens with characters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from interpreto.errors import InputError, OptionError, TokenizerError
from interpreto.inputs.boundaries import Span
from interpreto.inputs.chat import Message, is_chat, render
from interpreto.inputs.decoding import decoded, token_names
from interpreto.inputs.documents import Documents
from interpreto.inputs.forms import ACCEPTED, check_characters, is_pair, is_single, iterated, read_tensor, rows_of
from interpreto.inputs.pictures import Picture
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.tokenizers import held, in_one_piece, read_tokenizer, special_ids
from interpreto.inputs.units import Units
from interpreto.validation import shown


@dataclass(frozen=True, eq=False)
class TokenizedInput:
    """One tokenized input: its tokens, their ids and the model's other inputs.

    Attributes:
        source: Number of tokens that an encoder reads, where a decoder reads the others; 0: one stack reads all.
        prompt: Number of tokens before the explained target, where the target is part of the text; None: it is not.
        units: Units that the input has by itself, as an image has its regions; tokens behind theirs are cut by a granularity.
            None: all are.
        picture: The image whose cells the first tokens are; None: the input is a text.
    """

    tokens: Tokens
    input_ids: Int[Tensor, " l"]
    extras: Mapping[str, Int[Tensor, " l"]]
    source: int = 0
    prompt: int | None = None
    units: Units | None = None
    picture: Picture | None = None


class InputReader:
    """Tokenize inputs of every form once; nothing is decoded to be tokenized again.

    Special tokens are frozen: those that the tokenizer adds, and those that are written in a text, as its ids would be. In
    a chat, the tokens of the template are frozen, and the characters of the messages are free.

    Args:
        tokenizer: A Hugging Face tokenizer. One without a fast twin is served by decoding its ids: where the decoded text
            differs from the given one, units have the decoded one.
        max_length: Most tokens that the model takes; None: there is no limit.
        truncation: Cut longer inputs instead of refusing them: at the model's limit, or at the tokenizer's if it is less.
        replies: The model writes on: a chat then ends where the reply begins.
        ends: Keep what the tokenizer puts after a text (an end of sequence); a text that goes on has no end.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int | None = None,
        truncation: bool = False,
        *,
        replies: bool = False,
        ends: bool = True,
    ) -> None:
        self.tokenizer = read_tokenizer(tokenizer)
        self.max_length, self.truncation = max_length, truncation
        self.replies, self.ends = replies, ends
        self.special_ids = special_ids(self.tokenizer)
        advised = getattr(self.tokenizer, "model_max_length", None) or 10**9
        self._cut_at = min(advised, max_length or 10**9) if truncation else 10**9

    def __call__(self, inputs: object, roles: Sequence[str] | None = None, first: int = 0) -> list[TokenizedInput]:
        """Return the tokenized inputs of one input, of a list of inputs, or of the rows of a batch.

        Args:
            inputs: What a user passes.
            roles: Of a chat, roles whose messages are explained; those of others are frozen. None: all.
            first: Number of the first input among all, for messages.

        Raises:
            InputError: if an input is empty, too long, or of a form that could mean something else.
        """
        if is_single(inputs):
            encodings = self._read(inputs, None, roles)
        else:
            encodings = [row for i, item in enumerate(iterated(inputs), first) for row in self._read(item, i, roles)]
        if not encodings:
            raise InputError(f"`inputs`: got nothing to explain ({shown(inputs)}); pass {ACCEPTED}.")
        return encodings

    @property
    def takes_many(self) -> bool:
        """Return whether `together` can be used: the tokenizer is a fast one, and what it puts after a text is kept."""
        return bool(self.tokenizer.is_fast) and self.ends

    def together(self, texts: Sequence[str], first: int = 0) -> Iterator[TokenizedInput]:
        """Yield the tokenized inputs of texts that are not empty, as each alone would be, by one call of the tokenizer.

        Args:
            texts: Plain texts.
            first: Number of the first among the inputs, for messages.
        """
        for i, text in enumerate(texts):
            check_characters(text, f"`inputs[{first + i}]`")
        batch = self._tokenize(list(texts), None)
        for i, text in enumerate(texts):
            yield self._finish(
                {key: batch[key][i] for key in ("input_ids", "token_type_ids") if key in batch},
                f"`inputs[{first + i}]`",
                text=text,
                offsets=batch["offset_mapping"][i],
                frozen=[bool(special) for special in batch["special_tokens_mask"][i]],
                segments=[(0, len(text))],
            )

    def _read(self, item: Any, position: int | None, roles: Sequence[str] | None) -> list[TokenizedInput]:
        name = "`inputs`" if position is None else f"`inputs[{position}]`"
        if roles is not None and not is_chat(item):
            raise OptionError(f"`roles`: got {shown(roles)}, but {name} is no chat; its tokens have no role.")
        if isinstance(item, str):
            return [self._read_text(item, None, name)]
        if is_pair(item):
            return [self._read_text(item[0], item[1], name)]
        if is_chat(item):
            return [self._read_chat(item, name, roles)]
        if isinstance(item, Documents):
            return [self._read_documents(item, name)]
        if isinstance(item, (Tensor, np.ndarray)):
            return [self._read_ids(row, {}, name) for row in rows_of(read_tensor(item, name), name)]
        if isinstance(item, Mapping) and "input_ids" in item:
            return self._read_batch(item, name)
        what = f"a mapping without 'input_ids' ({shown(list(item))})" if isinstance(item, Mapping) else shown(item)
        raise InputError(f"{name}: got {what}; pass {ACCEPTED}.")

    # --- Texts

    def _read_text(self, text: str, pair: str | None, name: str) -> TokenizedInput:
        for part in (text, pair):
            if part is not None and not part.strip():
                got = shown(text if pair is None else (text, pair))
                raise InputError(f"{name}: the text is empty ({got}); there is nothing to explain.")
            check_characters(part or "", name)
        if not self.tokenizer.is_fast:
            return self._read_slowly(text, pair, name)
        encoded = self._tokenize(text, pair)
        sequence = encoded.sequence_ids()
        shift = (0, len(text) + 1)
        offsets = [
            (a + shift[s or 0], b + shift[s or 0]) for (a, b), s in zip(encoded["offset_mapping"], sequence, strict=True)
        ]
        whole = text if pair is None else f"{text} {pair}"
        segments = [(0, len(text))] if pair is None else [(0, len(text)), (shift[1], len(whole))]
        frozen = [bool(special) for special in encoded["special_tokens_mask"]]
        if not self.ends:
            kept = _without_end(frozen)
            encoded = {key: encoded[key][:kept] for key in encoded if key in ("input_ids", "token_type_ids")}
            offsets, frozen = offsets[:kept], frozen[:kept]
        return self._finish(encoded, name, text=whole, offsets=offsets, frozen=frozen, segments=segments)

    def _read_slowly(self, text: str, pair: str | None, name: str) -> TokenizedInput:
        """Read a text by a tokenizer that does not tell offsets: its ids are decoded."""
        encoded = self.tokenizer(text, pair, verbose=False, **self._cutting())
        ids = torch.tensor(encoded["input_ids"], dtype=torch.long)
        if not self.ends:
            ids = ids[: _without_end([i in self.special_ids for i in ids.tolist()])]
        extras = {}
        if "token_type_ids" in encoded:
            extras["token_type_ids"] = torch.tensor(encoded["token_type_ids"], dtype=torch.long)[: len(ids)]
        found = self._read_ids(ids, extras, name)
        free = [span for span, frozen in zip(found.tokens.offsets, found.tokens.frozen, strict=True) if not frozen]
        start, end = (free[0][0], free[-1][1]) if free else (0, 0)
        if pair is not None or found.tokens.text[start:end] != text:
            return found
        tokens = replace(
            found.tokens,
            text=text,
            offsets=tuple((max(min(a, end) - start, 0), max(min(b, end) - start, 0)) for a, b in found.tokens.offsets),
            segments=tuple((a - start, b - start) for a, b in found.tokens.segments),
        )
        return replace(found, tokens=tokens)

    def _read_chat(self, messages: Sequence[Message], name: str, roles: Sequence[str] | None) -> TokenizedInput:
        """Read a chat as its template writes it; only the characters of the messages are free."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise TokenizerError(f"{name}: got a chat, but the tokenizer has no chat template; pass a text.")
        chat = render(self.tokenizer, messages, name, self.replies)
        found = self._read_parts(chat.text, list(chat.spans), name, written=True)
        if roles is None:
            return found
        free = chat.of_roles(roles, messages, name)
        return replace(found, tokens=found.tokens.without(outside(found.tokens.offsets, free)))

    def _read_documents(self, item: Documents, name: str) -> TokenizedInput:
        """Read a question about documents; only their characters are free."""
        if self.truncation:
            raise OptionError(f"`truncation`: {name} ends in its question, which would be cut off; pass fewer documents.")
        text, spans, written = item.rendered(self.tokenizer, name, self.replies)
        found = self._read_parts(text, spans, name, written=written)
        fixed = [frozen and a < b for frozen, (a, b) in zip(found.tokens.frozen, found.tokens.offsets, strict=True)]
        return replace(found, tokens=found.tokens.without(fixed))  # the question is in no unit at any granularity

    def _read_parts(self, text: str, spans: list[Span], name: str, *, written: bool) -> TokenizedInput:
        """Read a text of which some parts are free.

        Args:
            text: The text.
            spans: Its free parts; a unit never straddles two.
            name: How messages of errors call it.
            written: A template wrote the text, with the special tokens in it.
        """
        check_characters(text, name)
        if self.tokenizer.is_fast:
            encoded = self._tokenize(text, None, add_special_tokens=not written)
        else:
            encoded = in_one_piece(self.tokenizer, text, name, add_special_tokens=not written, **self._cutting())
        offsets, ids, types = list(encoded["offset_mapping"]), list(encoded["input_ids"]), encoded.get("token_type_ids")
        kept = len(ids) if written or self.ends else _without_end([i in self.special_ids for i in ids])
        extras = {} if types is None else {"token_type_ids": torch.tensor(types[:kept])}
        parts = {"text": text, "offsets": offsets[:kept], "frozen": outside(offsets[:kept], spans), "segments": spans}
        return self._checked(torch.tensor(ids[:kept]), extras, name, **parts)

    def _tokenize(self, text: str | list[str], pair: str | None, add_special_tokens: bool = True) -> Any:
        with held(self.tokenizer):
            return self.tokenizer(
                text,
                pair,
                add_special_tokens=add_special_tokens,
                return_offsets_mapping=True,
                return_special_tokens_mask=True,
                verbose=False,
                **self._cutting(),
            )

    def _cutting(self) -> dict[str, Any]:
        """Return how the tokenizer is told to cut."""
        return {"truncation": True, "max_length": self._cut_at} if self._cut_at < 1_000_000 else {"truncation": False}

    def _finish(
        self, encoded: Any, name: str, *, text: str, offsets: list[Span], frozen: list[bool], segments: list[Span]
    ) -> TokenizedInput:
        """Return a tokenized text, whose own special tokens are frozen and end its segments."""
        ids = torch.tensor(encoded["input_ids"], dtype=torch.long)
        extras = {}
        if "token_type_ids" in encoded:
            extras["token_type_ids"] = torch.tensor(encoded["token_type_ids"], dtype=torch.long)
        written = [i in self.special_ids and not added for i, added in zip(ids.tolist(), frozen, strict=True)]
        if any(written):
            frozen = [added or special for added, special in zip(frozen, written, strict=True)]
            segments = around([span for span, special in zip(offsets, written, strict=True) if special], segments)
        return self._checked(ids, extras, name, text=text, offsets=offsets, frozen=frozen, segments=segments)

    # --- Ids

    def _read_batch(self, batch: Mapping[str, Any], name: str) -> list[TokenizedInput]:
        """Read the rows of a batch without their padding, on whichever side it is."""
        rows = rows_of(read_tensor(batch["input_ids"], f"{name}['input_ids']"), f"{name}['input_ids']")
        shape = len(rows), len(rows[0])
        per_token = {}
        for key in ("attention_mask", "token_type_ids"):
            if batch.get(key) is not None:
                value = read_tensor(batch[key], f"{name}[{key!r}]")
                per_token[key] = value[None] if value.ndim == 1 else value
                if per_token[key].shape != shape:
                    raise InputError(
                        f"{name}[{key!r}]: got shape {tuple(value.shape)}, but 'input_ids' has {shape[0]} rows of {shape[1]}."
                    )
        known = {"input_ids", "attention_mask", "token_type_ids", "offset_mapping", "special_tokens_mask"}
        if unknown := set(batch) - known:
            raise InputError(f"{name}: cannot explain with the inputs {shown(sorted(unknown))}; it takes {sorted(known)}.")
        encodings = []
        for i, row in enumerate(rows):
            kept = per_token["attention_mask"][i].bool() if "attention_mask" in per_token else torch.ones_like(row).bool()
            extras = {k: v[i][kept].cpu().long() for k, v in per_token.items() if k != "attention_mask"}
            encodings.append(self._read_ids(row[kept], extras, name if len(rows) == 1 else f"{name}, row {i}"))
        return encodings

    def _read_ids(self, ids: Tensor, extras: dict[str, Tensor], name: str) -> TokenizedInput:
        if ids.dtype.is_floating_point or ids.dtype is torch.bool:
            raise InputError(f"{name}: got {ids.dtype} values; token ids are integers.")
        if not len(ids):
            raise InputError(f"{name}: there are no tokens; there is nothing to explain.")
        size = len(self.tokenizer)
        ids = ids.detach().cpu().long().clone()  # the caller's tensor may change after
        if int(ids.min()) < 0 or int(ids.max()) >= size:
            raise InputError(f"{name}: token id {int(ids.max() if ids.max() >= size else ids.min())} is not in 0..{size - 1}.")
        text, offsets = decoded(self.tokenizer, ids.tolist())
        frozen = [i in self.special_ids for i in ids.tolist()]
        segments = _between_special(offsets, frozen)
        return self._checked(ids, extras, name, text=text, offsets=offsets, frozen=frozen, segments=segments)

    def _checked(
        self,
        ids: Tensor,
        extras: dict[str, Tensor],
        name: str,
        *,
        text: str,
        offsets: list[Span],
        frozen: list[bool],
        segments: list[Span],
    ) -> TokenizedInput:
        if self.max_length is not None and len(ids) > self.max_length:
            if not self.truncation:
                raise InputError(
                    f"{name}: {len(ids)} tokens, and the model takes {self.max_length}; "
                    "shorten it, or pass `truncation=True` to explain its beginning."
                )
            raise InputError(f"{name}: {len(ids)} ids, and the model takes {self.max_length}; cut them yourself.")
        names = token_names(self.tokenizer, ids.tolist())
        tokens = Tokens(text, tuple((int(a), int(b)) for a, b in offsets), names, tuple(frozen), tuple(segments))
        return TokenizedInput(tokens, ids, extras)


def outside(offsets: Sequence[Span], parts: Sequence[Span]) -> list[bool]:
    """Return which tokens are not within one of some parts of a text."""
    starts = [start for start, _ in parts]
    inside = []
    for a, b in offsets:
        i = bisect_right(starts, a) - 1
        inside.append(i >= 0 and a < b <= parts[i][1])
    return [not own for own in inside]


def _without_end(frozen: Sequence[bool]) -> int:
    """Return how many tokens are left without the special ones at the end."""
    return max((i + 1 for i, special in enumerate(frozen) if not special), default=len(frozen))


def around(special: Sequence[Span], segments: Sequence[Span]) -> list[Span]:
    """Return the parts of segments before, between and after special tokens."""
    parts: list[Span] = []
    for start, end in segments:
        inside = [(a, b) for a, b in special if start <= a < b <= end]
        begins, ends = [start, *(b for _, b in inside)], [*(a for a, _ in inside), end]
        parts += zip(begins, ends, strict=True)
    return [(start, end) for start, end in parts if start < end] or [(0, 0)]


def _between_special(offsets: Sequence[Span], frozen: Sequence[bool]) -> list[Span]:
    """Return the characters between special tokens: each run of free tokens is a segment."""
    segments: list[Span] = []
    inside = False
    for (start, end), special in zip(offsets, frozen, strict=True):
        if inside and not special:
            segments[-1] = segments[-1][0], end
        elif not special:
            segments.append((start, end))
        inside = not special
    return [(start, end) for start, end in segments if start < end] or [(0, 0)]
