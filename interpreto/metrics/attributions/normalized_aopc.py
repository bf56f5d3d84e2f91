"""What any order of the units could get: the yardstick that makes comprehensiveness comparable between models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.attributions.perturbations.base import check_count
from interpreto.metrics.attributions.base import AttributionMetric, Explanations, Finding
from interpreto.metrics.attributions.cases import Row, read_explanations, rows_of
from interpreto.metrics.attributions.game import Answer, Game, Question
from interpreto.metrics.attributions.perturbation_curves import read_measure
from interpreto.metrics.attributions.readouts import PROBABILITY
from interpreto.metrics.ranking import first_of
from interpreto.metrics.result import MetricResult
from interpreto.metrics.statistics import noise_of


class NormalizedAOPC(AttributionMetric):
    """Comprehensiveness over all numbers of units, as a share of the way from the worst order to the best. Higher is better.

    In [0, 1]: (AOPC − lowest) / (highest − lowest), where AOPC is the mean of f(x) − f(x without the first k units) over
    k = 1, …, u. The bounds depend on the model and the text alone, so that numbers of different models can be compared.
    Up to `exact_units` units they are exact: of the 2^u sets of removed units each is scored once, and the best order is
    found set by set. Beyond, a beam search approaches them from inside, so that the share may leave [0, 1] by a little.

    Args:
        model: The explained model. Left as it was after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows a forward pass; None: as many as a token budget holds.
        exact_units: Most units whose bounds are exact.
        beam_size: Orders that the search keeps; it scores about ``beam_size · u²`` copies.
        measure: See `CurveMetric`.
        **options: See `GameMetric`.

    References:
        Edin et al., 2024, https://arxiv.org/abs/2408.08137.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        *,
        exact_units: int = 8,
        beam_size: int = 5,
        measure: str = PROBABILITY,
        **options: Any,
    ) -> None:
        self.game = Game(model, tokenizer, batch_size, device=device, **options)
        self.replacement, self.measure = self.game.replacement.name, read_measure(measure)
        self.exact_units, self.beam_size = check_count(exact_units, "exact_units"), check_count(beam_size, "beam_size")

    def run(self, explanations: Explanations) -> MetricResult:
        rows = rows_of(read_explanations(explanations))
        flat = [row for own in rows for row in own if len(row)]
        walks = [first_of(row.orders, torch.arange(1, len(row) + 1)).flatten(0, 1) for row in flat]
        answers = self._answers(flat, walks)
        drops = [self._lost(answer) for answer in answers]
        noise = [noise_of(answer.whole[self.measure], answer.copies[self.measure]) for answer in answers]
        best, worst = self._bounds(flat)
        found = {}
        for i, row in enumerate(flat):
            reached, low, high = float(drops[i].mean()), float(worst[i]), float(best[i])
            details = {"aopc": reached, "lowest": low, "highest": high, "exact": len(row) <= self.exact_units}
            told = high - low > noise[i]
            found[id(row)] = Finding((reached - low) / (high - low), details) if told else Finding.none(SAME)
        empty = Finding.none("nothing stands in front of the target that could be removed")
        result = self.result([[found.get(id(row), empty) for row in own] for own in rows])
        exact = all(len(row) <= self.exact_units for row in flat)
        return result if exact else replace(result, value_range=(None, None))

    def _drops(self, rows: Sequence[Row], removed: Sequence[Tensor]) -> list[Float[Tensor, " p"]]:
        """What the score loses without each set."""
        return [self._lost(answer) for answer in self._answers(rows, removed)]

    def _answers(self, rows: Sequence[Row], removed: Sequence[Tensor]) -> list[Answer]:
        return self.game([Question(row, mask, (self.measure,)) for row, mask in zip(rows, removed, strict=True)])

    def _lost(self, answer: Answer) -> Float[Tensor, " p"]:
        return answer.whole[self.measure] - answer.copies[self.measure]

    def _bounds(self, rows: Sequence[Row]) -> tuple[list[float], list[float]]:
        """The best and the worst AOPC of each row, over all orders."""
        best, worst = [0.0] * len(rows), [0.0] * len(rows)
        few = [i for i, row in enumerate(rows) if len(row) <= self.exact_units]
        many = [i for i, row in enumerate(rows) if len(row) > self.exact_units]
        drops = self._drops([rows[i] for i in few], [every_set(len(rows[i])) for i in few])
        for i, drop in zip(few, drops, strict=True):
            best[i], worst[i] = highest_walk(drop) / len(rows[i]), -highest_walk(-drop) / len(rows[i])
        for sign, found in ((1.0, best), (-1.0, worst)):
            for i, value in zip(many, self._searched([rows[i] for i in many], sign), strict=True):
                found[i] = sign * value / len(rows[i])
        return best, worst

    def _searched(self, rows: Sequence[Row], sign: float) -> list[float]:
        """The highest sum of drops along an order that a beam search finds; all rows go on together."""
        beams = [torch.zeros(1, len(row)).bool() for row in rows]
        sums = [torch.zeros(1, dtype=torch.float64) for _ in rows]
        for level in range(max(map(len, rows), default=0)):
            active = [i for i, row in enumerate(rows) if level < len(row)]
            grown = [_grown(beams[i]) for i in active]
            drops = self._drops([rows[i] for i in active], [sets for sets, _ in grown])
            for i, (sets, parents), drop in zip(active, grown, drops, strict=True):
                distinct, totals = _best_of_equal_sets(sets, sums[i][parents] + sign * drop)
                kept = totals.topk(min(self.beam_size, len(totals))).indices
                beams[i], sums[i] = distinct[kept], totals[kept]
        return [float(total.max()) for total in sums]


def every_set(u: int) -> Bool[Tensor, "s u"]:
    """All sets of ``u`` units; the bits of a set's number are its members."""
    return (torch.arange(2**u)[:, None] >> torch.arange(u)) % 2 == 1


def highest_walk(drops: Float[Tensor, " s"]) -> float:
    """The highest sum of values along a walk from the empty set to the full one, a unit at a time.

    The best walk to a set is the best walk to one of the sets that lack one of its units, and the set itself.

    Examples:
        >>> highest_walk(torch.tensor([0.0, 1.0, 3.0, 4.0]))  # two units: the second first, 3 + 4
        7.0
    """
    u = len(drops).bit_length() - 1
    best = [0.0] * len(drops)
    values = drops.tolist()
    for subset in range(1, len(drops)):
        best[subset] = values[subset] + max(best[subset ^ (1 << k)] for k in range(u) if subset >> k & 1)
    return best[-1]


def _grown(sets: Bool[Tensor, "b u"]) -> tuple[Bool[Tensor, "p u"], Tensor]:
    """Each set with one more unit, for each that it lacks, and which set it was."""
    parents, units = (~sets).nonzero().unbind(1)
    grown = sets[parents].clone()
    grown[torch.arange(len(grown)), units] = True
    return grown, parents


def _best_of_equal_sets(sets: Bool[Tensor, "p u"], totals: Float[Tensor, " p"]) -> tuple[Tensor, Tensor]:
    """Each set once, with the highest of its totals: what follows depends on the set alone."""
    distinct, which = sets.unique(dim=0, return_inverse=True)
    highest = totals.new_full((len(distinct),), -torch.inf).scatter_reduce(0, which, totals, "amax")
    return distinct, highest


SAME = "every order of the units gets the same"
