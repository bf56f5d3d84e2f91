"""Several processes that train one model: each takes a part of every batch, and gradients are summed over all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.concepts.saes.sparse_codes import least_of_largest
from interpreto.errors import OptionError


class Part(NamedTuple):
    """A part of a batch, for one process.

    Attributes:
        rows: Its rows; where there are fewer than processes, maybe a row of zeros that does not count.
        places: Where in the batch its rows are; that row of zeros is nowhere.
        share: Factor of the mean over them in the mean over the batch.
        total: Rows of the batch.
    """

    rows: Float[Tensor, "b d"]
    places: Int[Tensor, " r"]
    share: float
    total: int

    @property
    def counts(self) -> bool:
        """Return False where there is no row of the batch."""
        return self.share > 0


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, of which this is one.

    All of them hold the same weights, and share the same batches. Each computes the gradient of a part of a batch; the sum over
    all parts is the gradient of the batch, as one process would have computed it.

    Attributes:
        rank: Number of this process, from 0.
        world: Number of processes.
    """

    rank: int = 0
    world: int = 1

    @staticmethod
    def of_this_training(distributed: bool) -> Ranks:
        """Return the processes of the default group; where training is not distributed, this one alone.

        Raises:
            OptionError: there is no group.
        """
        if not distributed:
            return ALONE
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise OptionError(
                "`distributed`: got True, and torch.distributed is not initialized; start the script with torchrun, and call "
                'torch.distributed.init_process_group("nccl" or "gloo") before `fit`.'
            )
        return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def part(self, rows: Float[Tensor, "b d"], places: Int[Tensor, " b"], total: int) -> Part:
        """Return this process's part of a batch.

        Args:
            rows: Its rows, normalized.
            places: Where in the batch they are.
            total: Rows of the batch.
        """
        return Part(rows if len(rows) else rows.new_zeros(1, rows.shape[1]), places, len(rows) / total, total)

    def total(self, number: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.world == 1:
            return number
        total = number.clone()
        torch.distributed.all_reduce(total)
        return total

    def any(self, flags: Tensor) -> Tensor:
        """Return where a flag is set in some process."""
        return flags if self.world == 1 else self.total(flags.int()) > 0

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for pending in [torch.distributed.all_reduce(gradient, async_op=True) for gradient in gradients]:
            if pending is not None:
                pending.wait()

    def share_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of the first process."""
        if self.world == 1:
            return
        for tensor in tensors:
            torch.distributed.broadcast(tensor, 0)

    def gathered(self, rows: Tensor, part: Part) -> Tensor:
        """Return what all processes have of their rows as one batch, in its order.

        Args:
            rows: Something of each row of this process's part.
            part: The part.
        """
        if self.world == 1:
            return rows
        whole = rows.new_zeros(part.total, *rows.shape[1:])
        if part.counts:
            whole[part.places.to(rows.device)] = rows
        torch.distributed.all_reduce(whole)  # each place is of one process, and zero in the others
        return whole

    def candidates(self, values: Tensor, count: int) -> Tensor:
        """Return numbers among which the ``count`` largest of all processes are; of one process, its own."""
        if self.world == 1:
            return values
        flat = values.detach().flatten()
        own = flat.topk(min(count, len(flat)), sorted=False).values
        padded = torch.cat([own, own.new_zeros(count - len(own))])
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        torch.distributed.all_gather(parts, padded)
        return torch.cat(parts)

    def least_of_batch(self, values: Float[Tensor, "b c"], weights: Float[Tensor, " b"], k: int) -> Float[Tensor, ""]:
        """Return the least of the largest positive pre-activations of a batch, ``k`` per ordinary row of all processes.

        Args:
            values: Pre-activations of this process's part of the batch.
            weights: Weight of each of its rows; 1 for ordinary rows. Where no process has one, all rows count.
            k: Concepts per row, on average.
        """
        ordinary = weights == 1
        own, count = int(ordinary.sum()), int(self.total(ordinary.sum()))
        if count == 0:
            ordinary = weights > 0
            own, count = int(ordinary.sum()), int(self.total(ordinary.sum()))
        among = values if own == len(values) else values[ordinary]
        return least_of_largest(self.candidates(among, k * count), k * count)

    def check_alike(self, facts: str, device: torch.device) -> None:
        """Raise an `OptionError` unless all processes train the same.

        Args:
            facts: Says what is trained, and on what.
            device: Where this process computes.
        """
        if self.world == 1:
            return
        digest = int.from_bytes(hashlib.sha256(facts.encode()).digest()[:6], "big")
        least = torch.tensor([digest, -digest], device=device)
        torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN)
        if int(least[0]) != -int(least[1]):
            raise OptionError(
                f"`distributed`: process {self.rank} of {self.world} trains something else than another one; call `fit` with "
                f"the same options and activations in each. This one has {facts}."
            )


ALONE = Ranks()
