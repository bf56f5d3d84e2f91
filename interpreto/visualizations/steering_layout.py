"""Panels of a steering comparison that all media share: dose and response, and which words of a text are new."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.steering.comparison import SteeringComparison
from interpreto.renderable import visible

GUIDE = (
    "Left: the effect of each steering, with its 95 % interval over the prompts. Right: what it costs, in nats per token under "
    "the model as it is; the lower, the more fluent. Gray are the controls: random directions of the same length, and, where "
    "there are some, features that are active as often. An effect within the gray is not the concept's. In the texts, words "
    "that differ from those of the unsteered model are marked."
)
WORDS = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True)
class Part:
    """A stretch of a text, and whether it differs from what the model writes unsteered."""

    text: str
    new: bool


@dataclass(frozen=True)
class Line:
    """Values of one steering after another; NaN where there is none."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One quantity over the steerings.

    Attributes:
        title: Its name.
        line: Means over the prompts.
        low: Lower end of the interval of each; empty: none.
        high: Upper end of each.
        controls: The same of each control.
    """

    title: str
    line: Line
    low: tuple[float, ...]
    high: tuple[float, ...]
    controls: tuple[Line, ...]

    @property
    def span(self) -> tuple[float, float]:
        """Return the least and the largest value that is drawn; apart, also where all are the same."""
        rows = [self.line.values, self.low, self.high, *(line.values for line in self.controls)]
        values = [value for row in rows for value in row if math.isfinite(value)] or [0.0]
        low, high = min(values), max(values)
        margin = 0.06 * (high - low) or max(0.5, abs(high) / 10)
        return low - margin, high + margin


def panels(found: SteeringComparison) -> tuple[Panel, Panel]:
    """Return effect and fluency over the steerings."""
    effect = Panel(
        found.effect_name,
        _line("concept", found.mean_effect),
        _values(found.interval[:, 0]),
        _values(found.interval[:, 1]),
        _lines(found.control_names, found.control_effect.nanmean(1)),
    )
    nats = Panel(
        "nats per token, unsteered model",
        _line("concept", found.nats.nanmean(0)),
        (),
        (),
        _lines(found.control_names, found.control_nats.nanmean(1)),
    )
    return effect, nats


def places(found: SteeringComparison) -> tuple[float, ...]:
    """Return where on the axis each steering is: at its strength, else in order."""
    strengths = found.strengths.tolist()
    return tuple(strengths) if not any(map(math.isnan, strengths)) else tuple(map(float, range(len(strengths))))


def parts(text: str, unsteered: str) -> list[Part]:
    """Return a text in stretches, each new or as the unsteered model wrote it.

    Examples:
        >>> parts("a good film", "a bad film")
        [Part(text='a ', new=False), Part(text='good ', new=True), Part(text='film', new=False)]
    """
    own, other = WORDS.findall(visible(text)), WORDS.findall(visible(unsteered))
    keys = [[word.strip() for word in words] for words in (other, own)]
    found = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
        if end > start:
            found.append(Part("".join(own[start:end]), kind != "equal"))
    return found


def _line(name: str, values: Float[Tensor, " a"]) -> Line:
    return Line(name, _values(values))


def _values(values: Float[Tensor, " a"]) -> tuple[float, ...]:
    return tuple(values.tolist())


def _lines(names: Sequence[str], rows: Float[Tensor, "r a"]) -> tuple[Line, ...]:
    return tuple(_line(name, row) for name, row in zip(names, rows, strict=True))
