"""Other texts in the places of masked units: alternatives of each unit, or texts of a background."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import InputError, OptionError
from interpreto.inputs.samples import Readout, Sample
from interpreto.models.rows import Rows, plain_rows
from interpreto.validation import shown

Alternatives = Mapping[str, Any] | Callable[[str], Any] | Sequence[str]
"""Alternatives by the text of a unit, a function from that text to them, or texts of a background."""
ReplacedBy = str | int | Alternatives
"""Type of ``replacement``: a name, a token id, or `Alternatives`."""
MOST = 240  # draws over which scores are averaged


@dataclass(frozen=True, eq=False)
class TextAlternatives:
    """Replacement of masked units by other texts, joined as token ids, so that nothing else of the input moves.

    A draw has one alternative for each unit: the first of each, then the second of each, and so on, shorter lists from their
    beginning again. Texts of a background are cut, or repeated, to the length of the units, token by token. Scores are means
    over the draws.

    Attributes:
        name: ``"alternatives"`` or ``"background"``.
        tokenizer: Reads the texts.
        alternatives: From the text of a unit to its alternatives; a unit without any is never changed.
        background: Ids of the texts of a background.
        draw: The draw that `rows` makes; None: none is chosen yet.
    """

    name: str
    tokenizer: Any
    alternatives: Callable[[str], Sequence[str]] | None = None
    background: tuple[Int[Tensor, ...], ...] = ()
    draw: int | None = None
    token_id: None = None
    vector: None = None

    @property
    def sampled(self) -> bool:
        """True if the draws are a sample of what could be drawn; else they are all that there is."""
        return bool(self.background)

    def at(self, draw: int) -> TextAlternatives:
        """Return the replacement of one draw."""
        return replace(self, draw=draw)

    def draws(self, sample: Sample) -> int:
        """Return the number of draws of a sample: each alternative of a unit is drawn equally often.

        Raises:
            InputError: No unit has an alternative.
            OptionError: The lists have so many lengths that there would be too many draws.
        """
        if self.background:
            return len(self.background)
        counts = {len(found) for text in sample.units.texts if (found := self._of(text))}
        if not counts:
            units = ", ".join(map(repr, sample.units.texts[:6]))
            raise InputError(f"`replacement`: no unit of {sample.text[:60]!r} has an alternative; its units are {units}.")
        if (count := math.lcm(*counts)) > MOST:
            raise OptionError(
                f"`replacement`: lists of {sorted(counts)} alternatives make {count} draws; pass lists of one length."
            )
        return count

    def texts(self, sample: Sample) -> list[str | None]:
        """Return the text of each unit in this draw, for models that read texts; None: the unit has no alternative."""
        found = [self._of(text) for text in sample.units.texts]
        return [own[self._chosen % len(own)].strip() if own else None for own in found]

    def ids(self, sample: Sample) -> set[int]:
        """Return the token ids that rows of a sample may have in place of its own."""
        if self.background:
            return {int(i) for text in self.background for i in text}
        others = ((unit, other) for unit, text in enumerate(sample.units.texts) for other in self._of(text))
        return {token for unit, other in others for token in self._joined(sample, unit, other)}

    def rows(self, sample: Sample, mask: Float[Tensor, "r u"], readout: Readout | None = None) -> Rows:
        """Return the perturbed inputs of ``sample`` under ``mask``, as a readout runs them."""
        plain = plain_rows(sample, len(mask), readout)
        n = plain.ids.shape[1]
        masked = sample.units.spread(mask).bool()[:, :n]
        masked = torch.nn.functional.pad(masked, (0, n - masked.shape[1]))  # the readout's suffix is never masked
        if self.background:
            return replace(plain, ids=torch.where(masked, self._background_row(sample, plain.ids[0]), plain.ids))
        return self._spliced(plain, sample, mask, n)

    def _background_row(self, sample: Sample, ids: Int[Tensor, " l"]) -> Int[Tensor, " l"]:
        """Return the row with a text of the background in the places of all units."""
        text, row = self.background[self._chosen % len(self.background)], ids.clone()
        places = sample.units.free[: len(ids)].nonzero()[:, 0]
        row[places] = text.repeat(-(-len(places) // len(text)))[: len(places)]
        return row

    def _spliced(self, plain: Rows, sample: Sample, mask: Float[Tensor, "r u"], n: int) -> Rows:
        """Return the rows with the ids of alternatives in the places of masked units; later tokens move along."""
        index = torch.full((n,), -1)
        index[: min(n, len(sample.units.index))] = sample.units.index[:n]
        others = [self._alternative(sample, unit) for unit in range(len(sample.units))]
        sources, ends = [], []
        for row in mask.bool().tolist():
            parts: list[tuple[int, int]] = []  # place that a token comes from, and its id
            until, placed = [], set()
            for place, unit in enumerate(index.tolist()):
                other = others[unit] if unit >= 0 and row[unit] else None
                if other is None:
                    parts.append((place, int(plain.ids[0, place])))
                elif unit not in placed:
                    placed.add(unit)
                    parts += [(place, token) for token in other]
                until.append(max(len(parts) - 1, 0))
            sources.append(parts)
            ends.append(until)
        lengths, last = torch.tensor([len(parts) for parts in sources]), torch.tensor(ends)
        width = int(lengths.max())
        padded = [parts + parts[-1:] * (width - len(parts)) for parts in sources]
        places = torch.tensor([[place for place, _ in parts] for parts in padded])
        return Rows(
            ids=torch.tensor([[token for _, token in parts] for parts in padded]),
            lengths=lengths,
            visible=torch.arange(width) < lengths[:, None],
            replaced=None,
            extras={name: value.gather(1, places) for name, value in plain.extras.items()},
            positions=None if plain.positions is None else last.gather(1, plain.positions),
            sources=None if plain.sources is None else last[:, sample.source - 1] + 1,
        )

    @property
    def _chosen(self) -> int:
        if self.draw is None:
            raise OptionError("`replacement`: only explainers replace units by texts; pass a name or a token id.")
        return self.draw

    def _of(self, text: str) -> Sequence[str]:
        assert self.alternatives is not None
        found = self.alternatives(text.strip())
        found = [] if found is None else [found] if isinstance(found, str) else list(found)
        if not all(isinstance(other, str) and other.strip() for other in found):
            raise OptionError(f"`replacement`: the alternatives of {text.strip()!r} are {shown(found)}; pass texts.")
        return found

    def _alternative(self, sample: Sample, unit: int) -> list[int] | None:
        """Return the ids in the place of a unit in this draw; None: it has no alternative."""
        found = self._of(sample.units.texts[unit])
        return self._joined(sample, unit, found[self._chosen % len(found)]) if found else None

    def _joined(self, sample: Sample, unit: int, other: str) -> list[int]:
        """Return the ids of a text as the unit's own tokens would begin: with a space where they have one."""
        own = sample.input_ids[sample.units.index == unit].tolist()
        text, start = sample.units.texts[unit].strip(), sample.units.spans[unit][0]
        spaced = sample.text[:start][-1:].isspace() or sample.text[start : start + 1].isspace()
        forms = (" ", "") if spaced else ("", " ")
        form = next((space for space in forms if self._read(space + text) == own), forms[0])
        return self._read(form + other.strip())

    def _read(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def read_alternatives(value: Any, tokenizer: Any) -> TextAlternatives:
    """Return the alternatives of an option.

    Raises:
        OptionError: It is empty, or holds something else than texts.
    """
    if isinstance(value, Mapping):
        if not value:
            raise OptionError("`replacement`: got an empty dictionary; pass alternatives by the text of their unit.")
        known = {str(text).strip(): others for text, others in value.items()}
        return TextAlternatives("alternatives", tokenizer, lambda text: known.get(text, ()))
    if callable(value):
        function: Any = value
        return TextAlternatives("alternatives", tokenizer, function)
    if isinstance(value, Sequence) and value and all(isinstance(text, str) for text in value):
        found = tuple(torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.long) for text in value)
        if all(len(ids) for ids in found):
            return TextAlternatives("background", tokenizer, background=found)
    raise OptionError(
        f"`replacement`: got {shown(value)}; pass a name, a token id, a dictionary from units to their alternatives, "
        "a function from the text of a unit to them, or a list of texts of a background."
    )
