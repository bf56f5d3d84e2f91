"""Write the activations that a splitter reads to a store, in this process or by workers, each with a splitter of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interpreto.concepts.activation_store import ActivationStore
from interpreto.concepts.splitters.granularities import Unit
from interpreto.concepts.store_encoding import read_dtype
from interpreto.concepts.store_index import ShardFacts, StoreConfig
from interpreto.concepts.store_writing import ShardTask, ShardWriter, encoding_of
from interpreto.engines.engine import Engine
from interpreto.errors import ModelError
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models import fingerprint
from interpreto.models.batching import TOKENS_A_PASS, Budget
from interpreto.validation import check_count


@dataclass(frozen=True, eq=False)
class Reading:
    """Choices of how the rows of a store are read from a model.

    Attributes:
        unit: Unit of a row.
        strategy: Pooling of tokens into a row.
        split_point: Where activations are read.
        dtype: In which they are computed; None: the model's.
        encoding: How rows are encoded; None: they are not.
    """

    unit: Unit
    strategy: GranularityAggregationStrategy
    split_point: str
    dtype: torch.dtype | None
    encoding: str | None

    @staticmethod
    def of(unit: Unit, strategy: GranularityAggregationStrategy, split_point: str, dtype: object) -> Reading:
        """Return how rows are read, from the dtype that a user asks for.

        Raises:
            OptionError: there is no such dtype.
        """
        return Reading(unit, strategy, split_point, *read_dtype(dtype))

    def config(self, model: Any, rows_per_shard: object) -> StoreConfig:
        """Return the config of a store of a model's activations."""
        probe, unit = fingerprint.probe(model, self.split_point), self.unit
        return StoreConfig(
            model=fingerprint.identity(model),
            split_point=self.split_point,
            activation_granularity=getattr(unit, "value", None) or getattr(unit, "__qualname__", type(unit).__qualname__),
            aggregation_strategy=self.strategy.value,
            dtype=self.encoding or ("as computed" if self.dtype is None else str(self.dtype).removeprefix("torch.")),
            rows_per_shard=check_count(rows_per_shard, "rows_per_shard"),
            probe=None if probe is None else asdict(probe),
        )


@dataclass(frozen=True, eq=False)
class Storing:
    """The job of writing shards of a store.

    Attributes:
        splitter: Reads the activations. A worker makes its own with the same arguments.
        folder: The store.
        config: Whose activations it holds.
        strategy: Pooling of tokens into a row.
        dtype: In which activations are computed.
    """

    splitter: Any
    folder: Path
    config: StoreConfig
    strategy: GranularityAggregationStrategy
    dtype: torch.dtype | None

    def build(self, device: str | None) -> ShardWriter:
        """Return the function that writes a shard, with the model on a device; None: where it is.

        Raises:
            ModelError: the model that a worker has made is another.
        """
        found = fingerprint.identity(self.splitter.model)
        if found != self.config.model and fingerprint.UNREAD not in found.values():
            raise ModelError(
                "`workers`: a worker made a model that differs from this one. If it was changed since it was loaded, make the "
                "splitter of the model itself, instead of the name of its folder."
            )
        if device is not None:
            move(self.splitter, device)
        return self.writer()

    def writer(self) -> ShardWriter:
        """Return the function that writes a shard with this process's splitter."""
        return ShardWriter(self.folder, self.activations_of, encoding_of(self.config))

    def activations_of(self, samples: Sequence[Any]) -> Tensor:
        """Return the activations of all units of some samples."""
        return self.splitter.activations_of(samples, self.strategy, self.config.split_point, self.dtype)

    def run_on(self, engine: Engine) -> Callable[[Iterator[ShardTask]], Iterator[ShardFacts]]:
        """Return a function of shards that are missing, which yields their facts as an engine has written them."""

        def run(tasks: Iterator[ShardTask]) -> Iterator[ShardFacts]:
            """Write shards; where none is missing, no worker is started."""
            for first in tasks:
                yield from engine.run(self, self.writer(), chain([first], tasks), lambda _: None)

        return run


def move(splitter: Any, device: str) -> None:
    """Move a splitter's model to a device, where its batches have the size that is usual there."""
    before = splitter.device.type
    splitter.to(device)
    if splitter.device.type != before:
        kind = "cuda" if splitter.device.type == "cuda" else "cpu"
        splitter.recorder.budget = Budget(splitter.batch_size, TOKENS_A_PASS[kind])


def store(
    splitter: Any, inputs: Any, path: str | Path, reading: Reading, rows_per_shard: object, *, engine: Engine
) -> ActivationStore:
    """Write the activations of inputs to a store.

    Args:
        splitter: Reads the activations.
        inputs: Inputs of any kind, read once.
        path: The folder.
        reading: How rows are read.
        rows_per_shard: Rows after which a shard ends.
        engine: Who writes.
    """
    config = reading.config(splitter.model, rows_per_shard)
    job = Storing(splitter, Path(path).expanduser(), config, reading.strategy, reading.dtype)
    samples = splitter.iter_read(inputs, reading.unit)
    return ActivationStore.write(path, samples, job.activations_of, config, tqdm_bar=engine.tqdm_bar, run=job.run_on(engine))
