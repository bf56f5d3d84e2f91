"""Importance of concepts by the share of a score's variance that each is part of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.downstream import Downstream, DownstreamBatch
from interpreto.errors import TargetError
from interpreto.validation import check_count, check_seed


@dataclass(frozen=True, eq=False)
class SobolImportance:
    """Total Sobol indices of concepts.

    Attributes:
        values: Mean over the texts of each concept's total index, ``(c,)``: the share of the variance of the score, as all
            concepts fade at random, that is gone where this concept is known not to. NaN where no score varies.
        standard_error: Of the means over the texts, ``(c,)``; NaN for one text.
        by_text: Of each text, ``(n, c)``; NaN for a text whose score does not vary.
    """

    values: Float[Tensor, " c"]
    standard_error: Float[Tensor, " c"]
    by_text: Float[Tensor, "n c"]


def sobol_importance(
    concepts: ConceptExplainer,
    inputs: Any,
    targets: Any = None,
    n_masks: int = 64,
    *,
    activation_granularity: Any = None,
    inference_mode: Any = None,
    random_state: int = 0,
) -> SobolImportance:
    """Compute the importance of concepts for a score: total Sobol indices over factors of their amounts in [0, 1].

    The amount of each concept in all units of a text is multiplied by a factor; factors are drawn by a scrambled Sobol
    sequence, and indices estimated as Jansen does, which takes ``n_masks · (c + 2)`` scores of each text.

    Args:
        concepts: Fitted concepts with a splitter.
        inputs: Texts, or any other form that the splitter reads.
        targets: One for all inputs, or one for each; of a classifier by number or name.
        n_masks: Number of masks of a design.
        activation_granularity: The unit that the concepts were learned of; None: the splitter's own.
        inference_mode: The score; see `InferenceModes`. None: logits of a classifier.
        random_state: Seed of the masks.

    Raises:
        TargetError: an input has several targets.

    References:
        Jansen, Computer Physics Communications 1999, https://doi.org/10.1016/S0010-4655(98)00154-4; over concepts, Jourdan
        et al., Findings of ACL 2023, https://arxiv.org/abs/2305.06754.
    """
    check_count(n_masks, "n_masks", 2)
    downstream = Downstream(concepts, activation_granularity, inference_mode=inference_mode)
    samples = downstream.samples_with_targets(inputs, targets)
    for i, sample in enumerate(samples):
        if sample.targets is None or len(sample.targets) != 1:
            raise TargetError(f"`targets`: input {i} has several; pass one for each input, or one for all.")
    masks = _design(n_masks, concepts.nb_concepts, check_seed(random_state))

    @torch.no_grad()
    def step(picked: list[int]) -> list[Tensor]:
        batch = downstream.batch([samples[i] for i in picked])
        return list(_indices(_scores(batch, masks.to(batch.concepts)).double(), n_masks).cpu())

    by_text = torch.stack(downstream.map(samples, step))
    known = by_text[~by_text.isnan().any(1)]
    error = known.std(0) / len(known) ** 0.5 if len(known) > 1 else torch.full_like(by_text[0], torch.nan)
    return SobolImportance(by_text.nanmean(0), error, by_text)


def _design(n: int, c: int, random_state: int) -> Float[Tensor, "s c"]:
    """Return masks A, then B, then for each concept A with the column of B, ``((c + 2) n, c)``."""
    drawn = torch.quasirandom.SobolEngine(2 * c, scramble=True, seed=random_state).draw(n, dtype=torch.float64)
    first, second = drawn[:, :c], drawn[:, c:]
    mixed = first.repeat(c, 1, 1)
    for i in range(c):
        mixed[i, :, i] = second[:, i]
    return torch.cat([first, second, mixed.flatten(0, 1)])


def _scores(batch: DownstreamBatch, masks: Float[Tensor, "s c"]) -> Float[Tensor, "s b"]:
    parts = [batch.scores(part[:, None] * batch.concepts)[..., 0] for part in masks.split(batch.copies)]
    return torch.cat(parts)


def _indices(scores: Float[Tensor, "s b"], n: int) -> Float[Tensor, "b c"]:
    """Return Jansen's total indices; NaN where scores do not vary beyond their rounding."""
    first, both = scores[:n], scores[: 2 * n]
    mixed = scores[2 * n :].unflatten(0, (-1, n))
    variance = both.var(0, correction=0)
    indices = (first - mixed).square().mean(1) / (2 * variance)
    varies = variance.sqrt() > 1e-6 * both.abs().amax(0)
    return torch.where(varies, indices, torch.nan).T
