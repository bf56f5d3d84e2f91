"""Whether attributions of sets of units go with what the model loses without them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.perturbations.base import check_count
from interpreto.errors import OptionError
from interpreto.metrics.attributions.base import Explanations, Finding, GameMetric, findings_together, run_together
from interpreto.metrics.attributions.cases import Row, read_explanations
from interpreto.metrics.attributions.game import Answer, Game
from interpreto.metrics.attributions.readouts import SCORE
from interpreto.metrics.result import MetricResult
from interpreto.metrics.statistics import kendall, noise_of, pearson, spearman

SALT = 7919  # so that a metric's draws are not those that a method with the same seed explained by


class SubsetMetric(GameMetric):
    """A metric of sets of units: what each weighs in the explanation, and what the score loses without it.

    The sets are the same for all inputs of as many units, so that methods are judged by the same copies. Where there are
    no more sets than copies, all of them are used.

    Args:
        model: The explained model. Left as it was after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows a forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        n_perturbations: Sets.
        random_state: Seed of their draws.
        **options: See `GameMetric`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        n_perturbations: int = 100,
        *,
        random_state: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(model, tokenizer, batch_size, device, **options)
        self.n_perturbations = check_count(n_perturbations, "n_perturbations")
        self.random_state = check_count(random_state, "random_state", 0)

    @property
    def measures(self) -> tuple[str, ...]:
        return (SCORE,)

    def copies(self, row: Row) -> Bool[Tensor, "p u"]:
        return self.sets(len(row), Generator().manual_seed(SALT + self.random_state))

    def sets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        """Sets of ``u`` units, each in with probability ½, none of them empty."""
        if u < 60 and 2**u - 1 <= self.n_perturbations:
            numbers = torch.arange(1, 2**u)
            return (numbers[:, None] >> torch.arange(u)) % 2 == 1
        found = torch.rand(self.n_perturbations, u, generator=generator) < 0.5
        alone = torch.randint(u, (self.n_perturbations,), generator=generator)
        empty = ~found.any(1)
        found[empty, alone[empty]] = True
        return found

    def of(self, row: Row, answer: Answer) -> Finding:
        removed, whole, copies = self.copies(row), answer.whole[SCORE], answer.copies[SCORE]
        return self.value(removed, removed.double() @ row.values, whole - copies, noise_of(whole, copies))

    @abstractmethod
    def value(
        self, removed: Bool[Tensor, "p u"], sums: Float[Tensor, " p"], drops: Float[Tensor, " p"], noise: float
    ) -> Finding:
        """The metric, of each set's summed attribution and of what the score loses without it, give or take ``noise``."""


class FaithfulnessCorrelation(SubsetMetric):
    """Pearson correlation, over random sets of one size, of their summed attributions with what the score loses without them.

    In [−1, 1], higher is better; NaN where one side is constant, and then skipped. Blind to the scale of attributions.

    Args:
        subset_size: Units of a set: a number, or a share of the units (rounded up).

    References:
        Bhatt et al., IJCAI 2020, https://arxiv.org/abs/2005.00631.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)

    def __init__(
        self, model: Any, tokenizer: Any = None, *arguments: Any, subset_size: int | float = 0.3, **options: Any
    ) -> None:
        super().__init__(model, tokenizer, *arguments, **options)
        if isinstance(subset_size, bool) or not (0 < subset_size < 1 or (subset_size >= 1 and subset_size == int(subset_size))):
            raise OptionError(f"`subset_size`: got {subset_size!r}; pass a whole number of units, or a share in (0, 1).")
        self.subset_size = subset_size

    def sets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        size = math.ceil(self.subset_size * u - 1e-9) if self.subset_size < 1 else int(self.subset_size)
        return sets_of_size(u, min(size, u), self.n_perturbations, generator)

    def value(self, removed: Tensor, sums: Tensor, drops: Tensor, noise: float) -> Finding:
        return _correlation(sums, drops, noise)


class SensitivityN(SubsetMetric):
    """`FaithfulnessCorrelation` of sets of n units, the mean over n = 1, …, u − 1. Higher is better, in [−1, 1].

    ``details["by_size"]`` has the correlation of each size. ``n_perturbations`` is shared by the sizes. 1 at every n: the
    sum of any units' attributions is what the score loses without them, up to scale.

    Args:
        sizes: At most so many sizes, evenly spaced.

    References:
        Ancona et al., ICLR 2018, https://arxiv.org/abs/1711.06104.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)

    def __init__(self, model: Any, tokenizer: Any = None, *arguments: Any, sizes: int = 8, **options: Any) -> None:
        super().__init__(model, tokenizer, *arguments, **options)
        self.sizes = check_count(sizes, "sizes")

    def sets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        chosen = torch.linspace(1, max(1, u - 1), min(self.sizes, max(1, u - 1))).round().long().unique().tolist()
        each = max(3, self.n_perturbations // len(chosen))
        return torch.cat([sets_of_size(u, n, each, generator) for n in chosen])

    def value(self, removed: Tensor, sums: Tensor, drops: Tensor, noise: float) -> Finding:
        size = removed.sum(1)
        found = {int(n): float(pearson(sums[size == n], drops[size == n], noise)) for n in size.unique()}
        known = [value for value in found.values() if not math.isnan(value)]
        if not known:
            return Finding.none(CONSTANT)
        return Finding(sum(known) / len(known), {"by_size": found})


class Infidelity(SubsetMetric):
    """Mean squared gap between a set's summed attribution and what the score loses without it. Lower is better, from 0 on.

    In squared units of the explained score, so that attributions in other units get no fair number: see `normalize`.
    Magnitudes are skipped: their sums mean nothing.

    Args:
        normalize: Scale the attributions by the factor that fits best before they are compared. That hides a wrong sign
            too: ``details["scale"]`` has the factor.

    References:
        Yeh et al., NeurIPS 2019, https://arxiv.org/abs/1901.09392.
    """

    higher_is_better = False
    value_range = (0.0, None)
    signed_only = True

    def __init__(self, model: Any, tokenizer: Any = None, *arguments: Any, normalize: bool = False, **options: Any) -> None:
        super().__init__(model, tokenizer, *arguments, **options)
        self.normalize = normalize

    def value(self, removed: Tensor, sums: Tensor, drops: Tensor, noise: float) -> Finding:
        square = float(sums.square().mean())
        scale = float((sums * drops).mean()) / square if square > 0 else 0.0
        used = scale if self.normalize else 1.0
        return Finding(float((used * sums - drops).square().mean()), {"scale": scale})


class SurrogateFidelity(SubsetMetric):
    """Share of the score's variance that the attributions explain, on fresh sets of removed units: R². Higher is better.

    Up to 1. The explanation is read as a model of its own: f(x) less the attributions of what was removed. 0: no better
    than the mean over the sets; below: worse. Magnitudes are skipped.

    References:
        Ribeiro et al., KDD 2016, https://arxiv.org/abs/1602.04938 (local fidelity of a surrogate).
    """

    higher_is_better = True
    value_range = (None, 1.0)
    signed_only = True

    def value(self, removed: Tensor, sums: Tensor, drops: Tensor, noise: float) -> Finding:
        variance = float((drops - drops.mean()).square().mean())
        if variance <= noise**2:
            return Finding.none(CONSTANT)
        return Finding(1 - float((sums - drops).square().mean()) / variance, {"residuals": sums - drops})


class LeaveOneOutCorrelation(SubsetMetric):
    """Kendall's τ-b of attributions with what the score loses without each unit alone. Higher is better, in [−1, 1].

    Occlusion gets 1 by its definition.

    References:
        Jain and Wallace, NAACL 2019, https://arxiv.org/abs/1902.10186.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)

    def sets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        return torch.eye(u).bool()

    def value(self, removed: Tensor, sums: Tensor, drops: Tensor, noise: float) -> Finding:
        found = math.nan if float(drops.max() - drops.min()) <= noise else kendall(sums, drops)
        return Finding.none(CONSTANT) if math.isnan(found) else Finding(found, {"drops": drops})


class MonotonicityCorrelation(SubsetMetric):
    """Spearman correlation of |attribution| with the expected squared change of the score when a unit is replaced.

    Higher is better, in [−1, 1]. The expectation is over ``n_samples`` tokens drawn from the explained texts, which take
    the place of each of the unit's tokens; with None, over the one replacement of the other metrics.

    Args:
        n_samples: Tokens drawn; each costs a copy for each unit.

    References:
        Nguyen and Martínez, 2020, https://arxiv.org/abs/2007.07584.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)

    def __init__(
        self, model: Any, tokenizer: Any = None, *arguments: Any, n_samples: int | None = None, **options: Any
    ) -> None:
        super().__init__(model, tokenizer, *arguments, **options)
        self.n_samples = None if n_samples is None else check_count(n_samples, "n_samples")

    def sets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        return torch.eye(u).bool()

    def value(self, removed: Tensor, sums: Tensor, drops: Tensor, noise: float) -> Finding:
        return self._compared(sums, drops.square(), noise)

    def run(self, explanations: Explanations) -> MetricResult:
        found = read_explanations(explanations)
        if self.n_samples is None:
            return run_together([self], found, self.game)[0]
        every = [findings_together([_Squares(self)], found, game)[0][0] for game in self._games(found)]
        findings = []
        for e, output in enumerate(found):
            rows = [Row.of(output, i) for i in range(len(output.attributions))]
            drawn = [[of[e][i] for of in every] for i in range(len(rows))]
            findings.append([self._over_draws(row, of) for row, of in zip(rows, drawn, strict=True)])
        return self.result(findings, found)

    def _over_draws(self, row: Row, drawn: Sequence[Finding]) -> Finding:
        if any(finding.why for finding in drawn):
            return Finding.none(next(finding.why for finding in drawn if finding.why))
        squares = torch.stack([finding.details["squares"] for finding in drawn]).mean(0)
        return self._compared(row.values, squares, max(finding.details["noise"] for finding in drawn))

    def _compared(self, values: Float[Tensor, " u"], changes: Float[Tensor, " u"], noise: float) -> Finding:
        found = math.nan if float(changes.max()) <= noise**2 else float(spearman(values.abs(), changes))
        return Finding.none(CONSTANT) if math.isnan(found) else Finding(found, {"changes": changes})

    def _games(self, explanations: Sequence[AttributionOutput]) -> list[Game]:
        """A game for each token drawn, which stands for removed units there."""
        ids = torch.cat([output.sample.input_ids[output.sample.units.free] for output in explanations])
        generator = Generator().manual_seed(SALT + self.random_state)
        drawn = ids[torch.randint(len(ids), (self.n_samples or 1,), generator=generator)]
        return [self.game.replaced_by(int(token)) for token in drawn]


class _Squares(SubsetMetric):
    """The squared change of the score for each unit."""

    higher_is_better = True

    def __init__(self, of: MonotonicityCorrelation) -> None:
        self.game, self.n_perturbations, self.random_state = of.game, of.n_perturbations, of.random_state

    def sets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        return torch.eye(u).bool()

    def value(self, removed: Tensor, sums: Tensor, drops: Tensor, noise: float) -> Finding:
        return Finding(0.0, {"squares": drops.square(), "noise": noise})


CONSTANT = "the attributions, or the score, are the same for all sets"


def sets_of_size(u: int, size: int, n: int, generator: Generator) -> Bool[Tensor, "p u"]:
    """``n`` sets of ``size`` units out of ``u``, drawn evenly; all of them where there are no more."""
    if math.comb(u, size) <= n:
        members = torch.tensor(list(combinations(range(u), size)))
    else:
        members = torch.rand(n, u, generator=generator).topk(size, dim=1).indices
    return torch.zeros(len(members), u).bool().scatter(1, members, True)


def _correlation(sums: Float[Tensor, " p"], drops: Float[Tensor, " p"], noise: float) -> Finding:
    found = float(pearson(sums, drops, noise))
    return Finding.none(CONSTANT) if math.isnan(found) else Finding(found, {"sums": sums, "drops": drops})
