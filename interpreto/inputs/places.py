"""Places in a text: a word, characters or the number of a token, and the tokens that are there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpreto.errors import TargetError
from interpreto.inputs.boundaries import Span, trimmed
from interpreto.inputs.segmentation import Tokens
from interpreto.validation import is_whole, shown

PLACES = "a word of the text, its characters (start, end), or the number of a token"


@dataclass(frozen=True)
class Place:
    """Tokens of a text.

    Attributes:
        positions: Numbers of the tokens, in order.
        span: Their characters.
        text: What is written there; the token's name where it has no characters.
    """

    positions: tuple[int, ...]
    span: Span
    text: str


def place_of(tokens: Tokens, positions: Sequence[int]) -> Place:
    """Return the place of tokens, from the first to the last."""
    start, end = tokens.offsets[positions[0]][0], tokens.offsets[positions[-1]][1]
    span = trimmed(tokens.text, (start, end)) or (start, end)
    return Place(tuple(positions), span, tokens.text[span[0] : span[1]].strip() or tokens.names[positions[0]])


def find_place(tokens: Tokens, where: Any, name: str, within: Span | None = None) -> Place:
    """Return the place that a user means.

    Args:
        tokens: Tokens of the text.
        where: A word or any part of the text that occurs once; characters ``(start, end)``; or the number of a token.
        name: The argument, for messages.
        within: Part of the text in which words are looked for, and from whose beginning characters are counted; None: all.

    Raises:
        TargetError: if there is no such place, or more than one.
    """
    start, end = (0, len(tokens.text)) if within is None else within
    if is_whole(where):
        if not 0 <= where < len(tokens.names):
            raise TargetError(f"{name}: token {where} is not in 0..{len(tokens.names) - 1}.")
        return place_of(tokens, [where])
    if isinstance(where, str):
        return _at(tokens, _occurrence(tokens.text, where, (start, end), name), name)
    if is_span(where):
        a, b = int(where[0]), int(where[1])
        if not 0 <= a < b <= end - start:
            raise TargetError(f"{name}: got the characters {(a, b)} of a text of {end - start}; pass 0 <= start < end.")
        return _at(tokens, (start + a, start + b), name)
    raise TargetError(f"{name}: got {shown(where)}; pass {PLACES}.")


def find_tokens(tokens: Tokens, first: Any, last: Any, name: str) -> Place:
    """Return the place from one token to another.

    Raises:
        TargetError: if they are no tokens of the text, in order.
    """
    if not (is_whole(first) and is_whole(last) and 0 <= first <= last < len(tokens.names)):
        raise TargetError(
            f"{name}: got the tokens {shown(first)} to {shown(last)}; pass two numbers in order, in 0..{len(tokens.names) - 1}."
        )
    return place_of(tokens, range(first, last + 1))


def is_span(value: object) -> bool:
    """Return True for a pair of whole numbers."""
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(is_whole(i) for i in value)


def characters_of(item: Mapping[str, Any], name: str) -> Span:
    """Return the characters that an answer of a pipeline names.

    Raises:
        TargetError: if it names none.
    """
    if not {"start", "end"} <= set(item):
        raise TargetError(f"{name}: got a mapping of {shown(sorted(map(str, item)))}; it must have 'start' and 'end'.")
    return item["start"], item["end"]


def _occurrence(text: str, part: str, within: Span, name: str) -> Span:
    """Return where a part of a text is; whole words win over parts of words."""
    start, end = within
    found = [(start + m.start(), start + m.end()) for m in re.finditer(re.escape(part), text[start:end])] if part else []
    whole = [(a, b) for a, b in found if not (_joins(text, a) or _joins(text, b))]
    found = whole or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise TargetError(f"{name}: {part!r} does not occur in {text[start:end][:80]!r}.")
    places = ", ".join(str((a - start, b - start)) for a, b in found[:4])
    raise TargetError(f"{name}: {part!r} occurs {len(found)} times, at the characters {places}; pass the characters of one.")


def _joins(text: str, at: int) -> bool:
    """Return True where a word goes on from one character to the next."""
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def _at(tokens: Tokens, span: Span, name: str) -> Place:
    kept = zip(tokens.offsets, tokens.fixed or tokens.frozen, strict=True)
    found = [i for i, ((a, b), held) in enumerate(kept) if max(a, span[0]) < min(b, span[1]) and not held]
    if not found:
        raise TargetError(f"{name}: no token is at the characters {span} ({tokens.text[span[0] : span[1]]!r:.60}).")
    span = trimmed(tokens.text, span) or span
    return Place(tuple(found), span, tokens.text[span[0] : span[1]])
