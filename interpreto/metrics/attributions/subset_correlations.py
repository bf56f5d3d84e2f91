"""Metrics of subsets of units: their summed attributions compared with the drop of the score when they are masked."""

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
from interpreto.errors import OptionError
from interpreto.metrics.attributions.base import AttributionMetric, CaseResult, Explanations, GameMetric, score_together
from interpreto.metrics.attributions.cases import Case, cases_of, read_explanations
from interpreto.metrics.attributions.game import Game, Scores
from interpreto.metrics.attributions.readouts import SCORE
from interpreto.metrics.result import MetricResult
from interpreto.statistics import kendall, noise_of, pearson, spearman
from interpreto.validation import check_count, check_flag, check_optional_count, check_seed, takes_old_names

SEED_SALT = 7919
"""Added to a metric's seed, so that its draws are not those that a method with the same seed explained by."""
MOST_LISTED_UNITS = 60
"""Number of units below which all subsets may be listed by the bits of an int64."""
LEAST_PER_SIZE = 3
CONSTANT = "the attributions, or the score, are the same for all subsets"


class SubsetMetric(GameMetric):
    """A metric of subsets of units: their summed attributions, and the drop of the score when they are masked.

    The subsets are the same for all inputs with equal numbers of units, so that methods are compared on the same perturbed
    inputs. Where there are no more subsets than perturbed inputs, all of them are used.

    Args:
        model: The explained model. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        n_perturbations: Number of subsets.
        random_state: Seed of their draws.
        **options: See `GameMetric`.
    """

    measures = (SCORE,)

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
        self.random_state = check_seed(random_state)

    def masks(self, case: Case) -> Bool[Tensor, "p u"]:
        return self.subsets(len(case), Generator().manual_seed(SEED_SALT + self.random_state))

    def score(self, case: Case, scores: Scores) -> CaseResult:
        masks, full, masked = self.masks(case), scores.full[SCORE], scores.masked[SCORE]
        return self.score_subsets(masks, masks.double() @ case.values, full - masked, noise_of(full, masked))

    @abstractmethod
    def subsets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        """Return the subsets of ``u`` units that are masked."""

    @abstractmethod
    def score_subsets(
        self, masks: Bool[Tensor, "p u"], sums: Float[Tensor, " p"], drops: Float[Tensor, " p"], noise: float
    ) -> CaseResult:
        """Return the value of a case.

        Args:
            masks: The subsets.
            sums: Summed attribution of each subset.
            drops: Drop of the score when it is masked.
            noise: Difference of scores that counts as none.
        """


class FaithfulnessCorrelation(SubsetMetric):
    """Pearson correlation of summed attributions and score drops over random subsets of one size. Higher is better.

    In [−1, 1]; undefined where one side is constant, and then skipped. Invariant to the scale of attributions.

    Args:
        subset_size: Units per subset: a number, or a share of the units (rounded up).

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

    def subsets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        size = math.ceil(self.subset_size * u - 1e-9) if self.subset_size < 1 else int(self.subset_size)
        return subsets_of_size(u, min(size, u), self.n_perturbations, generator)

    def score_subsets(self, masks: Tensor, sums: Tensor, drops: Tensor, noise: float) -> CaseResult:
        found = float(pearson(sums, drops, noise))
        return CaseResult.undefined(CONSTANT) if math.isnan(found) else CaseResult(found, {"sums": sums, "drops": drops})


class SensitivityN(SubsetMetric):
    """`FaithfulnessCorrelation` of subsets of n units, mean over n = 1, …, u − 1. Higher is better, in [−1, 1].

    ``details["by_size"]`` has the correlation of each size; ``n_perturbations`` is shared by the sizes. 1 at every n: the sum
    of any units' attributions is the drop of the score when they are masked, up to scale.

    Args:
        n_sizes: Largest number of sizes, evenly spaced (old name: ``sizes``).

    References:
        Ancona et al., ICLR 2018, https://arxiv.org/abs/1711.06104.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)

    @takes_old_names(sizes="n_sizes")
    def __init__(self, model: Any, tokenizer: Any = None, *arguments: Any, n_sizes: int = 8, **options: Any) -> None:
        super().__init__(model, tokenizer, *arguments, **options)
        self.n_sizes = check_count(n_sizes, "n_sizes")

    def subsets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        chosen = torch.linspace(1, max(1, u - 1), min(self.n_sizes, max(1, u - 1))).round().long().unique().tolist()
        each = max(LEAST_PER_SIZE, self.n_perturbations // len(chosen))
        return torch.cat([subsets_of_size(u, n, each, generator) for n in chosen])

    def score_subsets(self, masks: Tensor, sums: Tensor, drops: Tensor, noise: float) -> CaseResult:
        size = masks.sum(1)
        found = {int(n): float(pearson(sums[size == n], drops[size == n], noise)) for n in size.unique()}
        known = [value for value in found.values() if not math.isnan(value)]
        if not known:
            return CaseResult.undefined(CONSTANT)
        return CaseResult(sum(known) / len(known), {"by_size": found})


class Infidelity(SubsetMetric):
    """Mean squared difference of a subset's summed attribution and its score drop. Lower is better, from 0 on.

    In squared units of the explained score, so that attributions in other units are not comparable: see `normalize`.
    Magnitudes are skipped: their sums mean nothing.

    Args:
        normalize: Scale the attributions by the factor that fits best first. That hides a wrong sign too:
            ``details["scale"]`` has the factor.

    References:
        Yeh et al., NeurIPS 2019, https://arxiv.org/abs/1901.09392.
    """

    higher_is_better = False
    value_range = (0.0, None)
    signed_only = True
    in_score_units = True

    def __init__(self, model: Any, tokenizer: Any = None, *arguments: Any, normalize: bool = False, **options: Any) -> None:
        super().__init__(model, tokenizer, *arguments, **options)
        self.normalize = check_flag(normalize, "normalize")

    def subsets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        return random_subsets(u, self.n_perturbations, generator)

    def score_subsets(self, masks: Tensor, sums: Tensor, drops: Tensor, noise: float) -> CaseResult:
        square = float(sums.square().mean())
        scale = float((sums * drops).mean()) / square if square > 0 else 0.0
        used = scale if self.normalize else 1.0
        return CaseResult(float((used * sums - drops).square().mean()), {"scale": scale})


class SurrogateFidelity(SubsetMetric):
    """Share of the score's variance over fresh subsets that the attributions explain: R². Higher is better, up to 1.

    The explanation is read as a surrogate model: f(x) less the attributions of the masked units. 0: no better than the mean
    over the subsets; below: worse. Magnitudes are skipped.

    References:
        Ribeiro et al., KDD 2016, https://arxiv.org/abs/1602.04938 (local fidelity of a surrogate).
    """

    higher_is_better = True
    value_range = (None, 1.0)
    signed_only = True

    def subsets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        return random_subsets(u, self.n_perturbations, generator)

    def score_subsets(self, masks: Tensor, sums: Tensor, drops: Tensor, noise: float) -> CaseResult:
        variance = float((drops - drops.mean()).square().mean())
        if variance <= noise**2:
            return CaseResult.undefined(CONSTANT)
        return CaseResult(1 - float((sums - drops).square().mean()) / variance, {"residuals": sums - drops})


class LeaveOneOutCorrelation(SubsetMetric):
    """Kendall's τ-b of attributions and score drops when each unit alone is masked. Higher is better, in [−1, 1].

    1 for Occlusion, by its definition. ``n_perturbations`` has no effect: each unit is masked once.

    References:
        Jain and Wallace, NAACL 2019, https://arxiv.org/abs/1902.10186.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)

    def subsets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        return torch.eye(u).bool()

    def score_subsets(self, masks: Tensor, sums: Tensor, drops: Tensor, noise: float) -> CaseResult:
        found = math.nan if float(drops.max() - drops.min()) <= noise else kendall(sums, drops)
        return CaseResult.undefined(CONSTANT) if math.isnan(found) else CaseResult(found, {"drops": drops})


class MonotonicityCorrelation(AttributionMetric):
    """Spearman correlation of |attribution| and the expected squared change of the score when a unit is replaced.

    Higher is better, in [−1, 1]. The expectation is over ``n_samples`` tokens drawn from the explained texts, each of which
    replaces every token of a unit; with None, over the one replacement of the other metrics.

    Args:
        model: The explained model, or a `Game` to share. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        n_perturbations: Ignored: each unit is masked once.
        n_samples: Number of tokens drawn; each costs one perturbed input per unit.
        random_state: Seed of their draws.
        **options: See `GameMetric`.

    References:
        Nguyen and Martínez, 2020, https://arxiv.org/abs/2007.07584.
    """

    needs = "model"
    higher_is_better = True
    value_range = (-1.0, 1.0)

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        n_perturbations: int = 100,
        *,
        n_samples: int | None = None,
        random_state: int = 0,
        **options: Any,
    ) -> None:
        self.game = Game.of(model, tokenizer, batch_size, device=device, **options)
        self.replacement = self.game.replacement.name
        self.n_perturbations = check_count(n_perturbations, "n_perturbations")
        self.n_samples, self.random_state = check_optional_count(n_samples, "n_samples"), check_seed(random_state)

    @property
    def of_single_texts(self) -> bool:
        return self.n_samples is None  # else tokens are drawn from all texts

    def run(self, explanations: Explanations) -> MetricResult:
        outputs = read_explanations(explanations)
        games = [self.game] if self.n_samples is None else self._games(outputs)
        drawn = [score_together([_SquaredChanges(game)], outputs, game)[0][0] for game in games]
        return self.summarize(
            [
                [self._value(case, [results[e][i] for results in drawn]) for i, case in enumerate(cases)]
                for e, cases in enumerate(cases_of(outputs))
            ]
        )

    def _value(self, case: Case, drawn: Sequence[CaseResult]) -> CaseResult:
        """Return the correlation of a case, from the squared changes under each replacement."""
        for result in drawn:
            if result.reason:
                return result
        changes = torch.stack([result.details["squares"] for result in drawn]).mean(0)
        noise = max(result.details["noise"] for result in drawn)
        found = math.nan if float(changes.max()) <= noise**2 else float(spearman(case.values.abs(), changes))
        return CaseResult.undefined(CONSTANT) if math.isnan(found) else CaseResult(found, {"changes": changes})

    def _games(self, explanations: Sequence[AttributionOutput]) -> list[Game]:
        """Return a game for each token drawn, in which that token replaces masked units."""
        ids = torch.cat([output.sample.input_ids[output.sample.units.free] for output in explanations])
        generator = Generator().manual_seed(SEED_SALT + self.random_state)
        drawn = ids[torch.randint(len(ids), (self.n_samples or 1,), generator=generator)]
        return [self.game.replaced_by(int(token)) for token in drawn]


class _SquaredChanges(GameMetric):
    """The squared change of the score when each unit alone is masked."""

    higher_is_better = True
    measures = (SCORE,)

    def __init__(self, game: Game) -> None:
        super().__init__(game, None)

    def masks(self, case: Case) -> Bool[Tensor, "p u"]:
        return torch.eye(len(case)).bool()

    def score(self, case: Case, scores: Scores) -> CaseResult:
        full, masked = scores.full[SCORE], scores.masked[SCORE]
        return CaseResult(0.0, {"squares": (full - masked).square(), "noise": noise_of(full, masked)})


def random_subsets(u: int, n: int, generator: Generator) -> Bool[Tensor, "p u"]:
    """Return ``n`` subsets of ``u`` units, each unit in with probability ½ and none empty; all of them if there are no more."""
    if u < MOST_LISTED_UNITS and 2**u - 1 <= n:
        numbers = torch.arange(1, 2**u)
        return (numbers[:, None] >> torch.arange(u)) % 2 == 1
    found = torch.rand(n, u, generator=generator) < 0.5
    alone = torch.randint(u, (n,), generator=generator)
    empty = ~found.any(1)
    found[empty, alone[empty]] = True
    return found


def subsets_of_size(u: int, size: int, n: int, generator: Generator) -> Bool[Tensor, "p u"]:
    """Return ``n`` subsets of ``size`` out of ``u`` units, drawn uniformly; all of them if there are no more."""
    if math.comb(u, size) <= n:
        members = torch.tensor(list(combinations(range(u), size)))
    else:
        members = torch.rand(n, u, generator=generator).topk(size, dim=1).indices
    return torch.zeros(len(members), u).bool().scatter(1, members, True)
