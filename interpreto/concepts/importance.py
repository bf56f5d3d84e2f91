"""Importance of concepts: gradients and effects of a model's outputs in its concepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.downstream import Downstream, DownstreamBatch
from interpreto.errors import ModelError
from interpreto.inputs.samples import Sample
from interpreto.progress import progress_bar
from interpreto.quadrature import gauss_legendre
from interpreto.validation import check_choice, check_count

Method = Literal["gradient", "gradient_x_concept", "integrated_gradients", "ablation"]
METHODS: tuple[str, ...] = get_args(Method)


def effects_of(
    downstream: Downstream,
    samples: Sequence[Sample],
    method: str,
    *,
    n_steps: int = 32,
    batch_size: int | None = None,
    tqdm_bar: bool | None = None,
) -> list[Float[Tensor, "t g c"]]:
    """Compute the effect of each concept of each unit on the targets of samples.

    Args:
        downstream: The model downstream of the split point.
        samples: The texts, with their units and targets.
        method: One of `METHODS`; see `ConceptExplainer.concept_output_attribution`.
        n_steps: Points of the integral.
        batch_size: Texts per pass; None: as the splitter has it.
        tqdm_bar: Show the texts done; None: after two seconds, in terminals and notebooks.

    Returns:
        A tensor ``(t, g, c)`` for each sample, in order, on the CPU.

    Raises:
        OptionError: there is no such method, or a number is out of range.
        ModelError: no gradient passes through the decoder, or effects are not finite.
    """
    effect, budget = _effect(downstream, method, n_steps), downstream.splitter.budget(batch_size)
    with progress_bar(desc=method, unit=" texts", total=len(samples), shown=tqdm_bar) as bar:

        def step(picked: list[int]) -> list[Tensor]:
            batch = downstream.batch([samples[i] for i in picked], budget)
            values = effect(batch)
            if not values.isfinite().all():
                raise ModelError("`model`: gradients or scores in its concepts are not finite (NaN or infinity).")
            bar.update(len(picked))
            return [part.detach().cpu() for part in batch.by_text(values)]

        return downstream.map(samples, step, budget)


def _effect(downstream: Downstream, method: str, n_steps: int) -> Callable[[DownstreamBatch], Tensor]:
    check_choice(method, "method", METHODS)
    effects: dict[str, Callable[[DownstreamBatch], Tensor]] = {
        "gradient": gradient,
        "gradient_x_concept": gradient_x_concept,
        "integrated_gradients": partial(integrated_gradients, n_steps=check_count(n_steps, "n_steps")),
        "ablation": ablation,
    }
    if method != "ablation" and not downstream.explainer.has_differentiable_displacement:
        raise ModelError(
            f"`method`: no gradient passes through the decoder of {type(downstream.explainer).__name__}; use method='ablation'."
        )
    return effects[method]


def gradient(batch: DownstreamBatch) -> Float[Tensor, "t u c"]:
    """Compute ∂f/∂c at the concepts that the model has."""
    return batch.gradients(batch.concepts[None])[:, 0]


def gradient_x_concept(batch: DownstreamBatch) -> Float[Tensor, "t u c"]:
    """Compute c ⊙ ∂f/∂c: to first order, what the score loses when a concept goes to zero."""
    return batch.gradients(batch.concepts[None])[:, 0] * batch.concepts


def integrated_gradients(batch: DownstreamBatch, n_steps: int) -> Float[Tensor, "t u c"]:
    """Compute c ⊙ ∫₀¹ ∂f/∂c (αc) dα by Gauss and Legendre's rule; it sums to the scores' gap between c and no concepts."""
    steps = torch.stack(gauss_legendre(n_steps)).to(batch.concepts)
    total: Any = 0.0
    for alphas, shares in zip(steps[0].split(batch.copies), steps[1].split(batch.copies), strict=True):
        gradients = batch.gradients(alphas[:, None, None] * batch.concepts)
        total = total + torch.einsum("m,tmuc->tuc", shares, gradients)
    return total * batch.concepts


@torch.no_grad()
def ablation(batch: DownstreamBatch) -> Float[Tensor, "t u c"]:
    """Compute what the score loses when one concept of one unit is set to zero; exactly zero where it is zero already.

    One copy of the batch ablates the same concept of the same unit in all its texts.
    """
    concepts, counts = batch.concepts, batch.units.counts
    first = torch.tensor([0, *counts[:-1]]).cumsum(0)
    places = [
        (rows, k)
        for j in range(max(counts))
        for rows in [[int(first[i]) + j for i in range(len(counts)) if j < counts[i]]]
        for k in concepts[rows].any(0).nonzero()[:, 0].tolist()
    ]
    base = batch.scores(concepts[None])[0]
    values = concepts.new_zeros(base.shape[-1], *concepts.shape)
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    for start in range(0, len(places), batch.copies):
        part = places[start : start + batch.copies]
        changed = concepts.repeat(len(part), 1, 1)
        for copy, (rows, k) in enumerate(part):
            changed[copy, rows, k] = 0.0
        for (rows, k), scores in zip(part, batch.scores(changed), strict=True):
            values[:, rows, k] = (base - scores)[owner[rows]].T.to(values)
    return values * (concepts != 0).to(values)  # a text whose own concept is zero is in the copy because of others


def normalized(effects: Sequence[Float[Tensor, ...]]) -> list[Tensor]:
    """Divide each target's values by the sum of their sizes over units and concepts; all are zero where that is zero."""
    totals = [values.abs().sum((1, 2), keepdim=True) for values in effects]
    return [values / torch.where(total > 0, total, 1.0) for values, total in zip(effects, totals, strict=True)]
