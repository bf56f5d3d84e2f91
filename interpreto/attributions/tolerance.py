"""Evidence until a tolerance is met: perturbed inputs in rounds, of many samples in lock step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.aggregations.base import NORMAL, Estimate
from interpreto.attributions.evidence import Evidence, Explained, Parts, Scores
from interpreto.attributions.links import Link, linked
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Sample
from interpreto.models.protocol import Need
from interpreto.models.report import EngineLog
from interpreto.validation import is_number, shown

FIRST, A_UNIT = 64, 8  # rows of the first round: at least, and per unit
GROWTH = 1.4  # of the rows from round to round


@dataclass
class _State:
    """A sample that is being scored.

    Attributes:
        index: Number of the sample.
        given: The sample as it was passed.
        generator: Draws of the sample.
        start: State of the generator at which each round begins, so that its design contains the earlier ones.
        whole: The design of the whole budget.
        budget: Distinct rows of the whole design.
        rows: Rows of the design of this round.
        design: Perturbed inputs of this round.
        asked: Masks of this round that have no score yet.
        sample: With its targets, after the first round.
        base: ``(t,)`` scores of the untouched sample.
        gap: ``(t,)`` difference of the scores with nothing and with everything masked.
        scores: Scores by mask.
    """

    index: int
    given: Sample
    generator: Generator
    start: Tensor
    whole: MaskVariants
    budget: int
    rows: int
    design: MaskVariants
    asked: Tensor
    sample: Sample | None = None
    base: Tensor | None = None
    gap: Tensor | None = None
    scores: dict[bytes, Tensor] = field(default_factory=dict)


class UntilPrecise(Evidence):
    """Scores of masked inputs in rounds, until the values are as precise as asked for, or the budget ends.

    The design of each round contains those of the rounds before, and no row is run twice. A sample is done when 1.96 standard
    errors of each of its units, for each target, are at most ``tolerance`` times the score gap (the score of the input less
    that with everything masked), or times the largest value where these are on no scale of scores (`Aggregator.by_largest`);
    the masks of all samples that are not done share batches.

    Args:
        tolerance: Share of the score gap, or of the largest value.
        link: Function of the scores that is explained in their place, where it applies; None: they are explained.
    """

    needs: ClassVar[Need] = "scores"

    def __init__(self, tolerance: float, link: Link | None = None) -> None:
        self.tolerance, self.link = tolerance, link

    def estimates(self, model: Any, samples: Sequence[Sample], parts: Parts) -> Iterator[Explained]:
        open_states = [_started(index, sample, parts) for index, sample in enumerate(samples)]
        found: dict[int, Explained] = {}
        while open_states:
            asked = [
                MaskVariants(parts.asked(state.given) if state.sample is None else state.sample, state.asked)
                for state in open_states
            ]
            left = []
            for state, (_, outputs) in zip(open_states, model.scores(iter(asked)), strict=True):
                done = self._told(state, outputs, parts)
                if done is None:
                    left.append(state)
                else:
                    found[state.index] = done
            open_states = left
        note_of_rounds(model.log, list(found.values()))
        yield from (found[index] for index in range(len(samples)))

    def _told(self, state: _State, outputs: Float[Tensor, "r t"], parts: Parts) -> Explained | None:
        """Take the scores of a round; return the attributions if it was the last."""
        scores = outputs
        first = state.sample is None
        if state.sample is None:
            state.sample, scores = parts.with_targets(state.given, outputs)
        assert state.sample.targets is not None
        scores, name = linked(self.link, scores, parts.task, state.sample.targets)
        if first:
            state.base, state.gap = scores[0], (scores[0] - scores[-1]).abs().double()
        state.scores.update(zip(_keys(state.asked), scores[1:], strict=True))
        own = state.design.mask
        design = replace(state.design, sample=state.sample, mask=own[:, : state.sample.players])
        assert parts.aggregator is not None
        part = replace(parts, aggregator=parts.aggregator.of_part(len(own) / len(state.whole.mask)))
        estimate = part.estimate(torch.stack([state.scores[key] for key in _keys(own)]), design)
        rows, reached = len(state.scores), self._reached(estimate, state, parts)
        if not reached and state.rows < state.budget:
            _grow(state, parts)
            return None
        assert state.base is not None
        return Explained(state.sample, replace(estimate, stopped=stopped_after(rows, reached)), state.base, mode_name=name)

    def _reached(self, estimate: Estimate, state: _State, parts: Parts) -> bool:
        """Return True if no value is further from the truth than the tolerance, as far as its standard error tells."""
        values, error = estimate.values, estimate.standard_error
        if estimate.interactions is not None:
            values, error = estimate.interactions.values, estimate.interactions.standard_error
        assert state.gap is not None
        if error is None:
            return True
        scale = values.nan_to_num().abs().amax(-1) if getattr(parts.aggregator, "by_largest", False) else state.gap
        half = (NORMAL * error.double()).masked_fill(values.isnan(), 0.0).nan_to_num(torch.inf)
        return bool((half <= self.tolerance * scale[:, None]).all())


def _started(index: int, sample: Sample, parts: Parts) -> _State:
    """Return a sample with its first masks; the last of them has everything masked."""
    generator = parts.generator()
    start = generator.get_state()
    whole = parts.perturbator(sample, generator)  # type: ignore[operator]
    budget = max(len(set(_keys(whole.mask))), 2)
    rows = min(budget, max(FIRST, getattr(parts.perturbator, "rows_a_unit", A_UNIT) * sample.players))
    state = _State(index, sample, generator, start, whole, budget, rows, whole, whole.mask)
    state.design = _drawn(state, parts)
    everything = torch.zeros(1, whole.mask.shape[1])
    everything[:, : sample.players] = 1.0
    known = _keys(everything)[0]
    distinct = {key: row for key, row in zip(_keys(state.design.mask), state.design.mask, strict=True) if key != known}
    state.asked = torch.cat([torch.stack(list(distinct.values())) if distinct else everything[:0], everything])
    return state


def _drawn(state: _State, parts: Parts) -> MaskVariants:
    """Return the design of a round: of the last one, the whole."""
    if state.rows == state.budget:
        return replace(state.whole, sample=state.given)
    state.generator.set_state(state.start)
    perturbator = parts.perturbator.of_rows(state.rows, state.given.players)
    return perturbator(state.given, state.generator)  # type: ignore[operator]


def _grow(state: _State, parts: Parts) -> None:
    """Take the next design that has new rows, and ask for these."""
    new: dict[bytes, Tensor] = {}
    while not new and state.rows < state.budget:
        state.rows = min(state.budget, round(state.rows * GROWTH))
        state.design = _drawn(state, parts)
        rows = zip(_keys(state.design.mask), state.design.mask, strict=True)
        new = {key: row for key, row in rows if key not in state.scores}
    state.asked = torch.stack(list(new.values())) if new else state.design.mask[:0]


def _keys(mask: Float[Tensor, "p u"]) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(mask.numpy().astype(bool), axis=1)]


def evidence_within(tolerance: float | None, link: Link | None = None) -> Evidence:
    """Return the evidence of a method that masks, with this ``tolerance``, and a link of its scores; None: without one.

    Raises:
        OptionError: The tolerance is no number above 0.
    """
    share = check_tolerance(tolerance)
    return Scores(link) if share is None else UntilPrecise(share, link)


def check_tolerance(tolerance: float | None) -> float | None:
    """Return a tolerance that can be used.

    Raises:
        OptionError: It is no number above 0.
    """
    if tolerance is None:
        return None
    if not is_number(tolerance) or not 0 < tolerance < float("inf"):
        raise OptionError(
            f"`tolerance`: got {shown(tolerance)}; pass a share of the score gap above 0, such as 0.05, or None for the whole "
            "budget."
        )
    return float(tolerance)


def stopped_after(rows: int, reached: bool) -> str:
    """Return why sampling ended, and after how many rows, as outputs say it."""
    return f"{'tolerance reached' if reached else 'budget ended'} after {rows} rows"


def note_of_rounds(log: EngineLog, found: Sequence[Explained]) -> None:
    """Record for how many texts the tolerance was reached."""
    ended = sum(one.estimate.stopped is not None and one.estimate.stopped.startswith("budget") for one in found)
    if ended < len(found):
        log.use("tolerance")
    if ended:
        log.skip("tolerance", f"the budget ended first for {ended} of {len(found)} texts")
