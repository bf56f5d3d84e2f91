"""Decode ids: the text that they form, and the characters that each of them adds."""

from __future__ import annotations

from typing import Any

from interpreto.inputs.boundaries import Span

WINDOW, OVERLAP = 64, 16  # tokens that are decoded at once, and how many of them only as context


def decoded(tokenizer: Any, ids: list[int]) -> tuple[str, list[Span]]:
    """Return the text of ids, and the characters that each id adds to it.

    Tokens are decoded after others, because a token may read differently at the start of a text. Bytes of an unfinished
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
        if i - start >= WINDOW and not (ahead := read(ids[i - OVERLAP : i])).endswith("\ufffd"):
            start, head, base = i - OVERLAP, ahead, done
    ends[-1:] = [len(text)]  # bytes that no token finishes belong to the last
    return text, [(a, b) for a, b in zip([0, *ends], ends, strict=False)]


def token_names(tokenizer: Any, ids: list[int]) -> tuple[str, ...]:
    """Return each token as the vocabulary spells it; ``<id>`` where the model's table is larger than the vocabulary."""
    names = tokenizer.convert_ids_to_tokens(ids)
    return tuple(f"<{i}>" if name is None else str(name) for i, name in zip(ids, names, strict=True))
