"""Run a job over the shards of a data set that are missing, on the engine that is asked for, and keep the index."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from interpreto.datasets.jobs import Task
from interpreto.datasets.manifest import Manifest, Shard, begin
from interpreto.datasets.shards import INDEX, SHARDS, Entry, left_behind, present, write_index
from interpreto.datasets.sources import Source
from interpreto.engines.engine import Engine
from interpreto.engines.jobs import Compute, Job
from interpreto.errors import FileError
from interpreto.progress import progress_bar

OFTEN = 30.0  # seconds between two writings of the index


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
