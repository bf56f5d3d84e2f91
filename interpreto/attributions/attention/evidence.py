"""Evidence: attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from interpreto.attributions.aggregations.base import Estimate
from interpreto.attributions.evidence import SAMPLES_HELD, Evidence, Explained, Parts
from interpreto.inputs.samples import Sample
from interpreto.models.attention_flow import AttentionRule
from interpreto.models.batching import windows
from interpreto.models.protocol import Need


class Attention(Evidence):
    """Attention of all layers, reduced to a row per score by a rule.

    Args:
        rule: What is made of the maps.
    """

    needs: ClassVar[Need] = "attention"
    pools: ClassVar[bool] = True

    def __init__(self, rule: AttentionRule) -> None:
        self.rule = rule

    def estimates(self, model: Any, samples: Sequence[Sample], parts: Parts) -> Iterator[Explained]:
        limit = SAMPLES_HELD * (model.runner.budget.rows or model.runner.budget.tokens)
        for window in windows(samples, lambda sample: model.runner.cost(sample, max(1, self.rule.steps)), limit):
            for found in model.attention(window, self.rule, parts.with_targets):
                values = found.sample.units.pool(found.values, parts.strategy)
                yield Explained(found.sample, Estimate(values), found.scores)
