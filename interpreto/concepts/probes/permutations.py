"""Permutations of labels: the distribution of a statistic where labels say nothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.concepts.probes.labeled_rows import LabeledRows

CELLS = 4_000_000  # entries of a block of permuted labels


def permuted_gaps(data: LabeledRows, values: Float[Tensor, "n t"], count: int, generator: Generator) -> Float[Tensor, "b c t"]:
    """Compute the mean of values over rows with a concept, less the mean over the others, for permuted labels.

    Labels of whole texts are permuted among the texts; where rows of a text differ, they are permuted within each text.

    Args:
        data: Labels and texts.
        values: Some numbers of each row.
        count: Number of permutations.
        generator: Draws them.
    """
    labels, sums, sizes, keys = _exchangeable(data, values)
    found = []
    for order in _orders(keys, count, labels.shape[1], generator):
        moved = labels[order]  # (b, e, c)
        with_it = torch.einsum("bec,et->bct", moved, sums) / (moved * sizes[:, None]).sum(1)[..., None]
        without = torch.einsum("bec,et->bct", 1 - moved, sums) / ((1 - moved) * sizes[:, None]).sum(1)[..., None]
        found.append(with_it - without)
    return torch.cat(found)


def _exchangeable(data: LabeledRows, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return labels, sums of values and numbers of rows of what is permuted, and what stays within what."""
    if not data.labels_are_of_texts:
        order = torch.argsort(data.groups, stable=True)
        return data.labels[order], values[order], values.new_ones(len(values)), data.groups[order].double()
    sums = values.new_zeros(data.texts, values.shape[1]).index_add_(0, data.groups, values)
    sizes = torch.bincount(data.groups, minlength=data.texts).to(values)
    return data.of_texts(data.labels), sums, sizes, torch.zeros_like(sizes)


def _orders(keys: Float[Tensor, " e"], count: int, columns: int, generator: Generator) -> Iterator[Tensor]:
    """Yield blocks of random orders ``(b, e)`` that keep the keys in order."""
    block = max(1, CELLS // (len(keys) * columns))
    for start in range(0, count, block):
        draws = torch.rand(min(block, count - start), len(keys), generator=generator, dtype=torch.float64)
        yield (keys + draws.to(keys.device)).argsort(1)


def holm(p_values: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Return p-values that stay below a level, with that probability at most, if any of them is false (Holm).

    References:
        Holm, Scandinavian Journal of Statistics 1979, https://www.jstor.org/stable/4615733.

    Examples:
        >>> holm(torch.tensor([0.01, 0.04, 0.03]))
        tensor([0.0300, 0.0600, 0.0600])
    """
    flat = p_values.flatten()
    order = flat.argsort()
    factors = torch.arange(len(flat), 0, -1).to(flat)
    adjusted = torch.empty_like(flat)
    adjusted[order] = (flat[order] * factors).cummax(0).values.clamp(max=1)
    return adjusted.reshape(p_values.shape)
