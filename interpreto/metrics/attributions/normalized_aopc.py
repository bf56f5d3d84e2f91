"""Best- and worst-case AOPC over all orders of the units, by which comprehensiveness is normalized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.metrics.attributions.base import AttributionMetric, CaseResult, Explanations, score_cases
from interpreto.metrics.attributions.cases import Case, read_explanations
from interpreto.metrics.attributions.game import Game, Query, Scores
from interpreto.metrics.attributions.readouts import PROBABILITY, check_measure
from interpreto.metrics.ranking import first_of
from interpreto.metrics.result import MetricResult
from interpreto.statistics import noise_of
from interpreto.validation import check_count

ALL_ORDERS_EQUAL = "every order of the units has the same value"


class NormalizedAOPC(AttributionMetric):
    """Comprehensiveness over all numbers of units, relative to the worst and the best order. Higher is better.

    In [0, 1]: (AOPC − lowest) / (highest − lowest), where AOPC is the mean of f(x) − f(x without the first k units) over
    k = 1, …, u. The bounds depend on the model and the text alone, so that values of different models can be compared.
    Up to `exact_units` units they are exact: each of the 2^u subsets is scored once, and the best order is found by dynamic
    programming. Beyond, a beam search approaches them from inside, so that the value may leave [0, 1] by a little.

    Args:
        model: The explained model, or a `Game` to share. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        exact_units: Largest number of units whose bounds are exact.
        beam_size: Number of orders that the search keeps; it scores about ``beam_size · u²`` perturbed inputs.
        measure: What is read of each perturbed input; see `CurveMetric`.
        **options: See `GameMetric`.

    References:
        Edin et al., 2024, https://arxiv.org/abs/2408.08137.
    """

    needs = "model"
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
        self.game = Game.of(model, tokenizer, batch_size, device=device, **options)
        self.replacement, self.measure = self.game.replacement.name, check_measure(measure)
        self.exact_units, self.beam_size = check_count(exact_units, "exact_units"), check_count(beam_size, "beam_size")

    def run(self, explanations: Explanations) -> MetricResult:
        results = score_cases(read_explanations(explanations), self._values)
        exact = all(result.details.get("exact", True) for own in results for result in own)
        result = self.summarize(results)
        return result if exact else replace(result, value_range=(None, None))

    def _values(self, cases: list[Case]) -> list[CaseResult]:
        masks = [first_of(case.orders, torch.arange(1, len(case) + 1)).flatten(0, 1) for case in cases]
        scores = self._scores(cases, masks)
        best, worst = self._bounds(cases)
        found = []
        for case, own, high, low in zip(cases, scores, best, worst, strict=True):
            reached = float(self._drops_of(own).mean())
            details = {"aopc": reached, "lowest": low, "highest": high, "exact": len(case) <= self.exact_units}
            if high - low > noise_of(own.full[self.measure], own.masked[self.measure]):
                found.append(CaseResult((reached - low) / (high - low), details))
            else:
                found.append(replace(CaseResult.undefined(ALL_ORDERS_EQUAL), details={"exact": details["exact"]}))
        return found

    def _scores(self, cases: Sequence[Case], masks: Sequence[Tensor]) -> list[Scores]:
        return self.game([Query(case, mask, (self.measure,)) for case, mask in zip(cases, masks, strict=True)])

    def _drops_of(self, scores: Scores) -> Float[Tensor, " p"]:
        return scores.full[self.measure] - scores.masked[self.measure]

    def _drops(self, cases: Sequence[Case], masks: Sequence[Tensor]) -> list[Float[Tensor, " p"]]:
        """Return the drops of the score when each subset is masked."""
        return [self._drops_of(scores) for scores in self._scores(cases, masks)]

    def _bounds(self, cases: Sequence[Case]) -> tuple[list[float], list[float]]:
        """Return the best and the worst AOPC of each case over all orders."""
        best, worst = [0.0] * len(cases), [0.0] * len(cases)
        few = [i for i, case in enumerate(cases) if len(case) <= self.exact_units]
        many = [i for i, case in enumerate(cases) if len(case) > self.exact_units]
        drops = self._drops([cases[i] for i in few], [all_subsets(len(cases[i])) for i in few])
        for i, drop in zip(few, drops, strict=True):
            best[i], worst[i] = highest_path(drop) / len(cases[i]), -highest_path(-drop) / len(cases[i])
        for sign, found in ((1.0, best), (-1.0, worst)):
            for i, value in zip(many, self._searched([cases[i] for i in many], sign), strict=True):
                found[i] = sign * value / len(cases[i])
        return best, worst

    def _searched(self, cases: Sequence[Case], sign: float) -> list[float]:
        """Return the highest sum of drops along an order that a beam search finds; all cases advance together."""
        beams = [torch.zeros(1, len(case)).bool() for case in cases]
        sums = [torch.zeros(1, dtype=torch.float64) for _ in cases]
        for level in range(max(map(len, cases), default=0)):
            active = [i for i, case in enumerate(cases) if level < len(case)]
            grown = [_grown(beams[i]) for i in active]
            drops = self._drops([cases[i] for i in active], [subsets for subsets, _ in grown])
            for i, (subsets, parents), drop in zip(active, grown, drops, strict=True):
                distinct, totals = _best_of_equal(subsets, sums[i][parents] + sign * drop)
                kept = totals.topk(min(self.beam_size, len(totals))).indices
                beams[i], sums[i] = distinct[kept], totals[kept]
        return [float(total.max()) for total in sums]


def all_subsets(u: int) -> Bool[Tensor, "s u"]:
    """Return all subsets of ``u`` units; the bits of a subset's number are its members."""
    return (torch.arange(2**u)[:, None] >> torch.arange(u)) % 2 == 1


def highest_path(drops: Float[Tensor, " s"]) -> float:
    """Return the highest sum of values along a path from the empty subset to the full one, one unit at a time.

    The best path to a subset is the best path to one of the subsets that lack one of its units, and the subset itself.

    Examples:
        >>> highest_path(torch.tensor([0.0, 1.0, 3.0, 4.0]))  # two units: the second first, 3 + 4
        7.0
    """
    u = len(drops).bit_length() - 1
    best = [0.0] * len(drops)
    values = drops.tolist()
    for subset in range(1, len(drops)):
        best[subset] = values[subset] + max(best[subset ^ (1 << k)] for k in range(u) if subset >> k & 1)
    return best[-1]


def _grown(subsets: Bool[Tensor, "b u"]) -> tuple[Bool[Tensor, "p u"], Tensor]:
    """Return each subset with one more unit, for each that it lacks, and the index of the subset that it was."""
    parents, units = (~subsets).nonzero().unbind(1)
    grown = subsets[parents].clone()
    grown[torch.arange(len(grown)), units] = True
    return grown, parents


def _best_of_equal(subsets: Bool[Tensor, "p u"], totals: Float[Tensor, " p"]) -> tuple[Tensor, Tensor]:
    """Return each subset once, with the highest of its totals: what follows depends on the subset alone."""
    distinct, which = subsets.unique(dim=0, return_inverse=True)
    highest = totals.new_full((len(distinct),), -torch.inf).scatter_reduce(0, which, totals, "amax")
    return distinct, highest
