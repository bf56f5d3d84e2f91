"""Runs the copies of one sample behind what they have in common: the tokens in front of the first that differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.inputs.samples import Readout
from interpreto.models.batching import Budget, is_out_of_memory, map_batches
from interpreto.models.forward import CACHE_ARGUMENTS, Batch, Forward
from interpreto.models.kv_cache import UNFILLED, Prefix, new_cache, recorded, returned_caches
from interpreto.models.masking import Replacement, Rows
from interpreto.models.padding import agree
from interpreto.models.report import warn_of_prefix

LEAST_BATCHES = 2  # that the copies fill; fewer are done sooner whole than in the smaller batches behind a prefix
LEAST_SAVED = 0.1  # share of the tokens; below, the separate batches cost more than the prefix saves


@dataclass(frozen=True, eq=False)
class Copies:
    """Rows of one sample, and what each needs of its own.

    Attributes:
        start: The first token that a row must run.
        wanted: What a row reads behind its first change; the rest it reads as the untouched row does.
    """

    rows: Rows
    readout: Readout
    replacement: Replacement
    start: Int[Tensor, " r"]
    wanted: Bool[Tensor, "r k"]

    @property
    def todo(self) -> list[int]:
        """Rows that read anything of their own."""
        return self.wanted.any(1).nonzero()[:, 0].tolist()

    @staticmethod
    def of(rows: Rows, readout: Readout, replacement: Replacement, untouched: int) -> Copies:
        assert rows.positions is not None
        changed = first_changes(rows, untouched)
        wanted = (rows.positions >= changed[:, None]) | (rows.positions != rows.positions[untouched])  # 'drop' moves them
        start = torch.minimum(changed, torch.where(wanted, rows.positions, rows.ids.shape[1]).amin(1))
        return Copies(rows, readout, replacement, start, wanted)


class SharedPrefix:
    """Scores copies of a causal text, running only what follows the first token in which they differ from it.

    What a copy reads in front of that token is the untouched text's. A model whose caches do not continue exactly
    (state-space models, unknown caches) is found out on the first copy, and its copies are run whole.

    Args:
        forward: The model.
        budget: What a batch may hold; the prefix does not count.
        read: How a task reads logits.
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
        self, rows: Rows, readout: Readout | None, untouched: int, replacement: Replacement
    ) -> Float[Tensor, "r k"] | None:
        """Outputs of the rows, of which one is ``untouched``; None where the prefix cannot be shared, or saves too little."""
        if readout is None or not readout.causal or rows.positions is None or rows.sources is not None:
            return None
        copies = Copies.of(rows, readout, replacement, untouched)
        if reason := self._why_not(copies):
            self.forward.log.skip("prefix", reason)
            return None
        with torch.no_grad():
            found = (
                self._found_out(copies, untouched) if self.forward.shares_prefix is None else self._record(copies, untouched)
            )
            if found is None:
                self.forward.log.skip("prefix", self.forward.prefix_obstacle or "the cache of this text is not whole")
                return None
            self.forward.log.use("prefix")
            return self._run(copies, found[1], found[0].cpu().expand(len(rows.ids), -1).clone())

    def _why_not(self, copies: Copies) -> str:
        """Return why these rows do not share a prefix: too little is saved, or the model cannot; "" where they do.

        Few perturbed inputs fill no batches of their own, and are done sooner in batches that they share with others.
        """
        r, length = copies.rows.ids.shape
        if int(copies.start[copies.todo].sum()) < LEAST_SAVED * r * length:
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

    def _found_out(self, copies: Copies, untouched: int) -> tuple[Float[Tensor, "1 k"], Prefix] | None:
        """Return `_record` of the first rows, if their model continues its caches exactly: measured once."""
        problem = "its cache holds another state than the keys and values of each token"
        for makes_cache in (False, True):
            self.forward.makes_cache = makes_cache
            try:
                found = self._record(copies, untouched)
                continues = found is not None and self._continues(copies, found[1])
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

    def _record(self, copies: Copies, untouched: int) -> tuple[Float[Tensor, "1 k"], Prefix] | None:
        """Return the outputs of the untouched row, and its keys and values if these are all that its cache holds."""
        batch = self._batch(copies.rows, [untouched], 0)
        cache = UNFILLED if self.forward.makes_cache else new_cache()
        with returned_caches(self.forward.model) as returned:
            logits = self.forward(replace(batch, past=cache))
        self.on_pass()
        if cache is UNFILLED:
            cache = returned[-1] if isinstance(returned[-1], tuple) else UNFILLED
        prefix = recorded(cache, batch.ids.shape[1])
        return None if prefix is None else (self.read(logits, copies.readout.ids[None]), prefix)

    def _run(self, copies: Copies, prefix: Prefix, found: Float[Tensor, "r k"]) -> Float[Tensor, "r k"]:
        """Fill in what the changed rows read behind their changes."""
        todo = copies.todo

        def outputs_of(numbers: list[int]) -> Tensor:
            picked = [todo[i] for i in numbers]
            logits = self._logits(copies, picked, int(copies.start[picked].min()), prefix)
            outputs = self.read(logits, copies.readout.ids.expand(len(picked), -1))
            self.on_pass()
            return outputs

        outputs = map_batches((copies.rows.lengths - copies.start)[todo].tolist(), outputs_of, self.budget)
        found[todo] = torch.where(copies.wanted[todo], outputs, found[todo])
        return found

    def _logits(self, copies: Copies, picked: list[int], start: int, prefix: Prefix) -> Float[Tensor, "b k v"]:
        rows, vector = copies.rows, copies.replacement.vector
        batch = self._batch(rows, picked, start)
        if start:
            batch = replace(batch, past=prefix.past(start, len(picked)))
        if rows.replaced is None or vector is None:
            return self.forward(batch)
        with self.forward.replacing(batch, rows.replaced[picked, start : start + batch.ids.shape[1]], vector):
            return self.forward(batch)

    def _batch(self, rows: Rows, picked: list[int], start: int) -> Batch:
        """Some rows from a token on; what is read in front of it is read at the first, for its place."""
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

    def _continues(self, copies: Copies, prefix: Prefix) -> bool | None:
        """Whether a row behind the longest prefix answers as the row run whole; None where there is none to tell by."""
        row = max(copies.todo, key=lambda i: int(copies.start[i]))
        s = int(copies.start[row])
        if not s or copies.rows.positions is None:
            return None
        behind, whole = self._logits(copies, [row], s, prefix), self._logits(copies, [row], 0, prefix)
        seen = (copies.rows.positions[row] >= s).nonzero()[:, 0]
        return agree(behind[:, seen], whole[:, seen], self.forward.low_precision)


def first_changes(rows: Rows, untouched: int) -> Int[Tensor, " r"]:
    """The first token in which each row differs from the untouched one; its length where none does."""
    length = rows.ids.shape[1]
    columns = torch.arange(length)
    differs = (rows.ids != rows.ids[untouched]) | ~rows.visible | (columns >= rows.lengths[:, None])
    if rows.replaced is not None:
        differs |= rows.replaced
    return torch.where(differs, columns, length).amin(1)
