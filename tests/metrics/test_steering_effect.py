"""Effect of steering: the best fluent strength, less the furthest control, prompt by prompt."""

from __future__ import annotations

import math

import pytest
import torch

from interpreto import ModelWithSplitPoints
from interpreto.concepts import NeuronsAsConcepts
from interpreto.errors import OptionError
from interpreto.metrics import SteeringEffect
from tests import tiny
from tests.concepts.steering.test_comparison import by_hand, letters

PROMPTS = ["The film was", "She said that"]


@pytest.fixture(scope="module")
def explainer():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    return NeuronsAsConcepts(ModelWithSplitPoints(model, 0, tokenizer=tokenizer))


def test_it_is_the_best_fluent_strength_less_the_controls(explainer):
    metric = SteeringEffect(explainer, letters, (-9, 9), max_cost=100, max_new_tokens=5, n_random=2)
    result = metric.run(PROMPTS, {0: 1.0, 3: -1.0})
    found = result.details["comparison"]
    best = int(torch.where(found.strengths != 0, found.change.abs(), -1).argmax())
    assert result.details["strength"] == float(found.strengths[best])
    control = float(found.control_change[:, best].abs().max())
    assert result.score == pytest.approx(abs(float(found.change[best])) - control)
    assert float(result.per_sample.mean()) == pytest.approx(result.score) and result.n_valid == 2
    assert found.prompts == tuple(PROMPTS) and len(found.control_names) == 2
    moved = found.nats - found.nats[:, found.unsteered : found.unsteered + 1]
    assert result.details["cost"] == pytest.approx(float(moved.mean(0)[best]))


def test_where_nothing_is_fluent_enough_or_compared_there_is_no_score(explainer):
    metric = SteeringEffect(explainer, letters, max_cost=0.5)
    found = by_hand([-0.3, 0.0, 0.5, 0.9], [0.1, 0.0, 0.4, 2.0], [[0.0] * 4])
    assert metric._best(found) == 2
    assert metric._best(by_hand([-0.3, 0.0, 0.5, 0.9], [1.0, 0.0, 1.0, 1.0], [[0.0] * 4])) is None
    alone = SteeringEffect(explainer, letters, (1,), max_cost=100, max_new_tokens=2, n_random=0).run(PROMPTS[:1])
    assert math.isnan(alone.score)
    with pytest.raises(OptionError, match="`max_cost`"):
        SteeringEffect(explainer, letters, max_cost=-1)
