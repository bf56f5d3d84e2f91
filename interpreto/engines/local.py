"""The local engine: one process, or several that take shards from a queue; one that dies is replaced."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from tqdm import tqdm

from interpreto.engines.jobs import Compute, Job, Task, WarningsOnce, breaks_the_device, not_sent, portable
from interpreto.engines.memory import give_back
from interpreto.errors import EngineError

ATTEMPTS = 3  # workers that may die over one shard


def run_here(compute: Compute, tasks: Iterable[Task], on_texts: Callable[[int], object]) -> Iterator[Any]:
    """Yield the entries of shards that are computed in this process, one after another."""
    for task in tasks:
        yield compute(task, on_texts)
        give_back()


def run_workers(
    job: Job, tasks: Iterable[Task], devices: Sequence[str | None], on_texts: Callable[[int], object]
) -> Iterator[Any]:
    """Yield the entries of shards as worker processes finish them.

    Each worker has a copy of the model and takes a new shard when it is done with one. The shard of a worker that dies
    is given to another.

    Args:
        job: What each worker computes of its shards.
        tasks: Shards.
        devices: Where each worker runs the model; None: where it is.
        on_texts: Called with numbers of texts that are done.

    Raises:
        EngineError: workers die again and again over one shard, or cannot be started.
        InterpretoError: what a worker raised.
    """
    with _pickled(job) as payload:
        pool = _Pool(payload, devices, iter(tasks), on_texts)
        try:
            yield from pool.entries()
        finally:
            pool.end()


@contextmanager
def _pickled(job: Job) -> Iterator[Path]:
    """Context manager that gives a file out of which workers read their job."""
    with tempfile.TemporaryDirectory(prefix="interpreto-") as folder:
        file = Path(folder) / "job"
        try:
            with file.open("wb") as content:
                pickle.dump(job, content, protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise not_sent(error) from error
        yield file


@dataclass(eq=False)
class _Worker:
    """A process that computes shards.

    Attributes:
        number: Its place among the workers.
        process: The process.
        connection: The end of its pipe.
        task: What it computes; None: it waits.
        texts: Texts of its shard that it has told of.
    """

    number: int
    process: Any
    connection: Connection
    task: Task | None = None
    texts: int = 0


class _Pool:
    """Workers with a queue of shards."""

    def __init__(
        self,
        payload: Path,
        devices: Sequence[str | None],
        tasks: Iterator[Task],
        on_texts: Callable[[int], object],
    ) -> None:
        self.payload, self.devices, self.tasks, self.on_texts = payload, devices, tasks, on_texts
        self.again: deque[Task] = deque()
        self.deaths: dict[int, int] = {}
        self.threads = max(1, _cores() // len(devices))
        self.warned: set[str] = set()
        self.workers: list[_Worker] = []

    def entries(self) -> Iterator[Any]:
        """Yield entries until every shard is computed."""
        for number in range(len(self.devices)):
            task = self._next()
            if task is None:
                break
            self.workers.append(self._started(number, task))
        while busy := [worker for worker in self.workers if worker.task is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection in ready:
                    yield from self._heard(worker)

    def end(self) -> None:
        """End the workers, whatever they are doing."""
        for worker in self.workers:
            with suppress(OSError):
                worker.connection.close()
            if worker.task is not None:  # one that waits ends by itself now
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join(10)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()

    def _next(self) -> Task | None:
        return self.again.popleft() if self.again else next(self.tasks, None)

    def _started(self, number: int, task: Task) -> _Worker:
        """Start a worker and give it a shard."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, str(self.payload), self.devices[number], self.threads)
        process = context.Process(target=work, args=arguments, daemon=True, name=f"interpreto-{number}")
        process.start()
        theirs.close()
        worker = _Worker(number, process, ours, task)
        with suppress(OSError):  # it is dead already, which shows when it is heard
            ours.send(task)
        return worker

    def _heard(self, worker: _Worker) -> Iterator[Any]:
        """Take a message of a worker; no message: it is dead."""
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            self._replace(worker)
            return
        if kind == "texts":
            worker.texts += content
            self.on_texts(content)
        elif kind == "warning":
            category, message = content
            if message not in self.warned:
                self.warned.add(message)
                warnings.warn(message, category, stacklevel=2)
        elif kind == "error":
            raise content
        else:
            worker.task, worker.texts = self._next(), 0
            if worker.task is not None:
                with suppress(OSError):
                    worker.connection.send(worker.task)
            yield content

    def _replace(self, worker: _Worker) -> None:
        """Put a new worker in the place of a dead one, with its shard."""
        assert worker.task is not None
        task, code = worker.task, _code(worker)
        self.workers.remove(worker)
        self.on_texts(-worker.texts)
        number = task.shard.number
        self.deaths[number] = self.deaths.get(number, 0) + 1
        if self.deaths[number] >= ATTEMPTS:
            raise EngineError(
                f"{ATTEMPTS} workers died over inputs {task.shard.start} to {task.shard.stop} ({code}). "
                "Shards that were finished stay. Smaller `rows_per_shard`, `batch_size` or `workers` need less memory; a "
                'script makes this call under `if __name__ == "__main__":`.'
            )
        self.workers.append(self._started(worker.number, task))


def _code(worker: _Worker) -> str:
    """Return how a worker ended, and let go of it."""
    worker.connection.close()
    worker.process.join(10)
    code = worker.process.exitcode
    with suppress(ValueError):
        worker.process.close()
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"the last one by {signal.Signals(-code).name}"
    return f"the last one with code {code}"


def _cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def work(connection: Connection, payload: str, device: str | None, threads: int) -> None:
    """Compute shards that come through a pipe, until it is closed: what a worker process runs.

    Args:
        connection: Its end of the pipe.
        payload: File of the pickled job.
        device: Where the model runs; None: where it is.
        threads: Threads of the processor that it may use.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends the workers
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # of tokenizers
    torch.set_num_threads(threads)
    tqdm.set_lock(RLock())  # its own is a semaphore of the system, which outlives a process that is killed
    told = WarningsOnce()
    with suppress(OSError, EOFError), told:  # the driver is dead
        try:
            with open(payload, "rb") as content:
                compute = pickle.load(content).build(device)  # written by the driver, into a folder of its own
            while True:
                task = connection.recv()
                entry = compute(task, lambda count: connection.send(("texts", count)))
                for warning in told.new():
                    connection.send(("warning", warning))
                connection.send(("done", entry))
                give_back()
        except (EOFError, BrokenPipeError):
            return
        except Exception as error:
            if breaks_the_device(error):
                os._exit(70)  # a new worker takes the shard
            connection.send(("error", portable(error)))
