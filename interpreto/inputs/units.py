"""The partition of a text's tokens into the units that an explanation speaks about."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import TypeVar

import regex
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from interpreto.errors import InputError, OptionError

Member = TypeVar("Member", bound=Enum)

Span = tuple[int, int]
"""Characters ``start`` (included) to ``end`` (excluded) of a text."""

Splitter = Callable[[str], Sequence[Span]]
"""Cuts a text into the character ranges of its units, in order, without overlap."""


class GranularityAggregationStrategy(Enum):
    """How the values of a unit's tokens become the value of the unit.

    Examples:
        >>> import torch
        >>> index = torch.tensor([0, 0, 1])  # two tokens in the first unit, one in the second
        >>> GranularityAggregationStrategy.SIGNED_MAX(torch.tensor([1.0, -3.0, 2.0]), index, 2)
        tensor([-3.,  2.])
    """

    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    SUM = "sum"
    SIGNED_MAX = "signed_max"
    FIRST = "first"
    LAST = "last"

    def __call__(self, values: Float[Tensor, "*b l"], index: Int[Tensor, " l"], u: int) -> Float[Tensor, "*b u"]:
        """Reduce ``values`` of tokens to units; ``index`` gives each token's unit, and every unit has a token."""
        strategy = GranularityAggregationStrategy
        if self is strategy.SIGNED_MAX:
            high, low = strategy.MAX(values, index, u), strategy.MIN(values, index, u)
            return torch.where(high >= -low, high, low)
        if self in (strategy.FIRST, strategy.LAST):
            position = torch.arange(len(index), device=index.device)
            reduce = "amin" if self is strategy.FIRST else "amax"
            return values[..., position.new_zeros(u).scatter_reduce(0, index, position, reduce, include_self=False)]
        reduce = {strategy.MAX: "amax", strategy.MIN: "amin"}.get(self, self.value)
        out = values.new_zeros(*values.shape[:-1], u)
        return out.scatter_reduce(-1, index.expand_as(values), values, reduce=reduce, include_self=False)


@dataclass(frozen=True, eq=False)
class Units:
    """A partition of ``l`` tokens into ``u`` units.

    Attributes:
        index: The unit of each token, ``-1`` for tokens in none: they are frozen, never perturbed nor attributed.
        texts: The text of each unit, as a reader sees it.
        spans: The characters of each unit in the sample's text.
    """

    index: Int[Tensor, " l"]
    texts: tuple[str, ...]
    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def free(self) -> Shaped[Tensor, " l"]:
        """True for the tokens that belong to a unit."""
        return self.index >= 0

    def spread(self, values: Shaped[Tensor, "*b u"]) -> Shaped[Tensor, "*b l"]:
        """Give every token the value of its unit, and zero to the tokens in none."""
        zero = values.new_zeros(*values.shape[:-1], 1)
        return torch.cat([values, zero], dim=-1)[..., self.index]  # index -1 is the appended zero

    def pool(self, values: Float[Tensor, "*b l"], strategy: GranularityAggregationStrategy) -> Float[Tensor, "*b u"]:
        """Reduce values of tokens to values of units; tokens in no unit are left out."""
        return strategy(values[..., self.free], self.index[self.free], len(self))


class Granularity(Enum):
    """What a unit is.

    ``ALL_TOKENS``: each token, the special ones too. ``TOKEN``: each token of the text, unknown words included.
    ``WORD``: Unicode words (UAX 29), the same for every tokenizer; a punctuation mark is a unit of its own.
    ``SENTENCE``, ``PARAGRAPH``: as punctuation and blank lines say. ``TURN``: a message of a chat; a text is one turn, and
    so is each text of a pair and the explained answer.

    Any ``text -> [(start, end), ...]`` may stand where a granularity is asked; so may the value as a string.

    Examples:
        >>> text = "Dr. Who is here. It costs 3.5 euros!"
        >>> [text[a:b] for a, b in Granularity.SENTENCE.split(text)]
        ['Dr. Who is here.', 'It costs 3.5 euros!']
    """

    ALL_TOKENS = "all_tokens"
    TOKEN = "token"
    WORD = "word"
    SENTENCE = "sentence"
    PARAGRAPH = "paragraph"
    TURN = "turn"

    def split(self, text: str) -> list[Span]:
        """Character ranges of the units of a text; granularities of tokens have none."""
        if self in _TOKENWISE:
            raise OptionError(f"`granularity`: {self.name} is cut by the tokenizer, not by the text.")
        return [trimmed for span in _SPLITTERS[self](text) if (trimmed := _trim(text, span))]


_TOKENWISE = (Granularity.ALL_TOKENS, Granularity.TOKEN)

_WORD = regex.compile(r"(?wV1)\b")
_BLANK_LINE = regex.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = regex.compile(r"""(?:[.?!…]+["'”’)\]]*(?=\s)|[。！？]+["'”’」』）]*)\s*|\n[^\S\n]*\n\s*""")
_ABBREVIATION = regex.compile(
    r"(?:^|[\s(\"'“‘])(?:(?:[A-Za-z]\.)+|(?i:mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|e\.g|i\.e|cf|al|approx|inc|ltd)\.)$"
    r"|\b(?i:no|fig|eq|vol)\.(?=\d$)"  # "No. 5" is one, "She said no." ends
)


def _words(text: str) -> list[Span]:
    """Segments between Unicode word boundaries; those of white space are dropped by the caller."""
    cuts = [0, *(match.start() for match in _WORD.finditer(text)), len(text)]
    return [(a, b) for a, b in pairwise(cuts) if a < b]


def _sentences(text: str) -> list[Span]:
    spans, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        head, tail = text[start : match.end()].rstrip(), text[match.end() : match.end() + 1]
        digit = tail if tail.isdecimal() else ""
        if match.group()[0] in ".…" and (tail.islower() or _ABBREVIATION.search(head + digit) or _ABBREVIATION.search(head)):
            continue
        spans.append((start, match.end()))
        start = match.end()
    return [*spans, (start, len(text))]


def _paragraphs(text: str) -> list[Span]:
    cuts = [0, *(match.end() for match in _BLANK_LINE.finditer(text)), len(text)]
    return list(pairwise(cuts))


_SPLITTERS: dict[Granularity, Callable[[str], list[Span]]] = {
    Granularity.WORD: _words,
    Granularity.SENTENCE: _sentences,
    Granularity.PARAGRAPH: _paragraphs,
    Granularity.TURN: lambda text: [(0, len(text))],
}


def _trim(text: str, span: Span) -> Span | None:
    piece = text[span[0] : span[1]]
    if not piece.strip():
        return None
    return span[0] + len(piece) - len(piece.lstrip()), span[1] - len(piece) + len(piece.rstrip())


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one text, before it is cut into units.

    Attributes:
        text: What the offsets count in.
        offsets: Characters of each token; empty for tokens that stand for none.
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
        """The same, where these tokens are in no unit."""
        frozen = tuple(a or b for a, b in zip(self.frozen, tokens, strict=True))
        return replace(self, frozen=frozen, fixed=tuple(tokens))

    def followed_by(self, other: Tokens, between: str = "") -> Tokens:
        """These tokens, then others, as one text."""
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
    """Cut tokens into units.

    A token belongs to the unit that holds its first visible character. White space goes with what stands after it, as
    byte-level tokenizers have it, else with what stands before. A token may stand for several words: they are one unit.
    With ``spans``, tokens outside every span are frozen.
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
    if granularity in _TOKENWISE:
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


def _anchor(text: str, offset: Span) -> int | None:
    """First visible character of a token."""
    piece = text[offset[0] : offset[1]]
    return offset[0] + len(piece) - len(piece.lstrip()) if piece.strip() else None


def _unit_at(spans: list[Span], char: int | None) -> int | None:
    if char is None:
        return None
    i = bisect_right(spans, char, key=lambda span: span[0]) - 1
    return i if i >= 0 and char < spans[i][1] else None


def _with_white_space(tokens: Tokens, spans: list[Span]) -> list[int | None]:
    """The unit of every token: of its first visible character, else of the next in its segment, else of the last."""
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
    """The spans, where a unit whose token runs on into units without a token of their own covers them too."""
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
    """Number the units that hold tokens, in order of appearance, and write their texts."""
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
            place = _trim(tokens.text, own) or own
        text = tokens.text[place[0] : place[1]]
        texts.append(text if text.strip() else "".join(tokens.names[token] for token in group))
        places.append(place)
    return Units(torch.tensor(index, dtype=torch.long), tuple(texts), tuple(places))


def _check_spans(spans: Sequence[Span], text: str) -> None:
    last = 0
    for span in spans:
        if len(span) != 2 or not 0 <= span[0] < span[1] <= len(text):
            raise InputError(
                f"`spans`: got {span!r} for a text of {len(text)} characters; "
                f"pass (start, end) with 0 <= start < end <= {len(text)}."
            )
        if span[0] < last:
            raise InputError(f"`spans`: {span!r} begins before the span in front of it ends; sort them, without overlap.")
        last = span[1]


def read_granularity(value: Granularity | str | Splitter) -> Granularity | Splitter:
    """A granularity, its name, or a function that cuts a text."""
    if isinstance(value, (Granularity, str)) or not callable(value):
        return read_member(Granularity, value, "granularity")
    return value


def read_member(kind: type[Member], value: object, option: str) -> Member:
    """A member of an enumeration, or its name in either case; else an error that lists the members."""
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        for member in kind:
            if value.lower().replace("-", "_") in (member.name.lower(), str(member.value).lower()):
                return member
    accepted = ", ".join(f"{member.name.lower()!r}" for member in kind)
    raise OptionError(f"`{option}`: got {value!r}; pass a {kind.__name__} or one of {accepted}.")
