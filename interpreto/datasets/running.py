"""Run a job over the shards of a data set that are missing, on the engine that is asked for, and keep the index."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpreto.datasets.engine_ray import RayOptions, run_ray
from interpreto.datasets.jobs import Compute, Job, Task
from interpreto.datasets.local import run_here, run_workers
from interpreto.datasets.manifest import Manifest, Shard, begin
from interpreto.datasets.shards import INDEX, SHARDS, Entry, left_behind, present, write_index
from interpreto.datasets.sources import Source
from interpreto.errors import FileError, OptionError
from interpreto.progress import progress_bar
from interpreto.validation import check_choice, check_count, is_whole, shown

ENGINES = ("local", "ray")
OFTEN = 30.0  # seconds between two writings of the index


@dataclass(frozen=True)
class Engine:
    """Where a job runs.

    Attributes:
        devices: The device of each worker; None: where its model is.
        jobs: Number of this job and of all jobs of a scheduler that share the folder.
        ray: Where Ray runs; None: the local engine.
        tqdm_bar: Show the texts done; None: after two seconds, in terminals and notebooks.
    """

    devices: Sequence[str | None] = (None,)
    jobs: tuple[int, int] = (0, 1)
    ray: RayOptions | None = None
    tqdm_bar: bool | None = None

    @staticmethod
    def read(engine: str, workers: Any, part: Any, ray: RayOptions | None, tqdm_bar: bool | None) -> Engine:
        """Return the engine that a user asks for.

        Raises:
            OptionError: an argument is not valid.
        """
        check_choice(engine, "engine", ENGINES)
        devices, jobs = _devices(workers, engine), _jobs(part)
        return Engine(devices, jobs, (ray or RayOptions()) if engine == "ray" else None, tqdm_bar)

    def run(self, job: Job, here: Compute, tasks: Iterator[Task], on_texts: Any) -> Iterator[Entry]:
        """Return an iterator over the entries of shards as they are finished.

        Args:
            job: What workers are sent.
            here: The same, for this process.
            tasks: Shards.
            on_texts: Called with numbers of texts that are done.
        """
        if self.ray is not None:
            return run_ray(job, tasks, workers=len(self.devices), options=self.ray, on_texts=on_texts)
        if len(self.devices) > 1 or self.devices[0] is not None:
            return run_workers(job, tasks, self.devices, on_texts)
        return run_here(here, tasks, on_texts)


def begun(folder: Path, manifest: Manifest) -> Manifest:
    """Begin a data set, or take one up again; return its manifest."""
    found = begin(folder, manifest, only=(SHARDS, INDEX))
    (folder / SHARDS).mkdir(exist_ok=True)
    return found


def run_shards(folder: Path, manifest: Manifest, source: Source, *, engine: Engine, job: Job, here: Compute) -> None:
    """Compute the shards that are missing.

    Args:
        folder: The data set.
        manifest: What it is of.
        source: The inputs.
        engine: Where the job runs.
        job: What workers are sent.
        here: The same, for this process.

    Raises:
        FileError: a file cannot be read or written.
        EngineError: workers die again and again over one shard.
        InterpretoError: what a worker raised.
    """
    entries = dict(present(folder, manifest.shards(), manifest.run))
    job_number, jobs = engine.jobs
    missing = [s for s in manifest.shards() if s.number % jobs == job_number and s.file not in entries]
    with progress_bar(desc="texts", unit=" texts", total=manifest.rows, shown=engine.tqdm_bar) as bar:
        bar.update(sum(entry.stop - entry.start for entry in entries.values()))
        tasks = (Task(shard, source.part(shard.start, shard.stop)) for shard in missing)
        _collect(folder, entries, engine.run(job, here, tasks, bar.update) if missing else iter(()))
    for file in left_behind(folder):
        with suppress(OSError):
            file.unlink()


def _collect(folder: Path, entries: dict[str, Entry], found: Iterator[Entry]) -> None:
    """Take entries as shards are finished, and write the index now and then, and at the end."""
    at = time.monotonic()
    try:
        for entry in found:
            entries[Shard(0, entry.start, entry.stop).file] = entry
            if time.monotonic() - at > OFTEN:
                write_index(folder, entries.values())
                at = time.monotonic()
    except BaseException:
        with suppress(FileError):  # such as a full disk, which is what ended the run
            write_index(folder, entries.values())
        raise
    write_index(folder, entries.values())


def _devices(workers: Any, engine: str) -> list[str | None]:
    """Return the device of each worker; None: where the model is."""
    if is_whole(workers):
        return [None] * check_count(workers, "workers")
    if isinstance(workers, str) or not isinstance(workers, Sequence) or not workers:
        raise OptionError(f"`workers`: got {shown(workers)}; pass a number, or a list of devices such as ['cuda:0', 'cuda:1'].")
    if engine == "ray":
        raise OptionError(f"`workers`: got {shown(workers)}; Ray finds devices itself: pass a number, and RayOptions.")
    return [str(device) for device in workers]


def _jobs(part: Any) -> tuple[int, int]:
    """Return the number of a job and that of all jobs."""
    if part is None:
        return 0, 1
    if not isinstance(part, (tuple, list)) or len(part) != 2 or not all(is_whole(n) for n in part):
        raise OptionError(f"`part`: got {shown(part)}; pass (i, n), the number of a job, from 0, and that of all jobs.")
    job, jobs = (int(n) for n in part)
    if not 0 <= job < jobs:
        raise OptionError(f"`part`: got {shown(part)}; jobs are counted from 0, so that i is below n.")
    return job, jobs
