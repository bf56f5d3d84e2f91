"""Measured table of games: estimated interactions against exact ones."""

from __future__ import annotations

import torch
from torch import Tensor

from interpreto.attributions.aggregations.interactions import InteractionAggregator
from interpreto.attributions.games.indices import all_coalitions
from interpreto.attributions.games.interactions import INDICES, interactions
from interpreto.attributions.perturbations import ShapTokenPerturbator
from interpreto.inputs.samples import Readout, Sample, Targets
from interpreto.inputs.units import Units

UNITS, GAMES, DRAWS = 12, 10, 20
BUDGETS = (200, 500, 1000, 2000)

INTERACTIONS = f"""Estimates of interactions of order 2 against exact values: {GAMES} random games of {UNITS} units (main
effects, all pairs, 15 interactions of three to five units, squashed), {DRAWS} draws each. The error is the mean distance to the
exact value, in shares of the mean magnitude of the exact values; the coverage is the share of values within 1.96 standard
errors (nominal 95 %). All 4,096 coalitions are exact.

| index | {" | ".join(f"error, n = {n:,}" for n in BUDGETS)} | {" | ".join(f"coverage, n = {n:,}" for n in BUDGETS)} |
| --- |{" ---: |" * (2 * len(BUDGETS))}
{{rows}}

`make tables` computes it again.
"""


def interactions_table() -> str:
    """Return the table of estimated interactions."""
    tables = [random_game(seed) for seed in range(GAMES)]
    return INTERACTIONS.format(rows="\n".join(_interaction_row(index, tables) for index in INDICES))


def random_game(seed: int) -> Tensor:
    """Return a game of all coalitions, ``(2^n, 1)``."""
    draws, present = torch.Generator().manual_seed(seed), all_coalitions(UNITS)
    single = torch.randn(UNITS, 1, generator=draws).double()
    pairs = torch.randn(UNITS, UNITS, generator=draws).double().triu(1) / 2
    table = present @ single + torch.einsum("ri,ij,rj->r", present, pairs, present)[:, None]
    for _ in range(15):
        members = torch.randperm(UNITS, generator=draws)[: int(torch.randint(3, 6, (1,), generator=draws))]
        table += present[:, members].prod(1)[:, None] * torch.randn(1, generator=draws).double()
    return 4 * torch.tanh(table / 4)


def _interaction_row(index: str, tables: list[Tensor]) -> str:
    errors, covered = [], []
    for budget in BUDGETS:
        apart, within, size = [], [], []
        for game, table in enumerate(tables):
            exact = torch.stack(list(interactions(table, index, 2).values()), 1)
            for draw in range(DRAWS):
                variants = ShapTokenPerturbator(budget)(_sample(), torch.Generator().manual_seed(1000 * game + draw))
                rows = ((1 - variants.mask).long() * 2 ** torch.arange(UNITS)).sum(1)
                found = InteractionAggregator(index, 2).aggregate(table[rows], variants).interactions
                assert found is not None and found.standard_error is not None
                distance = (found.values - exact).abs()
                apart.append(distance.mean())
                size.append(exact.abs().mean())
                within.append((distance <= 1.96 * found.standard_error + 1e-9).double().mean())
        errors.append(float(torch.stack(apart).sum() / torch.stack(size).sum()))
        covered.append(float(torch.stack(within).mean()))
    return f"| {index} | {' | '.join(f'{e:.1%}' for e in errors)} | {' | '.join(f'{c:.3f}' for c in covered)} |"


def _sample() -> Sample:
    spans = tuple((i, i + 1) for i in range(UNITS))
    units = Units(torch.arange(UNITS), tuple(map(str, range(UNITS))), spans)
    targets = Targets((Readout(torch.tensor([0])),), ("score",), (None,))
    return Sample("x" * UNITS, torch.arange(UNITS), units, targets=targets)
