"""Splitters write stores of activations, here or in other processes, which make them again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from interpreto.concepts.activation_store import ActivationStore
from interpreto.concepts.activation_stream import ActivationStream, StreamConfig
from interpreto.concepts.splitters.granularities import ActivationGranularity, Unit, read_strategy, read_unit
from interpreto.concepts.splitters.storing import Reading, store
from interpreto.engines.cluster import RayOptions
from interpreto.engines.engine import Engine
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.hook_points import HookPoint
from interpreto.validation import check_count

Kind = TypeVar("Kind", bound="Storable")


class Storable(ABC):
    """A reader of activations that go to a store, or to a training, as they come. `ModelSplitter` is one."""

    default_granularity = ActivationGranularity.TOKEN

    made_with: tuple[tuple[Any, ...], dict[str, Any]]
    """The arguments that the splitter was made with, as they were passed."""

    def __new__(cls: type[Kind], *args: Any, **kwargs: Any) -> Kind:
        """Keep the arguments, out of which another process makes the splitter again."""
        splitter = object.__new__(cls)
        splitter.made_with = (args, kwargs)
        return splitter

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickles and copies are made of: the arguments, and the size of a batch."""
        return _made_again, (type(self), *self.made_with, self.batch_size)

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """Return the model whose activations are read."""

    @property
    @abstractmethod
    def batch_size(self) -> int | None:
        """Return the number of texts per pass; None: as many as a token budget holds."""

    @batch_size.setter
    @abstractmethod
    def batch_size(self, batch_size: int | None) -> None: ...

    @abstractmethod
    def hook_point(self, split_point: str | None) -> HookPoint:
        """Return the hook point of a split point; None: of the only one."""

    @abstractmethod
    def iter_read(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        """Yield inputs with the units that their rows of activations represent."""

    @abstractmethod
    def activations_of(
        self,
        samples: Sequence[Sample],
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        split_point: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return the activations ``(u, d)`` of all units of some samples, in order."""

    def store_activations(
        self,
        inputs: Any,
        path: str | Path,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        split_point: str | None = None,
        *,
        dtype: torch.dtype | str | None = None,
        rows_per_shard: int = 65_536,
        engine: str = "local",
        workers: int | Sequence[str] = 1,
        ray: RayOptions | None = None,
        tqdm_bar: bool | None = None,
    ) -> ActivationStore:
        """Write the activations of a stream of inputs to a folder, shard by shard; an interrupted call may be repeated.

        Workers write shards of one store at a time; numbers and ids are those that one process writes. This process cuts the
        inputs into units, and generates the texts of a splitter that does.

        Args:
            inputs: Inputs of any kind, read once; the same at each repetition.
            path: The folder, which is made if it is missing.
            activation_granularity: Unit of a row.
            aggregation_strategy: Pooling of tokens into a row.
            split_point: The split point, if there are several.
            dtype: Dtype of the stored activations; None: the model's. ``"int8"`` and ``"float8"``: a byte per number, and a
                scale per row; rows are read in float32.
            rows_per_shard: Rows after which a shard ends, at the end of a text. Memory holds one shard.
            engine: ``"local"``: processes of this machine; ``"ray"``: actors of Ray Data, which ``interpreto[scale]`` installs.
            workers: Number of processes with a copy of the model each; 1: this process. Or the devices of the local engine's
                workers, as ``["cuda:0", "cuda:1"]``. A splitter that was made of a folder's name loads it in each of them.
            ray: Where Ray runs, and what each worker gets.
            tqdm_bar: Show the number of rows; None: after two seconds, in terminals and notebooks.

        Returns:
            The store.

        Raises:
            FileError: the folder holds something else, other activations, or those of other inputs.
            OptionError: an option is not valid, or the splitter cannot be sent to workers.
            EngineError: workers die again and again over one shard.
        """
        unit, strategy = self._unit(activation_granularity), read_strategy(aggregation_strategy)
        reading = Reading.of(unit, strategy, self.hook_point(split_point).name, dtype)
        return store(self, inputs, path, reading, rows_per_shard, engine=Engine.read(engine, workers, None, ray, tqdm_bar))

    def stream_activations(
        self,
        inputs: Any,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        split_point: str | None = None,
        *,
        dtype: torch.dtype | None = None,
        buffer_rows: int = 65_536,
    ) -> ActivationStream:
        """Return activations that are computed whenever a training reads them: with ``fit``, in place of a store.

        Args:
            inputs: A list of inputs, or another sequence; what is none is read into a list.
            activation_granularity: Unit of a row.
            aggregation_strategy: Pooling of tokens into a row.
            split_point: The split point, if there are several.
            dtype: Dtype of the activations; None: the model's.
            buffer_rows: Rows that are held in memory, and mixed, at a time.

        Raises:
            InputError: there is no unit to compute activations of.
        """
        unit, strategy = self._unit(activation_granularity), read_strategy(aggregation_strategy)
        name = self.hook_point(split_point).name
        return ActivationStream(
            inputs,
            self.model,
            lambda some: list(self.iter_read(some, unit)),
            lambda samples: self.activations_of(samples, strategy, name, dtype),
            StreamConfig(name, check_count(buffer_rows, "buffer_rows")),
        )

    def _unit(self, activation_granularity: object) -> Unit:
        return read_unit(self.default_granularity if activation_granularity is None else activation_granularity)


def _made_again(kind: type[Kind], args: tuple[Any, ...], kwargs: dict[str, Any], batch_size: int | None) -> Kind:
    """Return a splitter as another was made."""
    splitter = kind(*args, **kwargs)
    if splitter.batch_size != batch_size:
        splitter.batch_size = batch_size
    return splitter
