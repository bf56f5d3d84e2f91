"""Texts that a model writes under several steerings, with what they cost and what random directions do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.intervals import mean_interval
from interpreto.renderable import Renderable

COST = 0.5
"""Nats per token that a suggested strength may cost."""


@dataclass(frozen=True, eq=False)
class SteeringComparison(Renderable):
    """Texts that a model writes under several steerings. ``p`` prompts, ``a`` steerings, ``r`` controls.

    One of the steerings is none: the model as it is. All else is compared with it.

    Attributes:
        prompts: What was continued.
        names: Of the steerings, as "×2" or those that were given.
        strengths: Strength of each, ``(a,)``; NaN where the steerings are no strengths of one.
        unsteered: Number of the one that is none.
        texts: What was written, by prompt, then by steering.
        effect: What ``effect`` says of each text, ``(p, a)``, in its own unit; NaN where nothing was written.
        effect_name: Its name.
        nats: Negative log-likelihood per token of each text under the model as it is, ``(p, a)``: fluency, the lower the
            better.
        divergence: KL divergence of the first token's distribution from that of the model as it is, ``(p, a)``, in nats.
        distinct: Share of distinct pairs among the pairs of tokens that follow each other, ``(p, a)``: low where a text
            repeats itself; NaN for less than two tokens.
        lengths: Number of tokens of each text, ``(p, a)``.
        control_names: Of random directions of the same length, and of features that are active as often.
        control_effect: Effect of each, ``(r, p, a)``.
        control_nats: Their nats per token, ``(r, p, a)``.
        told: What was steered.
    """

    prompts: tuple[str, ...]
    names: tuple[str, ...]
    strengths: Float[Tensor, " a"]
    unsteered: int
    texts: tuple[tuple[str, ...], ...]
    effect: Float[Tensor, "p a"]
    effect_name: str
    nats: Float[Tensor, "p a"]
    divergence: Float[Tensor, "p a"]
    distinct: Float[Tensor, "p a"]
    lengths: Int[Tensor, "p a"]
    control_names: tuple[str, ...]
    control_effect: Float[Tensor, "r p a"]
    control_nats: Float[Tensor, "r p a"]
    told: str

    _subject: ClassVar[str] = "steering"

    @property
    def mean_effect(self) -> Float[Tensor, " a"]:
        """Return the mean effect of each steering over the prompts."""
        return self.effect.nanmean(0)

    @property
    def interval(self) -> Float[Tensor, "a 2"]:
        """Return a 95 % confidence interval of the mean effect of each steering, over prompts like these."""
        return torch.tensor([mean_interval(own[~own.isnan()], 0.95) for own in self.effect.T], dtype=torch.float64)

    @property
    def change(self) -> Float[Tensor, " a"]:
        """Return how far each steering moves the effect from that of the model as it is, prompt by prompt, on average."""
        return self._moved(self.effect).nanmean(0)

    @property
    def change_interval(self) -> Float[Tensor, "a 2"]:
        """Return a 95 % confidence interval of `change`, over prompts like these."""
        moved = self._moved(self.effect)
        return torch.tensor([mean_interval(own[~own.isnan()], 0.95) for own in moved.T], dtype=torch.float64)

    @property
    def cost(self) -> Float[Tensor, " a"]:
        """Return how many nats per token more each steering's texts have, on average; negative where they are likelier."""
        return self._moved(self.nats).nanmean(0)

    @property
    def control_change(self) -> Float[Tensor, "r a"]:
        """Return `change` for each control."""
        return self._moved(self.control_effect).nanmean(1)

    @property
    def control_cost(self) -> Float[Tensor, "r a"]:
        """Return `cost` for each control."""
        return self._moved(self.control_nats).nanmean(1)

    @property
    def beyond(self) -> Bool[Tensor, " a"]:
        """Return which steerings move the effect further than all controls of the same length do, ``(a,)``.

        False everywhere without controls: an effect that is compared with nothing is not shown to be the concept's.
        """
        if not self.control_names:
            return torch.zeros(len(self.names), dtype=torch.bool)
        return self.change.abs() > self.control_change.abs().nan_to_num(0.0).amax(0)

    def suggest(self, max_cost: float | int = COST) -> int | None:
        """Return the number of the steering with the largest change that is fluent enough, and beyond the controls.

        Args:
            max_cost: Nats per token that it may cost at most.

        Returns:
            Its number; None: no steering is both.
        """
        fits = self.beyond & (self.cost <= max_cost)
        fits[self.unsteered] = False
        sizes = torch.where(fits, self.change.abs(), -math.inf)
        return int(sizes.argmax()) if bool(fits.any()) else None

    @property
    def suggested(self) -> float | str | None:
        """Return the strength, or the name, that `suggest` finds; None: none does."""
        found = self.suggest()
        if found is None:
            return None
        strength = float(self.strengths[found])
        return self.names[found] if math.isnan(strength) else strength

    @property
    def verdict(self) -> str:
        """Return in words what is suggested, or why nothing is."""
        found = self.suggest()
        if found is not None:
            return (
                f"suggested: {self.names[found]}, which moves {self.effect_name} by {float(self.change[found]):+.3g} at "
                f"{float(self.cost[found]):+.2f} nats per token"
            )
        if not self.control_names:
            return "no strength is suggested: there are no controls to compare with"
        if not bool(self.beyond.any()):
            return f"none does: no strength moves {self.effect_name} further than all {len(self.control_names)} controls"
        return f"none does: what is beyond the controls costs more than {COST:g} nats per token"

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row for each prompt and steering."""
        import pandas as pd  # noqa: PLC0415  # optional

        return pd.DataFrame(
            [
                {
                    "prompt": prompt,
                    "steering": name,
                    "strength": float(self.strengths[j]),
                    "text": self.texts[i][j],
                    "effect": float(self.effect[i, j]),
                    "nats": float(self.nats[i, j]),
                    "divergence": float(self.divergence[i, j]),
                    "distinct": float(self.distinct[i, j]),
                    "length": int(self.lengths[i, j]),
                }
                for i, prompt in enumerate(self.prompts)
                for j, name in enumerate(self.names)
            ]
        )

    def _moved(self, values: Float[Tensor, "*r p a"]) -> Float[Tensor, "*r p a"]:
        return values - values[..., self.unsteered : self.unsteered + 1]
