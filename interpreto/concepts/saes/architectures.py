"""Architectures of sparse autoencoders: how each makes sparse codes, and their penalty."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from interpreto.concepts.activations import ROWS, Activations
from interpreto.concepts.outliers import Spread
from interpreto.concepts.saes.base import EncodedAutoencoder, Pass, SparseAutoencoder
from interpreto.concepts.saes.positive_codes import close_below, learn_positive
from interpreto.concepts.saes.sparse_codes import (
    SparseCodes,
    in_closed_form,
    largest,
    learn_chosen,
    least_of_largest,
    pays,
)
from interpreto.validation import check_count, check_flag, check_positive

MOST_CODES = 1 << 24  # held at once to find a threshold


class VanillaSAE(EncodedAutoencoder):
    """Codes are the positive part of the pre-activations, with an L1 penalty.

    Args:
        nb_concepts: Number of concepts.
        l1: Weight of the penalty against the unexplained fraction of the variance; a concept whose amount stays below
            about half of it, in units of the typical norm of a row, is not worth its price.
        tied: Encode by the atoms themselves, ``relu(M x + b)`` and ``Mᵀ c``, as Cunningham et al. do.
    """

    def __init__(self, nb_concepts: int, l1: float = 0.1, tied: bool = False) -> None:
        super().__init__(nb_concepts)
        self.l1, self.tied = check_positive(l1, "l1"), check_flag(tied, "tied")

    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Return the positive part of the pre-activations."""
        if self.tied:
            return torch.addmm(self.encoder_bias, rows - self.decoder_bias, self.atoms.T).relu()
        return self.preactivations(rows).relu()

    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass, with the mean L1 norm of the codes as the penalty."""
        if in_closed_form(rows):
            weight = self.atoms if self.tied else self.encoder_weight
            encoder = (weight, self.encoder_bias, self.decoder_bias)
            found = learn_positive(rows, encoder, (self.atoms, self.decoder_bias), self.memory)
            return Pass(found.codes, found.reconstruction, sparsity * self.l1 * (weights * found.sums).mean())
        codes = self.codes(rows)
        return Pass(codes, self.reconstruct(codes), sparsity * self.l1 * (weights * codes.sum(1)).mean())

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Write tied weights down as the encoder's; the codes need no threshold of the data."""
        if self.tied:
            with torch.no_grad():
                self.encoder_weight.copy_(self.atoms)


class TopKSAE(EncodedAutoencoder):
    """Codes are each row's ``k`` largest pre-activations, where they are positive.

    Args:
        nb_concepts: Number of concepts.
        k: Concepts per row; None for a tenth of them, at most 32.
    """

    def __init__(self, nb_concepts: int, k: int | None = None) -> None:
        super().__init__(nb_concepts)
        self.k = check_k(k, nb_concepts)

    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Return each row's largest pre-activations."""
        values, concepts = largest(self.preactivations(rows), self.k)
        return SparseCodes.of_each(values.relu(), concepts, self.nb_concepts).dense()

    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass; the codes are sparse by construction, without a penalty."""
        if pays(self.nb_concepts, self.k):
            encoder = (self.encoder_weight, self.encoder_bias, self.decoder_bias)
            codes, reconstruction = learn_chosen(rows, self.k, encoder, (self.atoms, self.decoder_bias), self.memory)
            return Pass(codes, reconstruction, reconstruction.new_zeros(()))
        codes = self.codes(rows)
        return Pass(codes, self.reconstruct(codes), codes.new_zeros(()))

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Do nothing: the codes need no threshold of the data."""


class AverageTopK(EncodedAutoencoder, ABC):
    """Base of autoencoders whose codes are the largest of a batch, ``k`` per row on average; later, above a threshold."""

    axes: ClassVar = {**EncodedAutoencoder.axes, "threshold": "1"}

    threshold: Tensor

    def __init__(self, nb_concepts: int, k: int | None = None) -> None:
        super().__init__(nb_concepts)
        self.k = check_k(k, nb_concepts)
        self.register_buffer("threshold", torch.zeros(1, dtype=torch.float32))

    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Return the pre-activations above the threshold: a row's codes depend on no other row."""
        values = self.preactivations(rows).relu()
        return torch.where(values >= self.threshold, values, 0.0)

    def chosen(self, rows: Float[Tensor, "b d"], weights: Float[Tensor, " b"]) -> Float[Tensor, "b c"]:
        """Return the largest pre-activations of a batch of training."""
        values = self.preactivations(rows).relu()
        return torch.where(values >= self.ranks.least_of_batch(values, weights, self.k), values, 0.0)

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Set the threshold with which ordinary rows have ``k`` concepts on average: of rows at random, if there are many."""

        def preactivations(batch: Tensor) -> Tensor:
            return self.preactivations(self.normalized(batch[spread.ordinary(batch)].float()))

        self.threshold = measured_threshold(preactivations, activations, self.k, random_state)


def measured_threshold(
    preactivations: Callable[[Tensor], Tensor], activations: Activations, k: int, random_state: int
) -> Float[Tensor, 1]:
    """Return the threshold with which rows have ``k`` concepts on average, midway between two pre-activations.

    So no code hangs on how a product is rounded.

    Args:
        preactivations: Those of the rows of a batch that count.
        activations: The rows: some at random, where there are many.
        k: Concepts per row.
        random_state: Seed of the order of the rows.
    """
    found, size = [], 0
    for batch in activations.batches(ROWS, Generator().manual_seed(random_state)):
        found.append(preactivations(batch).relu())
        size += found[-1].numel()
        if size >= MOST_CODES:
            break
    values = torch.cat(found)
    least = least_of_largest(values, k * len(values))
    below = values[values < least]
    next_one = below.max() if below.numel() else torch.zeros_like(least)
    return ((least + next_one) / 2).reshape(1)


class BatchTopKSAE(AverageTopK):
    """Codes are a batch's largest pre-activations, ``k`` per row on average; once trained, those above a threshold.

    Args:
        nb_concepts: Number of concepts.
        k: Concepts per row, on average; None for a tenth of them, at most 32.
    """

    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass with the largest pre-activations of the batch."""
        if in_closed_form(rows):

            def close(values: Tensor) -> None:
                close_below(values, self.ranks.least_of_batch(values, weights, self.k))

            encoder = (self.encoder_weight, self.encoder_bias, self.decoder_bias)
            found = learn_positive(rows, encoder, (self.atoms, self.decoder_bias), self.memory, close)
            return Pass(found.codes, found.reconstruction, found.reconstruction.new_zeros(()))
        codes = self.chosen(rows, weights)
        return Pass(codes, self.reconstruct(codes), codes.new_zeros(()))


class JumpReLUSAE(EncodedAutoencoder):
    """Codes are the pre-activations above a learned threshold each, and pay for their number.

    A step has no gradient; that of the thresholds is estimated from the pre-activations near them.

    Args:
        nb_concepts: Number of concepts.
        l0: Weight of the mean number of a row's concepts against the unexplained fraction of the variance.
        bandwidth: Width of the window around a threshold in which pre-activations move it, in units of the typical norm of a
            row.
        start: Initial threshold, in the same units.
    """

    axes: ClassVar = {**EncodedAutoencoder.axes, "log_threshold": "c"}

    log_threshold: nn.Parameter

    def __init__(self, nb_concepts: int, l0: float = 3e-3, bandwidth: float = 0.03, start: float = 0.03) -> None:
        super().__init__(nb_concepts, log_threshold=math.log(check_positive(start, "start")))
        self.l0 = check_positive(l0, "l0")
        self.bandwidth = check_positive(bandwidth, "bandwidth")
        self.start_threshold = start

    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Return the pre-activations above their thresholds."""
        values = self.preactivations(rows)
        return torch.where(values > self.log_threshold.exp(), values, 0.0)

    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass, with the mean number of codes as the penalty.

        The two terms that are zero in value carry the thresholds' pseudo-gradients, −θ/ε·K and −1/ε·K with a rectangular
        kernel K of width ε.
        """
        values = self.preactivations(rows)
        threshold = self.log_threshold.exp()
        still = threshold - threshold.detach()  # 0, with the thresholds' gradient
        near = ((values - threshold).abs() < self.bandwidth / 2).to(values) / self.bandwidth
        open_gates = (values > threshold).to(values)
        codes = values * open_gates - (near * threshold).detach() * still
        number = (weights * (open_gates - near.detach() * still).sum(1)).mean()
        return Pass(codes, self.reconstruct(codes), sparsity * self.l0 * number)

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Do nothing: the codes need no threshold of the data."""


class MatchingPursuitSAE(SparseAutoencoder):
    """Codes by matching pursuit: ``k`` times, the atom that best fits what is left. There is no encoder to learn.

    Args:
        nb_concepts: Number of concepts.
        k: Choices per row, of which an atom may have several; None for a tenth of the concepts, at most 32.
    """

    def __init__(self, nb_concepts: int, k: int | None = None) -> None:
        super().__init__(nb_concepts)
        self.k = check_k(k, nb_concepts)

    def allocate(self) -> None:
        """Do nothing: there are only atoms."""

    def follow(self, concepts: Int[Tensor, " k"], size: float) -> None:
        """Do nothing: there are only atoms."""

    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Compute the amounts of the chosen atoms.

        The choices need no gradient; given them, each amount is the correlation less what earlier choices took: a
        triangular system.
        """
        centered = rows - self.decoder_bias
        with torch.autocast(rows.device.type, enabled=False):
            choices, best = self._choose(centered.detach().float())
        empty = best.new_zeros(len(rows), self.nb_concepts)
        if not torch.is_grad_enabled():
            return empty.scatter_add(1, choices, best)
        correlations = (centered @ self.atoms.T).gather(1, choices).float()
        pairs = (choices[:, :, None] * self.nb_concepts + choices[:, None, :]).flatten()
        gram = (self.atoms @ self.atoms.T).flatten().index_select(0, pairs).view(-1, self.k, self.k).float()
        amounts = torch.linalg.solve_triangular(gram, correlations[..., None], upper=False, unitriangular=True)[..., 0]
        return empty.scatter_add(1, choices, torch.where(best > 0, amounts, 0.0))

    @torch.no_grad()
    def _choose(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Choose atoms ``(b, k)`` and their amounts: zero once no atom fits the residual.

        Correlations follow each choice by the atoms' Gram matrix, without a new residual.
        """
        left = rows @ self.atoms.float().T
        gram = self.atoms.float() @ self.atoms.float().T
        steps = []
        for _ in range(self.k):
            best, concept = left.max(1)
            steps.append((concept, best.clamp_min_(0)))
            left.addcmul_(best[:, None], gram[concept], value=-1)
        return torch.stack([concept for concept, _ in steps], 1), torch.stack([best for _, best in steps], 1)

    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass; the codes are sparse by construction, without a penalty."""
        codes = self.codes(rows)
        return Pass(codes, self.reconstruct(codes), codes.new_zeros(()))

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Do nothing: the codes need no threshold of the data."""


def check_k(k: int | None, nb_concepts: int) -> int:
    """Return the number of concepts of a row, from 1 to all; None for a tenth of the concepts, at most 32."""
    return min(32, max(1, nb_concepts // 10)) if k is None else check_count(k, "k", 1, nb_concepts)
