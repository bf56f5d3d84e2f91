"""Measured errors of sampling until a tolerance, for `tools/tables.py games`: every method that has one.

Of methods that mask, the exact values are those of all coalitions; of methods that draw noise or baselines, those of a run with
many more points and another seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import interpreto
from interpreto import AttributionOutput, ExactShapley, Saliency, demo
from interpreto.attributions.aggregations.linear_regression import WeightedFit
from interpreto.attributions.games.indices import all_coalitions
from interpreto.attributions.games.interactions import interactions
from interpreto.inputs.samples import MaskVariants, Sample

TOLERANCE, SENTENCES, FEW, SHORTEST, LONGEST = 0.05, 200, 20, 9, 10
POINTS = 2048  # of the runs that methods of gradients are compared with
COLUMNS = ("texts", "rows per text", "without", "texts that reached it", "units that matter within", "all units within")
HEAD = f"""Sampling with `tolerance={TOLERANCE}`, and without one, on sentences of {SHORTEST} to {LONGEST} units, against exact
values: of all coalitions for methods that mask, and of {POINTS:,} points with another seed for the last six methods, which draw
noise or baselines (their rows are gradients). A unit matters if its exact value exceeds {TOLERANCE:.0%} of the gap, or of
the largest value where values have no gap; an error is within if it is at most that. `Rise` has values near the mean score, so
that all units matter. The last column is of the texts that reached the tolerance: on the others the budget ended first.

| method | {" | ".join(COLUMNS)} | all units within, reached |
| --- |{" ---: |" * (len(COLUMNS) + 1)}
"""
TAIL = "\n`make tables` computes it again."
Exact = Callable[[Any, Tensor, MaskVariants], Tensor]
"""Takes an explainer, the scores ``(r, t)`` of all coalitions and their masks to exact values ``(t, u)``."""


def shapley(_: Any, scores: Tensor, variants: MaskVariants) -> Tensor:
    """Return Shapley values."""
    return torch.stack(list(interactions(scores, "SII", 1).values()), 1)


def by_aggregator(explainer: Any, scores: Tensor, variants: MaskVariants) -> Tensor:
    """Return what an aggregator makes of all masks, each as likely as the others."""
    budget = explainer.perturbator.masks(variants.mask.shape[1], torch.Generator())
    return explainer.aggregator.of_part(len(variants.mask) / len(budget)).aggregate(scores, variants).values


def banzhaf(_: Any, scores: Tensor, variants: MaskVariants) -> Tensor:
    """Return Banzhaf values: differences of mean scores with and without each unit."""
    present = 1 - variants.mask.double()
    return (scores.double().T @ (2 * present - 1)) * 2 / len(present)


def near(explainer: Any, scores: Tensor, variants: MaskVariants) -> Tensor:
    """Return least squares over all masks, each as often as `GLime` draws it."""
    masked, probability = variants.mask.double(), explainer.perturbator.perturb_probability
    weights = torch.where(masked > 0, probability, 1 - probability).prod(1)
    design = torch.cat([1 - masked, torch.ones(len(masked), 1).double()], 1)
    return WeightedFit(design, scores.double(), weights, "").coefficients[:-1].T


def variance(_: Any, scores: Tensor, variants: MaskVariants) -> Tensor:
    """Return first-order shares of variance when units are masked at random."""
    values = scores.double()
    return (banzhaf(_, values, variants).square() / 4) / values.var(0, unbiased=False)[:, None]


MASKING: dict[str, Exact] = {
    "KernelShap": shapley,
    "PermutationShap": shapley,
    "Banzhaf": banzhaf,
    "Lime": by_aggregator,
    "LimeWithPrior": by_aggregator,
    "GLime": near,
    "Rise": by_aggregator,
    "ContextCite": by_aggregator,
    "Sobol": variance,
}
OF_GRADIENTS = ("SmoothGrad", "SquareGrad", "VarGrad", "GradientShap", "ExpectedGradients", "DeepLiftShap")
OPTIONS = {"ContextCite": {"granularity": "word", "replacement": "auto"}}
FIXED = {"KernelShap": 500, "PermutationShap": 500, "Banzhaf": 500, "ContextCite": 64}
BY_LARGEST = ("Sobol", "SmoothGrad", "SquareGrad", "VarGrad")


@dataclass
class Row:
    """Count of a method: how many of its values are within the tolerance."""

    name: str
    texts: int = 0
    rows: int = 0
    without: float = 0.0
    reached: int = 0
    matter: list[Tensor] = field(default_factory=list)
    every: list[Tensor] = field(default_factory=list)
    surely: list[Tensor] = field(default_factory=list)

    def add(self, found: AttributionOutput, exact: Tensor, gap: Tensor) -> None:
        """Compare an explanation with exact values ``(t, u)``."""
        scale = exact.abs().amax(-1) if self.name in BY_LARGEST else gap.abs()
        limit = TOLERANCE * scale[:, None].double()
        within = (found.attributions.double() - exact).abs() <= limit
        done = str(found.stopped).startswith("tolerance")
        self.texts, self.reached, self.rows = self.texts + 1, self.reached + done, self.rows + rows_of(found)
        self.every.append(within.flatten())
        self.matter.append(within[exact.abs() > limit])
        self.surely += [within.flatten()] if done else []

    def __str__(self) -> str:
        shares = [f"{float(torch.cat(p).double().mean()):.1%}" if p else "–" for p in (self.matter, self.every, self.surely)]
        counts = f"{self.texts} | {self.rows / self.texts:.0f} | {self.without:.0f} | {self.reached / self.texts:.0%}"
        return f"| {self.name} | {counts} | {' | '.join(shares)} |"


def rows_of(found: AttributionOutput) -> int:
    """Return the number of rows after which sampling ended."""
    assert found.stopped is not None
    return int(found.stopped.split()[-2])


def tolerance_table() -> str:
    """Return the table of errors of sampling until a tolerance."""
    model, tokenizer = demo.load_classifier()
    texts = [sentence.text for sentence in demo.load_sentences() if 7 <= len(sentence.text.split()) <= 10]
    short = [one for one in Saliency(model, tokenizer)(texts) if SHORTEST <= len(one.elements) <= LONGEST][:SENTENCES]
    samples = [one.sample for one in short]
    exact = ExactShapley(model, tokenizer, max_units=LONGEST)
    tables = [scores_of_all(exact, sample) for sample in samples]
    rows = [masking_row(name, model, tokenizer, samples, tables) for name in MASKING]
    few = [gradient_row(name, model, tokenizer, samples[:FEW]) for name in OF_GRADIENTS]
    return HEAD + "\n".join(map(str, [*rows, *few])) + "\n" + TAIL


def scores_of_all(explainer: Any, sample: Sample) -> Tensor:
    """Return the scores of all coalitions of a sample, the empty one first."""
    variants = explainer.perturbator(sample, torch.Generator())
    model = explainer.model.configured(explainer.task.read, replacement=explainer.replacement)
    with model.session():
        ((_, scores),) = model.scores([variants])
    return scores[1:].double()


def masking_row(name: str, model: Any, tokenizer: Any, samples: Sequence[Sample], tables: Sequence[Tensor]) -> Row:
    """Return the row of a method that masks."""
    method, options = getattr(interpreto, name), OPTIONS.get(name, {})
    explainer, row = method(model, tokenizer, tolerance=TOLERANCE, **options), Row(name)
    plain = method(model, tokenizer, **options)
    for sample, found, table in zip(samples, explainer.explain_samples(samples), tables, strict=True):
        variants = MaskVariants(sample, 1 - all_coalitions(len(sample.units)).float())
        row.add(found, MASKING[name](plain, table, variants), table[-1] - table[0])
    budget = {"n_perturbations": FIXED[name]} if name in FIXED else {}
    never = method(model, tokenizer, tolerance=1e-12, **options, **budget)
    row.without = sum(map(rows_of, never.explain_samples(samples[:40]))) / len(samples[:40])
    return row


def gradient_row(name: str, model: Any, tokenizer: Any, samples: Sequence[Sample]) -> Row:
    """Return the row of a method that draws noise or baselines."""
    method, row = getattr(interpreto, name), Row(name)
    budget = "n_baselines" if name == "DeepLiftShap" else "n_perturbations"
    found = method(model, tokenizer, tolerance=TOLERANCE).explain_samples(samples)
    much = method(model, tokenizer, random_state=1, **{budget: POINTS}).explain_samples(samples)
    for one, truth in zip(found, much, strict=True):
        gap = torch.zeros(1) if truth.reference_scores is None else truth.base_scores - truth.reference_scores
        row.add(one, truth.attributions.double(), gap)
    row.without = method(model, tokenizer).perturbator.n_perturbations
    return row
