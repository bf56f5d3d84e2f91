"""Scores of a data set by every method and metric, read from its files as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.attributions.tables import load_pandas
from interpreto.datasets.checks import Checked, check_files
from interpreto.datasets.manifest import OF_SCORES, Manifest, read_manifest
from interpreto.datasets.score_files import OWN, ScoreFailure, read_scores
from interpreto.datasets.shards import Entry, present, read_shard
from interpreto.errors import EngineError, InputError
from interpreto.metrics.benchmark_table import BenchmarkTable, Failure
from interpreto.metrics.merging import TableSums
from interpreto.storage import local_folder

if TYPE_CHECKING:
    import pandas


class BenchmarkDataset:
    """Scores that `benchmark_dataset` wrote: a table of all texts that needs no more memory for a million, and their scores.

    Args:
        path: Folder of the data set; it may still be written to: what was complete when it was opened is read.

    Attributes:
        path: The folder.
        manifest: What was compared, and on what.

    Raises:
        FileError: there is no such data set, or its manifest is damaged.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = local_folder(path)
        self.manifest: Manifest = read_manifest(self.path, OF_SCORES)
        found = present(self.path, self.manifest.shards(), self.manifest.run)
        self._entries: list[Entry] = sorted(found.values(), key=lambda entry: entry.start)

    def __repr__(self) -> str:
        methods = ", ".join(self.names[:3]) + (", …" if len(self.names) > 3 else "")
        done = f"{len(self._entries)} of {self.manifest.n_shards} shards"
        return f"BenchmarkDataset({len(self)} texts, {methods} by {len(self.metrics)} metrics, {done})"

    def __len__(self) -> int:
        """Return the number of texts of the shards that are there."""
        return sum(entry.stop - entry.start for entry in self._entries)

    @property
    def names(self) -> list[str]:
        """Return the methods, then the baselines."""
        return list(self.manifest.explainer["options"]["rows"])

    @property
    def metrics(self) -> list[str]:
        """Return the columns."""
        return list(self.manifest.explainer["options"]["columns"])

    @property
    def shards(self) -> list[Entry]:
        """Return the shards that are there, with the ranges of their inputs, sizes and digests."""
        return list(self._entries)

    @property
    def is_complete(self) -> bool:
        """Return True if every shard is there."""
        return len(self._entries) == self.manifest.n_shards

    @property
    def bytes(self) -> int:
        """Return the size of the shards."""
        return sum(entry.bytes for entry in self._entries)

    @property
    def n_failures(self) -> int:
        """Return the number of texts on which a method or a metric failed."""
        return sum(entry.failures for entry in self._entries)

    @property
    def failures(self) -> list[ScoreFailure]:
        """Return what failed; only shards that have failures are read."""
        return [failure for entry in self._entries if entry.failures for failure in read_scores(self.path, entry)[1]]

    def table(self) -> BenchmarkTable:
        """Return the table of all texts, one shard in memory at a time.

        Returns:
            Scores, intervals, differences of methods text by text, and curves that equal those of one `Benchmark.run` on
            the same texts, but for rounding. Scores of single texts are not in it (``per_sample`` is None); see `tables`.

        Raises:
            InputError: no shard is there.
        """
        if not self._entries:
            raise InputError("`table`: no shard is complete; there is nothing to show yet.")
        sums: TableSums | None = None
        failures: list[ScoreFailure] = []
        for entry in self._entries:
            scores, failed = read_scores(self.path, entry)
            own = TableSums.of(scores, self.names, self.metrics)
            sums = own if sums is None else sums.merged(own)
            failures += failed
        assert sums is not None
        return sums.table(counted(failures, sums.n))

    def tables(self) -> Iterator[pandas.DataFrame]:
        """Yield the scores of each shard: a row per text, a column per method and metric, and its error."""
        for entry in self._entries:
            yield read_shard(self.path, entry).to_pandas()

    def to_pandas(self) -> pandas.DataFrame:
        """Return the scores of all texts, as `tables` yields them.

        Raises:
            OptionError: pandas is not installed.
        """
        pandas = load_pandas()
        parts = list(self.tables())
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=list(OWN))

    def verify(self, data: Any = None) -> Checked:
        """Check every file against the digest that was taken when it was written; see `ExplanationDataset.verify`.

        Args:
            data: The data: each shard's inputs are compared with them; None: they are not.
        """
        return check_files(self.path, self.manifest, self._entries, data)


def counted(failures: list[ScoreFailure], n: int) -> list[Failure]:
    """Return a line per method and metric on the texts that failed.

    Args:
        failures: What failed.
        n: Number of all texts.
    """
    by_place: dict[tuple[str, str | None], list[ScoreFailure]] = {}
    for failure in failures:
        by_place.setdefault((failure.method, failure.metric), []).append(failure)
    found = []
    for (method, metric), own in by_place.items():
        first = own[0]
        said = f"on {len(own)} of {n} texts, first on number {first.id}: {first.kind}: {first.message}"
        found.append(Failure(method, metric, EngineError(said)))
    return found
