"""Perturbators for methods that compare an input with a baseline itself, or with a background of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from interpreto.attributions.perturbations.base import EmbeddingsPerturbator, on_units
from interpreto.attributions.perturbations.embeddings import check_baseline
from interpreto.errors import OptionError
from interpreto.inputs.samples import EmbeddingVariants, Sample
from interpreto.models.embeddings import InputSpace
from interpreto.validation import check_count, shown

Background = Sequence[str] | Tensor | None
"""Texts; baselines ``(k, d)`` or ``(k, l, d)``; None: random tokens of the vocabulary."""


class BaselinePerturbator(EmbeddingsPerturbator):
    """Return the input alone, and the direction from a baseline to it.

    Args:
        baseline: A `Baseline`.
    """

    stays = True

    def __init__(self, baseline: Any = "zero") -> None:
        self.baseline = check_baseline(baseline)

    def __call__(self, sample: Sample, space: InputSpace, generator: Generator) -> EmbeddingVariants:
        embeddings = space.embed(sample)
        step = on_units(embeddings - space.baseline(self.baseline, embeddings, sample), sample)
        return EmbeddingVariants(sample, embeddings[None], step[None], baseline=embeddings - step)


class BackgroundPerturbator(EmbeddingsPerturbator):
    """Draw baselines from a background: one for each point, which is the input, or a random one between the two.

    A text of the background is cut, or repeated, to the length of the input's units, token by token. Tokens in no unit keep
    their embeddings, as ever. A background of more baselines than points is drawn from without replacement; one of fewer is
    used evenly.

    Args:
        background: Texts; a tensor of baselines ``(k, d)`` or ``(k, l, d)``; None: random tokens of the vocabulary.
        n_perturbations: Number of points.
        tokenizer: Reads the texts.
        between: Points are random ones on the lines from the baselines to the input; else each is the input.
    """

    def __init__(self, background: Background, n_perturbations: int, tokenizer: Any, *, between: bool) -> None:
        self.n_perturbations, self.between = check_count(n_perturbations, "n_perturbations"), between
        self.stays = not between
        self.background = read_background(background, tokenizer)
        self.vocabulary = ordinary_ids(tokenizer) if self.background is None else None

    def __call__(self, sample: Sample, space: InputSpace, generator: Generator) -> EmbeddingVariants:
        x, p = space.embed(sample), self.n_perturbations
        starts = torch.stack([x - on_units(x - start, sample) for start in self._starts(sample, space, x, generator)])
        step = x - starts
        points = x.expand(p, *x.shape)
        if self.between:
            points = starts + torch.rand(p, 1, 1, generator=generator, dtype=torch.float32).to(x) * step
        return EmbeddingVariants(sample, points, step, baseline=starts)

    def _starts(self, sample: Sample, space: InputSpace, x: Float[Tensor, "l d"], generator: Generator) -> list[Tensor]:
        """Return a baseline for each point."""
        known, p, size = self.background, self.n_perturbations, int(sample.units.free.sum())
        if known is None:
            assert self.vocabulary is not None
            drawn = self.vocabulary[torch.randint(len(self.vocabulary), (p, size), generator=generator)]
            return [self._embedded(ids, sample, space) for ids in drawn]
        order = torch.cat([torch.randperm(len(known), generator=generator) for _ in range(-(-p // len(known)))])[:p].tolist()
        if isinstance(known, Tensor):
            return [space.baseline(known[i], x, sample) for i in order]
        found = {i: self._embedded(known[i].repeat(-(-size // len(known[i])))[:size], sample, space) for i in set(order)}
        return [found[i] for i in order]

    @staticmethod
    def _embedded(ids: Int[Tensor, " m"], sample: Sample, space: InputSpace) -> Float[Tensor, "l d"]:
        """Return the embeddings of a sample with other tokens in the places of its units."""
        row = sample.input_ids.clone()
        row[sample.units.free] = ids
        return space.rows(row, sample)


def read_background(background: Any, tokenizer: Any) -> list[Int[Tensor, " m"]] | Tensor | None:
    """Return a background that can be used: ids of texts, or baselines.

    Raises:
        OptionError: it is something else, or empty.
    """
    if background is None:
        return None
    if isinstance(background, Tensor) and background.ndim in (2, 3) and len(background):
        return background
    if isinstance(background, (list, tuple)) and background and all(isinstance(text, str) for text in background):
        found = [torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in background]
        empty = next((text for text, ids in zip(background, found, strict=True) if not len(ids)), None)
        if empty is None:
            return found
        raise OptionError(f"`background`: the text {empty!r} has no token; leave it out.")
    raise OptionError(
        f"`background`: got {shown(background)}; pass a list of texts, a tensor of baselines (k, d) or (k, l, d), or None."
    )


def ordinary_ids(tokenizer: Any) -> Int[Tensor, " v"]:
    """Return the ids of a tokenizer that are not special.

    Raises:
        OptionError: there is no tokenizer, as images have none.
    """
    if not hasattr(tokenizer, "all_special_ids"):
        raise OptionError(
            f"`background`: random tokens need a tokenizer, and {type(tokenizer).__name__} is none; pass a tensor of baselines "
            "(k, l, d). For images, use DeepLift or IntegratedGradients with a `baseline`."
        )
    special = set(getattr(tokenizer, "all_special_ids", ()))
    return torch.tensor([i for i in range(len(tokenizer)) if i not in special])
