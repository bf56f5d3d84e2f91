"""Compute one shard: explain its inputs, keep apart those that fail, write the file. The same in every engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.output import AttributionOutput
from interpreto.datasets.jobs import Compute, Task, is_of_the_machine
from interpreto.datasets.shards import Entry, Failure, entry_of, write_shard
from interpreto.datasets.sources import Rows
from interpreto.datasets.spec import ExplainerSpec, Recipe
from interpreto.errors import EngineError, FileError, InputError, TargetError
from interpreto.progress import one_bar

OFTEN = 0.5  # seconds between two messages on progress
FEW = 8  # failures in a row, of all texts of a shard, that may be chance


@dataclass(frozen=True)
class Orders:
    """Orders that all shards of a run have in common.

    Attributes:
        folder: Of the data set.
        run: Digest of the manifest.
        call: Arguments of `explain`, next to the inputs and their own targets.
        records: A text that fails is recorded; else its error ends the run.
    """

    folder: Path
    run: str
    call: Mapping[str, Any] = field(default_factory=dict)
    records: bool = True


@dataclass(frozen=True)
class Explaining:
    """The job of explaining shards.

    Attributes:
        recipe: What each worker makes its explainer of.
        orders: What all shards have in common.
    """

    recipe: Recipe | ExplainerSpec
    orders: Orders

    def build(self, device: str | None) -> Compute:
        """Return the function that explains a shard, with an explainer on a device; None: where its model is."""
        return partial(compute, self.recipe.build(device), orders=self.orders)


def compute(explainer: AttributionExplainer, task: Task, on_texts: Callable[[int], object], *, orders: Orders) -> Entry:
    """Explain the inputs of a shard and write its file; one that another worker has written in the meantime is left alone.

    Args:
        explainer: Explains.
        task: What to compute.
        on_texts: Called with numbers of texts that are done, now and then.
        orders: What all shards have in common.

    Raises:
        FileError: the inputs cannot be read, or the file cannot be written.
        InterpretoError: an input cannot be explained, and failures are not recorded.
    """
    there = entry_of(orders.folder, task.shard, orders.run)
    if there is not None:
        on_texts(task.shard.stop - task.shard.start)
        return there
    rows = task.part.rows()
    expected = task.shard.stop - task.shard.start
    if len(rows) != expected:
        raise FileError(f"`data`: rows {task.shard.start} to {task.shard.stop} are {len(rows)}; the data have changed.")
    results, told, at = [], 0, time.monotonic()
    with one_bar():
        for result in explained(explainer, rows, task.shard.start, orders):
            results.append(result)
            if time.monotonic() - at > OFTEN:
                on_texts(len(results) - told)
                told, at = len(results), time.monotonic()
    _check_failures(results)
    entry = write_shard(orders.folder, task.shard, rows, results, orders.run)
    on_texts(expected - told)
    return entry


def explained(explainer: AttributionExplainer, rows: Rows, start: int, orders: Orders) -> Iterator[AttributionOutput | Failure]:
    """Yield the explanation of each input, or its failure, in order.

    Where a stream of explanations ends with an error, the inputs that are left are halved until the one that fails is alone.

    Args:
        explainer: Explains.
        rows: Inputs.
        start: Number of the first.
        orders: How failures are taken.
    """
    done = 0
    try:
        for output in explainer.stream(rows.inputs, **_call(rows, orders)):
            yield output
            done += 1
        if done == len(rows):
            return
        raise EngineError(f"the explainer returned {done} explanations for {len(rows)} inputs.")
    except Exception as error:
        rest, number = rows[done:], start + done
        if is_of_the_machine(error) or not len(rest):
            raise
        if len(rest) == 1:
            if not orders.records:
                raise _named(error, number) from error
            text = rest.inputs[0]
            yield Failure(number, text if isinstance(text, str) else str(text), type(error).__name__, str(error))
            return
    middle = len(rest) // 2
    yield from explained(explainer, rest[:middle], number, orders)
    yield from explained(explainer, rest[middle:], number + middle, orders)


def _call(rows: Rows, orders: Orders) -> dict[str, Any]:
    """Return the arguments of a call for some rows."""
    call = dict(orders.call)
    if isinstance(call.get("targets"), (list, tuple)):  # several of each text
        call["targets"] = [list(call["targets"])] * len(rows)
    if rows.targets is not None:
        call["targets"] = rows.targets
    if rows.labels is not None:
        call["labels"] = rows.labels
    return call


def _named(error: Exception, number: int) -> Exception:
    """Return an error that says which input it is about."""
    kind = type(error) if isinstance(error, (InputError, TargetError)) else EngineError
    return kind(f"`data[{number}]`: {error}")


def _check_failures(results: list[AttributionOutput | Failure]) -> None:
    """Refuse a shard in which every text fails for a reason that is not the text: the model or an option is at fault."""
    failures = [result for result in results if isinstance(result, Failure)]
    of_texts = {InputError.__name__, TargetError.__name__}
    if len(failures) == len(results) >= FEW and not any(failure.kind in of_texts for failure in failures):
        first = failures[0]
        raise EngineError(
            f"all {len(results)} inputs from number {first.id} on fail, the first with {first.kind}: {first.message} That is "
            "not about one text; nothing is recorded."
        )
