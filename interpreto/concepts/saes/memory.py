"""Memory of training steps: large tensors of a step that the next one uses again."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Memory:
    """Lends tensors, and lends those that come back again.

    The C library gets each large tensor from the system, a page at a time, and returns it when it is freed: to write a new
    tensor then takes three times as long as to write an old one.

    Args:
        keeps: Keep what comes back. False outside trainings, which would not free it.
    """

    def __init__(self, keeps: bool = True) -> None:
        self.keeps = keeps
        self.lent: set[int] = set()
        self.free: dict[tuple[object, ...], list[Tensor]] = {}

    def take(self, *shape: int, like: Tensor) -> Tensor:
        """Return an uninitialized tensor of the dtype and on the device of another one."""
        there = self.free.get((shape, like.dtype, like.device))
        found = there.pop() if there else torch.empty(shape, dtype=like.dtype, device=like.device)
        if self.keeps:
            self.lent.add(found.data_ptr())
        return found

    def give_back(self, tensors: Iterable[Tensor | None]) -> None:
        """Take back those of the tensors that were lent; the others are not held."""
        for tensor in tensors:
            if tensor is not None and tensor.data_ptr() in self.lent:
                self.lent.remove(tensor.data_ptr())
                self.free.setdefault((tuple(tensor.shape), tensor.dtype, tensor.device), []).append(tensor.detach())


UNKEPT = Memory(keeps=False)
