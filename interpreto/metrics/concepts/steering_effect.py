"""Effect of steering: how far a concept moves what a model writes, beyond random directions and at a bounded cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.steering.compare import STRENGTHS, compare_steering
from interpreto.concepts.steering.comparison import COST, SteeringComparison
from interpreto.concepts.steering.measures import Effect
from interpreto.concepts.steering.steering import Steering
from interpreto.metrics.concepts.base import Range, Scored
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_not_negative


class SteeringEffect(Scored):
    """Change of the effect of what a model writes when a concept is added, less the furthest that controls move it.

    Above 0, the concept does more than every random direction of the same length. Of the strengths whose texts cost at most
    ``max_cost`` nats per token, the one with the largest change counts; NaN where there is none.

    Args:
        concept_explainer: Fitted concepts of a causal language model, with a splitter.
        effect: A function from texts to a number for each; None: the amount of the concept that the model reads in the text.
        strengths: Strengths that are tried.
        max_cost: Nats per token, under the model as it is, that texts may cost more than unsteered ones.
        max_new_tokens: Tokens that are written after each prompt.
        controls: See `compare_steering`.
        n_random: Number of controls of each kind.
        unit: Length of a step of strength 1; see `Steering.add`.
        at: Which tokens are steered; see `Steering`.
        batch_size: Texts that are written together at most; None: all of a prompt.
        random_state: Seed of the controls.

    References:
        Rimsky et al., ACL 2024, https://arxiv.org/abs/2312.06681.
    """

    higher_is_better: ClassVar[bool] = True
    value_range: ClassVar[Range] = (None, None)

    def __init__(  # the effect comes second
        self,
        concept_explainer: ConceptExplainer,
        effect: Effect | None = None,
        strengths: Sequence[Any] = STRENGTHS,
        *,
        max_cost: float | int = COST,
        max_new_tokens: int = 40,
        controls: str = "auto",
        n_random: int = 10,
        unit: float | int | None = None,
        at: str = "all",
        batch_size: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.concept_explainer, self.effect, self.strengths = concept_explainer, effect, tuple(strengths)
        self.max_cost = check_not_negative(max_cost, "max_cost")
        self.unit, self.at = None if unit is None else float(unit), at
        self.options: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "controls": controls,
            "n_random": n_random,
            "batch_size": batch_size,
            "random_state": random_state,
        }

    def run(self, prompts: Sequence[str], concept: Any = 0) -> MetricResult:
        """Return the effect of a concept.

        Args:
            prompts: Beginnings of texts.
            concept: Its number, or shares of several in a dictionary.

        Returns:
            ``details`` hold the ``comparison``, the ``strength`` that counts, its ``change``, ``cost`` and the largest change
            of its ``control``s; one value per prompt is the change there, less that of the controls.
        """
        steering = Steering.add(self.concept_explainer, concept, at=self.at, unit=self.unit)
        found = compare_steering(
            steering.splitter, list(prompts), steering, self.strengths, effect=self.effect, tqdm_bar=False, **self.options
        )
        best = self._best(found)
        values = torch.full((len(found.prompts),), math.nan, dtype=torch.float64)
        details: dict[str, Any] = {"comparison": found, "strength": math.nan, "change": math.nan, "cost": math.nan}
        details["control"] = math.nan
        if best is not None:
            change, control = float(found.change[best]), float(found.control_change[:, best].abs().nan_to_num(0.0).max())
            moved = found.effect[:, best] - found.effect[:, found.unsteered]
            values = math.copysign(1.0, change) * moved - control
            facts = {"strength": float(found.strengths[best]), "change": change, "cost": float(found.cost[best])}
            details |= {**facts, "control": control}
        known = values[~values.isnan()]
        return MetricResult(
            score=float(known.mean()) if len(known) else math.nan,
            per_sample=values,
            details=details,
            higher_is_better=True,
            value_range=self.value_range,
            n_valid=len(known),
            n_skipped=len(values) - len(known),
            config={"strengths": self.strengths, "max_cost": self.max_cost, **self.options},
            name=type(self).__name__,
        )

    def _best(self, found: SteeringComparison) -> int | None:
        """Return the steering with the largest change among those that are fluent enough."""
        fluent = found.cost <= self.max_cost
        fluent[found.unsteered] = False
        if not bool(fluent.any()) or not found.control_names:
            return None
        return int(torch.where(fluent, found.change.abs(), -math.inf).argmax())
