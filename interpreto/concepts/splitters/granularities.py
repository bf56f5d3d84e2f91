"""Granularities of activations: the units that rows of activations represent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from interpreto.choices import Choice, read_member
from interpreto.errors import InputError, TokenizerError
from interpreto.inputs.segmentation import segment
from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Granularity, GranularityAggregationStrategy, Span, Splitter, Units


class ActivationGranularity(Choice):
    """Unit that one row of activations represents.

    ``CLS_TOKEN``: the class token of a text. ``ALL_TOKENS``: each token, the special ones too, padding never.
    ``TOKEN``: each token of the text, unknown words included. ``WORD``, ``SENTENCE``: as in `Granularity`, pooled over
    their tokens. ``SAMPLE``: the whole text, pooled over its tokens, the special ones left out.
    """

    CLS_TOKEN = "cls_token"
    ALL_TOKENS = "all_tokens"
    TOKEN = "token"
    WORD = "word"
    SENTENCE = "sentence"
    SAMPLE = "sample"


Unit = ActivationGranularity | Granularity | Splitter
"""Units of a row: any `Granularity` and any ``text -> [(start, end), ...]`` too."""

_ONE_A_TEXT = (ActivationGranularity.CLS_TOKEN, ActivationGranularity.SAMPLE)


def read_unit(value: object) -> Unit:
    """Return a granularity, given itself, its name in either case, or a function that cuts a text."""
    if isinstance(value, Granularity):
        return value if value.name not in ActivationGranularity.__members__ else ActivationGranularity[value.name]
    if callable(value) and not isinstance(value, (Enum, str)):
        return value  # type: ignore[return-value]  # a function, whose results `segment` checks
    if isinstance(value, Enum) and value.name in ActivationGranularity.__members__:
        return ActivationGranularity[value.name]
    if isinstance(value, str) and value.lower() == "paragraph":
        return Granularity.PARAGRAPH
    return read_member(ActivationGranularity, value, "activation_granularity")


class UnitReader:
    """Cut encodings into the units that rows of activations represent.

    Args:
        tokenizer: Names the class token.
        unit: Unit of a row.
    """

    def __init__(self, tokenizer: Any, unit: Unit) -> None:
        self.unit, self.class_id = unit, tokenizer.cls_token_id
        if unit is ActivationGranularity.CLS_TOKEN and self.class_id is None:
            raise TokenizerError(
                "`activation_granularity`: CLS_TOKEN was asked for, and the tokenizer has no class token; "
                "use SAMPLE, or TOKEN with the LAST token of each text."
            )

    def row(self, encoding: TokenizedInput, position: int) -> SplitInput:
        """Return a text's tokens and the unit of each, without the texts of the units."""
        tokens, unit = encoding.tokens, self.unit
        if unit is ActivationGranularity.ALL_TOKENS and not tokens.fixed:
            index = torch.arange(len(tokens.frozen))
        elif unit is ActivationGranularity.TOKEN:
            free = ~torch.tensor(tokens.frozen)
            index = torch.where(free, free.cumsum(0) - 1, -1)
        elif unit in _ONE_A_TEXT:
            index = self._one(encoding)
        else:
            index = self.units(encoding, position).index
        u = int(index.max()) + 1
        self._check(u, encoding, position)
        return SplitInput(encoding.input_ids, index, u, encoding.extras)

    def units(self, encoding: TokenizedInput, position: int, part: Span | None = None) -> Units:
        """Return the units of a text and the text of each, which is the whole text for units of one per text.

        Args:
            encoding: The text.
            position: Its number among the inputs.
            part: Range of tokens that are cut into units, which may be empty. None: all.

        Raises:
            InputError: the text has no unit, and ``part`` is None.
        """
        if part is not None:
            encoding = replace(encoding, tokens=encoding.tokens.without(_outside(part, len(encoding.input_ids))))
        if self.unit in _ONE_A_TEXT:
            index = self._one(encoding)
            u = int(index.max()) + 1
            span = (0, len(encoding.tokens.text)) if part is None else _characters(encoding.tokens.offsets[slice(*part)])
            units = Units(index, (encoding.tokens.text[slice(*span)],) * u, (span,) * u)
        else:
            unit = Granularity[self.unit.name] if isinstance(self.unit, ActivationGranularity) else self.unit
            units = segment(encoding.tokens, unit)
        if part is None or self.unit is ActivationGranularity.CLS_TOKEN:
            self._check(len(units), encoding, position)
        return units

    def _one(self, encoding: TokenizedInput) -> Tensor:
        if self.unit is ActivationGranularity.SAMPLE:
            return torch.tensor(encoding.tokens.frozen).long().neg()
        held = torch.tensor(encoding.tokens.fixed or (False,) * len(encoding.input_ids))
        places = ((encoding.input_ids == self.class_id) & ~held).nonzero()[:, 0]
        index = torch.full_like(encoding.input_ids, -1)
        # The tokenizer puts it first or (XLNet) last; one that a user wrote is in between.
        ends = [i for i in places.tolist() if i in (0, len(index) - 1)]
        index[ends[:1]] = 0
        return index

    def _check(self, u: int, encoding: TokenizedInput, position: int) -> None:
        if not u:
            what = "class token" if self.unit is ActivationGranularity.CLS_TOKEN else "unit: all its tokens are special"
            raise InputError(
                f"`inputs[{position}]`: {encoding.tokens.text[:60]!r} has no {what}; leave it out, or use ALL_TOKENS."
            )


def _outside(part: Span, length: int) -> list[bool]:
    return [not part[0] <= i < part[1] for i in range(length)]


def _characters(offsets: Sequence[Span]) -> Span:
    """Return the range of characters of some tokens."""
    own = [span for span in offsets if span[1] > span[0]]
    return (min(a for a, _ in own), max(b for _, b in own)) if own else (0, 0)


def read_strategy(value: object) -> GranularityAggregationStrategy:
    """Return a strategy, given itself or its name; None is the mean, as where a unit is one token."""
    if value is None:
        return GranularityAggregationStrategy.MEAN
    return read_member(GranularityAggregationStrategy, value, "aggregation_strategy")
