"""Comprehensiveness and sufficiency without a threshold: embeddings lose coordinates as their units weigh."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.perturbations.base import check_count
from interpreto.inputs.samples import Sample
from interpreto.metrics.attributions.base import AttributionMetric, Explanations, Finding
from interpreto.metrics.attributions.cases import Row, read_explanations, rows_of
from interpreto.metrics.attributions.game import Game
from interpreto.metrics.attributions.readouts import PROBABILITY
from interpreto.metrics.result import MetricResult
from interpreto.metrics.statistics import noise_of
from interpreto.models.protocol import require
from interpreto.progress import tqdm


class SoftMetric(AttributionMetric):
    """A metric of embeddings whose coordinates are zeroed at random, each unit's with its own probability.

    A unit's weight is its attribution, scaled to [0, 1] over the row; ½ where all are equal. Tokens in no unit, and the
    target's, are left whole.

    Args:
        model: The explained model. Left as it was after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows a forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        n_perturbations: Draws.
        random_state: Their seed, for each row alone.
        **options: See `GameMetric`; nothing is replaced.
    """

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
        self.game = Game(model, tokenizer, batch_size, device=device, **options)
        self.n_perturbations = check_count(n_perturbations, "n_perturbations")
        self.random_state = check_count(random_state, "random_state", 0)

    def run(self, explanations: Explanations) -> MetricResult:
        found = rows_of(read_explanations(explanations))
        asked = [row for own in found for row in own if len(row)]
        values = dict(zip(map(id, asked), self._values(asked), strict=True))
        empty = Finding.none("nothing stands in front of the target that could be removed")
        return self.result([[values.get(id(row), empty) for row in own] for own in found])

    def _values(self, rows: Sequence[Row]) -> list[Finding]:
        game = self.game
        samples = [self._asked(row) for row in rows]
        found: list[Finding] = []
        bar = tqdm(desc=type(self).__name__, unit=" passes", disable=not game.tqdm_bar)
        require(game.model, "gradients", type(self).__name__)
        model: Any = game.model.configured(game.measures.read, batch_size=game.batch_size, on_pass=bar.update)
        with model.session(), bar:
            for start in range(0, len(rows), TOGETHER):
                part = list(zip(rows, samples, strict=True))[start : start + TOGETHER]
                points = [(sample, self._points(row, model.embed(sample))) for row, sample in part]
                found += [self._value(scores[:, 0].double()) for scores in model.scores_at(points)]
        return found

    def _asked(self, row: Row) -> Sample:
        assert row.sample.targets is not None
        return row.sample.with_targets(self.game.measures.targets(row.sample.targets, (PROBABILITY,), ""))

    def _points(self, row: Row, embeddings: Float[Tensor, "l d"]) -> Float[Tensor, "p l d"]:
        """The input, the input with all units' embeddings zeroed, and the draws."""
        low, high = float(row.values.min()), float(row.values.max())
        weights = (row.values - low) / (high - low) if high > low else torch.full_like(row.values, 0.5)
        kept = torch.ones(len(row.sample.units))
        kept[row.units] = self.kept(weights).float()
        nothing = torch.ones(len(row.sample.units))
        nothing[row.units] = 0.0
        spread, free = row.sample.units.spread, row.sample.units.free
        chances, zero = (torch.where(free, spread(v[None])[0], 1.0) for v in (kept, nothing))
        generator = Generator().manual_seed(self.random_state)
        wide = chances[None, :, None].expand(self.n_perturbations, -1, embeddings.shape[1])
        masks = torch.bernoulli(wide, generator=generator)
        masks = torch.cat([torch.ones_like(masks[:1]), zero[None, :, None].expand(1, -1, embeddings.shape[1]), masks])
        return embeddings[None] * masks.to(embeddings)

    def _value(self, scores: Float[Tensor, " p"]) -> Finding:
        whole, zeroed, drawn = float(scores[0]), float(scores[1]), scores[2:]
        gap = max(0.0, whole - zeroed)  # 1 − S₀
        if gap <= noise_of(whole):
            return Finding.none("the score does not fall when all units are zeroed")
        return Finding(float(self.share((whole - drawn).clamp(min=0), gap).clamp(0, 1).mean()), {"scores": drawn})

    @abstractmethod
    def kept(self, weights: Float[Tensor, " u"]) -> Float[Tensor, " u"]:
        """The chance of a unit's coordinates to be kept."""

    @abstractmethod
    def share(self, drops: Float[Tensor, " p"], gap: float) -> Float[Tensor, " p"]:
        """The metric of each draw, from what the score loses by it, and by losing all units."""


TOGETHER = 64  # rows whose embeddings are held at once


class SoftComprehensiveness(SoftMetric):
    """Share of what the score can lose that it loses when units lose coordinates as they weigh. Higher is better.

    In [0, 1]: max(0, p − p′) / (1 − S₀), the mean over draws; S₀ = 1 − max(0, p − p(nothing left)). Where p(nothing left)
    is not below p there is no share, and the row is skipped.

    References:
        Zhao and Aletras, ACL 2023, https://arxiv.org/abs/2305.10496.
    """

    def kept(self, weights: Float[Tensor, " u"]) -> Float[Tensor, " u"]:
        return 1 - weights

    def share(self, drops: Float[Tensor, " p"], gap: float) -> Float[Tensor, " p"]:
        return drops / gap


class SoftSufficiency(SoftMetric):
    """How much of the score is left when units keep coordinates as often as they weigh. Higher is better.

    In [0, 1]: (S − S₀) / (1 − S₀), at least 0, the mean over draws; S = 1 − max(0, p − p′).

    References:
        Zhao and Aletras, ACL 2023, https://arxiv.org/abs/2305.10496.
    """

    def kept(self, weights: Float[Tensor, " u"]) -> Float[Tensor, " u"]:
        return weights

    def share(self, drops: Float[Tensor, " p"], gap: float) -> Float[Tensor, " p"]:
        return (gap - drops) / gap
