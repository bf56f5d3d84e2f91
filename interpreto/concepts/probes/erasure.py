"""Erasure of a concept: the smallest change of activations after which no linear probe reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.concepts.activations import read_activations
from interpreto.concepts.probes.labeled_rows import read_labels
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.errors import InputError, ModelError, TaskError
from interpreto.models.devices import read_device
from interpreto.validation import check_count, check_positive, check_seed

BATCH = 32  # texts whose outputs are read together


@dataclass(frozen=True, eq=False)
class ErasureEffect:
    """Change of a classifier's outputs where a concept is erased, next to that of random erasures of the same rank.

    Attributes:
        kept: Share of the texts whose predicted class stays.
        control_kept: The same for each random erasure, ``(r,)``.
        change: Mean size of the change of each logit, ``(k,)``.
        control_change: The same for each random erasure, ``(r, k)``.
    """

    kept: float
    control_kept: Float[Tensor, " r"]
    change: Float[Tensor, " k"]
    control_change: Float[Tensor, "r k"]


class Erasure:
    """Erase concepts from activations linearly (LEACE): afterwards their covariance with the labels is 0.

    ``r(x) = x − W⁺ U Uᵀ W (x − μ)``, where W whitens the activations and U spans the whitened covariance with the labels. It
    is the smallest such change in the mean square, and no linear probe that is fitted on the erased rows does better than a
    constant. On other rows this holds approximately: fit a probe there to see.

    An erasure is a function of activations, and so an edit of a model: ``splitter.edited_outputs(texts, erasure)``.

    Args:
        tolerance: Smallest singular value of the whitened covariance that is erased, as a share of the largest.

    Examples:
        >>> import torch
        >>> rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> labels = (rows[:, 0] > 0).long()
        >>> erased = Erasure().fit(rows, labels)(rows)
        >>> bool((erased[labels == 1].mean(0) - erased[labels == 0].mean(0)).abs().max() < 1e-12)
        True

    References:
        Belrose et al., NeurIPS 2023, https://arxiv.org/abs/2306.03819; what erasure says of a model's use of a concept:
        Elazar et al., TACL 2021, https://arxiv.org/abs/2006.00995.
    """

    def __init__(self, tolerance: float = 1e-6) -> None:
        self.tolerance = check_positive(tolerance, "tolerance")
        self._mean = self._left = self._right = self._whiten = self._unwhiten = torch.empty(0, dtype=torch.float64)
        self._variance = 0.0

    @property
    def is_fitted(self) -> bool:
        """Return True once there is something to erase."""
        return self._mean.numel() > 0

    @property
    def rank(self) -> int:
        """Return the number of dimensions that are erased."""
        return len(self._right)

    @property
    def variance_lost(self) -> float:
        """Return the share of the activations' variance that is erased."""
        return float(self._left.square().sum()) / self._variance if self._variance > 0 else 0.0

    def fit(self, activations: Any, labels: Any, split_point: str | None = None, device: torch.device | str = "cpu") -> Erasure:
        """Learn what to erase, and return the erasure.

        Args:
            activations: ``(n, d)``, a dictionary of them by split point, or an `ActivationStore`.
            labels: Of each row: see `ProbeConcepts.fit`.
            split_point: Of the activations, where there are several.
            device: Device to compute on, in float64.

        Raises:
            InputError: labels and rows do not belong together.
        """
        rows = read_activations(activations, split_point, read_device(device)).read().double()
        table = read_labels(labels)[0].to(rows.device)
        if len(table) != len(rows):
            raise InputError(f"`labels`: got {len(table)} for {len(rows)} rows; pass one for each row.")
        self._mean = rows.mean(0)
        centered = rows - self._mean
        values, vectors = torch.linalg.eigh(centered.T @ centered / len(rows))
        kept = values > values.max().clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
        roots, vectors = values[kept].sqrt(), vectors[:, kept]
        self._whiten, self._unwhiten = vectors / roots, vectors * roots  # (d, k): coordinates of unit variance
        self._variance = float(values[kept].sum())
        whitened = self._whiten.T @ (centered.T @ (table - table.mean(0)) / len(rows))
        left, sizes, _ = torch.linalg.svd(whitened, full_matrices=False)
        self._span(left[:, sizes > self.tolerance * sizes.max()])
        return self

    def __call__(self, activations: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Return activations without the concepts, in their own dtype; differentiable.

        Raises:
            ModelError: nothing has been learned.
        """
        if not self.is_fitted:
            raise ModelError("This Erasure is not fitted; call `fit(activations, labels)` first.")
        rows = activations.double()
        mean, left, right = (tensor.to(rows.device) for tensor in (self._mean, self._left, self._right))
        return (rows - (rows - mean) @ right.T @ left.T).to(activations.dtype)

    def random(self, random_state: int = 0) -> Erasure:
        """Return an erasure of as many random dimensions of the same activations: the control of what erasing does.

        Dimensions are drawn among those of unit variance, in which all directions are alike.
        """
        other = Erasure(self.tolerance)
        for name in ("_mean", "_whiten", "_unwhiten", "_variance"):
            setattr(other, name, getattr(self, name))
        generator = Generator().manual_seed(check_seed(random_state))
        drawn = torch.randn(self._whiten.shape[1], self.rank, generator=generator, dtype=torch.float64)
        other._span(torch.linalg.qr(drawn.to(self._mean.device))[0])
        return other

    @torch.no_grad()
    def effect(
        self,
        splitter: ModelSplitter,
        inputs: Any,
        split_point: str | None = None,
        n_controls: int = 20,
        random_state: int = 0,
    ) -> ErasureEffect:
        """Measure what a classifier loses when the concepts are erased from its activations.

        Args:
            splitter: The classifier, split where the activations come from.
            inputs: Texts, or any other form that the splitter reads.
            split_point: One of the splitter's split points, where it has several.
            n_controls: Number of random erasures to compare with.
            random_state: Seed of these.

        Raises:
            TaskError: the model is no classifier of texts.
        """
        check_count(n_controls, "n_controls", 0)
        edits = [lambda rows: rows, self, *(self.random(random_state + i) for i in range(n_controls))]
        samples = list(splitter.iter_read(inputs, splitter.default_granularity))
        parts = [samples[i : i + BATCH] for i in range(0, len(samples), BATCH)]
        logits = [torch.cat([splitter.edited_outputs(part, edit, split_point).float() for part in parts]) for edit in edits]
        if logits[0].ndim != 2:
            raise TaskError(
                f"`splitter`: the effect of an erasure is measured on classifiers of texts, and the logits of "
                f"{type(splitter.model).__name__} have shape {tuple(logits[0].shape)}."
            )
        given, *edited = [part.double().cpu() for part in logits]
        kept = torch.stack([(part.argmax(1) == given.argmax(1)).double().mean() for part in edited])
        change = torch.stack([(part - given).abs().mean(0) for part in edited])
        return ErasureEffect(float(kept[0]), kept[1:], change[0], change[1:])

    def _span(self, directions: Float[Tensor, "k r"]) -> None:
        """Erase these directions of the whitened activations."""
        self._left, self._right = self._unwhiten @ directions, (self._whiten @ directions).T
