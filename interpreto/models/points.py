"""Scores and gradients of samples whose embeddings are given."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interpreto.errors import ModelError
from interpreto.inputs.samples import EmbeddingVariants, Readout, Sample
from interpreto.models.backward_rules import BackwardRules
from interpreto.models.batch import Batch
from interpreto.models.batching import TOKENS_A_PASS, Budget, is_out_of_memory, map_batches
from interpreto.models.gradients import GradientReducer, MakesReducer
from interpreto.models.hidden_states import HiddenStates
from interpreto.models.logits import promoted
from interpreto.models.measurements import check_model
from interpreto.models.padding import agree
from interpreto.models.point_rows import Aim, AtInput, PointRows, by_sample, directions_of, padded_points, runs_of, starts_of
from interpreto.models.rows import RowRunner, Rows, concatenated, plain_rows
from interpreto.models.scorer import check_ids, columns, finite, mixed_rows
from interpreto.models.secants import Pairs
from interpreto.models.watching import observed
from interpreto.models.wrappers import model_name

COLUMNS = "XLNet"  # models whose tensors hold the batch in their second dimension
READ_TOGETHER = 2**21  # outputs of pairs that are read at once: half of what tasks read in one part
NO_GRADIENT = ("does not require grad", "not have been used in the graph", "Inference tensors", "not implemented for")


class PointScorer:
    """Scores samples whose embeddings are given, and hands the gradients there to reducers.

    Args:
        runner: The model.
        rules: Rules that gradients follow; None: those of calculus. With paired rules each point is run with the point that
            its variants' direction comes from, so its batches hold half as many points.
        hidden: Activations at a hook point, which points are in the place of embeddings; None: they are embeddings.
    """

    def __init__(self, runner: RowRunner, rules: BackwardRules | None = None, hidden: HiddenStates | None = None) -> None:
        self.runner, self.forward, self.rules, self.hidden = runner, runner.forward, rules, hidden
        self._leads = not type(self.forward.model).__name__.startswith(COLUMNS)
        self.budget = runner.budget
        if rules is not None and rules.paired:
            self.budget = _halved(runner.budget) if self._leads else replace(runner.budget, rows=1)  # two rows: never a length

    def scores(self, points: Sequence[tuple[Sample, Tensor]]) -> list[Tensor]:
        """Return the scores ``(r, t)`` of each sample at its points ``(r, l, d)``."""
        places = [(j, i) for j, (_, p) in enumerate(points) for i in range(len(p))]

        def scores_of(picked: list[int]) -> Tensor:
            runs = list(runs_of(places[i] for i in picked))
            with torch.no_grad():
                owners = [points[j][0] for j, some in runs for _ in range(some.start, some.stop)]
                scores = self._scores(owners, padded_points([points[j][1][some] for j, some in runs]))
            self.runner.on_pass()
            return scores

        rows = concatenated([self._plain(sample, len(p)) for sample, p in points])
        with self._padding([sample for sample, _ in points]):
            lengths = rows.lengths.tolist()
            found = map_batches(lengths, scores_of, self.runner.budget, self.runner.may_mix(rows, lengths))
        parts = zip(found.split([len(p) for _, p in points]), points, strict=True)
        return [
            finite(part if sample.targets is None else part[:, : len(sample.targets)], sample) for part, (sample, _) in parts
        ]

    def gradients(self, variants: Sequence[EmbeddingVariants], reducers: Sequence[GradientReducer]) -> None:
        """Hand the gradients at each sample's points to its reducer, some scores at a time, never all at once."""
        rows = PointRows.of(variants)

        def add_gradients(picked: list[int]) -> None:
            owners = [variants[rows.places[i][0]].sample for i in picked]
            given, scores = self._pass(owners, rows, picked)
            finite(scores.detach(), owners[0])
            counts = [0 if owner.targets is None else len(owner.targets) for owner in owners]
            self._hand_over(scores[: len(picked)], given, counts, (rows, picked), lambda j: reducers[j])

        self._in_batches([v.sample for v in variants], variants, add_gradients)

    def gradients_at_inputs(
        self, variants: Sequence[EmbeddingVariants], asked: Sequence[Sample], aim: Aim, reducer: MakesReducer
    ) -> list[AtInput]:
        """Return the targets, scores and gradients of samples at their inputs; each forward pass serves all three.

        Args:
            variants: Whose points are the inputs themselves; of paired rules, with a baseline for each point.
            asked: The samples as they are run, which may lack targets.
            aim: Finds the targets of a sample, and their scores.
            reducer: Makes what takes the gradients of a sample.
        """
        rows, found = PointRows.of(variants), [AtInput(v) for v in variants]

        def add_gradients(picked: list[int]) -> None:
            owners = [asked[rows.places[i][0]] for i in picked]
            given, outputs = self._pass(owners, rows, picked)
            scores = []
            for b, (i, owner) in enumerate(zip(picked, owners, strict=True)):
                at, point = found[rows.places[i][0]], rows.places[i][1]
                own = outputs[b :: len(picked)]
                own = finite(own if owner.targets is None else own[:, : len(owner.targets)], owner)
                scores.append(self._aimed(at, own, aim))
                at.reducer = reducer(at.variants, scores[-1].shape[1]) if at.reducer is None else at.reducer
                at.scores[point] = scores[-1].detach().cpu()
            counts = [len(own[0]) for own in scores]
            together = pad_sequence([own[0] for own in scores], batch_first=True)
            self._hand_over(together, given, counts, (rows, picked), lambda j: found[j].reducer)

        self._in_batches(asked, variants, add_gradients)
        return found

    def _aimed(self, at: AtInput, outputs: Float[Tensor, "r k"], aim: Aim) -> Float[Tensor, "r t"]:
        """Return the scores of a sample's targets, which are found once: at its input, and at its baseline if it has one."""
        paired = self.rules if self.rules is not None and self.rules.paired else None
        if paired is not None:
            paired.pairs = Pairs(len(outputs))
        with nullcontext() if paired is None else paired:
            sample, scores = aim(at.variants.sample, outputs)
        if at.reducer is None:
            at.variants = replace(at.variants, sample=sample)
        return promoted(scores)

    def _pass(
        self, owners: Sequence[Sample], rows: PointRows, picked: Sequence[int]
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "r t"]]:
        """Return the points of some rows and their scores, those of the baselines behind them where rules are paired."""
        runs = list(runs_of(rows.places[r] for r in picked))
        given = padded_points([rows.variants[j].points[some] for j, some in runs]).requires_grad_()
        with torch.enable_grad():
            if self.rules is None or not self.rules.paired:
                scores = self._scores(owners, given)
            else:
                starts = padded_points([starts_of(rows.variants[j], some) for j, some in runs])
                scores = self._scores([*owners, *owners], torch.cat([given, starts]))
        self.runner.on_pass()
        return given, scores

    def _hand_over(
        self,
        scores: Float[Tensor, "b t"],
        given: Float[Tensor, "b l d"],
        counts: Sequence[int],
        batch: tuple[PointRows, list[int]],
        reducer: Callable[[int], GradientReducer | None],
    ) -> None:
        """Hand the gradients of a batch's scores to the samples' reducers, by blocks of scores that share a backward pass."""
        rows, picked = batch
        reached, places = rows.reached, rows.places
        start, end = min(reached[i] for i in picked), max(counts)
        while start < end:
            chosen = [b for b, i in enumerate(picked) if reached[i] <= start < counts[b]]
            last = min(end, start + self._together(given))
            parts = [chosen] if self.runner.options.shared_backward else [[b] for b in chosen]
            for some in parts:
                if len(some) > 1:
                    self.forward.log.use("shared_backward")
                block = range(start, min(last, max(counts[b] for b in some)))
                directions = directions_of(scores, block, {b: counts[b] for b in some})
                only = end - start == 1 and len(parts) == 1  # no other backward: its memory is free as it goes
                found = self._backward(scores, given, directions, keep=not only)
                for j, copies, inside in by_sample(picked, some, places):
                    own = reducer(j)
                    assert own is not None
                    numbers = [own.before + copy for copy in copies]
                    count = counts[inside.start if isinstance(inside, slice) else inside[0]]
                    for k, gradients in zip(block[: count - start], found, strict=False):
                        own.add(
                            numbers, k, gradients[inside, : len(rows.variants[j].sample), : rows.variants[j].points.shape[2]]
                        )
            for b in chosen:
                reached[picked[b]] = min(last, counts[b])
            start = min((reached[i] for b, i in enumerate(picked) if reached[i] < counts[b]), default=end)

    def _in_batches(
        self, samples: Sequence[Sample], variants: Sequence[EmbeddingVariants], step: Callable[[list[int]], None]
    ) -> None:
        """Apply a step to the points of all samples in batches, watched by the rules if there are any."""
        rows = concatenated([self._plain(sample, len(v.points)) for sample, v in zip(samples, variants, strict=True)])
        with self._padding(samples):
            lengths = rows.lengths.tolist()
            mixes = self.runner.may_mix(rows, lengths)
            with nullcontext() if self.rules is None else observed(self.forward.model, self.rules):
                map_batches(lengths, step, self.budget, mixes)
        if self.rules is not None:
            self.rules.warn_of_missed()

    def _together(self, given: Float[Tensor, "b l d"]) -> int:
        """Return how many scores share a backward pass: as many as fill a batch with their copies of these rows."""
        if self.forward.batches_gradients is False:
            return 1
        budget = max(self.runner.budget.tokens, TOKENS_A_PASS["cuda" if given.is_cuda else "cpu"] // 4)
        return max(1, budget // (given.shape[0] * given.shape[1]))

    def _backward(
        self, scores: Float[Tensor, "b t"], given: Float[Tensor, "b l d"], directions: Float[Tensor, "k b t"], keep: bool
    ) -> Float[Tensor, "k b l d"]:
        """Return the gradients of some sums of scores: in one backward where the model can do it so."""
        if len(directions) > 1 and self.forward.batches_gradients is not False:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # torch tells which operators it runs one by one
                    found = self._grad(scores, given, directions, is_grads_batched=True)
            except (RuntimeError, ModelError) as error:
                if is_out_of_memory(error):
                    raise
                self.forward.batches_gradients = False  # an operator of this model has no rule for it
            else:
                if self.forward.batches_gradients is None:  # measured once
                    alone = self._grad(scores, given, directions[-1])
                    self.forward.batches_gradients = agree(found[-1], alone, self.forward.low_precision)
                if self.forward.batches_gradients:
                    return found
        return torch.stack([self._grad(scores, given, direction, keep=keep) for direction in directions])

    def _grad(
        self, scores: Tensor, given: Tensor, direction: Tensor, is_grads_batched: bool = False, keep: bool = True
    ) -> Tensor:
        try:
            (found,) = torch.autograd.grad(
                scores, given, grad_outputs=direction, retain_graph=keep, is_grads_batched=is_grads_batched
            )
        except RuntimeError as error:
            if any(said in str(error) for said in NO_GRADIENT):
                raise ModelError(
                    f"`model`: {model_name(self.forward.model)} gives no gradients at its embeddings, as quantized models "
                    f"give none ({str(error).splitlines()[0]:.80}). Explain it by a mask method, such as Occlusion."
                ) from error
            raise
        return found

    def _scores(self, owners: Sequence[Sample], given: Float[Tensor, "b l d"]) -> Float[Tensor, "b t"]:
        """Return the scores of rows whose embeddings are given, summed over their samples' readouts; differentiable."""
        of_sample = {key: self.runner.readouts(owner) for key, owner in {id(owner): owner for owner in owners}.items()}
        readouts = [of_sample[id(owner)] for owner in owners]
        total: Tensor | None = None
        for q in range(max(map(len, readouts))):
            inside = [b for b, own in enumerate(readouts) if q < len(own)]
            part = given if len(inside) == len(owners) else given[inside]
            scores = self._read([owners[b] for b in inside], [readouts[b][q] for b in inside], part)
            if len(inside) < len(owners):
                where = torch.tensor(inside, device=scores.device)
                scores = scores.new_zeros(len(owners), scores.shape[1]).index_add(0, where, scores)
            total = scores if total is None else _padded(total, scores.shape[1]) + _padded(scores, total.shape[1])
        assert total is not None
        return total

    def _read(
        self, owners: Sequence[Sample], readouts: Sequence[Readout | None], given: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b t"]:
        rows = concatenated([plain_rows(owner, count, readout) for owner, readout, count in _runs(owners, readouts)])
        batch = self.runner.batch(rows)
        extended = any(readout is not None and readout.suffix is not None for readout in readouts)
        if extended and self.hidden is None:
            rows_of = zip(given, owners, readouts, strict=True)
            given = pad_sequence([self._extended(*row) for row in rows_of], batch_first=True)
        ids = columns(readouts)
        with self._given(batch, given[:, : batch.ids.shape[1]], owners):
            if self.rules is None:
                outputs = self.runner.read(self.forward(batch), ids)
            else:
                outputs = self._by_rules(self.rules, batch, ids)
        return promoted(mixed_rows(outputs, readouts))

    def _given(
        self, batch: Batch, given: Float[Tensor, "b l d"], owners: Sequence[Sample]
    ) -> AbstractContextManager[ExitStack | None]:
        """Return a context manager in which the batch has these embeddings, or these activations at the hook point."""
        if self.hidden is None:
            return self.forward.given(batch, given)
        return self.hidden.given(batch, given, torch.tensor([len(owner) for owner in owners]).clamp(max=given.shape[1]))

    def _by_rules(self, rules: BackwardRules, batch: Batch, ids: Tensor | None) -> Float[Tensor, "b k"]:
        """Return the outputs that are read of a batch.

        Tasks read outputs in parts, so that paired rules are given whole pairs, as many as fit in one part.
        """
        rules.pairs = Pairs(len(batch.ids), self._leads)
        with rules:
            logits = self.forward(batch)
        if not rules.paired or ids is None:
            return self.runner.read(logits, ids)
        found, half = [], len(logits) // 2
        for start in range(0, half, size := max(1, READ_TOGETHER // logits.shape[-1])):
            rows = [b + part for part in (0, half) for b in range(start, min(start + size, half))]
            rules.pairs = Pairs(len(rows))
            with rules:
                columns_of = [self.runner.read(*part) for part in _by_column(logits[rows], ids[rows])]
            found.append(torch.cat(columns_of, 1).unflatten(0, (2, -1)))
        return torch.cat(found, 1).flatten(0, 1)

    def _extended(self, embeddings: Float[Tensor, "l d"], owner: Sample, readout: Readout | None) -> Float[Tensor, "m d"]:
        """Return a row's embeddings with those of its readout's suffix."""
        own = embeddings[: len(owner)]
        if readout is None or readout.suffix is None:
            return own
        return torch.cat([own, self.forward.embeddings.embed(readout.suffix, 0).to(own)])

    def _plain(self, sample: Sample, count: int) -> Rows:
        """Return a sample some times, as its longest readout runs it."""
        parts = [plain_rows(sample, count, readout) for readout in self.runner.readouts(sample)]
        return max(parts, key=lambda rows: rows.ids.shape[1])

    @contextmanager
    def _padding(self, samples: Sequence[Sample]) -> Iterator[None]:
        check_ids(samples, self.forward.embeddings.vocabulary)
        with self.runner.padding(samples):
            check_model(self.forward, samples, None, at_embeddings=self.hidden is None)
            yield


def _halved(budget: Budget) -> Budget:
    return replace(budget, rows=None if budget.rows is None else max(1, budget.rows // 2), tokens=max(1, budget.tokens // 2))


def _runs(owners: Sequence[Sample], readouts: Sequence[Readout | None]) -> Iterator[tuple[Sample, Readout | None, int]]:
    """Yield each sample and readout with the number of rows that share them, one row after another."""
    pairs = zip(owners, readouts, strict=True)
    for _, same in groupby(pairs, key=lambda pair: (id(pair[0]), id(pair[1]))):
        run = list(same)
        yield *run[0], len(run)


def _by_column(logits: Tensor, ids: Int[Tensor, "b k"]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits and the ids read there: of a generation, of one position after another."""
    if logits.ndim == 2:
        yield logits, ids
        return
    for k in range(ids.shape[1]):
        yield logits[:, k : k + 1], ids[:, k : k + 1]


def _padded(scores: Float[Tensor, "b t"], width: int) -> Float[Tensor, "b w"]:
    return torch.nn.functional.pad(scores, (0, max(0, width - scores.shape[1])))
