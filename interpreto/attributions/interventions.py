"""Evidence of replacements by texts: the mean over their draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from interpreto.attributions.aggregations.base import t_ratio
from interpreto.attributions.evidence import Evidence, Explained, Parts
from interpreto.inputs.samples import Sample
from interpreto.models.protocol import Need


class OverDraws(Evidence):
    """Explanations averaged over the draws of a replacement by texts.

    Attributions are means of linear functions of the scores, so that those of the mean score are the mean of theirs. The
    standard error of draws from a background is added to that of sampled masks.

    Args:
        inner: How the model is questioned for each draw.
    """

    needs: ClassVar[Need] = "scores"

    def __init__(self, inner: Evidence) -> None:
        self.inner = inner

    def estimates(self, model: Any, samples: Sequence[Sample], parts: Parts) -> Iterator[Explained]:
        counts = [model.draws(sample) for sample in samples]
        found: list[list[Explained]] = [[] for _ in samples]
        for draw in range(max(counts, default=0)):
            some = [i for i, count in enumerate(counts) if draw < count]
            given = [found[i][0].sample if found[i] else samples[i] for i in some]
            own = self.inner.estimates(model.with_draw(draw), given, parts)
            for i, explained in zip(some, own, strict=True):
                found[i].append(explained)
        yield from (_mean(draws, model.samples_draws) for draws in found)


def _mean(draws: Sequence[Explained], sampled: bool) -> Explained:
    """Return the mean explanation of a sample over its draws."""
    first = draws[0].estimate
    values, error = _pooled([(one.estimate.values, one.estimate.standard_error) for one in draws], sampled)
    interactions = first.interactions
    if interactions is not None:
        together = [one.estimate.interactions for one in draws]
        own, wide = _pooled([(one.values, one.standard_error) for one in together if one is not None], sampled)
        interactions = replace(interactions, values=own, standard_error=wide, exact=interactions.exact and not sampled)
    references = [one.estimate.reference for one in draws]
    reference = torch.stack([one for one in references if one is not None]).mean(0) if references[0] is not None else None
    stopped = next((one.estimate.stopped for one in draws if str(one.estimate.stopped).startswith("budget")), first.stopped)
    estimate = replace(
        first, values=values, standard_error=error, reference=reference, stopped=stopped, interactions=interactions
    )
    return replace(draws[0], estimate=estimate)


def _pooled(draws: Sequence[tuple[Tensor, Tensor | None]], sampled: bool) -> tuple[Tensor, Tensor | None]:
    """Return the mean of values over draws, and its standard error: the mean error, and the spread of sampled draws."""
    values = torch.stack([value.double() for value, _ in draws])
    errors = [error.double() for _, error in draws if error is not None]
    error = torch.stack(errors).mean(0) if len(errors) == len(draws) else None
    if sampled:
        spread = values.std(0, unbiased=len(draws) > 1) / len(draws) ** 0.5 * t_ratio(len(draws) - 1)
        error = spread if error is None else (error.square() + spread.square()).sqrt()
    return values.mean(0), error
