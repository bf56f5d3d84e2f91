"""Boundaries of words, sentences and paragraphs in a text."""

from __future__ import annotations

from itertools import pairwise

import regex

Span = tuple[int, int]
"""Characters ``start`` (included) to ``end`` (excluded) of a text."""

_WORD = regex.compile(r"(?wV1)\b")
_BLANK_LINE = regex.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = regex.compile(r"""(?:[.?!…]+["'”’)\]]*(?=\s)|[。！？]+["'”’」』）]*)\s*|\n[^\S\n]*\n\s*""")
_ABBREVIATION = regex.compile(
    r"(?:^|[\s(\"'“‘])(?:(?:[A-Za-z]\.)+|(?i:mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|e\.g|i\.e|cf|al|approx|inc|ltd)\.)$"
    r"|\b(?i:no|fig|eq|vol)\.(?=\d$)"  # "No. 5" is one, "She said no." ends
)
_LIST_NUMBER = regex.compile(r"\s*\(?\d{1,3}\.")
_CLOSING_QUOTES = "\"'”’」』"


def words(text: str) -> list[Span]:
    """Return the segments between Unicode word boundaries (UAX 29), those of white space included."""
    cuts = [0, *(match.start() for match in _WORD.finditer(text)), len(text)]
    return [(a, b) for a, b in pairwise(cuts) if a < b]


def sentences(text: str) -> list[Span]:
    """Return the sentences of a text: abbreviations, list numbers and quoted questions do not end one."""
    spans, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        head, tail = text[start : match.end()].rstrip(), text[match.end() : match.end() + 1]
        if _goes_on(match.group().rstrip(), head, tail):
            continue
        spans.append((start, match.end()))
        start = match.end()
    return [*spans, (start, len(text))]


def _goes_on(mark: str, head: str, tail: str) -> bool:
    """Return whether a sentence continues after a mark, given its text so far and the character that follows."""
    if not mark:  # a blank line
        return False
    if mark[0] not in ".…":
        return tail.islower() and mark[-1] in _CLOSING_QUOTES
    digit = tail if tail.isdecimal() else ""
    return bool(
        tail.islower() or _ABBREVIATION.search(head + digit) or _ABBREVIATION.search(head) or _LIST_NUMBER.fullmatch(head)
    )


def paragraphs(text: str) -> list[Span]:
    """Return the parts of a text between blank lines."""
    cuts = [0, *(match.end() for match in _BLANK_LINE.finditer(text)), len(text)]
    return list(pairwise(cuts))


def trimmed(text: str, span: Span) -> Span | None:
    """Return a span without the white space at its ends; None if it holds nothing else."""
    piece = text[span[0] : span[1]]
    if not piece.strip():
        return None
    return span[0] + len(piece) - len(piece.lstrip()), span[1] - len(piece) + len(piece.rstrip())
