"""Codes of which few per row are not zero: their products, and the gradients of these, without the zeros.

A step of a TopK autoencoder multiplies rows by the whole encoder once. All other products (the reconstruction, and the
gradients of codes, atoms and encoder) concern ``k`` of ``c`` concepts per row, and take ``k / c`` of the dense operations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from interpreto.concepts.saes.memory import Memory

GROUP = 32  # pre-activations of which the largest is looked at first, on a GPU
PIECE = 64  # members of a concept that a GPU sums in one go, so that a concept of all rows does not hold up the others
RATIO = 16  # concepts per code, from which on sparse products are faster than dense ones


class SparseCodes(NamedTuple):
    """The codes of a batch that may differ from zero, row after row.

    Attributes:
        values: Their amounts.
        concepts: Their concepts.
        rows: Their rows, in ascending order.
        starts: Where each row begins.
        nb_concepts: Number of all concepts.
    """

    values: Float[Tensor, " m"]
    concepts: Int[Tensor, " m"]
    rows: Int[Tensor, " m"]
    starts: Int[Tensor, " b"]
    nb_concepts: int

    @staticmethod
    def of_each(values: Float[Tensor, "b k"], concepts: Int[Tensor, "b k"], nb_concepts: int) -> SparseCodes:
        """Return ``k`` codes of each row."""
        count, k = concepts.shape
        starts = torch.arange(0, count * k, k, device=concepts.device)
        rows = torch.arange(count, device=concepts.device)[:, None].expand(-1, k).flatten()
        return SparseCodes(values.flatten(), concepts.flatten(), rows, starts, nb_concepts)

    @staticmethod
    def of_all(codes: Float[Tensor, "b c"], places: Int[Tensor, " m"]) -> SparseCodes:
        """Return the codes at some places of a batch.

        Args:
            codes: All codes of the batch, contiguous.
            places: Numbers of the places in the flat codes, in ascending order.
        """
        count, nb_concepts = codes.shape
        rows = torch.div(places, nb_concepts, rounding_mode="floor")
        starts = torch.searchsorted(places, torch.arange(0, count * nb_concepts, nb_concepts, device=places.device))
        return SparseCodes(codes.view(-1).index_select(0, places), places - rows * nb_concepts, rows, starts, nb_concepts)

    def dense(self) -> Float[Tensor, "b c"]:
        """Return all codes, zeros too."""
        codes = self.values.new_zeros(len(self.starts) * self.nb_concepts)
        return codes.scatter(0, self.rows * self.nb_concepts + self.concepts, self.values).view(-1, self.nb_concepts)

    def sums(self) -> Float[Tensor, " b"]:
        """Return the sum of the codes of each row."""
        return self.values.new_zeros(len(self.starts)).index_add(0, self.rows, self.values)


class Members(NamedTuple):
    """The codes of a batch in order of their concepts.

    Attributes:
        order: Position of each in the codes.
        rows: Row of each.
        starts: Where each concept begins.
    """

    order: Int[Tensor, " m"]
    rows: Int[Tensor, " m"]
    starts: Int[Tensor, " c"]


def in_closed_form(rows: Tensor) -> bool:
    """Return whether a step may compute in place: on the processor, in float32, without a gradient of the rows."""
    plain = rows.dtype == torch.float32 and not rows.requires_grad
    return rows.device.type == "cpu" and plain and not torch.is_autocast_enabled("cpu")


def pays(nb_concepts: int, k: int) -> bool:
    """Return whether sparse products are faster than dense ones."""
    return nb_concepts >= RATIO * k


def largest(values: Float[Tensor, "b c"], k: int) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k"]]:
    """Return the ``k`` largest numbers of each row and their columns, in any order.

    A GPU selects among all columns by many passes over them. Here it selects first among the largest of each group of columns:
    the ``k`` largest numbers are in the ``k`` groups with the largest maxima.
    """
    count = values.shape[1] // GROUP
    if values.device.type != "cuda" or values.shape[1] % GROUP or count < 4 * k:
        return values.topk(k, dim=1, sorted=False)
    return _largest_by_groups(values, k)


def _largest_by_groups(values: Float[Tensor, "b c"], k: int) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k"]]:
    grouped = values.view(len(values), -1, GROUP)
    groups = grouped.amax(2).topk(k, dim=1, sorted=False).indices
    candidates = grouped.gather(1, groups[:, :, None].expand(-1, -1, GROUP)).flatten(1)
    found, places = candidates.topk(k, dim=1, sorted=False)
    return found, groups.gather(1, places // GROUP) * GROUP + places % GROUP


def least_of_largest(values: Float[Tensor, ...], count: int) -> Float[Tensor, ""]:
    """Return the least positive number that is among the ``count`` largest.

    The maxima of groups say of most numbers that they are smaller: those of the ``count`` largest maxima hold them all.
    """
    flat = values.detach().flatten()
    count = min(count, len(flat))
    if len(flat) % GROUP == 0 and len(flat) // GROUP >= 2 * count:
        groups = flat.view(-1, GROUP)
        flat = groups.index_select(0, groups.amax(1).topk(count, sorted=False).indices).flatten()
    least = flat.topk(count, sorted=False).values.amin() if count else flat.new_zeros(())
    return least.clamp_min(torch.finfo(flat.dtype).tiny)


def fired(codes: Float[Tensor, "b c"] | SparseCodes) -> tuple[Bool[Tensor, " c"], Int[Tensor, ""]]:
    """Return which concepts a row has, and the number of all codes that are not zero."""
    if not isinstance(codes, SparseCodes) and codes.device.type == "cpu":
        active = not_zero(codes.detach())
        return active.view(torch.uint8).amax(0) > 0, torch.tensor(np.count_nonzero(active.numpy()))
    if not isinstance(codes, SparseCodes):
        rows = codes.detach().sign().abs_().sum(0, dtype=torch.float32)  # sums of bools take three times as long
        return rows > 0, rows.sum(dtype=torch.float64).long()
    active = codes.values != 0
    counts = torch.zeros(codes.nb_concepts, dtype=torch.int64, device=active.device)
    counts.scatter_add_(0, codes.concepts, active.long())
    return counts > 0, active.sum()


def not_zero(codes: Float[Tensor, "b c"]) -> Bool[Tensor, "b c"]:
    """Return which codes are not zero, of a tensor of the processor: numpy is five times as fast as torch here."""
    found = torch.empty(codes.shape, dtype=torch.bool)
    comparable = codes if codes.dtype in (torch.float32, torch.float64) else codes.float()
    np.not_equal(comparable.numpy(), 0, out=found.numpy())
    return found


def learn_chosen(
    rows: Float[Tensor, "b d"],
    k: int,
    encoder: tuple[Float[Tensor, "c d"], Float[Tensor, " c"], Float[Tensor, " d"]],
    decoder: tuple[Float[Tensor, "c e"], Float[Tensor, " e"]],
    memory: Memory,
) -> tuple[SparseCodes, Float[Tensor, "b e"]]:
    """Encode rows by their ``k`` largest positive pre-activations, and reconstruct; gradients reach all weights.

    Args:
        rows: What is encoded.
        k: Codes per row.
        encoder: Weights, bias, and what is subtracted from the rows.
        decoder: Atoms and bias.
        memory: Lends the tensor of all pre-activations.
    """
    weight, bias, center = encoder
    with torch.no_grad():
        with torch.autocast(rows.device.type, enabled=False):
            shift = bias - weight @ center
        out = memory.take(len(rows), len(weight), like=rows) if in_closed_form(rows) else None
        chosen, concepts = largest(torch.addmm(shift, rows, weight.T, out=out), k)
        memory.give_back([out])
    return learn_sparse(SparseCodes.of_each(chosen.float(), concepts, len(weight)), rows, encoder, decoder)


def learn_sparse(
    chosen: SparseCodes,
    rows: Float[Tensor, "b d"],
    encoder: tuple[Float[Tensor, "c d"], Float[Tensor, " c"], Float[Tensor, " d"]],
    decoder: tuple[Float[Tensor, "c e"], Float[Tensor, " e"]],
) -> tuple[SparseCodes, Float[Tensor, "b e"]]:
    """Reconstruct from chosen pre-activations, where they are positive; gradients reach all weights.

    Args:
        chosen: The pre-activations; all others count as zero.
        rows: What they were computed from.
        encoder: Weights, bias, and what is subtracted from the rows.
        decoder: Atoms and bias.
    """
    weight, bias, center = encoder
    atoms, offset = decoder
    with torch.no_grad():
        members = _members(chosen)
    values = _Encoded.apply(chosen.values, weight, bias, center, rows, members).relu()
    sums = embedding_bag(chosen.concepts, atoms.detach(), chosen.starts, per_sample_weights=values, mode="sum")
    return chosen._replace(values=values), _Decoded.apply(sums, atoms, values.detach(), members) + offset


def _members(codes: SparseCodes) -> Members:
    """Sort the codes of a batch by their concepts."""
    order = codes.concepts.sort(stable=True).indices
    counts = torch.zeros(codes.nb_concepts, dtype=torch.int64, device=order.device)
    counts.scatter_add_(0, codes.concepts, torch.ones_like(order))
    return Members(order, codes.rows.index_select(0, order), counts.cumsum(0) - counts)


def _sums(rows: Float[Tensor, "b d"], amounts: Float[Tensor, " m"], members: Members) -> Float[Tensor, "c d"]:
    """Return for each concept the sum of the rows that have it, times their amounts: ``codes.T @ rows``."""
    sorted_amounts = amounts.index_select(0, members.order)
    if rows.device.type != "cuda":
        return embedding_bag(members.rows, rows, members.starts, mode="sum", per_sample_weights=sorted_amounts)
    return _sums_by_pieces(rows, sorted_amounts, members)


def _sums_by_pieces(rows: Float[Tensor, "b d"], amounts: Float[Tensor, " m"], members: Members) -> Float[Tensor, "c d"]:
    """Return the sums, each as one of sums of at most ``PIECE`` rows."""
    every = torch.arange(0, len(amounts), PIECE, device=rows.device)
    starts = torch.cat([members.starts, every]).sort().values
    pieces = embedding_bag(members.rows, rows, starts, mode="sum", per_sample_weights=amounts)
    # the last piece that starts where a concept does holds its members; those before it at the same place are empty
    first = torch.searchsorted(starts, members.starts)
    return embedding_bag(torch.arange(len(starts), device=rows.device), pieces, first, mode="sum")


class _Decoded(torch.autograd.Function):
    """Reconstructions as they are, whose gradient is passed on to the atoms as well."""

    @staticmethod
    def forward(sums: Tensor, *_: Any) -> Tensor:
        return sums.view_as(sums)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _atoms, amounts, members = inputs
        ctx.save_for_backward(amounts, *members)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        amounts, *members = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        return gradient, _sums(gradient, amounts, Members(*members)), None, None


class _Encoded(torch.autograd.Function):
    """Chosen pre-activations as they are, whose gradient is passed on to the encoder's weights."""

    @staticmethod
    def forward(chosen: Tensor, *_: Any) -> Tensor:
        return chosen.view_as(chosen)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _chosen, weight, _bias, center, rows, members = inputs
        ctx.save_for_backward(weight, center, rows, *members)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, center, rows, *members = ctx.saved_tensors
        gradient, by = gradients[0], Members(*members)
        for_bias = _sums(gradient.new_ones(len(rows), 1), gradient, by)[:, 0]
        return None, _sums(rows - center, gradient, by), for_bias, -for_bias @ weight, None, None
