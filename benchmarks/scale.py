"""Data sets of explanations: rows per second by engine and workers, memory over texts, and what 10⁸ texts would take to resume.

Run by ``make bench-scale``, not in CI. ``python -m benchmarks.scale --texts 2000 --curve 20000 --shards 100000``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from interpreto import ExplanationDataset, Occlusion, demo, explain_dataset
from interpreto.datasets.manifest import Manifest, begin
from interpreto.datasets.shards import INDEX, SHARDS, Entry, present, write_index

SHORT = 60  # characters of a short text
ROWS = 64  # of a shard


def short_texts(n: int) -> list[str]:
    """Return short sentences of the embedded table, as often as needed; each with its number, so that none is another."""
    found = [sentence.text for sentence in demo.load_sentences() if len(sentence.text) < SHORT]
    return [f"{found[i % len(found)]} {i}" for i in range(n)]


def engines(n: int) -> None:
    print(f"\n### Engines: Occlusion of {n:,} short texts by the embedded classifier\n")
    print("| engine | workers | texts per second | of which starting the workers |\n|---|---|---|---|")
    texts, explainer = short_texts(n), Occlusion(*demo.load_classifier())
    with_ray = importlib.util.find_spec("ray") is not None
    for engine, workers in [("local", 1), ("local", 2), *([("ray", 1), ("ray", 2)] if with_ray else [])]:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            explain_dataset(explainer, texts[:workers], f"{folder}/start", rows_per_shard=1, engine=engine, workers=workers)
            idle = time.perf_counter() - started
            started = time.perf_counter()
            explain_dataset(explainer, texts, f"{folder}/out", rows_per_shard=ROWS, engine=engine, workers=workers)
            seconds = time.perf_counter() - started
        print(f"| {engine} | {workers} | {n / seconds:.1f} | {idle:.1f} s |", flush=True)
    if not with_ray:
        print("\nRay is not installed here; its rows are missing.")


def curve(n: int) -> None:
    """Print time and memory over the number of texts, in one process."""
    print(f"\n### Curve: {n:,} short texts through Occlusion, one process\n")
    print("| texts done | seconds per 1,000 texts since the last row | peak memory of the process |\n|---|---|---|")
    texts, explainer = short_texts(n), Occlusion(*demo.load_classifier())
    with tempfile.TemporaryDirectory() as folder:
        step = max(n // 10, 1)
        for part in range(10):
            started = time.perf_counter()
            found = explain_dataset(explainer, texts[part * step : (part + 1) * step], f"{folder}/{part}", rows_per_shard=ROWS)
            seconds = time.perf_counter() - started
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"| {(part + 1) * step:,} | {1000 * seconds / step:.1f} | {peak:,.0f} MiB |", flush=True)
        size = sum(ExplanationDataset(f"{folder}/{part}").bytes for part in range(10))
        print(f"\n{size / (10 * step):,.0f} bytes per text in the shards ({found.manifest.rows_per_shard} texts each).")


def _timed(function: Callable[[], Any]) -> tuple[Any, str]:
    """Return the result of a function, and how long it took by the clock and by the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    found = function()
    return found, f"{time.perf_counter() - clock:.1f} s ({time.process_time() - processor:.1f} s of the processor)"


def restart(shards: int) -> None:
    """Print how long it takes to find out what is missing of a data set with very many shards, all but one of them there."""
    print(f"\n### Restart: a data set with {shards:,} shards of 1,000 texts\n")
    explainer = {"method": "Occlusion", "model": {"class": "x"}, "tokenizer": "x", "options": {}}
    manifest = Manifest({"name": "x", "rows": shards * 1000, "fingerprint": "x"}, explainer, {}, shards * 1000, 1000, {})
    folder = Path(tempfile.mkdtemp())
    try:
        begin(folder, manifest)
        (folder / SHARDS).mkdir()
        entries = []
        for shard in manifest.shards():
            (folder / SHARDS / shard.file).write_bytes(b"x")
            digest = hashlib.sha256(shard.file.encode()).hexdigest()
            entries.append(Entry(shard.start, shard.stop, 0, 1, digest[:32], digest))
        written = _timed(lambda: write_index(folder, entries[:-1]))[1]
        there, found = _timed(lambda: present(folder, manifest.shards(), manifest.run))
        assert len(there) == shards - 1
        size = (folder / INDEX).stat().st_size
        print(f"- index: {size / 1e6:.1f} MB, written in {written}")
        print(f"- which of the shards are missing, from the index and a listing of the folder: {found}")
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--curve", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=100_000)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    print("## Data sets of explanations\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the beginning, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads. Not a quiet machine where the load is above 0.1."
    )
    restart(asked.shards)
    engines(asked.texts)
    curve(asked.curve)


if __name__ == "__main__":
    main()
