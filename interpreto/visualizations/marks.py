"""Marks of a task in a text: entities with their tags, answers, filled masks, and the two texts of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from interpreto.attributions.output import AttributionOutput
from interpreto.inputs.samples import Sample, first_tokens
from interpreto.inputs.units import Span

BRACKETS = "⟦⟧"
"""Put around targets in the text."""
TEXT_INDEX = ("text_index", 2)
TYPES = ("token_type_ids", 1)
PAIRS = {"question answering": ("question", "context")}
"""Names of the two texts of a pair, by task."""
TEXTS = ("text 1", "text 2")


@dataclass(frozen=True)
class Segment:
    """A stretch of the text that the model read.

    Attributes:
        text: Its characters, or a name for a unit that has none.
        unit: The unit that it belongs to; None outside of all units.
        named: True where ``text`` is a name, such as ``[CLS]``, and no part of the text.
        row: The row whose target it is; None where it is no target.
    """

    text: str
    unit: int | None = None
    named: bool = False
    row: int | None = None


def marked(segments: Sequence[Segment], explanation: AttributionOutput) -> list[Segment]:
    """Return segments with names between them: brackets around each target in the text, its tag, and where a text begins.

    Where targets overlap, the first is marked.

    Args:
        segments: All of the text, in order.
        explanation: Of a task whose targets are parts of the text, or of none.
    """
    names = [(at, name) for at, name in _names(explanation) if name]
    found: list[Segment] = []
    here = 0
    for segment in segments:
        if segment.named:
            found.append(segment)
            continue
        end, rest = here + len(segment.text), segment
        while names and names[0][0] <= end and (names[0][0] < end or names[0][1].startswith("⟧")):
            at, name = names.pop(0)
            if at > here:
                found.append(replace(rest, text=rest.text[: at - here]))
                rest, here = replace(rest, text=rest.text[at - here :]), at
            found.append(Segment(name, None, named=True))
        if rest.text:
            found.append(rest)
        here = end
    return found + [Segment(name, None, named=True) for _, name in names]


def _names(explanation: AttributionOutput) -> list[tuple[int, str]]:
    """Return places in the text and what is written there, in order."""
    names: list[tuple[int, int, str]] = []
    begins = second_text(explanation.sample)
    if begins is not None:
        first, second = PAIRS.get(explanation.model_task, TEXTS)
        names += [(0, 0, f"{first}:"), (begins, 0, f"{second}:")]
    for span, tag in spans_with_tags(explanation):
        names += [(span[0], 1, "⟦"), (span[1], -1, f"⟧ {tag}".rstrip())]
    return [(at, name) for at, _, name in sorted(names, key=lambda item: item[:2])]


def spans_with_tags(explanation: AttributionOutput) -> list[tuple[Span, str]]:
    """Return the targets that are parts of the text, without overlaps, and the tag of each."""
    found: list[tuple[Span, str]] = []
    pairs = zip(explanation.target_spans, explanation.target_labels, strict=True)
    for span, label in sorted(((span, label) for span, label in pairs if span is not None), key=lambda pair: pair[0]):
        if span[0] < span[1] and (not found or found[-1][0][1] <= span[0]):
            found.append((span, _tag(explanation.model_task, label)))
    return found


def _tag(task: str, label: str) -> str:
    """Return what stands after a marked target: the kind of an entity, the word in the place of a mask."""
    if task == "token classification":
        return label.rsplit(": ", 1)[-1]
    return label if task == "masked language modeling" else ""


def second_text(sample: Sample) -> int | None:
    """Return where the second text of a pair begins; None where the model reads one text, or it is not known."""
    for name, value in (TEXT_INDEX, TYPES):
        types = sample.inputs.get(name)
        if types is None or sample.prompt is not None or not len(sample.units):
            continue
        firsts = first_tokens(sample.units)
        inside = (types[firsts] == value).nonzero()[:, 0].tolist()
        if inside and int(types[firsts[0]]) != value:
            return sample.units.spans[inside[0]][0]
    return _after_separators(sample) if sample.prompt is None and not sample.source else None


def _after_separators(sample: Sample) -> int | None:
    """Return where the text begins again after separators, of a model without types of tokens (RoBERTa, ModernBERT).

    Separators are tokens of no unit between units, all of them the token that ends the input too; they occur in one place.
    """
    free, ids = sample.units.free, sample.input_ids
    inside = free.nonzero()[:, 0]
    if len(inside) < 2 or bool(free[-1]):
        return None
    between = (~free).nonzero()[:, 0]
    between = between[(between > inside[0]) & (between < inside[-1])]
    if not len(between) or int(between[-1] - between[0]) >= len(between) or bool((ids[between] != ids[-1]).any()):
        return None
    unit = int(sample.units.index[int(between[-1]) + 1])
    return sample.units.spans[unit][0]
