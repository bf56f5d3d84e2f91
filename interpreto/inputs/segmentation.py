"""Cut the tokens of a text into units."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from interpreto.errors import InputError
from interpreto.inputs.boundaries import Span, trimmed
from interpreto.inputs.units import TOKENWISE, Granularity, Splitter, Units
from interpreto.validation import is_whole, shown


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of one text, not yet grouped into units.

    Attributes:
        text: The text that the offsets refer to.
        offsets: Characters of each token; an empty range for tokens without any.
        names: The token as the vocabulary spells it, for tokens without characters.
        frozen: True for special and template tokens.
        segments: Parts of the text that a unit never straddles.
        fixed: True for tokens that are in no unit at any granularity; empty: there are none.
    """

    text: str
    offsets: tuple[Span, ...]
    names: tuple[str, ...]
    frozen: tuple[bool, ...]
    segments: tuple[Span, ...]
    fixed: tuple[bool, ...] = ()

    def without(self, tokens: Sequence[bool]) -> Tokens:
        """Return the same tokens, where the marked ones are in no unit."""
        frozen = tuple(a or b for a, b in zip(self.frozen, tokens, strict=True))
        return replace(self, frozen=frozen, fixed=tuple(tokens))

    def followed_by(self, other: Tokens, between: str = "") -> Tokens:
        """Return these tokens and others as one text, with ``between`` after the first."""
        shift = len(self.text) + len(between)
        fixed = (self.fixed or (False,) * len(self.names)) + (other.fixed or (False,) * len(other.names))
        return Tokens(
            self.text + between + other.text,
            self.offsets + tuple((a + shift, b + shift) for a, b in other.offsets),
            self.names + other.names,
            self.frozen + other.frozen,
            self.segments + tuple((a + shift, b + shift) for a, b in other.segments),
            fixed if any(fixed) else (),
        )


def segment(tokens: Tokens, granularity: Granularity | Splitter, spans: Sequence[Span] | None = None) -> Units:
    """Group tokens into units.

    A token belongs to the unit that holds its first visible character. White space goes with the text after it, as in
    byte-level tokenizers, else with the text before. Words that share a token are one unit.

    Args:
        tokens: Tokens of a text.
        granularity: Size of the units.
        spans: Character ranges that are the units, in place of the granularity; tokens outside of them are frozen.

    Raises:
        InputError: if spans overlap, are out of order or out of the text, or hold the beginning of no token.
    """
    if spans is not None:
        _check_spans(spans, tokens.text)
        units = _with_white_space(tokens, list(spans))
        for i, (start, end) in enumerate(spans):
            if i not in units:
                raise InputError(
                    f"`spans`: no token begins in {(start, end)} ({tokens.text[start:end]!r:.60}), "
                    "or it is a special one; widen the span to whole tokens."
                )
        return _build(tokens, units, list(spans))
    if granularity in TOKENWISE:
        fixed = tokens.fixed or (False,) * len(tokens.frozen)
        everything = granularity is Granularity.ALL_TOKENS
        kept = [not held if everything else not frozen for frozen, held in zip(tokens.frozen, fixed, strict=True)]
        return _build(tokens, [i if keep else None for i, keep in enumerate(kept)], None)
    found: list[Span] = []
    for start, end in tokens.segments:
        part = tokens.text[start:end]
        pieces = granularity.split(part) if isinstance(granularity, Granularity) else granularity(part)
        _check_spans(pieces, part)
        found += [(start + a, start + b) for a, b in pieces]
    units = _with_white_space(tokens, found)
    return _build(tokens, units, _with_swallowed(tokens, units, found))


def read_spans(spans: Any, n: int) -> list[list[Span]] | None:
    """Return the character ranges of each input that a user passed as its units.

    Args:
        spans: For one input a list of ``(start, end)`` or an array ``(k, 2)``; for several a list of these; None.
        n: Number of inputs.

    Raises:
        InputError: if they are no pairs of whole numbers, or not one list for each input.
    """
    if spans is None:
        return None
    rows = list(spans)
    if n == 1 and rows and all(_is_span(row) for row in rows):
        rows = [rows]
    if len(rows) != n:
        raise InputError(f"`spans`: got {len(rows)} lists for {n} inputs; pass one list of (start, end) for each.")
    for row in rows:
        for span in row:
            if not _is_span(span):
                raise InputError(f"`spans`: got {shown(span)}; pass pairs of whole numbers, (start, end).")
    return [[(int(a), int(b)) for a, b in row] for row in rows]


def _is_span(value: Any) -> bool:
    if not hasattr(value, "__len__") or isinstance(value, str) or len(value) != 2:
        return False
    return all(is_whole(i.item() if isinstance(i, torch.Tensor) and i.ndim == 0 else i) for i in value)


def _anchor(text: str, offset: Span) -> int | None:
    """Return the position of the first visible character in a range; None if there is none."""
    piece = text[offset[0] : offset[1]]
    return offset[0] + len(piece) - len(piece.lstrip()) if piece.strip() else None


def _unit_at(spans: list[Span], char: int | None) -> int | None:
    if char is None:
        return None
    i = bisect_right(spans, char, key=lambda span: span[0]) - 1
    return i if i >= 0 and char < spans[i][1] else None


def _with_white_space(tokens: Tokens, spans: list[Span]) -> list[int | None]:
    """Return the unit of every token: of its first visible character, else of the next in its segment, else of the last."""
    units: list[int | None] = []
    blank: dict[int, int] = {}  # a segment without any visible character is one unit
    for offset, frozen in zip(tokens.offsets, tokens.frozen, strict=True):
        if frozen:
            units.append(None)
            continue
        here = max(bisect_right(tokens.segments, offset[0], key=lambda part: part[0]) - 1, 0)
        start, end = tokens.segments[here]
        char = _anchor(tokens.text, offset)
        if char is None:
            char = _anchor(tokens.text, (offset[1], end))
        if char is None and (before := tokens.text[start : offset[0]].rstrip()):
            char = start + len(before) - 1
        units.append(_unit_at(spans, char) if char is not None else blank.setdefault(here, len(spans) + len(blank)))
    return units


def _with_swallowed(tokens: Tokens, units: list[int | None], spans: list[Span]) -> list[Span]:
    """Return the spans, extended where a unit's token covers later units that have no token of their own."""
    ends: dict[int, int] = {}
    for (_, end), unit in zip(tokens.offsets, units, strict=True):
        if unit is not None:
            ends[unit] = max(end, ends.get(unit, 0))
    covering, last = list(spans), None
    for i, (start, end) in enumerate(spans):
        if i in ends:
            last = i
        elif last is not None and ends[last] > start:
            covering[last] = (covering[last][0], end)
    return covering


def _build(tokens: Tokens, units: list[int | None], spans: list[Span] | None) -> Units:
    """Return the units that hold tokens, numbered in order of appearance, with their texts."""
    members: dict[int, list[int]] = {}
    for token, unit in enumerate(units):
        if unit is not None and (not tokens.frozen[token] or spans is None):
            members.setdefault(unit, []).append(token)
    index = [-1] * len(units)
    texts, places = [], []
    for new, (old, group) in enumerate(members.items()):
        for token in group:
            index[token] = new
        if spans is not None and old < len(spans):
            place = spans[old]
        else:
            own = tokens.offsets[group[0]][0], tokens.offsets[group[-1]][1]
            place = trimmed(tokens.text, own) or own
        text = tokens.text[place[0] : place[1]]
        texts.append(text if text.strip() else "".join(tokens.names[token] for token in group))
        places.append(place)
    return Units(torch.tensor(index, dtype=torch.long), tuple(texts), tuple(places))


def _check_spans(spans: Sequence[Span], text: str) -> None:
    """Check that spans are in the text, in order, without overlap."""
    last = 0
    for span in spans:
        if len(span) != 2 or not 0 <= span[0] < span[1] <= len(text):
            raise InputError(
                f"`spans`: got {span!r} for a text of {len(text)} characters; "
                f"pass (start, end) with 0 <= start < end <= {len(text)}."
            )
        if span[0] < last:
            raise InputError(f"`spans`: {span!r} begins before the previous span ends; sort them, without overlap.")
        last = span[1]
