"""Coverage of intervals and standard errors, by simulation on problems whose answer is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from interpreto import GradientShap, KernelShap, Lime, SmoothGrad, Sobol, SquareGrad, VarGrad, demo
from interpreto.intervals import mean_interval

DRAWS, SEEDS, LEVEL, QUANTILE = 20_000, 200, 0.95, 1.96
SAMPLES = (2, 3, 4, 5, 7, 10, 15, 20, 50)
DISTRIBUTIONS: dict[str, tuple[Callable[..., Any], float]] = {
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "log-normal": (lambda rng, size: rng.lognormal(size=size), math.exp(0.5)),
    "beta(0.3, 2)": (lambda rng, size: rng.beta(0.3, 2, size=size), 0.3 / 2.3),
}
TEXT = "A gorgeous, moving film."
REFERENCE_MASKS, REFERENCE_NOISE = 20_000, 4_000
"""Masks, and noisy inputs, of the values that estimates are compared with, where they are not known exactly."""


PAGE = f"""Coverage of `MetricResult.interval` and `BenchmarkTable.margin`, nominal 95 %: share of the intervals that contain
the expectation, of {DRAWS:,} draws of n samples.

{{intervals}}

Coverage of the methods' standard errors: share of the values whose distance to the exact one is within {QUANTILE} standard
errors (nominal 95 %), and the root mean square of that distance in standard errors (nominal 1), over {SEEDS} seeds. Shapley
values and Sobol indices on games with interactions, whose exact values are known; Lime on the same game, compared with
{REFERENCE_MASKS:,} masks; gradients on a sentence of the embedded classifier, compared with {REFERENCE_NOISE:,} noisy inputs.

{{errors}}

`make tables` computes both again.
"""


def calibration() -> str:
    """Return the page: coverage of confidence intervals of means, and of the methods' standard errors."""
    return PAGE.format(intervals="\n".join(intervals()), errors="\n".join(standard_errors()))


def intervals() -> list[str]:
    """Return the table of intervals."""
    lines = ["| samples | " + " | ".join(f"n = {n}" for n in SAMPLES) + " |", "| --- |" + " ---: |" * len(SAMPLES)]
    for name, (draw, mean) in DISTRIBUTIONS.items():
        cells = []
        for n in SAMPLES:
            samples = torch.from_numpy(draw(np.random.default_rng(n), (DRAWS, n)))
            ends = [mean_interval(row, LEVEL) for row in samples]
            cells.append(f"{sum(low <= mean <= high for low, high in ends) / DRAWS:.3f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


class Game(nn.Module):
    """A classifier whose logits are a known function of which words are present."""

    def __init__(self, u: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.u, self.table = u, nn.Embedding(u + 3, 4)
        self.single = torch.randn(u, generator=generator).double()
        self.pairs = torch.triu(torch.randn(u, u, generator=generator).double() * 0.7, 1)
        members = [torch.randperm(u, generator=generator)[:3].tolist() for _ in range(u)]
        self.triples = [(m, 2 * float(torch.randn(1, generator=generator))) for m in members]

    def value(self, present: Tensor) -> Tensor:
        """Return the value of coalitions ``(b, u)``."""
        out = present @ self.single + torch.einsum("bi,ij,bj->b", present, self.pairs, present)
        return out + sum(weight * present[:, members].prod(1) for members, weight in self.triples)

    def shapley(self) -> Tensor:
        """Return the Shapley values."""
        values = self.single + (self.pairs.sum(0) + self.pairs.sum(1)) / 2
        for members, weight in self.triples:
            values[members] += weight / 3
        return values

    def sobol(self, order: str) -> Tensor:
        """Return the first-order or total Sobol indices of independent, even presence."""
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=self.u))).double()
        values, found = self.value(every), []
        for i in range(self.u):
            others = [j for j in range(self.u) if j != i] if order == "total" else [i]
            key = (every[:, others] * 2.0 ** torch.arange(len(others))).sum(1)
            parts = [values[key == k] for k in key.unique()]
            if order == "total":
                found.append(torch.stack([part.var(unbiased=False) for part in parts]).mean())
            else:
                found.append(torch.stack([part.mean() for part in parts]).var(unbiased=False))
        return torch.stack(found) / values.var(unbiased=False)

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        self.table(input_ids)
        present = torch.stack([(input_ids == 3 + i).any(1) for i in range(self.u)], 1).double()
        value = self.value(present)
        return torch.stack([value, -value], 1)


def tokenizer_of(u: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of ``u`` words."""
    words = {"[MASK]": 0, "[PAD]": 1, "[UNK]": 2, **{f"w{i}": 3 + i for i in range(u)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", pad_token="[PAD]", unk_token="[UNK]")


def standard_errors() -> list[str]:
    """Return the table of standard errors."""
    lines = ["| method | coverage | rms |", "| --- | ---: | ---: |"]
    for name, explainer_of, text, truth in problems():
        z = []
        for seed in range(SEEDS):
            output = explainer_of(seed)(text, 0)[0]
            z.append((output.attributions[0].double() - truth) / output.standard_error[0].double())
        scores = torch.stack(z)
        covered = float((scores.abs() <= QUANTILE).double().mean())
        lines.append(f"| {name} | {covered:.3f} | {float(scores.square().mean().sqrt()):.2f} |")
    return lines


def problems() -> Iterator[tuple[str, Callable[[int], Any], str, Tensor]]:
    """Yield name, explainer of a seed, text, and the exact values."""
    game, words = (Game(14, 1).eval(), tokenizer_of(14)), " ".join(f"w{i}" for i in range(14))
    for n in (30, 56, 80, 200):
        yield f"KernelShap, 14 units, n = {n}", made(KernelShap, game, n_perturbations=n), words, game[0].shapley()
    game, words = (Game(8, 2).eval(), tokenizer_of(8)), " ".join(f"w{i}" for i in range(8))
    for distance, width in (("cosine", 0.25), ("hamming", 0.25), ("euclidean", 0.5)):
        options = {"distance_function": distance, "kernel_width": width}
        truth = (
            Lime(*game, n_perturbations=REFERENCE_MASKS, random_state=SEEDS, **options)(words, 0)[0].attributions[0].double()
        )
        for n in (50, 200):
            yield f"Lime, {distance}, n = {n}", made(Lime, game, n_perturbations=n, **options), words, truth
    for order, sampler in itertools.product(("first", "total"), ("sobol", "halton", "latin_hypercube")):
        for n in (16, 32):
            options = {"sobol_indices_order": order, "sampler": sampler, "n_token_perturbations": n}
            yield f"Sobol, {order}, {sampler}, n = {n}", made(Sobol, game, **options), words, game[0].sobol(order)
    classifier = demo.load_classifier()
    for method, std in ((SmoothGrad, 0.1), (SmoothGrad, 0.5), (SquareGrad, 0.1), (VarGrad, 0.1), (GradientShap, 0.1)):
        reference = method(*classifier, n_perturbations=REFERENCE_NOISE, noise_std=std, random_state=SEEDS)(TEXT, 0)[0]
        for n in (8, 32):
            options = {"n_perturbations": n, "noise_std": std}
            name = f"{method.__name__}, noise {std}, n = {n}"
            yield name, made(method, classifier, **options), TEXT, reference.attributions[0].double()


def made(method: Any, arguments: tuple[Any, Any], **options: Any) -> Callable[[int], Any]:
    """Return a function from a seed to an explainer."""
    return lambda seed: method(*arguments, random_state=seed, **options)
