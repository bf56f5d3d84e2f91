"""Prefix sharing: run the tokens that all perturbed inputs of a sample begin with once, and keep their KV cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.inputs.samples import Readout
from interpreto.models.batch import Batch
from interpreto.models.batching import Budget, is_out_of_memory, map_batches
from interpreto.models.domains import AnyReplacement
from interpreto.models.forward import CACHE_ARGUMENTS, Forward
from interpreto.models.kv_cache import UNFILLED, Prefix, new_cache, recorded, returned_caches
from interpreto.models.padding import agree
from interpreto.models.report import warn_of_prefix
from interpreto.models.rows import Rows

LEAST_BATCHES = 2  # of perturbed inputs; fewer are faster whole than in the smaller batches after a prefix
LEAST_SAVED = 0.1  # share of the tokens; below it, the separate batches cost more than the prefix saves


@dataclass(frozen=True, eq=False)
class PerturbedRows:
    """The perturbed inputs of one sample, and the part of each that must be run.

    Attributes:
        rows: The perturbed inputs.
        readout: The outputs that are read.
        replacement: The replacement of masked units.
        start: The first token of each row that must be run.
        wanted: True for outputs after a row's first change; the others equal those of the unperturbed row.
    """

    rows: Rows
    readout: Readout
    replacement: AnyReplacement
    start: Int[Tensor, " r"]
    wanted: Bool[Tensor, "r k"]

    @property
    def todo(self) -> list[int]:
        """Return the rows whose outputs differ from those of the unperturbed row."""
        return self.wanted.any(1).nonzero()[:, 0].tolist()

    @staticmethod
    def of(rows: Rows, readout: Readout, replacement: AnyReplacement, original: int) -> PerturbedRows:
        assert rows.positions is not None
        changed = first_changes(rows, original)
        wanted = (rows.positions >= changed[:, None]) | (rows.positions != rows.positions[original])  # 'drop' moves them
        start = torch.minimum(changed, torch.where(wanted, rows.positions, rows.ids.shape[1]).amin(1))
        return PerturbedRows(rows, readout, replacement, start, wanted)


class SharedPrefix:
    """Score perturbed inputs of a causal model from the first token on in which they differ from the input.

    Outputs before that token are those of the unperturbed input. A model whose caches do not continue exactly (state-space
    models, unknown caches) is recognized on its first perturbed input, and all are run whole.

    Args:
        forward: The model.
        budget: Size of a batch, without the prefix.
        read: Reads the scores of a task from logits.
        on_pass: Called after each forward pass.
    """

    def __init__(
        self,
        forward: Forward,
        budget: Budget,
        read: Callable[[Tensor, Tensor | None], Tensor],
        on_pass: Callable[[], object],
    ) -> None:
        self.forward, self.budget, self.read, self.on_pass = forward, budget, read, on_pass

    def __call__(
        self, rows: Rows, readout: Readout | None, original: int, replacement: AnyReplacement
    ) -> Float[Tensor, "r k"] | None:
        """Return the outputs ``(r, k)`` of the rows; None if the prefix cannot be shared, or saves too little.

        ``original`` is the number of the row without a mask.
        """
        if readout is None or not readout.causal or rows.positions is None or rows.sources is not None:
            return None
        perturbed = PerturbedRows.of(rows, readout, replacement, original)
        if reason := self._why_not(perturbed):
            self.forward.log.skip("prefix", reason)
            return None
        with torch.no_grad():
            found = (
                self._measured(perturbed, original) if self.forward.shares_prefix is None else self._record(perturbed, original)
            )
            if found is None:
                self.forward.log.skip("prefix", self.forward.prefix_obstacle or "the cache of this text is not whole")
                return None
            self.forward.log.use("prefix")
            return self._run(perturbed, found[1], found[0].cpu().expand(len(rows.ids), -1).clone())

    def _why_not(self, perturbed: PerturbedRows) -> str:
        """Return the reason why these rows do not share a prefix; "" where they do.

        Few perturbed inputs fill no batches of their own, and are faster in batches together with those of other samples.
        """
        r, length = perturbed.rows.ids.shape
        if own := getattr(self.forward.model, "prefix_obstacle", ""):
            return str(own)
        if int(perturbed.start[perturbed.todo].sum()) < LEAST_SAVED * r * length:
            return f"perturbed inputs share less than {LEAST_SAVED:.0%} of their tokens"
        held, batch = (r * length, self.budget.tokens) if self.budget.rows is None else (r, self.budget.rows)
        if held < LEAST_BATCHES * batch:
            return f"the perturbed inputs of a sample fill fewer than {LEAST_BATCHES} batches"
        if self.forward.cache_argument is None:
            self._give_up(f"its forward takes no key-value cache ({' or '.join(CACHE_ARGUMENTS)})")
        return self.forward.prefix_obstacle

    def _give_up(self, reason: str) -> None:
        self.forward.shares_prefix, self.forward.prefix_obstacle = False, reason
        warn_of_prefix(self.forward.model, reason)

    def _measured(self, perturbed: PerturbedRows, original: int) -> tuple[Float[Tensor, "1 k"], Prefix] | None:
        """Return `_record` of the first rows if the model continues its caches exactly, which is measured once."""
        problem = "its cache holds another state than the keys and values of each token"
        for makes_cache in (False, True):
            self.forward.makes_cache = makes_cache
            try:
                found = self._record(perturbed, original)
                continues = found is not None and self._continues(perturbed, found[1])
            except Exception as error:  # hybrids raise of all kinds when they are given a plain cache
                if is_out_of_memory(error):
                    raise
                problem = f"its cache cannot be continued ({type(error).__name__}: {str(error)[:80]})"
                continue
            if found is not None and continues is not False:
                self.forward.shares_prefix = continues
                return found
            if found is not None:
                problem = "its outputs behind a cached prefix differ from those of the whole text"
                break
        self._give_up(problem)
        return None

    def _record(self, perturbed: PerturbedRows, original: int) -> tuple[Float[Tensor, "1 k"], Prefix] | None:
        """Return the outputs of the unperturbed row, and its keys and values; None if its cache holds more than these."""
        batch = self._batch(perturbed.rows, [original], 0)
        cache = UNFILLED if self.forward.makes_cache else new_cache()
        with returned_caches(self.forward.model) as returned:
            logits = self.forward(replace(batch, past=cache))
        self.on_pass()
        if cache is UNFILLED:
            cache = returned[-1] if isinstance(returned[-1], tuple) else UNFILLED
        prefix = recorded(cache, batch.ids.shape[1])
        return None if prefix is None else (self.read(logits, perturbed.readout.ids[None]), prefix)

    def _run(self, perturbed: PerturbedRows, prefix: Prefix, found: Float[Tensor, "r k"]) -> Float[Tensor, "r k"]:
        """Fill in the outputs after the first change of each row."""
        todo = perturbed.todo

        def outputs_of(numbers: list[int]) -> Tensor:
            picked = [todo[i] for i in numbers]
            logits = self._logits(perturbed, picked, int(perturbed.start[picked].min()), prefix)
            outputs = self.read(logits, perturbed.readout.ids.expand(len(picked), -1))
            self.on_pass()
            return outputs

        outputs = map_batches((perturbed.rows.lengths - perturbed.start)[todo].tolist(), outputs_of, self.budget)
        found[todo] = torch.where(perturbed.wanted[todo], outputs, found[todo])
        return found

    def _logits(self, perturbed: PerturbedRows, picked: list[int], start: int, prefix: Prefix) -> Float[Tensor, "b k v"]:
        rows, vector = perturbed.rows, perturbed.replacement.vector
        batch = self._batch(rows, picked, start)
        if start:
            batch = replace(batch, past=prefix.past(start, len(picked)))
        if rows.replaced is None or vector is None:
            return self.forward(batch)
        with self.forward.replacing(batch, rows.replaced[picked, start : start + batch.ids.shape[1]], vector):
            return self.forward(batch)

    def _batch(self, rows: Rows, picked: list[int], start: int) -> Batch:
        """Return some rows from the token ``start`` on; outputs before it are read at ``start``, as fillers."""
        assert rows.positions is not None
        end = int(rows.lengths[picked].max())
        inside = torch.arange(end) < rows.lengths[picked, None]
        return Batch(
            ids=torch.where(inside, rows.ids[picked, :end], self.forward.pad_id)[:, start:],
            lengths=rows.lengths[picked] - start,
            visible=rows.visible[picked, :end] & inside,
            extras={k: v[picked, start:end] for k, v in rows.extras.items()},
            positions=(rows.positions[picked] - start).clamp(min=0),
        )

    def _continues(self, perturbed: PerturbedRows, prefix: Prefix) -> bool | None:
        """Return True if the row with the longest prefix has the outputs of the whole row; None if no row has a prefix."""
        row = max(perturbed.todo, key=lambda i: int(perturbed.start[i]))
        s = int(perturbed.start[row])
        if not s or perturbed.rows.positions is None:
            return None
        behind, whole = self._logits(perturbed, [row], s, prefix), self._logits(perturbed, [row], 0, prefix)
        seen = (perturbed.rows.positions[row] >= s).nonzero()[:, 0]
        return agree(behind[:, seen], whole[:, seen], self.forward.low_precision)


def first_changes(rows: Rows, original: int) -> Int[Tensor, " r"]:
    """Return the first token in which each row differs from the unperturbed one; the length where none does."""
    length = rows.ids.shape[1]
    columns = torch.arange(length)
    differs = (rows.ids != rows.ids[original]) | ~rows.visible | (columns >= rows.lengths[:, None])
    if rows.replaced is not None:
        differs |= rows.replaced
    return torch.where(differs, columns, length).amin(1)
