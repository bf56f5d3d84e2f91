"""What concepts do: gradients and attributions of a model's outputs in its concepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.aims import aimed_samples, task_of
from interpreto.concepts.downstream import Downstream, sweep_downstream
from interpreto.concepts.splitters.base import read_strategy
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.tasks import Task
from interpreto.progress import tqdm

Method = Literal["gradient", "gradient_x_concept", "integrated_gradients", "ablation"]
METHODS: tuple[str, ...] = get_args(Method)


def output_effects(
    explainer: Any,
    inputs: Any,
    targets: Any,
    method: str,
    *,
    split_point: str | None,
    activation_granularity: Any,
    aggregation_strategy: Any,
    n_steps: int = 32,
    inference_mode: Any,
    tqdm_bar: bool,
    batch_size: int | None,
) -> list[Float[Tensor, "t g c"]]:
    """See `ConceptAutoEncoderExplainer.concept_output_attribution`."""
    check_method(method)
    if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < 1:
        raise OptionError(f"`n_steps`: got {n_steps!r}; pass a whole number of at least 1.")
    splitter = explainer.own_splitter(split_point)
    task = task_of(splitter, inference_mode)
    samples = aimed_samples(splitter, task, inputs, targets, activation_granularity)
    with tqdm(desc=method, unit=" texts", total=len(samples), disable=not tqdm_bar) as bar:
        options: dict[str, Any] = {"n_steps": n_steps, "batch_size": batch_size, "on_texts": bar.update}
        return effects_of(explainer, task, samples, method, read_strategy(aggregation_strategy), **options)


def effects_of(
    explainer: Any,
    task: Task,
    samples: Sequence[Sample],
    method: str,
    strategy: GranularityAggregationStrategy,
    *,
    n_steps: int = 32,
    batch_size: int | None = None,
    on_texts: Callable[[int], object] = lambda n: None,
) -> list[Float[Tensor, "t g c"]]:
    """Effects on what samples are aimed at, one for each sample."""
    if method != "ablation" and not explainer.has_differentiable_displacement:
        raise ModelError(
            f"`method`: no gradient passes through the decoder of {type(explainer).__name__}; use method='ablation'."
        )
    runs: dict[str, Callable[[Downstream], Tensor]] = {
        "gradient": gradient,
        "gradient_x_concept": gradient_x_concept,
        "integrated_gradients": partial(integrated_gradients, n_steps=n_steps),
        "ablation": ablation,
    }
    return sweep_downstream(explainer, task, samples, strategy, batch_size=batch_size, run=runs[method], on_texts=on_texts)


def check_method(method: str) -> None:
    if method not in METHODS:
        raise OptionError(f"`method`: got {method!r}; pass one of {', '.join(map(repr, METHODS))}.")


def gradient(upper: Downstream) -> Float[Tensor, "t u c"]:
    """∂f/∂c at the concepts that the model has."""
    return upper.gradients(upper.concepts[None])[:, 0]


def gradient_x_concept(upper: Downstream) -> Float[Tensor, "t u c"]:
    """Gradient times concept, c ⊙ ∂f/∂c: to first order, what the score loses when a concept goes to zero."""
    return gradient(upper) * upper.concepts


def integrated_gradients(upper: Downstream, n_steps: int) -> Float[Tensor, "t u c"]:
    """The integral c ⊙ ∫₀¹ ∂f/∂c (αc) dα, by Gauss and Legendre's rule; sums to the scores' gap between c and no concepts."""
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    steps = torch.from_numpy(np.stack([(nodes + 1) / 2, weights / 2])).to(upper.concepts)
    total: Any = 0.0
    for alphas, shares in zip(steps[0].split(upper.copies), steps[1].split(upper.copies), strict=True):
        gradients = upper.gradients(alphas[:, None, None] * upper.concepts)
        total = total + torch.einsum("m,tmuc->tuc", shares, gradients)
    return total * upper.concepts


@torch.no_grad()
def ablation(upper: Downstream) -> Float[Tensor, "t u c"]:
    """What the score loses when one concept of one unit is set to zero; exactly zero where it is zero already.

    One copy of the batch ablates the same concept of the same unit in all its texts.
    """
    concepts, counts = upper.concepts, upper.units.counts
    first = torch.tensor([0, *counts[:-1]]).cumsum(0)
    places = [
        (rows, k)
        for j in range(max(counts))
        for rows in [[int(first[i]) + j for i in range(len(counts)) if j < counts[i]]]
        for k in concepts[rows].any(0).nonzero()[:, 0].tolist()
    ]
    base = upper.scores(concepts[None])[0]
    values = concepts.new_zeros(base.shape[-1], *concepts.shape)
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    for start in range(0, len(places), upper.copies):
        part = places[start : start + upper.copies]
        changed = concepts.repeat(len(part), 1, 1)
        for copy, (rows, k) in enumerate(part):
            changed[copy, rows, k] = 0.0
        for (rows, k), scores in zip(part, upper.scores(changed), strict=True):
            values[:, rows, k] = (base - scores)[owner[rows]].T.to(values)
    return values * (concepts != 0).to(values)  # beside other texts, a concept that is zero is ablated too


def normalized(attributions: Sequence[Float[Tensor, ...]]) -> list[Tensor]:
    """Each target's values over units and concepts, divided by the sum of their sizes; all zero where that is zero."""
    totals = [values.abs().sum((1, 2), keepdim=True) for values in attributions]
    return [values / torch.where(total > 0, total, 1.0) for values, total in zip(attributions, totals, strict=True)]
