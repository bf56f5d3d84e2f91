"""Choose the engine that a user asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from interpreto.engines.cluster import RayOptions, run_ray
from interpreto.engines.jobs import Compute, Job
from interpreto.engines.local import run_here, run_workers
from interpreto.errors import OptionError
from interpreto.validation import check_choice, check_count, is_whole, shown

ENGINES = ("local", "ray")


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

    def run(self, job: Job, here: Compute, tasks: Iterator[Any], on_texts: Any) -> Iterator[Any]:
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
