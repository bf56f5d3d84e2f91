"""Gates of coders in training: pre-activations become codes, which have a cost."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.saes.architectures import check_k
from interpreto.concepts.saes.base import Pass
from interpreto.concepts.saes.memory import Memory
from interpreto.concepts.saes.parallel import Ranks
from interpreto.concepts.saes.positive_codes import close_below, learn_positive
from interpreto.concepts.saes.sparse_codes import in_closed_form, learn_chosen, pays
from interpreto.validation import check_choice, check_positive

Kind = Literal["relu", "topk", "batchtopk", "jumprelu"]

Encoder = tuple[Tensor, Tensor, Tensor]
"""Weights, bias, and what is subtracted from the rows."""

Decoder = tuple[Tensor, Tensor]
"""Atoms and bias."""


class Gated(NamedTuple):
    """Codes of a batch of a training.

    Attributes:
        codes: The codes.
        penalty: Their cost, a scalar.
    """

    codes: Float[Tensor, "b c"]
    penalty: Float[Tensor, ""]


class Batch(NamedTuple):
    """Rows of a training step.

    Attributes:
        read: What is encoded.
        weights: Weight of each row in the loss; 1 for ordinary rows.
        ranks: The processes that share the batch.
        memory: Lends large tensors.
    """

    read: Float[Tensor, "b i"]
    weights: Float[Tensor, " b"]
    ranks: Ranks
    memory: Memory


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
        self,
        values: Float[Tensor, "b c"],
        log_threshold: Tensor | None,
        sparsity: float,
        weights: Float[Tensor, " b"],
        ranks: Ranks,
    ) -> Gated:
        """Return codes and their cost.

        Args:
            values: Pre-activations.
            log_threshold: Of each concept, where it is learned.
            sparsity: Factor of the penalty, from 0 to 1, while training warms up.
            weights: Weight of each row in the loss; 1 for ordinary rows.
            ranks: The processes that share the batch.
        """

    @abstractmethod
    def learn(self, batch: Batch, encoder: Encoder, decoder: Decoder, sparsity: float) -> Pass | None:
        """Run the forward pass of a step that autograd would take longer for; None where there is none."""


@dataclass(frozen=True)
class ReLU(Gate):
    """The positive part, with an L1 penalty.

    Attributes:
        l1: Weight of the penalty against the unexplained fraction of the variance.
    """

    l1: float = 0.1

    def __call__(
        self,
        values: Float[Tensor, "b c"],
        log_threshold: Tensor | None,
        sparsity: float,
        weights: Float[Tensor, " b"],
        ranks: Ranks,
    ) -> Gated:
        codes = values.relu()
        return Gated(codes, self.penalty(codes.sum(1), sparsity, weights))

    def learn(self, batch: Batch, encoder: Encoder, decoder: Decoder, sparsity: float) -> Pass | None:
        if not in_closed_form(batch.read):
            return None
        found = learn_positive(batch.read, encoder, decoder, batch.memory)
        return Pass(found.codes, found.reconstruction, self.penalty(found.sums, sparsity, batch.weights))

    def penalty(self, sums: Float[Tensor, " b"], sparsity: float, weights: Float[Tensor, " b"]) -> Float[Tensor, ""]:
        """Return the cost of codes by their sum in each row."""
        return sparsity * self.l1 * (weights * sums).mean()


@dataclass(frozen=True)
class TopK(Gate):
    """The ``k`` largest of each row, where they are positive."""

    def __call__(
        self,
        values: Float[Tensor, "b c"],
        log_threshold: Tensor | None,
        sparsity: float,
        weights: Float[Tensor, " b"],
        ranks: Ranks,
    ) -> Gated:
        largest, concepts = values.topk(self.k or 1, dim=1)
        codes = torch.zeros_like(values).scatter(1, concepts, largest.relu())
        return Gated(codes, codes.new_zeros(()))

    def learn(self, batch: Batch, encoder: Encoder, decoder: Decoder, sparsity: float) -> Pass | None:
        if not pays(len(encoder[0]), self.k or 1):
            return None
        codes, rebuilt = learn_chosen(batch.read, self.k or 1, encoder, decoder, batch.memory)
        return Pass(codes, rebuilt, rebuilt.new_zeros(()))


@dataclass(frozen=True)
class BatchTopK(Gate):
    """The largest of a batch, ``k`` per ordinary row on average."""

    def __call__(
        self,
        values: Float[Tensor, "b c"],
        log_threshold: Tensor | None,
        sparsity: float,
        weights: Float[Tensor, " b"],
        ranks: Ranks,
    ) -> Gated:
        positive = values.relu()
        codes = torch.where(positive >= ranks.least_of_batch(positive, weights, self.k or 1), positive, 0.0)
        return Gated(codes, codes.new_zeros(()))

    def learn(self, batch: Batch, encoder: Encoder, decoder: Decoder, sparsity: float) -> Pass | None:
        if not in_closed_form(batch.read):
            return None

        def close(values: Tensor) -> None:
            close_below(values, batch.ranks.least_of_batch(values, batch.weights, self.k or 1))

        found = learn_positive(batch.read, encoder, decoder, batch.memory, close)
        return Pass(found.codes, found.reconstruction, found.reconstruction.new_zeros(()))


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
        self,
        values: Float[Tensor, "b c"],
        log_threshold: Tensor | None,
        sparsity: float,
        weights: Float[Tensor, " b"],
        ranks: Ranks,
    ) -> Gated:
        assert log_threshold is not None
        threshold = log_threshold.exp()
        still = threshold - threshold.detach()  # 0, with the thresholds' gradient
        near = ((values - threshold).abs() < self.bandwidth / 2).to(values) / self.bandwidth
        open_gates = (values > threshold).to(values)
        codes = values * open_gates - (near * threshold).detach() * still
        number = (weights * (open_gates - near.detach() * still).sum(1)).mean()
        return Gated(codes, sparsity * self.l0 * number)

    def learn(self, batch: Batch, encoder: Encoder, decoder: Decoder, sparsity: float) -> Pass | None:
        return None


def coder_options(
    nb_concepts: int,
    *,
    activation: str = "topk",
    k: int | None = None,
    l1: float = 0.1,
    l0: float = 3e-3,
    published: Mapping[str, Any] | None = None,
) -> tuple[Gate, dict[str, Any]]:
    """Return a gate by its options, and the options as files hold them.

    Args:
        nb_concepts: Number of concepts.
        activation: ``"relu"`` with an L1 penalty, ``"topk"``, ``"batchtopk"`` or ``"jumprelu"``. A code counts with the sum of
            the norms of its directions at all places that are written.
        k: Concepts per row, of all layers together, of ``topk`` and on average of ``batchtopk``; None for a tenth of them, at
            most 32.
        l1: Weight of the penalty of ``relu``.
        l0: Weight of the penalty of ``jumprelu``.
        published: Facts that the files of a published one state.

    Raises:
        OptionError: no activation has this name, or a number is out of range.
    """
    options = {"activation": activation, "k": k, "l1": l1, "l0": l0}
    facts = {"published": dict(published)} if published else {}
    return gate_of(activation, nb_concepts, k, l1, l0), {**options, **facts}


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
