"""Error of Shapley estimates on games whose values are known: our design against others, for the same coalitions.

python -m benchmarks.shapley_estimators
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator

from interpreto.attributions.aggregations import ShapleyAggregator
from interpreto.attributions.perturbations import ShapTokenPerturbator
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Sample
from interpreto.inputs.units import Units

GAMES = 30
CASES = ((12, 200), (24, 100), (24, 200), (24, 500), (48, 100), (48, 200), (48, 500))


class RandomGame:
    """``terms`` random sets of one to four players, worth N(0, 1) when all are there; optionally each player alone too."""

    def __init__(self, u: int, seed: int, main_effects: bool) -> None:
        rng = np.random.default_rng(seed)
        sets = [[i] for i in range(u)] if main_effects else []
        sizes = (2, 5) if main_effects else (1, 5)
        sets += [list(rng.choice(u, rng.integers(*sizes), replace=False)) for _ in range(u if main_effects else 3 * u)]
        self.inside = np.zeros((len(sets), u))
        for row, members in zip(self.inside, sets, strict=True):
            row[members] = 1.0
        self.worth = rng.normal(size=len(sets))
        self.shapley = (self.inside * (self.worth / self.inside.sum(1))[:, None]).sum(0)

    def __call__(self, present: np.ndarray) -> np.ndarray:
        return ((present @ self.inside.T) == self.inside.sum(1)).astype(float) @ self.worth


def ours(sample: Sample, n: int, generator: Generator) -> MaskVariants:
    return ShapTokenPerturbator(n)(sample, generator)


def paired(sample: Sample, n: int, generator: Generator, leverage: bool) -> MaskVariants:
    """Pairs of a random coalition and its complement, sizes by the Shapley kernel or by leverage scores."""
    u, pairs = len(sample.units), (n - 2) // 2
    size = torch.arange(1, u)
    chance = torch.ones(u - 1) if leverage else 1.0 / (size * (u - size))
    drawn = size[torch.multinomial(chance, pairs, replacement=True, generator=generator)]
    removed = (torch.rand(pairs, u, generator=generator).argsort(1).argsort(1) < drawn[:, None]).float()
    mask = torch.cat([torch.zeros(1, u), torch.ones(1, u), removed, 1 - removed])
    left = mask[2:].sum(1).double()
    weights = 1.0 / (left * (u - left)) if leverage else torch.ones(2 * pairs).double()
    groups = torch.arange(pairs).repeat(2)
    ends = torch.tensor([-1, -1])
    return MaskVariants(sample, mask, torch.cat([torch.zeros(2).double(), weights]), torch.cat([ends, groups]))


def error(design: object, u: int, n: int, seed: int, main_effects: bool) -> float:
    game = RandomGame(u, seed, main_effects)
    sample = Sample("", torch.arange(u), Units(torch.arange(u), ("",) * u, ((0, 0),) * u))
    variants = design(sample, n, Generator().manual_seed(seed))  # type: ignore[operator]
    values = torch.from_numpy(game(1 - variants.mask.double().numpy()))[:, None]
    try:
        estimate = ShapleyAggregator().aggregate(values, variants).values[0].numpy()
    except OptionError:  # the drawn coalitions do not determine the values
        return float("nan")
    return float(np.linalg.norm(estimate - game.shapley) / np.linalg.norm(game.shapley))


def main() -> None:
    designs = {
        "drawn by the kernel, paired": lambda s, n, g: paired(s, n, g, leverage=False),
        "drawn by leverage, paired": lambda s, n, g: paired(s, n, g, leverage=True),
        "ours": ours,
    }
    print("# Shapley estimates\n")
    print(
        f"Mean relative L2 error over {GAMES} random games, all under the efficiency constraint; nan: not determined in some."
    )
    print(
        "Games of order 4: each player alone and as many sets of 2 to 4; hard games: sets of 1 to 4, three times the players."
    )
    print()
    print("| units | coalitions | games |" + "".join(f" {name} |" for name in designs))
    print("|---|---|---|" + "---|" * len(designs))
    for main_effects, name in ((True, "order 4"), (False, "hard")):
        for u, n in CASES:
            means = [np.mean([error(d, u, n, seed, main_effects) for seed in range(GAMES)]) for d in designs.values()]
            print(f"| {u} | {n} | {name} |" + "".join(f" {mean:.3f} |" for mean in means))


if __name__ == "__main__":
    main()
