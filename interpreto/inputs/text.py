"""Reads every form of input: texts, pairs, chats, encodings and ids become tokens with characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interpreto.errors import InputError, OptionError, TokenizerError
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.units import Span

_WINDOW, _OVERLAP = 64, 16  # tokens that are decoded at once, and how many of them only for what follows

ACCEPTED = (
    "a text, a (text, text) pair, a chat (list of {'role', 'content'}), a dict or BatchEncoding of tensors, "
    "a 1-D or 2-D tensor of ids, or a list of these"
)


@dataclass(frozen=True, eq=False)
class TokenizedInput:
    """One tokenized input: its tokens, their ids and the model's other inputs.

    Attributes:
        source: Tokens that an encoder reads, where a decoder reads the others; 0: one stack reads all.
        prompt: Tokens in front of the explained target, where the target is part of the text; None: it is not.
    """

    tokens: Tokens
    input_ids: Int[Tensor, " l"]
    extras: Mapping[str, Int[Tensor, " l"]]
    source: int = 0
    prompt: int | None = None


class InputReader:
    """Turns whatever a user passes into encodings, each tokenized once and never decoded to be tokenized again.

    Args:
        tokenizer: A Hugging Face tokenizer; a fast one, for texts.
        max_length: Most tokens that the model takes; None when there is no limit.
        truncation: Whether longer inputs are cut instead of refused.
        replies: Whether the model writes on: a chat then ends where the reply begins.
        ends: Whether what a tokenizer puts after a text (an end of sequence) is kept; a text that goes on has no end.
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
        self.tokenizer, self.max_length, self.truncation = tokenizer, max_length, truncation
        self.replies, self.ends = replies, ends
        self.special_ids = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id, tokenizer.mask_token_id}

    def __call__(self, inputs: object, roles: Sequence[str] | None = None, first: int = 0) -> list[TokenizedInput]:
        """Encodings of one input, of a list of inputs, or of the rows of a batch.

        Args:
            inputs: What a user passes.
            roles: Of a chat, whose messages are explained; those of others are frozen. None: all.
            first: Number of the first input among all, for messages.
        """
        if is_single(inputs):
            encodings = self._read(inputs, None, roles)
        elif isinstance(inputs, Iterable) and not isinstance(inputs, (bytes, bytearray)):
            encodings = [row for i, item in enumerate(inputs, first) for row in self._read(item, i, roles)]
        else:
            raise InputError(f"`inputs`: got {type(inputs).__name__}; pass {ACCEPTED}.")
        if not encodings:
            raise InputError(f"`inputs`: got nothing to explain ({inputs!r}); pass {ACCEPTED}.")
        return encodings

    @property
    def takes_many(self) -> bool:
        """Whether `together` can be used: the tokenizer is a fast one, and what it puts after a text is kept."""
        return bool(self.tokenizer.is_fast) and self.ends

    def together(self, texts: Sequence[str], first: int = 0) -> Iterator[TokenizedInput]:
        """Encodings of texts that are not empty, as each alone would have, by one call of the tokenizer.

        Args:
            texts: Plain texts.
            first: Number of the first among the inputs, for messages.
        """
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
            raise OptionError(f"`roles`: got {roles!r}, but {name} is no chat; its tokens have no role.")
        if isinstance(item, str):
            return [self._read_text(item, None, name)]
        if _is_pair(item):
            return [self._read_text(item[0], item[1], name)]
        if is_chat(item):
            return [self._read_chat(item, name, roles)]
        if isinstance(item, Tensor):
            return [self._read_ids(row, {}, name) for row in _rows(item, name)]
        if isinstance(item, Mapping) and "input_ids" in item:
            return self._read_batch(item, name)
        what = f"a mapping without 'input_ids' ({list(item)})" if isinstance(item, Mapping) else f"{item!r:.80}"
        raise InputError(f"{name}: got {what}; pass {ACCEPTED}.")

    def _read_text(self, text: str, pair: str | None, name: str) -> TokenizedInput:
        if not text.strip() or (pair is not None and not pair.strip()):
            got = repr(text) if pair is None else repr((text, pair))
            raise InputError(f"{name}: the text is empty ({got}); there is nothing to explain.")
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
            kept = max((i + 1 for i, special in enumerate(frozen) if not special), default=len(frozen))
            encoded = {key: encoded[key][:kept] for key in encoded if key in ("input_ids", "token_type_ids")}
            offsets, frozen = offsets[:kept], frozen[:kept]
        return self._finish(encoded, name, text=whole, offsets=offsets, frozen=frozen, segments=segments)

    def _read_chat(self, messages: Sequence[Mapping[str, str]], name: str, roles: Sequence[str] | None) -> TokenizedInput:
        """The chat as its template writes it; only the characters of the messages are free."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise TokenizerError(f"{name}: got a chat, but the tokenizer has no chat template; pass a text.")
        text, contents = _render(self.tokenizer, messages, name, self.replies)
        free = contents if roles is None else _of_roles(messages, contents, roles, name)
        encoded = self._tokenize(text, None, add_special_tokens=False)
        offsets = list(encoded["offset_mapping"])

        def outside(parts: Sequence[Span]) -> list[bool]:
            return [not any(start <= a and b <= end and a < b for start, end in parts) for a, b in offsets]

        encoding = self._finish(encoded, name, text=text, offsets=offsets, frozen=outside(contents), segments=contents)
        if roles is None:
            return encoding
        return replace(encoding, tokens=encoding.tokens.without(outside(free)))

    def _tokenize(self, text: str | list[str], pair: str | None, add_special_tokens: bool = True) -> Any:
        if not self.tokenizer.is_fast:
            raise TokenizerError(
                f"`tokenizer`: {type(self.tokenizer).__name__} cannot say which characters a token stands for; "
                "load the fast one (use_fast=True), or pass token ids as `inputs`."
            )
        with _backend_settings_kept(self.tokenizer):
            return self.tokenizer(
                text,
                pair,
                add_special_tokens=add_special_tokens,
                return_offsets_mapping=True,
                return_special_tokens_mask=True,
                truncation=self.truncation and self.max_length is not None,
                max_length=self.max_length if self.truncation else None,
                verbose=False,
            )

    def _finish(
        self, encoded: Any, name: str, *, text: str, offsets: list[Span], frozen: list[bool], segments: list[Span]
    ) -> TokenizedInput:
        ids = torch.tensor(encoded["input_ids"], dtype=torch.long)
        extras = {}
        if "token_type_ids" in encoded:
            extras["token_type_ids"] = torch.tensor(encoded["token_type_ids"], dtype=torch.long)
        return self._checked(ids, extras, name, text=text, offsets=offsets, frozen=frozen, segments=segments)

    def _read_batch(self, batch: Mapping[str, Any], name: str) -> list[TokenizedInput]:
        """Rows of a batch, without their padding, on whichever side it is."""
        rows = _rows(_tensor(batch["input_ids"], f"{name}['input_ids']"), f"{name}['input_ids']")
        shape = len(rows), len(rows[0])
        per_token = {}
        for key in ("attention_mask", "token_type_ids"):
            if batch.get(key) is not None:
                value = _tensor(batch[key], f"{name}[{key!r}]")
                per_token[key] = value[None] if value.ndim == 1 else value
                if per_token[key].shape != shape:
                    raise InputError(
                        f"{name}[{key!r}]: got shape {tuple(value.shape)}, but 'input_ids' has {shape[0]} rows of {shape[1]}."
                    )
        known = {"input_ids", "attention_mask", "token_type_ids", "offset_mapping", "special_tokens_mask"}
        if unknown := set(batch) - known:
            raise InputError(f"{name}: cannot explain with the inputs {sorted(unknown)}; it takes {sorted(known)}.")
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
        names = tuple(str(token) for token in self.tokenizer.convert_ids_to_tokens(ids.tolist()))
        tokens = Tokens(text, tuple((int(a), int(b)) for a, b in offsets), names, tuple(frozen), tuple(segments))
        return TokenizedInput(tokens, ids, extras)


@contextmanager
def _backend_settings_kept(tokenizer: Any) -> Iterator[None]:
    """Restores the truncation and padding of the backend, which every call of a fast tokenizer overwrites."""
    backend = tokenizer.backend_tokenizer
    truncation, padding = backend.truncation, backend.padding
    try:
        yield
    finally:
        backend.no_truncation() if truncation is None else backend.enable_truncation(**truncation)
        backend.no_padding() if padding is None else backend.enable_padding(**padding)


def is_single(inputs: object) -> bool:
    """Whether ``inputs`` is one input (or one batch of rows) rather than a list of inputs."""
    return isinstance(inputs, (str, Mapping, Tensor)) or _is_pair(inputs) or is_chat(inputs)


def is_chat(item: object) -> bool:
    return isinstance(item, (list, tuple)) and bool(item) and all(isinstance(m, Mapping) and "role" in m for m in item)


def _is_pair(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)


def _tensor(values: Any, name: str) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name}: no tensor can be made of it ({error}); pass a tensor of ids, padded (padding=True, return_tensors='pt')."
        ) from error


def _rows(ids: Tensor, name: str) -> list[Tensor]:
    if ids.ndim not in (1, 2):
        raise InputError(f"{name}: got a tensor of {ids.ndim} dimensions; ids have one (a text) or two (a batch).")
    if ids.ndim == 2 and not len(ids):
        raise InputError(f"{name}: got a batch of shape {tuple(ids.shape)}; there is nothing to explain.")
    return [ids] if ids.ndim == 1 else list(ids)


def _between_special(offsets: Sequence[Span], frozen: Sequence[bool]) -> list[Span]:
    """The characters between special tokens: each run of free tokens is a segment."""
    segments: list[Span] = []
    inside = False
    for (start, end), special in zip(offsets, frozen, strict=True):
        if inside and not special:
            segments[-1] = segments[-1][0], end
        elif not special:
            segments.append((start, end))
        inside = not special
    return [(start, end) for start, end in segments if start < end] or [(0, 0)]


def decoded(tokenizer: Any, ids: list[int]) -> tuple[str, list[Span]]:
    """The text of ids, and the characters that each id adds to it.

    Tokens are decoded behind others, because a token may read differently at the start of a text. Bytes of an unfinished
    character belong to the token that finishes it.
    """

    def read(part: list[int]) -> str:
        return tokenizer.decode(part, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    text, ends, done = read(ids), [], 0
    start, head, base = 0, "", 0  # a window, how its first tokens read, and where they end in the text
    for i in range(1, len(ids) + 1):
        piece = read(ids[start:i]).rstrip("\ufffd")
        end = base + len(piece) - len(head)
        if piece.startswith(head) and end > done and text[base:end] == piece[len(head) :]:
            done = end
        ends.append(done)
        if i - start >= _WINDOW and not (ahead := read(ids[i - _OVERLAP : i])).endswith("\ufffd"):
            start, head, base = i - _OVERLAP, ahead, done
    ends[-1:] = [len(text)]  # bytes that no token finishes belong to the last
    return text, [(a, b) for a, b in zip([0, *ends], ends, strict=False)]


def _of_roles(messages: Sequence[Mapping[str, str]], contents: Sequence[Span], roles: Sequence[str], name: str) -> list[Span]:
    """Where the messages of some roles are."""
    wanted = (roles,) if isinstance(roles, str) else tuple(roles)
    found = [message["role"] for message in messages]
    if missing := [role for role in wanted if role not in found]:
        raise OptionError(f"`roles`: no message of {name} has the role {missing[0]!r}; there are {sorted(set(found))}.")
    return [span for span, role in zip(contents, found, strict=True) if role in wanted]


def _render(tokenizer: Any, messages: Sequence[Mapping[str, str]], name: str, replies: bool = False) -> tuple[str, list[Span]]:
    """The text that the chat template writes, and where it puts each message.

    Where a reply follows, the template opens it; where the last message is the assistant's, it is the reply's beginning.
    """
    begun = replies and messages[-1]["role"] == "assistant"
    for message in messages:
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            raise InputError(f"{name}: the message {dict(message)!r:.80} has no text in 'content'.")

    def write(contents: list[str]) -> str:
        return tokenizer.apply_chat_template(
            [{**m, "content": c} for m, c in zip(messages, contents, strict=True)],
            tokenize=False,
            add_generation_prompt=replies and not begun,
            continue_final_message=begun,
        )

    contents = [m["content"] for m in messages]
    marks = [f"\ue000{i}\ue001" for i in range(len(messages))]  # private-use characters: a template leaves them alone
    text, frame = write(contents), write(marks)
    for form in (contents, [c.strip() for c in contents]):  # some templates trim the messages
        spans, rest, position = [], frame, 0
        for mark, content in zip(marks, form, strict=True):
            before, found, rest = rest.partition(mark)
            position += len(before)
            spans.append((position, position + len(content)))
            position += len(content) if found else 0
        if all(text[a:b] == c for (a, b), c in zip(spans, form, strict=True)) and len(text) == position + len(rest):
            return text, spans
    raise InputError(f"{name}: the chat template rewrites the messages; render the chat yourself and pass it as a text.")
