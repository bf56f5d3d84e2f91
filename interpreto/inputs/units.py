"""Units: the features of an explanation, and the pooling of values of tokens into values of units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from interpreto.choices import Choice, read_member
from interpreto.errors import OptionError
from interpreto.inputs.boundaries import Span, paragraphs, sentences, trimmed, words
from interpreto.inputs.regions import ImageGranularity

Splitter = Callable[[str], Sequence[Span]]
"""Cuts a text into the character ranges of its units, in order, without overlap."""


class GranularityAggregationStrategy(Choice):
    """Reduction of the values of a unit's tokens to the value of the unit.

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
        """Reduce values of tokens to values of units.

        Args:
            values: Values of tokens.
            index: The unit of each token; every unit has one at least.
            u: Number of units.

        Returns:
            Values of units, ``(..., u)``, in the same unit of measure.
        """
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
        texts: The text of each unit, as it is displayed.
        spans: The characters of each unit in the sample's text.
    """

    index: Int[Tensor, " l"]
    texts: tuple[str, ...]
    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def followed_by(self, other: Units) -> Units:
        """Return these units and others of the tokens behind theirs, in the same text."""
        index = torch.where(other.index < 0, other.index, other.index + len(self))
        return Units(torch.cat([self.index, index]), self.texts + other.texts, self.spans + other.spans)

    @property
    def free(self) -> Shaped[Tensor, " l"]:
        """Return a mask ``(l,)``: True for tokens that belong to a unit."""
        return self.index >= 0

    def spread(self, values: Shaped[Tensor, "*b u"]) -> Shaped[Tensor, "*b l"]:
        """Return values of tokens, ``(..., l)``: each has its unit's, and zero where it is in none."""
        zero = values.new_zeros(*values.shape[:-1], 1)
        return torch.cat([values, zero], dim=-1)[..., self.index]  # index -1 is the appended zero

    def pool(self, values: Float[Tensor, "*b l"], strategy: GranularityAggregationStrategy) -> Float[Tensor, "*b u"]:
        """Return values of units, ``(..., u)``, reduced from those of their tokens; tokens in no unit are left out."""
        return strategy(values[..., self.free], self.index[self.free], len(self))


class Granularity(Choice):
    """Size of the units, which are the features of an explanation.

    ``ALL_TOKENS``: each token, including special ones. ``TOKEN``: each token of the text, including unknown words.
    ``WORD``: Unicode words (UAX 29), the same for every tokenizer; a punctuation mark is a separate unit, and scripts
    without spaces (Thai, Lao, Khmer) are cut into characters, as the standard has no dictionary. ``SENTENCE``,
    ``PARAGRAPH``: by punctuation and blank lines. ``TURN``: a message of a chat; a text is one turn, and so are each text
    of a pair and the explained answer. ``DOCUMENT``: the same, by the name that it has for `Documents`.

    Wherever a granularity is expected, its value as a string and any function ``text -> [(start, end), ...]`` are accepted.

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
    DOCUMENT = "document"

    def split(self, text: str) -> list[Span]:
        """Return the character ranges of the units of a text.

        Raises:
            OptionError: for granularities of tokens, which the tokenizer defines.
        """
        if self in TOKENWISE:
            raise OptionError(f"`granularity`: {self.name} is defined by the tokenizer, not by the text.")
        return [visible for span in _CUTTERS[self](text) if (visible := trimmed(text, span))]


TOKENWISE = (Granularity.ALL_TOKENS, Granularity.TOKEN)

_CUTTERS: dict[Granularity, Callable[[str], list[Span]]] = {
    Granularity.WORD: words,
    Granularity.SENTENCE: sentences,
    Granularity.PARAGRAPH: paragraphs,
    Granularity.TURN: lambda text: [(0, len(text))],
    Granularity.DOCUMENT: lambda text: [(0, len(text))],
}


def read_granularity(value: Any) -> Any:
    """Return a granularity, given itself, its name, or a function that cuts a text or an image; of a pair, both."""
    of_image = next((member for member in ImageGranularity if value is member or value in (member.value, member.name)), None)
    if of_image is not None:
        return of_image
    if isinstance(value, tuple) and len(value) == 2:
        return read_granularity(value[0]), read_granularity(value[1])
    if isinstance(value, (Granularity, str)) or not callable(value):
        return read_member(Granularity, value, "granularity")
    return value


def check_of_texts(granularity: Any) -> Any:
    """Return a granularity that texts have.

    Raises:
        OptionError: it is one of images.
    """
    if isinstance(granularity, ImageGranularity):
        names = ", ".join(repr(member.value) for member in Granularity)
        raise OptionError(
            f"`granularity`: got {granularity.value!r}, which images have; of texts, pass one of {names} or a function."
        )
    if isinstance(granularity, tuple):
        raise OptionError("`granularity`: got two, which inputs of an image and a text have; pass one.")
    return granularity
