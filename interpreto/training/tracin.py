"""TracIn: how training on a text moved the loss of another, by inner products of gradients at checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from interpreto.errors import OptionError
from interpreto.models.head_reader import HeadReader
from interpreto.models.parameter_gradients import Checkpoint, loss_gradients, weights_of
from interpreto.training.recording import read_labels
from interpreto.validation import check_positive, shown


def read_rates(learning_rates: object, n: int) -> list[float]:
    """Return one learning rate per checkpoint.

    Raises:
        OptionError: There are others than one or ``n``, or one is not above 0.
    """
    given = list(learning_rates) if isinstance(learning_rates, (list, tuple, Tensor)) else [learning_rates] * n
    if len(given) != n:
        raise OptionError(f"`learning_rates`: got {len(given)}; pass one number, or one for each of {n} checkpoints.")
    return [check_positive(float(rate) if isinstance(rate, Tensor) else rate, "learning_rates") for rate in given]


@dataclass(frozen=True, eq=False)
class HeadGradients:
    """Gradients of the cross-entropy at a linear head, factored: that of a text's weights is ``residuals ⊗ features``.

    Attributes:
        residuals: Probabilities less the assigned labels, ``(e, n, c)``, by checkpoint.
        features: What the head reads, ``(e, n, d)``; a last column of ones is the bias.
    """

    residuals: Float[Tensor, "e n c"]
    features: Float[Tensor, "e n d"]

    @staticmethod
    def of(
        features: Float[Tensor, "e n d"], logits: Float[Tensor, "e n c"], labels: Int[Tensor, " n"], *, bias: bool = True
    ) -> HeadGradients:
        """Return the gradients of texts; zero at checkpoints where a text was not recorded."""
        residuals = logits.double().softmax(-1) - one_hot(labels, logits.shape[2])
        rows = torch.cat([features, features.new_ones(*features.shape[:2], 1)], -1) if bias else features
        return HeadGradients(residuals.nan_to_num(0.0), rows.double().nan_to_num(0.0))

    def self_influence(self, rates: Sequence[float]) -> Float[Tensor, " n"]:
        """Return the squared length of each text's gradient, summed over checkpoints times their rates."""
        squares = self.residuals.square().sum(-1) * self.features.square().sum(-1)
        return (torch.tensor(rates, dtype=squares.dtype) @ squares).float()


def head_influence(texts: HeadGradients, queries: HeadGradients, rates: Sequence[float]) -> Float[Tensor, "n m"]:
    """Return the inner products of gradients, summed over checkpoints times their rates."""
    parts = (
        rate * (r @ q.T) * (h @ k.T)
        for rate, r, h, q, k in zip(rates, texts.residuals, texts.features, queries.residuals, queries.features, strict=True)
    )
    return torch.stack(list(parts)).sum(0).float()


class TracIn:
    """Trace how training on texts moved the loss of others, at checkpoints of the training.

    The influence of a text z on a query z′ is Σ η ∇ℓ(z)·∇ℓ(z′) over checkpoints with learning rates η: positive where a
    step on z lowers the loss of z′. For the head the gradients are (p − y) hᵀ, and texts are run in batches; for other
    layers there is a backward pass per text and checkpoint.

    Args:
        model: The classifier that was trained. Its weights are those of a checkpoint during a call, and its own after it.
        tokenizer: Its tokenizer.
        checkpoints: Weights in the course of the training: mappings as ``model.state_dict()`` returns (copied:
            ``{name: value.clone() …}``), files of safetensors, or folders that hold ``model.safetensors``.
        layers: Names of modules or parameters whose gradients are compared; None: the linear head.
        learning_rates: Of the steps at the checkpoints: one number, or one for each.
        batch_size: Texts per pass for the head; None: as many as a token budget holds.

    Raises:
        OptionError: There are no checkpoints, or an option does not fit.
        ModelError: The model has no linear head.

    References:
        Pruthi et al., NeurIPS 2020, https://arxiv.org/abs/2002.08484.

    Examples:
        >>> from interpreto import demo
        >>> model, tokenizer = demo.load_classifier()
        >>> tracin = TracIn(model, tokenizer, [model.state_dict()])
        >>> texts, labels = ["A charming film.", "A dull film.", "Lovely."], [1, 0, 0]
        >>> tracin.self_influence(texts, labels).argmax().item()  # the wrong label
        2
        >>> tracin.influence(texts, labels, ["A fine film."], [1])[:, 0].sign().tolist()
        [1.0, 1.0, -1.0]
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        checkpoints: Sequence[Checkpoint],
        *,
        layers: Sequence[str] | None = None,
        learning_rates: float | int | Sequence[float] = 1.0,
        batch_size: int | None = None,
    ) -> None:
        if isinstance(checkpoints, (str, dict)) or not len(checkpoints):
            raise OptionError(f"`checkpoints`: got {shown(checkpoints)}; pass a list of weights, files or folders.")
        if isinstance(layers, str):
            raise OptionError(f"`layers`: got {layers!r}; pass a list of names, or None for the head.")
        self.model, self.checkpoints, self.layers = model, list(checkpoints), None if layers is None else list(layers)
        self.rates = read_rates(learning_rates, len(self.checkpoints))
        self._reader = HeadReader(model, tokenizer, batch_size)

    def self_influence(self, texts: Sequence[str], labels: Sequence[int] | Tensor) -> Float[Tensor, " n"]:
        """Return the influence of each text on itself, ``(n,)``; large values are suspicious, or hard.

        Args:
            texts: Training texts.
            labels: Their assigned labels.
        """
        found = self._labels(texts, labels)
        if self.layers is None:
            return self._head(texts, found).self_influence(self.rates)
        total = torch.zeros(len(texts))
        for rate, checkpoint in zip(self.rates, self.checkpoints, strict=True):
            squares = [float(gradient.square().sum()) for gradient in self._gradients(checkpoint, texts, found)]
            total += rate * torch.tensor(squares)
        return total

    def influence(
        self,
        texts: Sequence[str],
        labels: Sequence[int] | Tensor,
        queries: Sequence[str],
        query_labels: Sequence[int] | Tensor,
    ) -> Float[Tensor, "n m"]:
        """Return the influence of each training text on each query, ``(n, m)``.

        Args:
            texts: Training texts.
            labels: Their assigned labels.
            queries: Texts whose loss is asked for.
            query_labels: The labels at which it is taken: predicted ones, or true ones.
        """
        found, asked = self._labels(texts, labels), self._labels(queries, query_labels)
        if self.layers is None:
            return head_influence(self._head(texts, found), self._head(queries, asked), self.rates)
        total = torch.zeros(len(texts), len(queries))
        for rate, checkpoint in zip(self.rates, self.checkpoints, strict=True):
            others = torch.stack(list(self._gradients(checkpoint, queries, asked)))
            products = [others @ gradient for gradient in self._gradients(checkpoint, texts, found)]
            total += rate * torch.stack(products)
        return total

    def _labels(self, texts: Sequence[str], labels: Sequence[int] | Tensor) -> Tensor:
        if isinstance(texts, str) or not len(texts):
            raise OptionError(f"`texts`: got {shown(texts)}; pass a list of texts.")
        return read_labels(labels, len(texts), self._reader.layer.weight.shape[0])

    def _head(self, texts: Sequence[str], labels: Tensor) -> HeadGradients:
        read = []
        for checkpoint in self.checkpoints:
            with weights_of(self.model, checkpoint):
                read.append(self._reader.read(texts))
        features, logits = torch.stack([one.features for one in read]), torch.stack([one.logits for one in read])
        return HeadGradients.of(features, logits, labels, bias=self._reader.layer.bias is not None)

    def _gradients(self, checkpoint: Checkpoint, texts: Sequence[str], labels: Tensor) -> Iterator[Tensor]:
        assert self.layers is not None
        with weights_of(self.model, checkpoint):
            yield from loss_gradients(self._reader, texts, labels, self.layers)
