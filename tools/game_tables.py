"""Measured tables of games: estimated interactions against exact ones, and errors of sampling until a tolerance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from interpreto import AttributionOutput, ExactShapley, KernelShap, PermutationShap, Saliency, demo
from interpreto.attributions.aggregations.interactions import InteractionAggregator
from interpreto.attributions.games.indices import all_coalitions
from interpreto.attributions.games.interactions import INDICES, interactions
from interpreto.attributions.perturbations import ShapTokenPerturbator
from interpreto.inputs.samples import Readout, Sample, Targets
from interpreto.inputs.units import Units

UNITS, GAMES, DRAWS = 12, 10, 20
BUDGETS = (200, 500, 1000, 2000)
FIXED = 500  # coalitions of both methods without a tolerance
TOLERANCE, SENTENCES, SHORTEST, LONGEST = 0.05, 200, 9, 10

INTERACTIONS = f"""Estimates of interactions of order 2 against exact values: {GAMES} random games of {UNITS} units (main
effects, all pairs, 15 interactions of three to five units, squashed), {DRAWS} draws each. The error is the mean distance to the
exact value, in shares of the mean magnitude of the exact values; the coverage is the share of values within 1.96 standard
errors (nominal 95 %). All 4,096 coalitions are exact.

| index | {" | ".join(f"error, n = {n:,}" for n in BUDGETS)} | {" | ".join(f"coverage, n = {n:,}" for n in BUDGETS)} |
| --- |{" ---: |" * (2 * len(BUDGETS))}
{{rows}}

`make tables` computes it again.
"""

COLUMNS = ("rows per text", "without", "texts that reached it", "units that matter within", "all units within")
PRECISION = f"""Sampling with `tolerance={TOLERANCE}`, and without one, on {SENTENCES} sentences of
{SHORTEST} to {LONGEST} units, against the exact values of all coalitions. A unit matters if its exact value is more
than {TOLERANCE:.0%} of the score gap; an error is within if it is at most {TOLERANCE:.0%} of the gap. The last column is of
the texts that reached the tolerance.

| method | {" | ".join(COLUMNS)} | all units within, reached |
| --- |{" ---: |" * (len(COLUMNS) + 1)}
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


def tolerance_table() -> str:
    """Return the table of errors of sampling until a tolerance."""
    model, tokenizer = demo.load_classifier()
    texts = [sentence.text for sentence in demo.load_sentences() if 7 <= len(sentence.text.split()) <= 10]
    short = [one for one in Saliency(model, tokenizer)(texts) if SHORTEST <= len(one.elements) <= LONGEST][:SENTENCES]
    samples = [one.sample for one in short]
    exact = ExactShapley(model, tokenizer, max_units=LONGEST).explain_samples(samples)
    rows = []
    for method in (KernelShap, PermutationShap):
        found = method(model, tokenizer, tolerance=TOLERANCE).explain_samples(samples)
        never = method(model, tokenizer, n_perturbations=FIXED, tolerance=1e-12)
        whole = sum(_rows(never.explain_samples([sample])[0]) for sample in samples[:40]) / 40
        rows.append(_precision_row(method.__name__, found, exact, whole))
    return PRECISION.format(rows="\n".join(rows))


def _rows(explanation: AttributionOutput) -> int:
    assert explanation.stopped is not None
    return int(explanation.stopped.split()[-2])


def _precision_row(name: str, found: Sequence[AttributionOutput], exact: Sequence[AttributionOutput], whole: float) -> str:
    matter, every, surely = [], [], []
    reached = [str(one.stopped).startswith("tolerance") for one in found]
    for one, truth, done in zip(found, exact, reached, strict=True):
        assert truth.reference_scores is not None
        limit = TOLERANCE * (truth.base_scores - truth.reference_scores).abs()[:, None]
        within = (one.attributions - truth.attributions).abs() <= limit
        every.append(within.flatten())
        matter.append(within[truth.attributions.abs() > limit])
        surely += [within.flatten()] if done else []
    rows = sum(map(_rows, found)) / len(found)
    shares = [float(torch.cat(parts).double().mean()) for parts in (matter, every, surely)]
    counts = f"{rows:.0f} | {whole:.0f} | {sum(reached) / len(reached):.0%}"
    return f"| {name} | {counts} | {' | '.join(f'{share:.1%}' for share in shares)} |"
