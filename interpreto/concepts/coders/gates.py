"""Gates of coders in training: pre-activations become codes, which have a cost."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.saes.architectures import check_k
from interpreto.validation import check_choice, check_positive

Kind = Literal["relu", "topk", "batchtopk", "jumprelu"]


class Gated(NamedTuple):
    """Codes of a batch of a training.

    Attributes:
        codes: The codes.
        penalty: Their cost, a scalar.
    """

    codes: Float[Tensor, "b c"]
    penalty: Float[Tensor, ""]


@dataclass(frozen=True)
class Gate(ABC):
    """Makes codes of pre-activations.

    Attributes:
        kind: Activation of the trained coder.
        start: Logarithm of the threshold that the training begins with; None: there is none to learn.
        k: Concepts per row, where they are counted.
        measures: A threshold is measured on the activations after the training.
    """

    kind: str
    start: float | None = None
    k: int | None = None
    measures: bool = False

    @abstractmethod
    def __call__(
        self, values: Float[Tensor, "b c"], log_threshold: Tensor | None, sparsity: float, weights: Float[Tensor, " b"]
    ) -> Gated:
        """Return codes and their cost.

        Args:
            values: Pre-activations.
            log_threshold: Of each concept, where it is learned.
            sparsity: Factor of the penalty, from 0 to 1, while training warms up.
            weights: Weight of each row in the loss; 1 for ordinary rows.
        """


@dataclass(frozen=True)
class ReLU(Gate):
    """The positive part, with an L1 penalty.

    Attributes:
        l1: Weight of the penalty against the unexplained fraction of the variance.
    """

    l1: float = 0.1

    def __call__(
        self, values: Float[Tensor, "b c"], log_threshold: Tensor | None, sparsity: float, weights: Float[Tensor, " b"]
    ) -> Gated:
        codes = values.relu()
        return Gated(codes, sparsity * self.l1 * (weights * codes.sum(1)).mean())


@dataclass(frozen=True)
class TopK(Gate):
    """The ``k`` largest of each row, where they are positive."""

    def __call__(
        self, values: Float[Tensor, "b c"], log_threshold: Tensor | None, sparsity: float, weights: Float[Tensor, " b"]
    ) -> Gated:
        largest, concepts = values.topk(self.k or 1, dim=1)
        codes = torch.zeros_like(values).scatter(1, concepts, largest.relu())
        return Gated(codes, codes.new_zeros(()))


@dataclass(frozen=True)
class BatchTopK(Gate):
    """The largest of a batch, ``k`` per ordinary row on average."""

    def __call__(
        self, values: Float[Tensor, "b c"], log_threshold: Tensor | None, sparsity: float, weights: Float[Tensor, " b"]
    ) -> Gated:
        positive = values.relu()
        ordinary = positive[weights == 1] if bool((weights == 1).any()) else positive
        least = least_of_largest(ordinary, (self.k or 1) * len(ordinary))
        codes = torch.where(positive >= least, positive, 0.0)
        return Gated(codes, codes.new_zeros(()))


@dataclass(frozen=True)
class JumpReLU(Gate):
    """Those above a learned threshold each, which pay for their number.

    Attributes:
        l0: Weight of the mean number of a row's concepts against the unexplained fraction of the variance.
        bandwidth: Width of the window around a threshold in which pre-activations move it.
    """

    l0: float = 3e-3
    bandwidth: float = 0.03

    def __call__(
        self, values: Float[Tensor, "b c"], log_threshold: Tensor | None, sparsity: float, weights: Float[Tensor, " b"]
    ) -> Gated:
        assert log_threshold is not None
        threshold = log_threshold.exp()
        still = threshold - threshold.detach()  # 0, with the thresholds' gradient
        near = ((values - threshold).abs() < self.bandwidth / 2).to(values) / self.bandwidth
        open_gates = (values > threshold).to(values)
        codes = values * open_gates - (near * threshold).detach() * still
        number = (weights * (open_gates - near.detach() * still).sum(1)).mean()
        return Gated(codes, sparsity * self.l0 * number)


def gate_of(activation: str, nb_concepts: int, k: int | None, l1: float, l0: float) -> Gate:
    """Return a gate by the name of its activation.

    Raises:
        OptionError: there is none of this name, or a number is out of range.
    """
    name = check_choice(activation, "activation", get_args(Kind))
    l1, l0 = check_positive(l1, "l1"), check_positive(l0, "l0")
    if name == "relu":
        return ReLU("relu", l1=l1)
    if name == "jumprelu":
        return JumpReLU("jumprelu", start=math.log(0.03), l0=l0)
    count = check_k(k, nb_concepts)
    return TopK("topk", k=count) if name == "topk" else BatchTopK("jumprelu", k=count, measures=True)


def least_of_largest(values: Float[Tensor, "b c"], count: int) -> Float[Tensor, ""]:
    """Return the least positive number that is among the ``count`` largest."""
    flat = values.detach().flatten()
    least = flat.kthvalue(max(1, len(flat) - count + 1)).values
    return least.clamp_min(torch.finfo(flat.dtype).tiny)


def between(values: Float[Tensor, "b c"], count: int) -> Float[Tensor, ""]:
    """Return a threshold midway between the least of the ``count`` largest numbers and the next one below."""
    least = least_of_largest(values, count)
    below = values[values < least]
    return (least + (below.max() if below.numel() else torch.zeros_like(least))) / 2
