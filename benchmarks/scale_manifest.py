"""Simulation of a data set with very many shards: bytes and time of its index, of a restart, and of merged scores."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from interpreto import BlackBox, Occlusion, benchmark_dataset, explain_dataset
from interpreto.datasets.manifest import Manifest, begin
from interpreto.datasets.shards import INDEX, SHARDS, Entry, entry_of, present, write_index
from interpreto.metrics import Benchmark
from interpreto.metrics.merging import TableSums, TextScores

FEW = 200  # files that are opened, to tell how long all would take
PER_SHARD = 1000  # texts
METHODS, METRICS = tuple(f"method {i}" for i in range(6)), tuple(f"metric {i}" for i in range(8))


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result of a function, and how long it took by the clock and by the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    found = function()
    return found, time.perf_counter() - clock, time.process_time() - processor


def restart(shards: int, say: Callable[[str], object]) -> None:
    """Print how long it takes to find out what is missing of a data set with very many shards, all but one of them there."""
    print(f"### Restart: a data set with {shards:,} shards of {PER_SHARD:,} texts\n")
    folder = Path(tempfile.mkdtemp())
    try:
        manifest, entries = _files(folder, shards)
        say(f"{shards:,} files are there")
        _, clock, processor = timed(lambda: write_index(folder, entries[:-1]))
        size = (folder / INDEX).stat().st_size
        print(f"- index: {size / 1e6:.1f} MB, {size / shards:.0f} bytes per shard, written in {clock:.1f} s ({processor:.1f} s")
        there, clock, processor = timed(lambda: present(folder, manifest.shards(), manifest.run))
        assert len(there) == shards - 1
        print("  of the processor);")
        print(f"- which shards are missing, from the index and a list of the folder: {clock:.1f} s ({processor:.1f} s);")
        print(f"- manifest: {(folder / 'manifest.json').stat().st_size:,} bytes, whatever the number of shards;")
    finally:
        shutil.rmtree(folder)
    _without_index(shards)
    say("files are opened")
    _merged(shards)


def _files(folder: Path, shards: int) -> tuple[Manifest, list[Entry]]:
    """Make a data set of shards without content."""
    explainer = {"method": "Occlusion", "model": {"class": "x"}, "tokenizer": "x", "options": {}}
    rows = shards * PER_SHARD
    manifest = Manifest({"name": "x", "rows": rows, "fingerprint": "x"}, explainer, {}, rows, PER_SHARD, {})
    begin(folder, manifest)
    (folder / SHARDS).mkdir()
    entries = []
    for shard in manifest.shards():
        (folder / SHARDS / shard.file).write_bytes(b"x")
        digest = hashlib.sha256(shard.file.encode()).hexdigest()
        entries.append(Entry(shard.start, shard.stop, 0, 1, digest[:32], digest))
    return manifest, entries


def _without_index(shards: int) -> None:
    """Print how long it takes to open shards whose index is lost."""
    with tempfile.TemporaryDirectory() as folder:
        texts = [f"text {i} is good" for i in range(FEW)]
        found = explain_dataset(Occlusion(BlackBox(_scores, ["up"])), texts, folder, rows_per_shard=1)
        run, path = found.manifest.run, Path(folder)
        _, clock, _ = timed(lambda: [entry_of(path, shard, run) for shard in found.manifest.shards()])
    print(
        f"- without the index, each shard is opened and digested: {1000 * clock / FEW:.1f} ms for a file of one text, "
        f"{clock / FEW * shards:.0f} s for all, and the time to read their bytes;"
    )


def _merged(shards: int) -> None:
    """Print how long it takes to merge the statistics of benchmarks."""
    draws = torch.Generator().manual_seed(0)
    values = {(m, c): torch.rand(PER_SHARD, generator=draws, dtype=torch.float64) for m in METHODS for c in METRICS}
    scores = TextScores(PER_SHARD, values)
    sums = TableSums.of(scores, METHODS, METRICS)
    _, clock, _ = timed(lambda: [sums.merged(TableSums.of(scores, METHODS, METRICS)) for _ in range(20)])
    with tempfile.TemporaryDirectory() as folder:
        model = BlackBox(_scores, ["up"])
        benchmark = Benchmark(model, metrics=["ABPC", "Deletion"], baselines=())
        texts = [f"text {i} is good" for i in range(200)]
        size = benchmark_dataset(benchmark, [Occlusion(model)], texts, folder).bytes
    print(
        f"- scores of a benchmark of {len(METHODS)} methods by {len(METRICS)} metrics: {1000 * clock / 20:.0f} ms to merge a "
        f"shard's, {clock / 20 * shards / 60:.0f} minutes for all, in memory that does not grow; 8 bytes per text, method and "
        f"metric ({size / len(texts):.0f} bytes per text of short texts with all else, by one method and two metrics).\n"
    )


def _scores(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[float(text.count("good") + 0.1 * len(text))] for text in texts])
