"""Keys and values of a text's tokens, recorded once and handed to every perturbed input that begins with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Past = Any
"""A cache of transformers, or one pair of tensors per layer, as older models take it."""

UNFILLED: Past = ()
"""Asks a model for a cache of its own making."""


class Prefix:
    """Keys and values of a text's tokens, layer by layer.

    They are recorded in a cache that keeps every token of every layer, also of those that attend within a window: such a
    model masks what its window does not reach.

    Args:
        layers: Keys and values ``(1, heads, length, width)`` of each layer.
        length: Tokens that are recorded.
        pairs: The model takes pairs of tensors in place of a cache object.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], length: int, pairs: bool = False) -> None:
        self.layers, self.length, self.pairs = layers, length, pairs

    def past(self, length: int, rows: int) -> Past:
        """Return a cache of the first ``length`` tokens for ``rows`` rows."""
        begun = [tuple(part[:, :, :length].expand(rows, -1, -1, -1) for part in layer) for layer in self.layers]
        if self.pairs:
            return tuple(begun)
        cache = new_cache()
        for i, (keys, values) in enumerate(begun):
            cache.update(keys, values, i)
        return cache


def new_cache() -> Past:
    """Return an empty cache. It is told no config, so that no layer forgets what left its window."""
    from transformers import DynamicCache  # noqa: PLC0415  (only language models need it)

    return DynamicCache()


def recorded(cache: Past, length: int) -> Prefix | None:
    """Return what a run left in its cache; None where a layer keeps another state than keys and values for each token."""
    layers = _layers(cache)
    whole = [
        (keys, values)
        for keys, values in layers
        if isinstance(keys, Tensor) and isinstance(values, Tensor) and keys.ndim == 4 and keys.shape[2] == length
    ]
    return Prefix(whole, length, isinstance(cache, tuple)) if whole and len(whole) == len(layers) else None


def _layers(cache: Past) -> list[tuple[Any, Any]]:
    if hasattr(cache, "layers"):
        return [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
    if hasattr(cache, "key_cache"):  # before transformers 4.54
        return list(zip(cache.key_cache, cache.value_cache, strict=True))
    if isinstance(cache, tuple) and all(isinstance(layer, tuple) and len(layer) == 2 for layer in cache):
        return [(keys, values) for keys, values in cache]  # GPT-2 before transformers 4.54
    return []


@contextmanager
def returned_caches(model: nn.Module) -> Iterator[list[Past]]:
    """Context manager that collects the caches that a model returns with its outputs."""
    found: list[Past] = []

    def note(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        found.append(getattr(output, "past_key_values", None))

    handle = model.register_forward_hook(note)
    try:
        yield found
    finally:
        handle.remove()
