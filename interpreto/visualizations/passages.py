"""Parts of a text that views point at: its sentences, the passages that hold chosen units, code, words of joined letters."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

import regex

from interpreto.attributions.output import AttributionOutput, unit_name
from interpreto.inputs.boundaries import Span, sentences
from interpreto.visualizations.text_layout import Segment, answer_start

LONG = 120
"""Units beyond which a terminal prints passages, and a page shows a text in a box with a strip."""
AROUND = 12
"""Units printed on either side of a chosen one, where its sentence is longer."""
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_JOINED = regex.compile(
    r"[\p{Arabic}\p{Syriac}\p{Nko}\p{Mongolian}\p{Mandaic}\p{Phags_Pa}\p{Adlam}\p{Devanagari}\p{Bengali}\p{Gurmukhi}"
    r"\p{Gujarati}\p{Oriya}\p{Tamil}\p{Telugu}\p{Kannada}\p{Malayalam}\p{Sinhala}\p{Tibetan}\p{Khmer}\p{Myanmar}]"
)


def sentence_starts(explanation: AttributionOutput) -> list[tuple[int, str]]:
    """Return the sentences that hold units, in order: the first unit of each, and its text.

    A chat's template and its messages are cut apart, since only messages are in units.
    """
    ends = [end for _, end in sentences(explanation.text)]
    found: list[tuple[int, int]] = []
    for unit, (start, _) in enumerate(explanation.spans):
        own = bisect_right(ends, start)
        if not found or found[-1][1] != own:
            found.append((unit, own))
    firsts = [unit for unit, _ in found]
    lasts = [unit - 1 for unit in firsts[1:]] + [len(explanation.spans) - 1]
    spans = explanation.spans
    return [(first, explanation.text[spans[first][0] : spans[last][1]]) for first, last in zip(firsts, lasts, strict=True)]


def excerpt(explanation: AttributionOutput, segments: Sequence[Segment], chosen: Iterable[int]) -> list[Segment]:
    """Return the segments near the chosen units, with a name in place of what is left out; of a short text all of them.

    A sentence that holds a chosen unit is kept, of a long one `AROUND` units on either side.
    """
    if len(explanation.elements) <= LONG:
        return list(segments)
    starts = [unit for unit, _ in sentence_starts(explanation)]
    kept: set[int] = set()
    for unit in chosen:
        own = bisect_right(starts, unit)
        first = starts[own - 1] if own else 0
        last = starts[own] if own < len(starts) else len(explanation.elements)
        kept.update(range(max(first, unit - AROUND), min(last, unit + AROUND + 1)))
    answer = answer_start(segments)
    found: list[Segment] = []
    for near, run in groupby(zip(segments, _near(segments, kept), strict=True), key=lambda pair: pair[1]):
        own = [segment for segment, _ in run]
        if near:
            found += own
            continue
        left = len({segment.unit for segment in own if segment.unit is not None})
        gap = Segment(f"[… {left} {unit_name(explanation.granularity, left)} …]", None, named=True)
        opened = next((segment.row for segment in own if segment.row is not None), None) if answer < len(segments) else None
        if left and found and found[-1].text.isspace():
            found.pop()
        found += [replace(gap, row=opened)] if left else own
    return found


def _near(segments: Sequence[Segment], kept: set[int]) -> list[bool]:
    """Return per segment whether it is printed; text outside of units goes with the unit before it."""
    near, last = [], 0 in kept
    for segment in segments:
        last = last if segment.unit is None else segment.unit in kept
        near.append(last)
    return near


def code_spans(text: str) -> list[Span]:
    """Return where code is: between fences of three backticks, or single backticks in a line.

    Examples:
        >>> [text[a:b] for text in ["Call `f(x)` now"] for a, b in code_spans(text)]
        ['`f(x)`']
    """
    return [match.span() for match in _CODE.finditer(text)]


def split_at_code(segments: Sequence[Segment], text: str) -> list[tuple[Segment, int]]:
    """Cut segments at the borders of code; each with 0 for prose, 1 for code in a line, 2 for a block of code."""
    spans, found, here = code_spans(text), [], 0
    edges = [edge for span in spans for edge in span]
    for segment in segments:
        if segment.named:
            found.append((segment, found[-1][1] if found else 0))
            continue
        end = here + len(segment.text)
        cuts = [here, *(edge for edge in edges if here < edge < end), end]
        for start, stop in pairwise(cuts):
            inside = next((span for span in spans if span[0] <= start < span[1]), None)
            kind = 0 if inside is None else 2 if text.startswith("```", inside[0]) else 1
            found.append((replace(segment, text=text[start:stop]), kind))
        here = end
    return found


def joins(before: str, after: str) -> bool:
    """Return whether the last letter of a text and the first of the next are written as one, as in Arabic.

    Examples:
        >>> joins("\\u062c", "\\u0645"), joins("a", "b")
        (True, False)
    """
    return bool(before and after and _JOINED.match(before[-1]) and _JOINED.match(after[0]))


def untorn(segments: Sequence[Segment]) -> list[Segment]:
    """Move tokens without characters of their own behind the word of joined letters that they would tear."""
    found: list[Segment] = []
    waiting: list[Segment] = []
    last = ""
    for i, segment in enumerate(segments):
        if segment.named and last:
            follows = next((other for other in segments[i:] if not other.named), None)
            if follows is not None and joins(last, follows.text) and (follows.row is None) == (segment.row is None):
                waiting.append(segment)
                continue
        if waiting and not segment.named and not joins(last, segment.text):
            found += waiting
            waiting = []
        found.append(segment)
        if not segment.named:
            last = segment.text
    return found + waiting
