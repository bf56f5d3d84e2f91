"""Scores and gradients of altered copies: full batches whatever the samples, every distinct copy run once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interpreto.errors import ModelError
from interpreto.inference.batching import Budget, sweep, windows
from interpreto.inference.forward import Forward, embeddings_given, embeddings_replaced
from interpreto.inference.gradients import GradientReducer
from interpreto.inference.replacement import Replacement, Rows
from interpreto.samples import EmbeddingVariants, MaskVariants, Sample

Read = Callable[[Tensor, Sequence[Sample]], Tensor]
"""Scores ``(b, t)`` out of a batch's logits: each row for the targets of its sample."""

Batch = Callable[[list[int], Tensor, Tensor, dict[str, Tensor]], None]
"""Runs some rows: their numbers, ids, attention and extras."""

WINDOW = 16  # batches that are sorted by length together


class Scorer:
    """Runs copies of samples: some units removed, or the embeddings moved.

    Copies of different samples share batches; batches are sorted by length within a window; identical copies of a
    sample are run once. None of it changes a number.

    Args:
        forward: The model.
        budget: What a batch may hold.
        read: How a task reads logits.
        on_pass: Called after each forward pass, for a progress bar.
    """

    def __init__(self, forward: Forward, budget: Budget, read: Read, on_pass: Callable[[], object] = lambda: None) -> None:
        self.forward, self.budget, self.read, self.on_pass = forward, budget, read, on_pass

    def masked(
        self, variants: Iterable[MaskVariants], replacement: Replacement
    ) -> Iterator[tuple[MaskVariants, Float[Tensor, "p1 t"]]]:
        """Scores of each sample's copies, the untouched sample's in front of them."""
        limit = WINDOW * (self.budget.rows or self.budget.tokens)
        for window in windows(variants, lambda v: self._cost(v.sample, len(v.mask) + 1), limit):
            distinct = [unique_rows(torch.cat([v.mask.new_zeros(1, v.mask.shape[1]), v.mask])) for v in window]
            rows = [replacement.rows(v.sample, mask) for v, (mask, _) in zip(window, distinct, strict=True)]
            owners = [v.sample for v, part in zip(window, rows, strict=True) for _ in range(len(part.ids))]
            scores = self._masked(concatenated(rows), owners, replacement)
            parts = scores.split([len(part.ids) for part in rows])
            for v, part, (_, inverse) in zip(window, parts, distinct, strict=True):
                yield v, _own(part, v.sample)[inverse]

    def _masked(self, rows: Rows, owners: list[Sample], replacement: Replacement) -> Tensor:
        done: list[tuple[list[int], Tensor]] = []

        def run(picked: list[int], ids: Tensor, visible: Tensor, extras: dict[str, Tensor]) -> None:
            with torch.no_grad():
                if rows.replaced is None or replacement.vector is None:
                    logits = self.forward(ids, visible, extras)
                else:
                    where = rows.replaced[picked, : ids.shape[1]]
                    with embeddings_replaced(self.forward.embedding, ids, where, replacement.vector):
                        logits = self.forward(ids, visible, extras)
                done.append((picked, self.read(logits, [owners[i] for i in picked])))

        self._sweep(rows, run)
        return _reordered(done)

    def at_points(self, points: Sequence[tuple[Sample, Tensor]]) -> list[Tensor]:
        """Scores ``(r, t)`` of samples whose embeddings ``(r, l, d)`` are given."""
        rows = concatenated([plain_rows(sample, len(p)) for sample, p in points])
        owners = [sample for sample, p in points for _ in p]
        flat = [point for _, p in points for point in p]
        done: list[tuple[list[int], Tensor]] = []

        def run(picked: list[int], ids: Tensor, visible: Tensor, extras: dict[str, Tensor]) -> None:
            given = pad_sequence([flat[i] for i in picked], batch_first=True)
            with torch.no_grad(), embeddings_given(self.forward.embedding, ids, given):
                done.append((picked, self.read(self.forward(ids, visible, extras), [owners[i] for i in picked])))

        self._sweep(rows, run)
        parts = _reordered(done).split([len(p) for _, p in points])
        return [_own(part, sample) for part, (sample, _) in zip(parts, points, strict=True)]

    def gradients(self, variants: Sequence[EmbeddingVariants], reducers: Sequence[GradientReducer]) -> None:
        """Hand the gradients of each sample's copies to its reducer, target by target, never all at once."""
        rows = concatenated([plain_rows(v.sample, len(v.points)) for v in variants])
        places = [(j, i) for j, v in enumerate(variants) for i in range(len(v.points))]
        reached = [0] * len(places)  # targets done, so that rows of a batch cut in its middle go on where they were

        def run(picked: list[int], ids: Tensor, visible: Tensor, extras: dict[str, Tensor]) -> None:
            owners = [variants[places[i][0]].sample for i in picked]
            counts = [0 if owner.targets is None else len(owner.targets) for owner in owners]
            flat = [variants[j].points[i] for j, i in (places[r] for r in picked)]
            given = pad_sequence(flat, batch_first=True).detach().requires_grad_()
            with torch.enable_grad(), embeddings_given(self.forward.embedding, ids, given):
                scores = self.read(self.forward(ids, visible, extras), owners)
            _own(scores.detach(), owners[0], cut=False)
            for k in range(min(reached[i] for i in picked), max(counts)):
                chosen = [b for b, i in enumerate(picked) if reached[i] <= k < counts[b]]
                (grads,) = torch.autograd.grad(scores[chosen, k].sum(), given, retain_graph=k < max(counts) - 1)
                for j, copies, inside in _runs(picked, chosen, places):
                    reducers[j].add(copies, k, grads[inside, : len(variants[j].sample)])
                for b in chosen:
                    reached[picked[b]] = k + 1

        self._sweep(rows, run)

    def _cost(self, sample: Sample, copies: int) -> int:
        return copies * (1 if self.budget.rows is not None else len(sample))

    def _sweep(self, rows: Rows, run: Batch) -> None:
        """Run all rows, in batches that the budget holds."""
        lengths = rows.lengths.tolist()

        def run_batch(picked: list[int]) -> None:
            ids, visible, extras = self._cut(rows, picked, max(lengths[i] for i in picked))
            run(picked, ids, visible, extras)
            self.on_pass()

        sweep(lengths, self.budget, self._may_mix(rows, lengths), run_batch)

    def _cut(self, rows: Rows, picked: list[int], length: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Ids, attention and extras of some rows, padded to ``length`` with the absent id."""
        inside = torch.arange(length) < rows.lengths[picked, None]
        ids = torch.where(inside, rows.ids[picked, :length], self.forward.pad_id)
        return ids, rows.visible[picked, :length] & inside, {k: v[picked, :length] for k, v in rows.extras.items()}

    def _may_mix(self, rows: Rows, lengths: list[int]) -> bool:
        """Whether rows of unequal lengths may share a batch."""
        if min(lengths) == max(lengths):
            return True
        shortest = min(range(len(lengths)), key=lengths.__getitem__)
        return self.forward.pads_well(*self._cut(rows, [shortest], max(lengths)), lengths[shortest])


def unique_rows(mask: Float[Tensor, "p u"]) -> tuple[Float[Tensor, "r u"], Int[Tensor, " p"]]:
    """The distinct rows of a mask of zeros and ones, and which of them each row is."""
    packed = np.packbits(mask.numpy().astype(bool), axis=1)
    if not packed.shape[1]:
        return mask[:1], torch.zeros(len(mask), dtype=torch.long)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return mask[torch.from_numpy(first)], torch.from_numpy(inverse.reshape(-1))


def plain_rows(sample: Sample, count: int) -> Rows:
    """``count`` untouched copies of a sample."""
    ids = sample.input_ids.expand(count, -1)
    extras = {name: value.expand_as(ids) for name, value in sample.extras.items()}
    return Rows(ids, torch.full((count,), len(sample)), torch.ones_like(ids).bool(), None, extras)


def concatenated(parts: Sequence[Rows]) -> Rows:
    """Rows of several samples in one table, padded to the longest."""
    if len(parts) == 1:
        return parts[0]
    length = max(part.ids.shape[1] for part in parts)

    def table(values: Iterable[Tensor]) -> Tensor:
        return torch.cat([torch.nn.functional.pad(v, (0, length - v.shape[1])) for v in values])

    replaced = [part.replaced for part in parts if part.replaced is not None]
    names = {name for part in parts for name in part.extras}
    return Rows(
        ids=table(part.ids for part in parts),
        lengths=torch.cat([part.lengths for part in parts]),
        visible=table(part.visible for part in parts),
        replaced=table(replaced) if replaced else None,
        extras={n: table(part.extras.get(n, torch.zeros_like(part.ids)) for part in parts) for n in names},
    )


def _runs(picked: list[int], chosen: list[int], places: list[tuple[int, int]]) -> Iterator[tuple[int, list[int], list[int]]]:
    """The chosen rows of a batch, by sample: its number, the copies, and where they are in the batch."""
    by_sample: dict[int, tuple[list[int], list[int]]] = {}
    for b in chosen:
        sample, copy = places[picked[b]]
        copies, inside = by_sample.setdefault(sample, ([], []))
        copies.append(copy)
        inside.append(b)
    for sample, (copies, inside) in by_sample.items():
        yield sample, copies, inside


def _own(scores: Tensor, sample: Sample, cut: bool = True) -> Tensor:
    """The scores of a sample's own targets, or an error where the model answered none."""
    scores = scores if sample.targets is None or not cut else scores[:, : len(sample.targets)]
    if not scores.isfinite().all():
        raise ModelError(
            f"`model`: its output for {sample.text[:60]!r} is not finite (NaN or infinity); nothing can be explained."
        )
    return scores


def _reordered(done: list[tuple[list[int], Tensor]]) -> Tensor:
    """Scores in the order of the rows, on the CPU; moved there at once."""
    order = torch.tensor([i for picked, _ in done for i in picked])
    width = max(scores.shape[1] for _, scores in done)  # samples with fewer targets than others fill up
    scores = torch.cat([torch.nn.functional.pad(s, (0, width - s.shape[1])) for _, s in done]).cpu()
    out = torch.empty_like(scores)
    out[order] = scores
    return out
