"""Gradients until a tolerance is met: points in rounds, of many samples in lock step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import NORMAL, Estimate, t_ratio
from interpreto.attributions.evidence import Evidence, Explained, Gradients, Parts, ends_of, joined, kind_of, target_blocks
from interpreto.attributions.tolerance import check_tolerance, note_of_rounds, stopped_after
from interpreto.inputs.samples import EmbeddingVariants, Sample
from interpreto.models.batching import windows
from interpreto.models.gradients import GradientReducer
from interpreto.models.protocol import MakesRules, Need

POINTS, MOST_POINTS = 32, 256  # that a method draws unless told otherwise, without a tolerance and with one
FIRST, STEP, GROWTH = 16, 8, 1.5  # points of the first round; of which each round is a multiple; growth from round to round
NUMBERS_HELD = 2**24  # of the points of samples that are explained together


@dataclass(eq=False)
class _State:
    """A sample whose gradients are being read.

    Attributes:
        variants: All points of the budget, and the sample with its targets.
        ends: Scores of the input, and of the baseline if all points have one.
        reducer: Holds the gradients of the points that are done.
        done: Number of these points.
        starts: Scores of the baselines of these points, where each has its own.
    """

    variants: EmbeddingVariants
    ends: Float[Tensor, "r t"]
    reducer: GradientReducer
    done: int = 0
    starts: list[Tensor] = field(default_factory=list)

    @property
    def sample(self) -> Sample:
        """Return the sample."""
        return self.variants.sample

    @property
    def upcoming(self) -> int:
        """Return the number of points after the next round."""
        wanted = FIRST if not self.done else round(self.done * GROWTH)
        return min(len(self.variants.points), -(-wanted // STEP) * STEP)


class GradientsUntilPrecise(Evidence):
    """Gradients at random points in rounds, until the values are as precise as asked for, or the budget ends.

    All points of the budget are drawn at once, and each round takes the next of them, so that those of every round are the
    first of the budget's. A sample is done when 1.96 standard errors of each of its units, and what noise adds to a norm, are
    at most ``tolerance`` times the score gap, for each target: the score of the input less the mean score of its baselines,
    or, where these are drawn, the least that it may be. Without a baseline they are measured by the target's largest value.
    Samples that are not done share batches.

    Args:
        tolerance: Share of the score gap, or of the largest value.
        rules: Rules that the backward passes follow; None: those of calculus.
    """

    needs: ClassVar[Need] = "gradients"
    pools: ClassVar[bool] = True

    def __init__(self, tolerance: float, rules: MakesRules | None = None) -> None:
        self.tolerance, self.gradients = tolerance, Gradients(rules)

    def estimates(self, model: Any, samples: Sequence[Sample], parts: Parts) -> Iterator[Explained]:
        variants = (parts.perturbator(sample, model.space, parts.generator()) for sample in samples)  # type: ignore[operator]
        for window in windows(variants, lambda v: v.points.numel(), NUMBERS_HELD):
            found = list(self._window(model, window, parts))
            note_of_rounds(model.log, found)
            yield from found

    def _window(self, model: Any, window: Sequence[EmbeddingVariants], parts: Parts) -> Iterator[Explained]:
        """Score the inputs, which tells predictions; then read gradients in rounds, of very many targets block by block."""
        inputs = [model.embed(v.sample) for v in window]
        ends = [ends_of(x, None if has_own_starts(v) else v.baseline) for x, v in zip(inputs, window, strict=True)]
        scores = model.scores_at([(parts.asked(v.sample), end) for v, end in zip(window, ends, strict=True)])
        aimed, kind = [], kind_of(parts)
        for v, own in zip(window, scores, strict=True):
            sample, scored = parts.with_targets(v.sample, own)
            aimed.append((replace(v, sample=sample), scored))
        blocks = [target_blocks(v, kind) for v, _ in aimed]
        if all(len(own) == 1 for own in blocks):
            yield from self._rounds(model, [_State(v, own, kind(v, own.shape[1])) for v, own in aimed], parts)
            return
        for (v, own), some in zip(aimed, blocks, strict=True):
            ends_by_block = own.split([len(block.sample.targets) for block in some], 1)  # type: ignore[arg-type]
            states = (_State(b, e, kind(b, e.shape[1])) for b, e in zip(some, ends_by_block, strict=True))
            yield _of_blocks(v.sample, [self._rounds(model, [state], parts)[0] for state in states])

    def _rounds(self, model: Any, states: Sequence[_State], parts: Parts) -> list[Explained]:
        """Return the explanations of samples, whose rounds share batches."""
        found: dict[int, Explained] = {}
        while len(found) < len(states):
            still = [i for i in range(len(states)) if i not in found]
            self._run(model, [states[i] for i in still])
            found |= {i: done for i in still if (done := self._told(states[i], parts)) is not None}
        return [found[i] for i in range(len(states))]

    def _run(self, model: Any, states: Sequence[_State]) -> None:
        """Read the gradients of a round, and the scores of its baselines."""
        slices = [part_of(state.variants, state.done, state.upcoming) for state in states]
        own = [(state, v) for state, v in zip(states, slices, strict=True) if has_own_starts(v)]
        for (state, _), scores in zip(
            own, model.scores_at([(v.sample, v.baseline) for _, v in own]) if own else (), strict=True
        ):
            state.starts.append(scores)
        for state in states:
            state.reducer.before = state.done
        model.gradients(slices, [state.reducer for state in states], self.gradients.rules)
        for state in states:
            state.done = state.upcoming

    def _told(self, state: _State, parts: Parts) -> Explained | None:
        """Return the explanation if the last round was enough, or the last."""
        v, budget = part_of(state.variants, 0, state.done), len(state.variants.points)
        estimate = parts.estimate(state.reducer.first(state.done), v)
        explained = self.gradients.pooled(estimate, v, state.sample, torch.cat([state.ends, *state.starts]), parts.strategy)
        reached = self._reached(explained, added_by_noise(estimate, state.sample, parts), state.starts)
        if not reached and state.done < budget:
            return None
        return replace(explained, estimate=replace(explained.estimate, stopped=stopped_after(state.done, reached)))

    def _reached(self, explained: Explained, bias: Float[Tensor, "t u"] | None, starts: Sequence[Float[Tensor, "_ t"]]) -> bool:
        """Return True if no value is further from the truth than the tolerance, as far as its standard error tells.

        A score gap to drawn baselines is an estimate itself: the least that it may be counts.
        """
        values, error, reference = explained.estimate.values, explained.estimate.standard_error, explained.estimate.reference
        if error is None:
            return False
        scale = values.abs().amax(-1) if reference is None else (explained.base - reference).abs()
        if starts:
            drawn = torch.cat(list(starts))
            scale = (scale - NORMAL * t_ratio(len(drawn) - 1) * drawn.std(0) / len(drawn) ** 0.5).clamp(min=0)
        half = NORMAL * error.double() + (0.0 if bias is None else bias.double().abs())
        return bool((half.nan_to_num(torch.inf) <= self.tolerance * scale.double()[:, None]).all())


def added_by_noise(estimate: Estimate, sample: Sample, parts: Parts) -> Float[Tensor, "t u"] | None:
    """Return the jackknife's estimate of the bias of values of units, as norms of means have one; None: they have none."""
    left_out = estimate.left_out
    if left_out is None or estimate.in_logarithms or not getattr(parts.aggregator, "biased", False):
        return None
    whole, without = (sample.units.pool(values.double(), parts.strategy) for values in (estimate.values, left_out))
    return (len(left_out) - 1) * (without.mean(0) - whole)


def has_own_starts(variants: EmbeddingVariants) -> bool:
    """Return True if each point has a baseline of its own."""
    return variants.baseline is not None and variants.baseline.ndim == variants.points.ndim


def part_of(variants: EmbeddingVariants, start: int, end: int) -> EmbeddingVariants:
    """Return the variants with some of their points alone."""
    along, baseline = variants.direction, variants.baseline
    return replace(
        variants,
        points=variants.points[start:end],
        direction=along if along is None or len(along) == 1 else along[start:end],
        baseline=baseline[start:end] if baseline is not None and has_own_starts(variants) else baseline,
    )


def _of_blocks(sample: Sample, blocks: Sequence[Explained]) -> Explained:
    """Return explanations of consecutive targets of a sample as one, which took as many points as the longest of them."""
    estimate = joined([block.estimate for block in blocks])
    ended = [one.estimate.stopped for one in blocks if str(one.estimate.stopped).startswith("budget")]
    longest = max((str(one.estimate.stopped) for one in blocks), key=lambda said: int(said.split()[-2]))
    residuals = [block.residual for block in blocks if block.residual is not None]
    return Explained(
        sample,
        replace(estimate, stopped=ended[0] if ended else longest),
        torch.cat([block.base for block in blocks]),
        torch.cat(residuals) if residuals else None,
    )


def gradients_within(tolerance: float | None, rules: MakesRules | None = None) -> Evidence:
    """Return the evidence of gradients at random points with this ``tolerance``; None: of the whole budget.

    Raises:
        OptionError: The tolerance is no number above 0.
    """
    share = check_tolerance(tolerance)
    return Gradients(rules) if share is None else GradientsUntilPrecise(share, rules)


def points_of(n_perturbations: int | None, tolerance: float | None) -> int:
    """Return the number of points that an option asks for."""
    return (POINTS if tolerance is None else MOST_POINTS) if n_perturbations is None else n_perturbations
