"""Value zeroing: each block of layers run again with the value of one token at a time set to zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.models.attention import AttentionMap, AttentionReader, Kind
from interpreto.models.batching import Budget, map_batches
from interpreto.models.watching import watching
from interpreto.models.wrappers import model_name


@dataclass(eq=False)
class BlockCall:
    """One run of a block.

    Attributes:
        output: The hidden states that it returned.
        maps: Kind and keys of each attention in it.
    """

    block: nn.Module
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    output: Tensor | None = None
    maps: list[tuple[Kind, int]] = field(default_factory=list)


class BlockCalls:
    """Records the runs of blocks in a pass, by hooks.

    Args:
        blocks: The blocks, by name.
    """

    def __init__(self, blocks: Mapping[str, nn.Module]) -> None:
        self._blocks = blocks
        self.calls: list[BlockCall] = []
        self._running: list[BlockCall] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Context manager in which runs are recorded."""
        handles = []
        for block in self._blocks.values():
            handles.append(block.register_forward_pre_hook(self._begin, with_kwargs=True))
            handles.append(block.register_forward_hook(self._end))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, block: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._running.append(BlockCall(block, arguments, options))

    def _end(self, _block: nn.Module, _arguments: Any, output: Any) -> None:
        call = self._running.pop()
        call.output = first_tensor(output)
        if not self._running and call.maps:
            self.calls.append(call)

    def see(self, layer: AttentionMap) -> Tensor:
        """Take an attention map of the block that is running."""
        if not self._running:
            raise ModelError(f"`model`: {layer.module!r} attends outside of a block, which value zeroing runs again.")
        self._running[0].maps.append((layer.kind, layer.weights.shape[-1]))
        return layer.weights


def first_tensor(output: Any) -> Tensor:
    """Return the hidden states in what a block returns."""
    return output[0] if isinstance(output, (tuple, list)) else output


def zeroed(model: nn.Module, calls: list[BlockCall], budget: Budget) -> Iterator[tuple[Kind, Float[Tensor, "1 q k"]]]:
    """Yield, for each attention of recorded blocks, how much each query's output turns when a key's value is zero.

    Args:
        model: The model that the blocks are of; blocks ran on one row.
        calls: The runs.
        budget: Size of a batch: rows of a block are counted.

    Returns:
        Kind of the attention, and one minus the cosine of the outputs with and without each value.

    Raises:
        ModelError: a block does not have rows before tokens.
    """
    for call in calls:
        assert call.output is not None
        axis = 0 if len(call.output) == 1 else 1  # XLNet has tokens before rows
        if call.output.ndim != 3 or call.output.shape[axis] != 1:
            raise ModelError(
                f"`model`: blocks of {model_name(model)} have hidden states {tuple(call.output.shape)} for one text; value "
                "zeroing needs one vector per token. Use AttentionRollout or GenericAttention."
            )
        length = call.output.shape[1 - axis]
        for number, (kind, keys) in enumerate(call.maps):
            turned = map_batches([length] * keys, _step(model, call, number, axis), budget)
            yield kind, turned.T[None].to(call.output.device)


def shares_of(turned: Float[Tensor, "1 q k"]) -> Float[Tensor, "1 q k"]:
    """Return rows that sum to 1; of a query that no value turns, the share of the token at its place is 1."""
    turned = turned.clamp(min=0)
    total = turned.sum(-1, keepdim=True)
    own = torch.eye(turned.shape[1], turned.shape[2], dtype=turned.dtype, device=turned.device)
    return torch.where(total > 0, turned / torch.where(total > 0, total, torch.ones_like(total)), own)


def _step(model: nn.Module, call: BlockCall, number: int, axis: int) -> Callable[[list[int]], Float[Tensor, "c q"]]:
    """Return a function that runs a block with the values of some keys zero, each in a copy of its own."""

    def turn(picked: list[int]) -> Float[Tensor, "c q"]:
        done = []

        def edit(n: int, weights: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            if n != number:
                return weights, values
            done.append(n)
            kept = torch.ones(len(picked), values.shape[2], dtype=values.dtype, device=values.device)
            kept[torch.arange(len(picked)), torch.tensor(picked)] = 0
            return weights, values * kept[:, None, :, None]

        def copied(value: Any) -> Any:
            return _copied(value, len(picked), axis)

        arguments, options = [copied(value) for value in call.arguments], {k: copied(v) for k, v in call.options.items()}
        with torch.no_grad(), watching(model, AttentionReader(model, len(picked), edit)):
            output = first_tensor(call.block(*arguments, **options))
        if not done:
            raise ModelError(f"`model`: a block of {model_name(model)} attends only the first time it is run.")
        assert call.output is not None
        turned = 1 - torch.cosine_similarity(output.double(), call.output.double(), dim=-1)
        return (turned.T if axis else turned).float()

    return turn


def _copied(value: Any, count: int, axis: int) -> Any:
    """Return an argument of a block for several copies of its row; positions serve them all as they are."""
    if isinstance(value, Tensor) and not value.is_floating_point() and value.dtype is not torch.bool:
        return value
    if isinstance(value, Tensor) and axis == 0 and value.ndim >= 2 and len(value) == 1:
        return value.expand(count, *value.shape[1:])
    if isinstance(value, Tensor) and axis == 1 and value.ndim == 3 and value.shape[1] == 1:
        return value.expand(-1, count, -1)
    if isinstance(value, tuple) and all(isinstance(part, Tensor) for part in value):
        return tuple(_copied(part, count, axis) for part in value)
    return value
