"""Soft comprehensiveness and sufficiency: coordinates of embeddings are zeroed with probabilities that attributions give."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.inputs.samples import Sample
from interpreto.metrics.attributions.base import AttributionMetric, CaseResult, Explanations, score_cases
from interpreto.metrics.attributions.cases import Case, read_explanations
from interpreto.metrics.attributions.game import Game
from interpreto.metrics.attributions.readouts import PROBABILITY
from interpreto.metrics.result import MetricResult
from interpreto.models.protocol import require
from interpreto.progress import progress_bar
from interpreto.statistics import noise_of
from interpreto.validation import check_count, check_seed

CASES_IN_MEMORY = 64
"""Cases whose perturbed embeddings are held in memory at once."""


class SoftMetric(AttributionMetric):
    """A metric of embeddings whose coordinates are zeroed at random, those of each unit with a probability of its own.

    A unit's weight is its attribution, scaled to [0, 1] over the units of the case; ½ where all are equal. Tokens in no
    unit, and the target's, are kept.

    Args:
        model: The explained model, or a `Game` to share. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        n_perturbations: Number of draws.
        random_state: Seed of the draws, which are the same for each case.
        **options: See `GameMetric`; nothing is replaced.
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
        n_perturbations: int = 10,
        *,
        random_state: int = 0,
        **options: Any,
    ) -> None:
        self.game = Game.of(model, tokenizer, batch_size, device=device, **options)
        self.n_perturbations = check_count(n_perturbations, "n_perturbations")
        self.random_state = check_seed(random_state)

    def run(self, explanations: Explanations) -> MetricResult:
        return self.summarize(score_cases(read_explanations(explanations), self._values))

    def _values(self, cases: list[Case]) -> list[CaseResult]:
        game = self.game
        samples = [self._read(case) for case in cases]
        found: list[CaseResult] = []
        bar = progress_bar(desc=type(self).__name__, unit=" passes", shown=game.tqdm_bar)
        require(game.model, "gradients", type(self).__name__)
        model: Any = game.model.configured(game.measures.read, batch_size=game.batch_size, on_pass=bar.update)
        with model.session(), bar:
            for start in range(0, len(cases), CASES_IN_MEMORY):
                part = list(zip(cases, samples, strict=True))[start : start + CASES_IN_MEMORY]
                points = [(sample, self._points(case, model.embed(sample))) for case, sample in part]
                found += [self._value(scores[:, 0].double()) for scores in model.scores_at(points)]
        return found

    def _read(self, case: Case) -> Sample:
        """Return the sample of a case with the target's probability as its score."""
        assert case.sample.targets is not None
        return case.sample.with_targets(self.game.measures.targets(case.sample.targets, (PROBABILITY,), ""))

    def _points(self, case: Case, embeddings: Float[Tensor, "l d"]) -> Float[Tensor, "p l d"]:
        """Return the input's embeddings, those with all units zeroed, and the draws."""
        low, high = float(case.values.min()), float(case.values.max())
        weights = (case.values - low) / (high - low) if high > low else torch.full_like(case.values, 0.5)
        kept = torch.ones(len(case.sample.units))
        kept[case.units] = self.keep_probability(weights).float()
        nothing = torch.ones(len(case.sample.units))
        nothing[case.units] = 0.0
        spread, free = case.sample.units.spread, case.sample.units.free
        chances, zero = (torch.where(free, spread(v[None])[0], 1.0) for v in (kept, nothing))
        generator = Generator().manual_seed(self.random_state)
        wide = chances[None, :, None].expand(self.n_perturbations, -1, embeddings.shape[1])
        masks = torch.bernoulli(wide, generator=generator)
        masks = torch.cat([torch.ones_like(masks[:1]), zero[None, :, None].expand(1, -1, embeddings.shape[1]), masks])
        return embeddings[None] * masks.to(embeddings)

    def _value(self, scores: Float[Tensor, " p"]) -> CaseResult:
        full, zeroed, drawn = float(scores[0]), float(scores[1]), scores[2:]
        largest_drop = max(0.0, full - zeroed)  # 1 − S₀
        if largest_drop <= noise_of(full):
            return CaseResult.undefined("the score does not fall when all units are zeroed")
        shares = self.share_of((full - drawn).clamp(min=0), largest_drop)
        return CaseResult(float(shares.clamp(0, 1).mean()), {"scores": drawn})

    @abstractmethod
    def keep_probability(self, weights: Float[Tensor, " u"]) -> Float[Tensor, " u"]:
        """Return the probability with which a unit's coordinates are kept."""

    @abstractmethod
    def share_of(self, drops: Float[Tensor, " p"], largest_drop: float) -> Float[Tensor, " p"]:
        """Return the value of each draw, from its drop of the score and the drop when all units are zeroed."""


class SoftComprehensiveness(SoftMetric):
    """Share of the possible drop of the score when units lose coordinates in proportion to their weight. Higher is better.

    In [0, 1]: max(0, p − p′) / (1 − S₀), the mean over draws; S₀ = 1 − max(0, p − p(nothing left)). Where p(nothing left)
    is not below p there is no share, and the case is skipped.

    References:
        Zhao and Aletras, ACL 2023, https://arxiv.org/abs/2305.10496.
    """

    def keep_probability(self, weights: Float[Tensor, " u"]) -> Float[Tensor, " u"]:
        return 1 - weights

    def share_of(self, drops: Float[Tensor, " p"], largest_drop: float) -> Float[Tensor, " p"]:
        return drops / largest_drop


class SoftSufficiency(SoftMetric):
    """Share of the score that is left when units keep coordinates in proportion to their weight. Higher is better.

    In [0, 1]: (S − S₀) / (1 − S₀), at least 0, the mean over draws; S = 1 − max(0, p − p′).

    References:
        Zhao and Aletras, ACL 2023, https://arxiv.org/abs/2305.10496.
    """

    def keep_probability(self, weights: Float[Tensor, " u"]) -> Float[Tensor, " u"]:
        return weights

    def share_of(self, drops: Float[Tensor, " p"], largest_drop: float) -> Float[Tensor, " p"]:
        return (largest_drop - drops) / largest_drop
