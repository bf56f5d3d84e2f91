"""Scores and gradients of altered copies: full batches whatever the samples, every distinct copy run once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interpreto.errors import ModelError
from interpreto.inputs.samples import EmbeddingVariants, MaskVariants, Readout, Sample
from interpreto.models.batching import TOKENS_A_PASS, Budget, map_batches, windows
from interpreto.models.forward import Batch, Forward
from interpreto.models.gradients import GradientReducer
from interpreto.models.masking import Replacement, Rows, plain_rows
from interpreto.models.measurements import check_model
from interpreto.models.options import EngineOptions
from interpreto.models.prefix_sharing import SharedPrefix
from interpreto.models.report import EngineLog

Read = Callable[[Tensor, Tensor | None], Tensor]
"""Outputs ``(b, k)`` out of a batch's logits, for these ids ``(b, k)``; all of them for None."""

WINDOW = 64  # batches that are sorted by length together


@dataclass(frozen=True, eq=False)
class Run:
    """Copies of one sample, as one reading runs them; None: its outputs are read whole.

    Attributes:
        of: Which sample of its window it is.
        untouched: The copy from which nothing is removed.
    """

    of: int
    sample: Sample
    rows: Rows
    readout: Readout | None
    untouched: int = 0


class Scorer:
    """Runs copies of samples: some units removed, or the embeddings moved.

    Copies of different samples share batches; batches are sorted by length within a window; what `EngineOptions` names is
    saved. None of it changes a number.

    Args:
        forward: The model.
        budget: What a batch may hold.
        read: How a task reads logits.
        shortcuts: What is saved.
        on_pass: Called after each forward pass, for a progress bar.
    """

    def __init__(
        self,
        forward: Forward,
        budget: Budget,
        read: Read,
        shortcuts: EngineOptions | None = None,
        on_pass: Callable[[], object] = lambda: None,
    ) -> None:
        self.forward, self.budget, self.read, self.on_pass = forward, budget, read, on_pass
        self.shortcuts = EngineOptions() if shortcuts is None else shortcuts
        self.prefix = SharedPrefix(forward, budget, read, on_pass) if self.shortcuts.prefix else None

    def masked(
        self, variants: Iterable[MaskVariants], replacement: Replacement
    ) -> Iterator[tuple[MaskVariants, Float[Tensor, "p1 t"]]]:
        """Scores of each sample's copies, the untouched sample's in front of them."""
        limit = WINDOW * (self.budget.rows or self.budget.tokens)
        for window in windows(variants, lambda v: self._cost(v.sample, len(v.mask) + 1), limit):
            check_model(self.forward, (v.sample for v in window), replacement)
            copies = [self._copies(v) for v in window]
            runs = [
                Run(i, v.sample, replacement.rows(v.sample, mask, readout), readout, int(inverse[0]))
                for i, (v, (mask, inverse)) in enumerate(zip(window, copies, strict=True))
                for readout in self._readings(v.sample)
            ]
            totals: list[Tensor | None] = [None] * len(window)
            for run, outputs in self._outputs(runs, replacement):
                scores, before = mixed(outputs, run.readout), totals[run.of]
                totals[run.of] = scores if before is None else before + scores
            for v, total, (_, inverse) in zip(window, totals, copies, strict=True):
                assert total is not None
                yield v, finite(total, v.sample)[inverse]

    def _copies(self, v: MaskVariants) -> tuple[Tensor, Tensor]:
        """The copies to run, the untouched one among them, and which of them each is; the untouched one is the first."""
        mask = torch.cat([v.mask.new_zeros(1, v.mask.shape[1]), v.mask])
        if not self.shortcuts.distinct:
            return mask, torch.arange(len(mask))
        if v.sample.players < mask.shape[1]:
            mask[:, v.sample.players :] = 0  # no score sees these units
        distinct, inverse = unique_rows(mask)
        if len(distinct) < len(mask):
            self.forward.log.use("distinct")
        return distinct, inverse

    def _readings(self, sample: Sample) -> Sequence[Readout | None]:
        if sample.targets is None:
            return [None]
        readouts = sample.targets.readouts
        if self.shortcuts.one_pass and any(
            readout.positions is not None and len(readout.positions.unique()) > 1 for readout in readouts
        ):
            self.forward.log.use("one_pass")
        if self.shortcuts.one_pass or any(readout.positions is None for readout in readouts):
            return readouts
        return [single for readout in readouts for single in readout.single()]

    def _outputs(self, runs: Sequence[Run], replacement: Replacement) -> Iterator[tuple[Run, Tensor]]:
        """Outputs ``(r, k)`` of each run's rows: behind a shared prefix where that pays, else all runs together."""
        together = []
        for run in runs:
            outputs = None if self.prefix is None else self.prefix(run.rows, run.readout, run.untouched, replacement)
            if outputs is None:
                together.append(run)
            else:
                yield run, outputs
        if together:
            yield from zip(together, self._run_together(together, replacement), strict=True)

    def _run_together(self, runs: Sequence[Run], replacement: Replacement) -> list[Tensor]:
        rows = concatenated([run.rows for run in runs])
        owners = [i for i, run in enumerate(runs) for _ in range(len(run.rows.ids))]

        def outputs_of(picked: list[int], batch: Batch) -> Tensor:
            ids = _ids([runs[owners[i]].readout for i in picked])
            if batch.positions is not None and ids is not None:
                batch = replace(batch, positions=batch.positions[:, : ids.shape[1]])  # others of the table may ask for more
            with torch.no_grad():
                if rows.replaced is None or replacement.vector is None:
                    logits = self.forward(batch)
                else:
                    where = rows.replaced[picked, : batch.ids.shape[1]]
                    with self.forward.replacing(batch, where, replacement.vector):
                        logits = self.forward(batch)
                return self.read(logits, ids)

        parts = self._mapped(rows, outputs_of).split([len(run.rows.ids) for run in runs])
        return [part if run.readout is None else part[:, : len(run.readout.ids)] for part, run in zip(parts, runs, strict=True)]

    def at_points(self, points: Sequence[tuple[Sample, Tensor]]) -> list[Tensor]:
        """Scores ``(r, t)`` of samples whose embeddings ``(r, l, d)`` are given."""
        check_model(self.forward, (sample for sample, _ in points), None)
        owners = [sample for sample, p in points for _ in p]
        flat = [point for _, p in points for point in p]

        def scores_of(picked: list[int], _batch: Batch) -> Tensor:
            given = pad_sequence([flat[i] for i in picked], batch_first=True)
            with torch.no_grad():
                return self._scores_at([owners[i] for i in picked], given)

        rows = concatenated([self._plain(sample, len(p)) for sample, p in points])
        parts = self._mapped(rows, scores_of).split([len(p) for _, p in points])
        return [
            finite(part if sample.targets is None else part[:, : len(sample.targets)], sample)
            for part, (sample, _) in zip(parts, points, strict=True)
        ]

    def gradients(self, variants: Sequence[EmbeddingVariants], reducers: Sequence[GradientReducer]) -> None:
        """Hand the gradients of each sample's copies to its reducer, score by score, never all at once."""
        places = [(j, i) for j, v in enumerate(variants) for i in range(len(v.points))]
        reached = [0] * len(places)  # scores done, so that rows of a batch cut in its middle go on where they were

        def add_gradients(picked: list[int], _batch: Batch) -> None:
            owners = [variants[places[i][0]].sample for i in picked]
            counts = [0 if owner.targets is None else len(owner.targets) for owner in owners]
            flat = [variants[j].points[i] for j, i in (places[r] for r in picked)]
            given = pad_sequence(flat, batch_first=True).detach().requires_grad_()
            with torch.enable_grad():
                scores = self._scores_at(owners, given)
            finite(scores.detach(), owners[0])
            for k in range(min(reached[i] for i in picked), max(counts)):
                chosen = [b for b, i in enumerate(picked) if reached[i] <= k < counts[b]]
                for rows in [chosen] if self.shortcuts.shared_backward else [[b] for b in chosen]:
                    if len(rows) > 1:
                        self.forward.log.use("shared_backward")
                    last = k == max(counts) - 1 and rows[-1] == chosen[-1]
                    (grads,) = torch.autograd.grad(scores[rows, k].sum(), given, retain_graph=not last)
                    for j, copies, inside in _runs(picked, rows, places):
                        reducers[j].add(copies, k, grads[inside, : len(variants[j].sample)])
                for b in chosen:
                    reached[picked[b]] = k + 1

        self._mapped(concatenated([self._plain(v.sample, len(v.points)) for v in variants]), add_gradients)

    def _scores_at(self, owners: Sequence[Sample], given: Float[Tensor, "b l d"]) -> Float[Tensor, "b t"]:
        """Scores of rows whose embeddings are given, summed over their samples' readings; differentiable."""
        readouts = [self._readings(owner) for owner in owners]
        total: Tensor | None = None
        for q in range(max(map(len, readouts))):
            inside = [b for b, own in enumerate(readouts) if q < len(own)]
            part = given if len(inside) == len(owners) else given[inside]
            scores = self._read_at([owners[b] for b in inside], [readouts[b][q] for b in inside], part)
            if len(inside) < len(owners):
                where = torch.tensor(inside, device=scores.device)
                scores = scores.new_zeros(len(owners), scores.shape[1]).index_add(0, where, scores)
            total = scores if total is None else _padded(total, scores.shape[1]) + _padded(scores, total.shape[1])
        assert total is not None
        return total

    def _read_at(self, owners: Sequence[Sample], readouts: Sequence[Readout | None], given: Tensor) -> Float[Tensor, "b t"]:
        rows = concatenated([plain_rows(owner, 1, readout) for owner, readout in zip(owners, readouts, strict=True)])
        batch = self._cut(rows, list(range(len(owners))), rows.ids.shape[1])
        if any(readout is not None and readout.suffix is not None for readout in readouts):
            rows_of = zip(given, owners, readouts, strict=True)
            given = pad_sequence([self._extended(*row) for row in rows_of], batch_first=True)
        with self.forward.given(batch, given[:, : batch.ids.shape[1]]):
            outputs = self.read(self.forward(batch), _ids(readouts))
        return mixed_rows(outputs, readouts)

    def _extended(self, embeddings: Float[Tensor, "l d"], owner: Sample, readout: Readout | None) -> Float[Tensor, "m d"]:
        """A row's embeddings, with those of its reading's tail."""
        own = embeddings[: len(owner)]
        if readout is None or readout.suffix is None:
            return own
        return torch.cat([own, self.forward.embed(readout.suffix, 0).to(own)])

    def _plain(self, sample: Sample, count: int) -> Rows:
        """Copies of a sample as its longest reading runs them."""
        parts = [plain_rows(sample, count, readout) for readout in self._readings(sample)]
        return max(parts, key=lambda rows: rows.ids.shape[1])

    def _cost(self, sample: Sample, copies: int) -> int:
        return copies * (1 if self.budget.rows is not None else len(sample))

    def _mapped(self, rows: Rows, step: Callable[[list[int], Batch], Any]) -> Any:
        """Apply ``step`` to all rows, in batches that the budget holds."""
        lengths = rows.lengths.tolist()

        def run_batch(picked: list[int]) -> Any:
            result = step(picked, self._cut(rows, picked, max(lengths[i] for i in picked)))
            self.on_pass()
            return result

        return map_batches(lengths, run_batch, self.budget, self._may_mix(rows, lengths))

    def _cut(self, rows: Rows, picked: list[int], length: int) -> Batch:
        """Some rows, padded to ``length`` with the absent id."""
        inside = torch.arange(length) < rows.lengths[picked, None]
        return Batch(
            ids=torch.where(inside, rows.ids[picked, :length], self.forward.pad_id),
            lengths=rows.lengths[picked],
            visible=rows.visible[picked, :length] & inside,
            extras={k: v[picked, :length] for k, v in rows.extras.items()},
            positions=None if rows.positions is None else rows.positions[picked],
            sources=None if rows.sources is None else rows.sources[picked],
        )

    def _may_mix(self, rows: Rows, lengths: list[int]) -> bool:
        """Whether rows of unequal lengths may share a batch."""
        if min(lengths) == max(lengths):
            return True
        shortest = min(range(len(lengths)), key=lengths.__getitem__)
        mixes = self.forward.pads_well(self._cut(rows, [shortest], max(lengths)))
        if mixes:
            self.forward.log.use("mixed_lengths")
        else:
            self.forward.log.skip("mixed_lengths", "padding on the right changes what this model returns")
        return mixes


@contextmanager
def scoring(
    forward: Forward,
    samples: Sequence[Sample],
    read: Read,
    *,
    batch_size: int | None = None,
    replacement: Replacement | None = None,
    shortcuts: EngineOptions | None = None,
    on_pass: Callable[[], object] = lambda: None,
) -> Iterator[Scorer]:
    """Within, rows of these samples can be padded, and a scorer runs the model: so many rows a pass, or as many as fit."""
    used = {int(i) for sample in samples for i in sample.input_ids.tolist()}
    readouts = [readout for sample in samples if sample.targets is not None for readout in sample.targets.readouts]
    used |= {int(i) for readout in readouts if readout.suffix is not None for i in readout.suffix}
    if replacement is not None and replacement.token_id is not None:
        used.add(replacement.token_id)
    forward.log = EngineLog(shortcuts)
    with forward.padding(used):
        budget = Budget(batch_size, TOKENS_A_PASS["cuda" if forward.device.type == "cuda" else "cpu"])
        yield Scorer(forward, budget, read, shortcuts, on_pass)


def unique_rows(mask: Float[Tensor, "p u"]) -> tuple[Float[Tensor, "r u"], Int[Tensor, " p"]]:
    """The distinct rows of a mask of zeros and ones, and which of them each row is."""
    packed = np.packbits(mask.numpy().astype(bool), axis=1)
    if not packed.shape[1]:
        return mask[:1], torch.zeros(len(mask), dtype=torch.long)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return mask[torch.from_numpy(first)], torch.from_numpy(inverse.reshape(-1))


def mixed(outputs: Float[Tensor, "r k"], readout: Readout | None) -> Float[Tensor, "r t"]:
    """Scores of rows that share a reading."""
    if readout is None or readout.weights is None:
        return outputs
    return outputs @ readout.weights.T.to(outputs)


def mixed_rows(outputs: Float[Tensor, "b k"], readouts: Sequence[Readout | None]) -> Float[Tensor, "b t"]:
    """Scores of rows with a reading each, zero where a row has fewer than others."""
    if all(readout is readouts[0] for readout in readouts):
        return mixed(outputs if readouts[0] is None else outputs[:, : len(readouts[0].ids)], readouts[0])
    scores = [
        mixed(row[None, : len(readout.ids)], readout)[0] for row, readout in zip(outputs, readouts, strict=True) if readout
    ]
    return pad_sequence(scores, batch_first=True)


def concatenated(parts: Sequence[Rows]) -> Rows:
    """Rows of several samples in one table, padded to the longest."""
    if len(parts) == 1:
        return parts[0]
    length = max(part.ids.shape[1] for part in parts)

    def table(values: Iterable[Tensor], width: int = length) -> Tensor:
        parts = list(values)
        return torch.cat([torch.nn.functional.pad(v, (*[0] * (2 * v.ndim - 3), width - v.shape[1])) for v in parts])

    replaced = [part.replaced for part in parts if part.replaced is not None]
    positions = [part.positions for part in parts if part.positions is not None]
    sources = [part.sources for part in parts if part.sources is not None]
    names = {name for part in parts for name in part.extras}
    return Rows(
        ids=table(part.ids for part in parts),
        lengths=torch.cat([part.lengths for part in parts]),
        visible=table(part.visible for part in parts),
        replaced=table(replaced) if replaced else None,
        extras={n: table(part.extras.get(n, torch.zeros_like(part.ids)) for part in parts) for n in names},
        positions=table(positions, max(a.shape[1] for a in positions)) if positions else None,
        sources=torch.cat(sources) if sources else None,
    )


def _ids(readouts: Sequence[Readout | None]) -> Tensor | None:
    """The columns that each row is read at, padded with the first."""
    own = [readout.ids for readout in readouts if readout is not None]
    if len(own) < len(readouts):
        return None
    if all(ids is own[0] for ids in own):
        return own[0].expand(len(own), -1)
    width = max(map(len, own))
    return torch.stack([torch.cat([ids, ids[:1].expand(width - len(ids))]) for ids in own])


def _padded(scores: Float[Tensor, "b t"], width: int) -> Float[Tensor, "b w"]:
    return torch.nn.functional.pad(scores, (0, max(0, width - scores.shape[1])))


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


def finite(scores: Tensor, sample: Sample) -> Tensor:
    """The scores, or an error where the model answered none."""
    if not scores.isfinite().all():
        raise ModelError(
            f"`model`: its output for {sample.text[:60]!r} is not finite (NaN or infinity); nothing can be explained."
        )
    return scores
