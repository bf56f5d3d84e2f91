"""The task of a shard of a data set."""

from __future__ import annotations

from dataclasses import dataclass

from interpreto.datasets.manifest import Shard
from interpreto.datasets.sources import Part
from interpreto.engines.jobs import Compute, is_of_the_machine

__all__ = ["Compute", "Task", "is_of_the_machine"]


@dataclass(frozen=True)
class Task:
    """A shard to compute.

    Attributes:
        shard: The range of inputs.
        part: Where they are read.
    """

    shard: Shard
    part: Part
