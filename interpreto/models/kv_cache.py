"""The part that altered copies of a text share: its keys and values are computed once."""

from __future__ import annotations

from typing import Any

from torch import Tensor

Past = Any
"""A cache of transformers, filled."""


class Prefix:
    """Keys and values of a text's tokens, layer by layer, of which any beginning can be handed to copies.

    They are recorded in a cache that keeps every token of every layer, also of those that attend within a window: such a
    model masks what its window does not reach.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], length: int) -> None:
        self.layers, self.length = layers, length

    def past(self, length: int, rows: int) -> Past:
        """A cache of the first ``length`` tokens, for this many rows."""
        cache = new_cache()
        for i, (keys, values) in enumerate(self.layers):
            cache.update(keys[:, :, :length].expand(rows, -1, -1, -1), values[:, :, :length].expand(rows, -1, -1, -1), i)
        return cache


def new_cache() -> Past:
    """An empty cache. It is told no config, so that no layer forgets what left its window."""
    from transformers import DynamicCache  # noqa: PLC0415  (only language models need it)

    return DynamicCache()


def recorded(cache: Past, length: int) -> Prefix | None:
    """What a run left in its cache; None where a layer keeps another state than keys and values for each token."""
    if hasattr(cache, "layers"):
        layers = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
    else:  # before transformers 4.54
        layers = list(zip(cache.key_cache, cache.value_cache, strict=True))
    whole = [
        (keys, values)
        for keys, values in layers
        if isinstance(keys, Tensor) and isinstance(values, Tensor) and keys.ndim == 4 and keys.shape[2] == length
    ]
    return Prefix(whole, length) if whole and len(whole) == len(layers) else None
