"""Controls of steering: random directions of the same length, and other features that are active as often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.concepts.steering.steering import Steering
from interpreto.concepts.steering.steps import Add, AddToEach, ForText, Redirected, Step, random_direction
from interpreto.concepts.steering.unit import directions_of, plain_rows
from interpreto.errors import OptionError

SPARSE = 0.5
"""Share of zeros among the codes of plain sentences from which on concepts count as sparse features."""


@dataclass(frozen=True, eq=False)
class Control:
    """A direction or feature that takes the place of a steering's concepts.

    Attributes:
        name: What it is, as "direction 3" or "feature 17".
        seed: Seed of the random directions.
        feature: Number of the feature that is added instead; None: a random direction.
    """

    name: str
    seed: int
    feature: int | None = None

    def of(self, steering: Steering) -> Steering:
        """Return a steering that moves activations as far, elsewhere."""
        draws = Generator().manual_seed(self.seed)
        steps = [self._step(step, i, draws) for i, step in enumerate(steering.steps)]
        return Steering(steering.splitter, steps, [self.name], steering.homes)

    def _step(self, step: Step, number: int, draws: Generator) -> Step:
        if isinstance(step, Add):
            return replace(step, direction=self._direction(step, draws))
        return Redirected(step.split_point, step.at, step, (self.seed + number) % 2**32)

    def _direction(self, step: Add, draws: Generator) -> Float[Tensor, " d"]:
        if self.feature is None or step.explainer is None:
            return random_direction(len(step.direction), draws)
        direction = directions_of(step.explainer)[step.split_point][self.feature].float().cpu()
        size = float(direction.norm())
        return direction / size if size > 0 else direction


def controls_of(steering: Steering, kinds: str, count: int, random_state: int) -> list[Control]:
    """Return controls of a steering.

    Args:
        steering: One of those that are compared.
        kinds: ``"directions"``, ``"features"``, ``"both"``, or ``"auto"``: both where concepts are sparse features.
        count: Number of each.
        random_state: Seed.

    Raises:
        OptionError: features are asked for, and there are none of them.
    """
    directions = [Control(f"direction {i}", (random_state + 7919 * (i + 1)) % 2**32) for i in range(count)]
    if kinds == "directions" or not count:
        return directions
    step = next((step for step in steering.steps if isinstance(step, Add) and step.explainer is not None), None)
    codes = None if step is None else _codes(step)
    sparse = codes is not None and float((codes == 0).double().mean()) >= SPARSE
    if step is None or codes is None or (kinds == "auto" and not sparse):
        if kinds in ("features", "both"):
            raise OptionError(f"`controls`: got {kinds!r}, and the steering adds no concept; pass 'directions'.")
        return directions
    features = [Control(f"feature {c}", random_state, c) for c in alike(codes, step.weights, count)]
    return features if kinds == "features" else directions + features


def alike(codes: Float[Tensor, "n c"], weights: Float[Tensor, " c"] | None, count: int) -> list[int]:
    """Return other concepts that are active about as often as the chosen ones.

    Args:
        codes: Amounts of all concepts in plain rows.
        weights: Share of each chosen concept.
        count: Number of concepts to return at most.

    Examples:
        >>> codes = torch.tensor([[1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
        >>> alike(codes, torch.tensor([0.0, 1.0, 0.0, 0.0]), 2)
        [3, 0]
    """
    density = (codes != 0).double().mean(0)
    chosen = torch.zeros_like(density).bool() if weights is None else weights.to(density.device) != 0
    wanted = density[chosen].mean() if bool(chosen.any()) else density.mean()
    distance = (density - wanted).abs().masked_fill(chosen | (density == 0), torch.inf)
    order = distance.argsort(stable=True).tolist()
    return [c for c in order if distance[c] < torch.inf][:count]


def _codes(step: Add) -> Tensor:
    with torch.no_grad():
        rows = plain_rows(step.explainer.own_splitter(), str(step.explainer.split_point))
        codes: Tensor = step.explainer.encode_activations(rows)
        return codes


def batched(steerings: Sequence[Steering | None], splitter_of: Steering) -> Steering:
    """Return one steering for a batch with a text for each of several; None: a text that is not steered.

    Args:
        steerings: Of one model, each with one strength.
        splitter_of: Any steering of that model.
    """
    count = len(steerings)
    vectors: dict[tuple[str, str], dict[int, Tensor]] = {}
    others: list[Step] = []
    for i, steering in enumerate(steerings):
        steps = () if steering is None else steering.steps
        if all(isinstance(step, Add) for step in steps):
            for step in steps:
                assert isinstance(step, Add)
                own = vectors.setdefault((step.split_point, step.at), {})
                own[i] = own.get(i, torch.zeros_like(step.direction)) + step.unit * step.strengths[0] * step.direction
        else:
            others += [ForText(step.split_point, step.at, step, i, count) for step in steps]
    added: list[Step] = []
    for (point, at), own in vectors.items():
        width = len(next(iter(own.values())))
        added.append(AddToEach(point, at, torch.stack([own.get(i, torch.zeros(width)) for i in range(count)])))
    homes = {place: home for one in steerings if one is not None for place, home in one.homes.items()}
    return Steering(splitter_of.splitter, [*added, *others], [f"{count} steerings in a batch"], homes)


def at_strength(steering: Steering, strength: float) -> Steering:
    """Return a steering whose added concepts are multiplied by a strength.

    Raises:
        OptionError: it does something else than adding concepts, or has several strengths already.
    """
    steps = []
    for step in steering.steps:
        if not isinstance(step, Add) or len(step.strengths) > 1:
            raise OptionError(
                f"`steering`: got {steering}; strengths multiply what adds concepts once, as in Steering.add(concepts, 3). "
                "Pass other steerings as a list, or as a dictionary with their names."
            )
        steps.append(replace(step, strengths=step.strengths * strength))
    return Steering(steering.splitter, steps, steering.told, steering.homes)
