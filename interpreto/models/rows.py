"""Rows of token ids: perturbed inputs of samples, and how they are cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interpreto.inputs.samples import Readout, Sample
from interpreto.models.batch import Batch
from interpreto.models.batching import Budget
from interpreto.models.forward import Forward
from interpreto.models.options import EngineOptions

Read = Callable[[Tensor, Tensor | None], Tensor]
"""Takes scores ``(b, k)`` out of a batch's outputs, for these columns ``(b, k)``; all of the outputs for None."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Perturbed inputs, ready to be run: ids, and what differs from reading them plainly.

    Attributes:
        lengths: Tokens of each row; what follows is padding.
        visible: False where attention must not look.
        replaced: True where the embedding is the replacement's vector.
        positions: Tokens at which outputs are read; None: one row of outputs per text.
        sources: Number of tokens of each row that an encoder reads; None: one stack reads all.
    """

    ids: Int[Tensor, "r l"]
    lengths: Int[Tensor, " r"]
    visible: Bool[Tensor, "r l"]
    replaced: Bool[Tensor, "r l"] | None
    extras: dict[str, Int[Tensor, "r l"]]
    positions: Int[Tensor, "r k"] | None = None
    sources: Int[Tensor, " r"] | None = None


@dataclass(frozen=True, eq=False)
class RowRunner:
    """The model, and how rows reach it.

    Attributes:
        forward: The model.
        budget: Largest batch.
        read: Takes scores out of outputs.
        options: Optimizations.
        on_pass: Called after each forward pass, for a progress bar.
    """

    forward: Forward
    budget: Budget
    read: Read
    options: EngineOptions = field(default_factory=EngineOptions)
    on_pass: Callable[[], object] = lambda: None

    @contextmanager
    def padding(self, samples: Iterable[Sample], token_id: int | None = None, more: Iterable[int] = ()) -> Iterator[None]:
        """Context manager in which rows of these samples, of which some tokens may become others, can be padded."""
        used = set(more) if token_id is None else {token_id, *more}
        for sample in samples:
            used.update(sample.input_ids.tolist())
            for readout in () if sample.targets is None else sample.targets.readouts:
                used.update([] if readout.suffix is None else readout.suffix.tolist())
        with self.forward.padding(used):
            yield

    def readouts(self, sample: Sample) -> Sequence[Readout | None]:
        """Return the runs that a sample takes; None: the outputs are read whole."""
        if sample.targets is None:
            return [None]
        readouts = sample.targets.readouts
        if self.options.one_pass and any(r.positions is not None and len(r.positions.unique()) > 1 for r in readouts):
            self.forward.log.use("one_pass")
        if self.options.one_pass or any(readout.positions is None for readout in readouts):
            return readouts
        return [single for readout in readouts for single in readout.single()]

    def cost(self, sample: Sample, rows: int) -> int:
        """Return what rows of a sample count in the budget."""
        return rows * (1 if self.budget.rows is not None else len(sample))

    def batch(self, rows: Rows, picked: list[int] | slice = slice(None)) -> Batch:
        """Return some rows, or all, padded to the longest of them with the absent id."""
        lengths = rows.lengths[picked]
        return self._cut(rows, picked, int(lengths.max()))

    def _cut(self, rows: Rows, picked: list[int] | slice, length: int) -> Batch:
        lengths = rows.lengths[picked]
        inside = torch.arange(length) < lengths[:, None]
        return Batch(
            ids=torch.where(inside, rows.ids[picked, :length], self.forward.pad_id),
            lengths=lengths,
            visible=rows.visible[picked, :length] & inside,
            extras={k: v[picked, :length] for k, v in rows.extras.items()},
            positions=None if rows.positions is None else rows.positions[picked],
            sources=None if rows.sources is None else rows.sources[picked],
        )

    def may_mix(self, rows: Rows, lengths: list[int]) -> bool:
        """Return True if rows of unequal lengths may share a batch."""
        if min(lengths) == max(lengths):
            return True
        shortest = min(range(len(lengths)), key=lengths.__getitem__)
        mixes = self.forward.pads_well(self._cut(rows, [shortest], max(lengths)))
        if mixes:
            self.forward.log.use("mixed_lengths")
        else:
            self.forward.log.skip("mixed_lengths", "padding on the right changes what this model returns")
        return mixes


def plain_rows(sample: Sample, count: int, readout: Readout | None = None) -> Rows:
    """Return a sample ``count`` times as it is, as a readout runs it."""
    ids, extras, positions = sample.input_ids, sample.inputs, None
    if readout is not None and readout.positions is not None:
        n = None if readout.last is None else readout.last + 1  # what follows the last position read is not run
        suffix = 0 if readout.suffix is None else len(readout.suffix)
        ids = (ids if readout.suffix is None else torch.cat([ids, readout.suffix]))[:n]
        extras = {k: torch.cat([v, v[-1:].expand(suffix, *v.shape[1:])])[:n] for k, v in extras.items()}
        positions = readout.positions.expand(count, -1)
    rows = ids.expand(count, -1)
    return Rows(
        ids=rows,
        lengths=torch.full((count,), len(ids)),
        visible=torch.ones_like(rows).bool(),
        replaced=None,
        extras={name: value.expand(count, *value.shape) for name, value in extras.items()},
        positions=positions,
        sources=torch.full((count,), sample.source) if sample.source else None,
    )


def concatenated(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several samples in one table, padded to the longest."""
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
