"""Rows of attention: what a method makes of the attention of all layers, one row per sample and score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from interpreto.errors import ModelError
from interpreto.inputs.samples import Readout, Sample
from interpreto.models.attention import AttentionMap, Kind
from interpreto.models.attention_flow import Attended, AttentionRule, Flow, Rows
from interpreto.models.attention_pass import Felt, Last, LayerReader, Seen, outermost_blocks, reading
from interpreto.models.batching import map_batches
from interpreto.models.forward import Batch, promoted
from interpreto.models.measurements import check_causal, check_model
from interpreto.models.point_rows import padded_points
from interpreto.models.rows import RowRunner, concatenated, plain_rows
from interpreto.models.scorer import check_ids, columns, finite, mixed
from interpreto.models.value_zeroing import BlockCalls, shares_of, zeroed
from interpreto.models.wrappers import model_name

Aim = Callable[[Sample, Float[Tensor, "1 k"]], tuple[Sample, Float[Tensor, "1 t"]]]
"""Takes a sample and the outputs that were read for it to the sample with its targets, and their scores."""


@dataclass(frozen=True, eq=False)
class Run:
    """One readout of a sample.

    Attributes:
        of: Number of the sample.
        readout: What is read; None: the outputs as a whole.
    """

    of: int
    sample: Sample
    readout: Readout | None


@dataclass(frozen=True, eq=False)
class Done:
    """A run, after it.

    Attributes:
        run: With its targets.
        scores: Scores of the input.
        read: Share of each query in each score.
        own: Row of each score over the tokens of the queries' stack.
        source: Row of each score over the encoder's tokens.
    """

    run: Run
    scores: Float[Tensor, " t"]
    read: Float[Tensor, "t q"]
    own: Float[Tensor, "t q"]
    source: Float[Tensor, "t s"] | None


class AttentionScorer:
    """Runs samples in batches, and reduces the attention of each batch to rows before the next batch is run.

    Args:
        runner: The model.
        aim: Finds the targets of samples that have none.
    """

    def __init__(self, runner: RowRunner, aim: Aim) -> None:
        self.runner, self.forward, self.aim = runner, runner.forward, aim
        self._last: Mapping[Kind, int] = {}

    def rows(self, samples: Sequence[Sample], rule: AttentionRule) -> list[Attended]:
        """Return the rows of each sample's scores.

        Raises:
            ModelError: the model has no attention that can be read, or none with a row and a column per token.
        """
        if obstacle := getattr(self.forward.model, "attention_obstacle", ""):
            raise ModelError(f"`model`: {model_name(self.forward.model)} {obstacle}")
        runs = [Run(i, sample, readout) for i, sample in enumerate(samples) for readout in self.runner.readouts(sample)]
        with self._padding(samples, moves=rule.steps > 0):
            done = self._mapped(runs, lambda some: self._attended(some, rule))
            weights = [None] * len(done) if not rule.steps else self._feedback(done, rule.steps)
        placed = [self._placed(each, weight) for each, weight in zip(done, weights, strict=True)]
        return [
            _together([(d, row) for d, row in zip(done, placed, strict=True) if d.run.of == i]) for i in range(len(samples))
        ]

    @contextmanager
    def _padding(self, samples: Sequence[Sample], moves: bool) -> Iterator[None]:
        check_ids(samples, self.forward.embeddings.vocabulary)
        with self.runner.padding(samples):
            if moves:
                check_model(self.forward, samples, None)
            for sample in samples:
                if sample.targets and any(r.causal and r.positions is not None for r in sample.targets.readouts):
                    check_causal(self.forward, sample)
            yield

    def _mapped(self, runs: Sequence[Run], step: Callable[[list[Run]], list[Done]]) -> list[Done]:
        """Apply a step to all runs in batches."""
        rows = concatenated([plain_rows(run.sample, 1, run.readout) for run in runs])
        lengths = rows.lengths.tolist()
        mixes = self.runner.may_mix(rows, lengths)
        return map_batches(lengths, lambda picked: step([runs[i] for i in picked]), self.runner.budget, mixes)

    # --- Rows of a batch

    def _attended(self, runs: list[Run], rule: AttentionRule) -> list[Done]:
        """Return a batch of runs with their scores and rows."""
        if rule.zeroing:
            return [self._zeroed(run, rule.flow()) for run in runs]
        return self._followed(runs, rule.flow(self._directions(runs) if rule.directed else None))

    def _zeroed(self, run: Run, flow: Flow) -> Done:
        """Return a run with its scores, and the rows that a flow makes of value zeroing in its blocks."""
        batch, model = self._batch([run]), self.forward.model
        blocks = BlockCalls(outermost_blocks(model))
        reader = LayerReader(model, 1, self._sizes(batch), blocks.see, cut=True)
        with blocks.listening():
            outputs = self._run([run], batch, reader, gradients=True)
        reader.checked()
        aimed, scores = self._scored(run, outputs[0])
        read = reader.shares(scores[None]).detach()
        for number, (kind, turned) in enumerate(zeroed(model, blocks.calls, self.runner.budget)):
            flow.see(AttentionMap(shares_of(turned)[:, None], None, "", kind, number))
        rows = [flow.row(read[:, k]) for k in range(len(scores))]
        return _cut(aimed, 0, len(scores), scores.detach()[None], read, rows)

    def _directions(self, runs: list[Run]) -> Float[Tensor, "b t q d"]:
        """Return the gradients of the scores in the last hidden states, normalizations kept fixed."""
        batch = self._batch(runs)
        reader = LayerReader(
            self.forward.model, len(runs), self._sizes(batch), lambda layer: layer.weights, cut=True, frozen=True
        )
        outputs = self._run(runs, batch, reader, gradients=True)
        reader.checked()
        scores = [self._scored(run, row)[1] for run, row in zip(runs, outputs, strict=True)]
        return reader.gradients(pad_sequence(scores, batch_first=True))

    def _followed(self, runs: list[Run], flow: Flow) -> list[Done]:
        """Return a batch of runs with their scores, and the rows that a flow makes of their attention."""
        felt = Felt(flow) if flow.backward else None
        stated = all(run.readout is not None and run.readout.positions is not None for run in runs)
        batch = self._batch(runs)
        reader = LayerReader(
            self.forward.model,
            len(runs),
            self._sizes(batch),
            felt or Seen(flow),
            cut=not (stated or flow.backward),
            close=flow.close if flow.closes else None,
        )
        outputs = self._run(runs, batch, reader, gradients=flow.backward or not stated)
        reader.checked()
        self._last = reader.last
        scored = [self._scored(run, row) for run, row in zip(runs, outputs, strict=True)]
        scores = pad_sequence([own for _, own in scored], batch_first=True)
        aimed = [run for run, _ in scored]
        read = self._stated(aimed, batch).to(scores) if stated else reader.shares(scores)
        rows = []
        for k in range(scores.shape[1]):
            if felt is not None:
                flow.start(read[:, k], reader.two_stacks)
                felt.pull(scores[:, k].sum(), last=k + 1 == scores.shape[1])
            rows.append(flow.row(read[:, k]))
        batched = scores.detach(), read.detach(), rows
        return [_cut(run, i, len(own), *batched) for i, (run, own) in enumerate(scored)]

    def _batch(self, runs: Sequence[Run]) -> Batch:
        rows = concatenated([plain_rows(run.sample, 1, run.readout) for run in runs])
        return self.runner.batch(rows)

    def _sizes(self, batch: Batch) -> dict[Kind, tuple[int, int]]:
        """Return how many queries and keys each kind of attention has."""
        length = self.forward.attending(batch)
        source, own = length, length
        if batch.sources is not None:
            source, own = int(batch.sources.max()), int((batch.lengths - batch.sources).max())
        return {"self": (own, own), "encoder": (source, source), "cross": (own, source)}

    def _run(
        self, runs: Sequence[Run], batch: Batch, reader: LayerReader, gradients: bool, given: Tensor | None = None
    ) -> Float[Tensor, "b k"]:
        """Return the outputs that a batch is read at."""
        with (
            nullcontext() if given is None else self.forward.given(batch, given),
            torch.set_grad_enabled(gradients),
            reading(self.forward.model, reader),
        ):
            outputs = self.runner.read(self.forward(batch), columns([run.readout for run in runs]))
        self.runner.on_pass()
        return outputs

    def _scored(self, run: Run, outputs: Float[Tensor, " k"]) -> tuple[Run, Float[Tensor, " t"]]:
        """Return a run with its targets, and their scores."""
        if run.readout is not None:
            scores = mixed(outputs[None, : len(run.readout.ids)], run.readout)
            return run, promoted(finite(scores, run.sample)[0])
        sample, scores = self.aim(run.sample, finite(outputs[None], run.sample))
        assert sample.targets is not None
        return replace(run, sample=sample, readout=sample.targets.readouts[0]), promoted(scores[0])

    def _stated(self, runs: Sequence[Run], batch: Batch) -> Float[Tensor, "b t q"]:
        """Return the share of each query in each score, by the readouts: by the size of its weight."""
        queries, _ = self._sizes(batch)["self"]
        found = []
        for run in runs:
            assert run.readout is not None and run.readout.positions is not None
            weights = torch.eye(len(run.readout.ids)) if run.readout.weights is None else run.readout.weights.abs()
            places = torch.nn.functional.one_hot(run.readout.positions - run.sample.source, queries).float()
            shares = weights.float() @ places
            found.append(shares / shares.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny))
        return pad_sequence(found, batch_first=True)

    def _placed(self, done: Done, weights: Rows | None) -> Float[Tensor, "t l"]:
        """Return a run's rows at the tokens of its sample; tokens that were not run have 0."""
        own, source, sample = done.own, done.source, done.run.sample
        if weights is not None:
            own = own * weights.own
            source = source * weights.source if source is not None and weights.source is not None else source
        if source is not None and sample.source:
            own = torch.cat([source, own], 1)
        elif source is not None:  # the decoder reads the text again, a token behind
            own = source + pad(own[:, 1:], (0, 1))
        return self.forward.placed(sample, own)

    # --- Gradients in the last layer

    def _feedback(self, done: Sequence[Done], steps: int) -> list[Rows]:
        """Return the positive part of the mean gradients in the last layer's attention, at the queries that are read."""
        sums = [_Sums(each) for each in done]
        points = [Run(i, each.run.sample, each.run.readout) for i, each in enumerate(done) for _ in range(steps)]
        scales = [(step + 1) / steps for _ in done for step in range(steps)]
        rows = concatenated([plain_rows(run.sample, 1, run.readout) for run in points])
        lengths = rows.lengths.tolist()

        def add(picked: list[int]) -> None:
            runs = [points[i] for i in picked]
            for i, found in zip(picked, self._last_gradients(runs, [scales[i] for i in picked], done), strict=True):
                sums[points[i].of].add(found)

        map_batches(lengths, add, self.runner.budget, self.runner.may_mix(rows, lengths))
        return [own.rows(steps) for own in sums]

    def _last_gradients(
        self, runs: list[Run], scales: Sequence[float], done: Sequence[Done]
    ) -> list[list[dict[Kind, Float[Tensor, "h r k"]]]]:
        """Return the gradients of each run's scores in the last layer's attention, at the queries that are read."""
        batch, last = self._batch(runs), Last(self._last)
        whole = [plain_rows(run.sample, 1, run.readout).ids[0] for run in runs]
        embedded = [self.forward.embeddings.embed(ids, run.sample.source) for ids, run in zip(whole, runs, strict=True)]
        given = padded_points([(each * scale)[None] for each, scale in zip(embedded, scales, strict=True)])
        reader = LayerReader(self.forward.model, len(runs), self._sizes(batch), last)
        outputs = self._run(runs, batch, reader, gradients=True, given=given)
        scores = pad_sequence([self._scored(run, row)[1] for run, row in zip(runs, outputs, strict=True)], batch_first=True)
        found: list[list[dict[Kind, Tensor]]] = [[] for _ in runs]
        for k in range(scores.shape[1]):
            kinds, weights = list(last.weights), list(last.weights.values())
            gradients = torch.autograd.grad(scores[:, k].sum(), weights, retain_graph=True)
            for i, run in enumerate(runs):
                if k < len(done[run.of].scores):
                    read = done[run.of].read[k].nonzero()[:, 0]
                    found[i].append({kind: g[i][:, read].cpu() for kind, g in zip(kinds, gradients, strict=True)})
        return found


class _Sums:
    """Sums of gradients over the points of a run."""

    def __init__(self, done: Done) -> None:
        self.done = done
        self._total: list[dict[Kind, Tensor]] | None = None

    def add(self, found: list[dict[Kind, Tensor]]) -> None:
        found = [{kind: self._fitted(kind, g) for kind, g in each.items()} for each in found]
        if self._total is None:
            self._total = found
            return
        self._total = [{kind: total[kind] + g[kind] for kind in g} for total, g in zip(self._total, found, strict=True)]

    def _fitted(self, kind: Kind, gradient: Tensor) -> Tensor:
        """Return the gradient with the keys of the run alone."""
        rows = self.done.source if kind == "cross" else self.done.own
        assert rows is not None
        return gradient[..., : rows.shape[1]]

    def rows(self, steps: int) -> Rows:
        assert self._total is not None
        by_kind: dict[Kind, list[Tensor]] = {}
        for each, read in zip(self._total, self.done.read, strict=True):
            shares = read[read != 0]
            for kind, total in each.items():
                by_kind.setdefault(kind, []).append((shares[:, None] * (total / steps).clamp(min=0).mean(0)).sum(0))
        return Rows(torch.stack(by_kind["self"]), torch.stack(by_kind["cross"]) if "cross" in by_kind else None)


def _cut(run: Run, i: int, t: int, scores: Tensor, read: Tensor, rows: Sequence[Rows]) -> Done:  # noqa: PLR0917  # of one batch
    """Return one run of a batch, on the CPU, without the tokens that pad it and the scores that it does not have."""
    whole = run.sample.picture is not None  # its rows are all of one length
    length = rows[0].own.shape[1] if whole else int(plain_rows(run.sample, 1, run.readout).lengths[0]) - run.sample.source
    own = torch.stack([each.own[i] for each in rows[:t]])[:, :length].detach().cpu()
    source = [each.source[i] for each in rows[:t] if each.source is not None]
    return Done(
        run,
        scores[i, :t].cpu(),
        read[i, :t, :length].cpu(),
        own,
        torch.stack(source)[:, : run.sample.source or length].detach().cpu() if source else None,
    )


def _together(runs: Sequence[tuple[Done, Float[Tensor, "t l"]]]) -> Attended:
    """Return the mean of the rows of a sample's readouts, and the sum of their scores."""
    scores = torch.stack([done.scores for done, _ in runs]).sum(0)
    return Attended(runs[0][0].run.sample, scores, torch.stack([row for _, row in runs]).mean(0))
