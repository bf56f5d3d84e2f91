"""The model with some of its parts ablated: its metric, and the gradients of that in how much of each part is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interpreto.concepts.circuits.metric import Metric
from interpreto.concepts.circuits.pairs import Read
from interpreto.concepts.circuits.parts import Parts
from interpreto.errors import ModelError
from interpreto.models.activations import ActivationRecorder
from interpreto.models.batching import Budget, map_batches
from interpreto.models.interventions import Edit
from interpreto.models.several_edits import outputs_through

OUTPUTS_A_PASS = 2**25  # logits that are held at once
Weights = list[Tensor]
"""Shares of each part that are ablated, ``(l, n)`` at each place; one row where all tokens are alike."""


@dataclass(frozen=True, eq=False)
class AblatedModel:
    """Texts that a model reads with some parts of its activations replaced, at any number of places at once.

    What is kept is what the model computes after the parts below it were replaced.

    Attributes:
        recorder: Runs the model, at the places in order.
        parts: The parts at each place.
        reads: The texts.
        others: What takes the place of their activations, at each place.
        metrics: Of each text.
        budget: Size of a pass.
    """

    recorder: ActivationRecorder
    parts: Sequence[Parts]
    reads: Sequence[Read]
    others: Sequence[Sequence[Tensor]]
    metrics: Sequence[Metric]
    budget: Budget

    @torch.no_grad()
    def scores(self, weights: Weights) -> Float[Tensor, " n"]:
        """Return the metric of each text with parts replaced."""

        def run(picked: list[int]) -> Tensor:
            given = [w.expand(len(picked), *w.shape) for w in weights]
            return self._metric(picked, [self._edit(p, picked, w) for p, w in enumerate(given)])[:, None]

        return self._map(run)[:, 0]

    def gradients(self, weights: Weights, wanted: Sequence[int]) -> list[Tensor]:
        """Return the gradient ``(b, l, n)`` of each text's metric in the weights at some places, zero behind its tokens."""

        def run(picked: list[int]) -> list[list[Tensor]]:
            leaves = self._leaves(picked, weights)
            with torch.enable_grad():
                total = self._metric(picked, [self._edit(p, picked, w) for p, w in enumerate(leaves)]).sum()
            found = self._grad(total, [leaves[p] for p in wanted])
            return [[values[i, : len(self.reads[j].row)] for values in found] for i, j in enumerate(picked)]

        rows = self._map(run)
        return [pad_sequence([row[i] for row in rows], batch_first=True) for i in range(len(wanted))]

    def flows(self, targets: Sequence[tuple[int, int | None, int]]) -> list[list[Tensor]]:
        """Return how much of the metric passes from each part to each target, without what goes through other places.

        Args:
            targets: Place, token (None: all) and part of each; the output comes behind them.

        Returns:
            For each target, and then the output, at each place the mean over texts of what the metric loses through the
            target when a part is ablated: ``(l, n)``.
        """
        length = max(len(read.row) for read in self.reads)
        sums = [[torch.zeros(length, len(part.names)) for part in self.parts] for _ in range(len(targets) + 1)]

        def run(picked: list[int]) -> list[None]:
            for into, found in zip(sums, self._flows(picked, targets), strict=True):
                for total, values in zip(into, found, strict=True):
                    total[: values.shape[1]] -= values.sum(0).float().cpu() / len(self.reads)
            return [None] * len(picked)

        self._map(run)
        return sums

    def _flows(self, picked: list[int], targets: Sequence[tuple[int, int | None, int]]) -> list[list[Tensor]]:
        zero = [torch.zeros(1, len(part.names)) for part in self.parts]
        leaves, reached, before = self._leaves(picked, zero), {}, {}

        def note(p: int, hidden: Tensor, edit: Edit) -> Tensor:
            reached[p] = edit(hidden)
            return reached[p]

        with torch.enable_grad():
            edits = [partial(note, p, edit=self._edit(p, picked, w)) for p, w in enumerate(leaves)]
            total = self._metric(picked, edits).sum()
        slopes = self._grad(total, [reached[p] for p in range(len(leaves))])
        leaves = self._leaves(picked, zero)

        def cut(p: int, hidden: Tensor, edit: Edit) -> Tensor:
            before[p] = hidden
            return edit(hidden.detach())  # what reaches further places goes through this one, and is counted there

        with torch.enable_grad():
            edits = [partial(cut, p, edit=self._edit(p, picked, w)) for p, w in enumerate(leaves)]
            total = self._metric(picked, edits).sum()
            products = {p: self._products(p, picked, before[p], slopes[p]) for p in {place for place, *_ in targets}}
        found = []
        for place, token, part in targets:
            values = products[place][..., part]
            found.append(self._grad(values.sum() if token is None else values[:, token].sum(), leaves))
        return [*found, self._grad(total, leaves)]

    def _products(self, place: int, picked: list[int], hidden: Tensor, slope: Tensor) -> Float[Tensor, "b l n"]:
        """Return the products of parts with slopes, without what is behind a text's tokens."""
        values = self.parts[place].products(hidden, slope)
        lengths = torch.tensor([len(self.reads[i].row) for i in picked], device=values.device)
        inside = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        return torch.where(inside[..., None], values, 0.0)

    def _edit(self, place: int, picked: Sequence[int], weights: Float[Tensor, "b k n"]) -> Edit:
        """Return the edit that replaces parts at a place."""
        parts, other = self.parts[place], pad_sequence([self.others[i][place] for i in picked], batch_first=True)

        def edit(hidden: Tensor) -> Tensor:
            shares = weights.expand(-1, hidden.shape[1], -1).to(hidden.device)
            goal = torch.nn.functional.pad(other, (0, 0, 0, hidden.shape[1] - other.shape[1])).to(hidden)
            return hidden + parts.step(hidden.detach(), goal, shares).to(hidden)

        return edit

    def _leaves(self, picked: Sequence[int], weights: Weights) -> list[Tensor]:
        length = max(len(self.reads[i].row) for i in picked)
        sizes = [(len(picked), length, w.shape[1]) for w in weights]
        return [w[:length].expand(size).clone().requires_grad_() for w, size in zip(weights, sizes, strict=True)]

    def _metric(self, picked: Sequence[int], edits: Sequence[Callable[[Tensor], Tensor]]) -> Float[Tensor, " b"]:
        """Return the metric of some texts whose activations go through edits."""
        rows = [self.reads[i].row for i in picked]
        points = [part.point for part in self.parts]
        logits = outputs_through(self.recorder, rows, list(zip(points, edits, strict=True)))
        own = [logits[i : i + 1] if logits.ndim == 2 else logits[i : i + 1, : len(row)] for i, row in enumerate(rows)]
        found = torch.cat([self.metrics[i](one) for i, one in zip(picked, own, strict=True)])
        if not found.isfinite().all():
            raise ModelError("`metric`: it is not finite (NaN or infinity) with some parts ablated.")
        return found

    def _grad(self, total: Tensor, at: Sequence[Tensor]) -> list[Tensor]:
        if not total.requires_grad:
            return [torch.zeros_like(values) for values in at]
        found = torch.autograd.grad(total, at, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(a) if values is None else values for values, a in zip(found, at, strict=True)]

    def _map(self, run: Callable[[list[int]], Any]) -> Any:
        rows = [read.row for read in self.reads]
        with self.recorder.session(rows):
            return map_batches([len(row) for row in rows], run, self.budget, self.recorder.may_mix(rows))
