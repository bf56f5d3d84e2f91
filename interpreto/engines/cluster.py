"""The engine of Ray: shards are items of Ray Data, and one actor per worker holds the model."""

from __future__ import annotations

import importlib
import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from interpreto.engines.jobs import Job, Task, WarningsOnce, not_sent, portable
from interpreto.engines.memory import give_back
from interpreto.errors import OptionError

BLOCKS_PER_WORKER = 16  # at least, of shards that travel together


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs and what each worker gets.

    Attributes:
        address: Of a cluster; ``"auto"``: the one that this machine belongs to; None: the one that Ray is connected to
            already, else one on this machine alone.
        gpus_per_worker: GPUs of each worker; a share lets several workers have one.
        cpus_per_worker: Cores of each worker; None: the cores of the cluster, divided by the workers, without GPUs; else 1.
    """

    address: str | None = None
    gpus_per_worker: int | float = 0
    cpus_per_worker: int | float | None = None


def run_ray(
    job: Job,
    tasks: Iterable[Task],
    *,
    workers: int,
    options: RayOptions,
    on_texts: Callable[[int], object],
) -> Iterator[Any]:
    """Yield the entries of shards as Ray's actors finish them. What is lost with an actor or a machine, Ray repeats.

    Args:
        job: What each actor computes of its shards; their folder is on a drive that all machines share.
        tasks: Shards.
        workers: Number of actors.
        options: Where Ray runs and what each actor gets.
        on_texts: Called with numbers of texts that are done.

    Raises:
        OptionError: Ray is not installed, or the job cannot be sent.
        InterpretoError: what an actor raised.
    """
    ray = _load_ray()
    started = not ray.is_initialized()
    if started:
        where = {} if options.address is None else {"address": options.address}
        ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        cores = options.cpus_per_worker
        if cores is None:
            cores = 1 if options.gpus_per_worker else max(1, int(ray.cluster_resources().get("CPU", 1)) // workers)
        actors = {
            "fn_constructor_args": (ray.put(_sent(job)), int(max(1, cores))),
            "compute": ray.data.ActorPoolStrategy(size=workers),
            "num_gpus": options.gpus_per_worker or None,
            "num_cpus": None if options.gpus_per_worker else cores,
        }
        ray.data.DataContext.get_current().enable_progress_bars = False
        items = [{"task": pickle.dumps(task)} for task in tasks]
        blocks = min(len(items), max(BLOCKS_PER_WORKER * workers, 1024))
        found = ray.data.from_items(items, override_num_blocks=blocks).map_batches(ShardActor, batch_size=1, **actors)
        yield from _entries(found.iter_rows(), on_texts)
    finally:
        if started:
            ray.shutdown()


def _entries(rows: Iterable[dict[str, Any]], on_texts: Callable[[int], object]) -> Iterator[Any]:
    """Yield the entries out of what actors return; raise what they raised, and give their warnings, each once."""
    warned: set[str] = set()
    for row in rows:
        kind, content, caught = pickle.loads(row["result"])  # of our own actors
        for category, message in caught:
            if message not in warned:
                warned.add(message)
                warnings.warn(message, category, stacklevel=2)
        if kind == "error":
            raise content
        on_texts(content.stop - content.start)
        yield content


class ShardActor:
    """Holds the model of one worker of Ray Data, and computes its shards.

    Args:
        payload: Reference to the pickled job.
        threads: Threads of the processor that it may use.
    """

    def __init__(self, payload: Any, threads: int) -> None:
        ray = _load_ray()
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
        torch.set_num_threads(threads)
        self._told = WarningsOnce()
        device = "cuda" if ray.get_gpu_ids() else None  # Ray shows each actor its own GPUs alone
        self._compute = pickle.loads(ray.get(payload)).build(device)  # of our own driver

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Compute one shard, and return its entry, or what went wrong."""
        task = pickle.loads(batch["task"][0])  # of our own driver
        with self._told as told:
            try:
                found: tuple[str, Any] = ("done", self._compute(task, _ignored))
            except Exception as error:
                found = ("error", portable(error))
            give_back()
            return {"result": [pickle.dumps((*found, told.new()))]}


def _ignored(_: int) -> None:
    """Take no notice of texts that are done: Ray's actors tell of whole shards."""


def _sent(job: Job) -> bytes:
    """Return a job as bytes, with classes and functions of a notebook or a script."""
    try:
        return importlib.import_module("ray.cloudpickle").dumps(job)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise not_sent(error) from error


def _load_ray() -> Any:
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        raise OptionError("`engine`: 'ray' needs Ray; run `pip install 'ray[data]'`.") from error
