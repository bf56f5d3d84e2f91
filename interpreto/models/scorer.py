"""Scores of masked samples: full batches whatever the samples, every distinct perturbed input run once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import InputError, ModelError
from interpreto.inputs.samples import MaskVariants, Readout, Sample
from interpreto.models.alternatives import TextAlternatives
from interpreto.models.batching import map_batches, windows
from interpreto.models.domains import AnyReplacement
from interpreto.models.measurements import check_model
from interpreto.models.prefix_sharing import SharedPrefix
from interpreto.models.rows import RowRunner, Rows, concatenated

WINDOW = 64  # batches that are sorted by length together


@dataclass(frozen=True, eq=False)
class Run:
    """Perturbed inputs of one sample, as one readout runs them; None: its outputs are read whole.

    Attributes:
        of: Number of the sample in its window.
        untouched: Number of the row in which nothing is masked.
    """

    of: int
    sample: Sample
    rows: Rows
    readout: Readout | None
    untouched: int = 0


class MaskScorer:
    """Scores samples with units masked.

    Perturbed inputs of different samples share batches; batches are sorted by length within a window; the optimizations that
    `EngineOptions` names are used. None of it changes a number.

    Args:
        runner: The model.
        replacement: What masked units become.
    """

    def __init__(self, runner: RowRunner, replacement: AnyReplacement) -> None:
        self.runner, self.replacement, self.options = runner, replacement, runner.options
        self.prefix = (
            SharedPrefix(runner.forward, runner.budget, runner.read, runner.on_pass) if runner.options.prefix else None
        )

    def scores(self, variants: Iterable[MaskVariants]) -> Iterator[tuple[MaskVariants, Float[Tensor, "p1 t"]]]:
        """Yield the scores of each sample's perturbed inputs, the first row that of the untouched sample."""
        runner = self.runner
        limit = WINDOW * (runner.budget.rows or runner.budget.tokens)
        for window in windows(variants, lambda v: runner.cost(v.sample, len(v.mask) + 1), limit):
            check_ids([v.sample for v in window], runner.forward.embeddings.vocabulary)
            masks = [self._masks(v) for v in window]
            runs = [
                Run(i, v.sample, self.replacement.rows(v.sample, mask, readout), readout, int(inverse[0]))
                for i, (v, (mask, inverse)) in enumerate(zip(window, masks, strict=True))
                for readout in runner.readouts(v.sample)
            ]
            with runner.padding((v.sample for v in window), self.replacement.token_id, self._others(window)):
                check_model(runner.forward, (v.sample for v in window), self.replacement)
                found = self._shared(runs)
                together = [run for i, run in enumerate(runs) if i not in found]
                if together:
                    outputs = self._run_together(together)
                    found |= zip((i for i in range(len(runs)) if i not in found), outputs, strict=True)
            totals: list[Tensor | None] = [None] * len(window)
            for i, run in enumerate(runs):
                scores, before = mixed(found[i], run.readout), totals[run.of]
                totals[run.of] = scores if before is None else before + scores
            for v, total, (_, inverse) in zip(window, totals, masks, strict=True):
                assert total is not None
                yield v, finite(total, v.sample)[inverse]

    def _others(self, window: Sequence[MaskVariants]) -> set[int]:
        """Return the tokens of other texts that units may become."""
        replacement = self.replacement
        return set().union(*(replacement.ids(v.sample) for v in window)) if isinstance(replacement, TextAlternatives) else set()

    def _masks(self, v: MaskVariants) -> tuple[Tensor, Tensor]:
        """Return the distinct masks to run, an empty one among them, and the number of each asked one; the first is empty."""
        mask = torch.cat([v.mask.new_zeros(1, v.mask.shape[1]), v.mask])
        if not self.options.distinct:
            return mask, torch.arange(len(mask))
        if v.sample.players < mask.shape[1]:
            mask[:, v.sample.players :] = 0  # no score sees these units
        distinct, inverse = unique_rows(mask)
        if len(distinct) < len(mask):
            self.runner.forward.log.use("distinct")
        return distinct, inverse

    def _shared(self, runs: Sequence[Run]) -> dict[int, Tensor]:
        """Return the outputs of the runs for which sharing a prefix pays, by number."""
        if self.prefix is None:
            return {}
        outputs = (self.prefix(run.rows, run.readout, run.untouched, self.replacement) for run in runs)
        return {i: found for i, found in enumerate(outputs) if found is not None}

    def _run_together(self, runs: Sequence[Run]) -> list[Float[Tensor, "r k"]]:
        """Return the outputs of each run's rows; all rows share batches."""
        rows, runner, vector = concatenated([run.rows for run in runs]), self.runner, self.replacement.vector
        owners = [i for i, run in enumerate(runs) for _ in range(len(run.rows.ids))]

        def outputs_of(picked: list[int]) -> Tensor:
            batch, ids = runner.batch(rows, picked), columns([runs[owners[i]].readout for i in picked])
            if batch.positions is not None and ids is not None:
                batch = replace(batch, positions=batch.positions[:, : ids.shape[1]])  # others of the table may ask for more
            with torch.no_grad():
                if rows.replaced is None or vector is None:
                    logits = runner.forward(batch)
                else:
                    with runner.forward.replacing(batch, rows.replaced[picked, : batch.ids.shape[1]], vector):
                        logits = runner.forward(batch)
                outputs = runner.read(logits, ids)
            runner.on_pass()
            return outputs

        lengths = rows.lengths.tolist()
        parts = map_batches(lengths, outputs_of, runner.budget, runner.may_mix(rows, lengths)).split(
            [len(run.rows.ids) for run in runs]
        )
        return [part if run.readout is None else part[:, : len(run.readout.ids)] for part, run in zip(parts, runs, strict=True)]


def unique_rows(mask: Float[Tensor, "p u"]) -> tuple[Float[Tensor, "r u"], Int[Tensor, " p"]]:
    """Return the distinct rows of a mask of zeros and ones, and the number of each row among them."""
    packed = np.packbits(mask.numpy().astype(bool), axis=1)
    if not packed.shape[1]:
        return mask[:1], torch.zeros(len(mask), dtype=torch.long)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return mask[torch.from_numpy(first)], torch.from_numpy(inverse.reshape(-1))


def mixed(outputs: Float[Tensor, "r k"], readout: Readout | None) -> Float[Tensor, "r t"]:
    """Return the scores of rows that share a readout."""
    if readout is None or readout.weights is None:
        return outputs
    return outputs @ readout.weights.T.to(outputs)


def mixed_rows(outputs: Float[Tensor, "b k"], readouts: Sequence[Readout | None]) -> Float[Tensor, "b t"]:
    """Return the scores of rows with a readout each, zero where a row has fewer than others."""
    if all(readout is readouts[0] for readout in readouts):
        return mixed(outputs if readouts[0] is None else outputs[:, : len(readouts[0].ids)], readouts[0])
    scores, start = [], 0
    for _, same in groupby(readouts, key=id):
        readout, *others = same
        end = start + 1 + len(others)
        if readout is not None:
            scores.append(mixed(outputs[start:end, : len(readout.ids)], readout))
        start = end
    width = max(part.shape[1] for part in scores)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in scores])


def columns(readouts: Sequence[Readout | None]) -> Int[Tensor, "b k"] | None:
    """Return the columns that each row is read at, padded with the first; None: the outputs are read whole."""
    own = [readout.ids for readout in readouts if readout is not None]
    if len(own) < len(readouts):
        return None
    if all(ids is own[0] for ids in own):
        return own[0].expand(len(own), -1)
    width, numbers = max(map(len, own)), {}
    for ids in own:
        numbers.setdefault(id(ids), (len(numbers), ids))
    table = torch.stack([torch.cat([ids, ids[:1].expand(width - len(ids))]) for _, ids in numbers.values()])
    return table[[numbers[id(ids)][0] for ids in own]]


def finite(scores: Tensor, sample: Sample) -> Tensor:
    """Return the scores, or raise an error where the model returned none.

    While the prediction has not been read, the outputs may hold infinities: a model may shut classes off by them.
    """
    if (scores.isnan() if sample.targets is None else ~scores.isfinite()).any():
        raise ModelError(
            f"`model`: its output for {sample.text[:60]!r} is not finite (NaN or infinity); nothing can be explained."
        )
    return scores


def check_ids(samples: Iterable[Sample], vocabulary: int | None) -> None:
    """Raise an `InputError` if a sample has a token that the model's table lacks."""
    for sample in samples if vocabulary is not None else ():
        if len(sample.input_ids) and int(sample.input_ids.max()) >= (vocabulary or 0):
            raise InputError(
                f"`inputs`: {sample.text[:40]!r} has token {int(sample.input_ids.max())}, and the model knows {vocabulary}. If "
                "tokens were added to the tokenizer, call `model.resize_token_embeddings(len(tokenizer))`."
            )
