"""Activation stores: rows written per second by workers, bytes per row, megabytes read per second next to ``np.memmap``.

    python -m benchmarks.stores [--texts 600] [--rows 400000] [--rounds 3]

Writing: tokens of a GPT-2 with random weights (width 256, 4 blocks), from the moment when each worker
has written a shard. Reading: rows of 576 numbers, in the page cache where they fit; ``memmap`` copies the file from beginning
to end, in batches, which is the least that a training can do. Where the machine has other work, seconds of the processor
tell more than those of the clock: both are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.random_models import random_model, random_text
from interpreto import demo
from interpreto.concepts.activation_store import ActivationStore, StoreConfig
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.concepts.store_reading import BLOCK, TOGETHER, Shards
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import Units

WIDTH = 576
BATCH = 4096
BEFORE = "shuffled as before: slices, `cat`, index"
CONFIG = StoreConfig({}, "layer", "token", "mean", "as computed", 65_536)


def timed(run: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Return the least seconds of the clock and of the processor of some rounds."""
    found = []
    for _ in range(rounds):
        clock, processor = time.perf_counter(), time.process_time()
        run()
        found.append((time.perf_counter() - clock, time.process_time() - processor))
    return min(clock for clock, _ in found), min(processor for _, processor in found)


def writing(count: int, folder: Path) -> None:
    """Print rows written per second by one process and by workers."""
    model, tokenizer = random_model("gpt2-small", language=True)
    splitter = ModelWithSplitPoints(model, -1, tokenizer=tokenizer)
    texts = [random_text(20 + i % 180, seed=i) for i in range(count)]
    print(f"## Writing: tokens of {count:,} texts of 20 to 200 words\n")
    print("| who writes | rows per second | of one process |\n|---|---|---|")
    base = None
    ways = {"this process, 1 thread": 1, f"1 worker, {os.cpu_count()} threads": ["cpu"], "2 workers, which share these": 2}
    for name, workers in ways.items():
        store = splitter.store_activations(texts, folder / name, rows_per_shard=1024, workers=workers)
        rate = _rate(store, 2 if workers == 2 else 1)
        base = base or rate
        print(f"| {name} | {rate:,.0f} | {rate / base:.2f} × |", flush=True)
    started = time.process_time()
    rows = sum(len(sample.units) for sample in splitter.iter_read(texts, splitter.default_granularity))
    print(f"\nThe driver cuts {rows / (time.process_time() - started):,.0f} rows per second of the processor into units.\n")


def _rate(store: ActivationStore, workers: int) -> float:
    """Return the rows per second once each worker has written a shard, from the times of the files."""
    files = sorted((file.stat().st_mtime, i) for i, file in enumerate(sorted(store.path.glob("*.arrow"))))
    rows = store._contents.rows
    return sum(rows[i] for _, i in files[workers:]) / (files[-1][0] - files[workers - 1][0])


def stored(rows: int, folder: Path, dtype: str) -> ActivationStore:
    """Return a store of random rows, 64 of them per text."""
    draws = torch.Generator().manual_seed(0)

    def samples() -> Iterable[Sample]:
        names = [f"w{i}" for i in range(64)]
        text, ends = " ".join(names), np.cumsum([len(name) + 1 for name in names])
        spans = tuple((int(end) - len(name) - 1, int(end) - 1) for end, name in zip(ends, names, strict=True))
        units = Units(torch.arange(64), tuple(names), spans)
        for i in range(rows // 64):
            yield Sample(f"{text} {i}", torch.arange(64), units)

    def numbers(some: Any) -> Tensor:
        found = torch.randn(64 * len(some), WIDTH, generator=draws)
        return found if dtype != "bfloat16" else found.bfloat16()

    config = StoreConfig(**{**asdict(CONFIG), "dtype": dtype if dtype in ("int8", "float8") else "as computed"})
    return ActivationStore.write(folder, samples(), numbers, config)


def index(folder: Path) -> None:
    """Print the bytes of the index of the words of all embedded sentences, and how fast it is read."""
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, "bert.embeddings.word_embeddings", tokenizer=tokenizer)
    store = splitter.store_activations([sentence.text for sentence in demo.load_sentences()], folder / "sentences", "word")
    size = sum(file.stat().st_size for file in store.path.glob("*.arrow"))
    units, old = list(store.units()), 0
    for start in range(0, len(units), 65_536):
        some = units[start : start + 65_536]
        held = {"samples": [u.sample for u in some], "units": [u.unit for u in some]}
        old += len(json.dumps({**held, "spans": [u.span for u in some], "texts": [u.text for u in some]}).encode())
    clock = timed(lambda: sum(1 for _ in store.units()), 1)[0]
    one = timed(lambda: [store.unit(i) for i in range(0, len(store), len(store) // 50)], 1)[0] / 50
    print(
        f"## Index: what each of {len(store):,} words of the embedded sentences is\n\n| | Arrow | JSON, before |\n|---|---|---|"
    )
    print(f"| bytes per row | {size / len(store):.1f} | {old / len(store):.1f} |")
    print(f"| rows read per second, in order | {len(store) / clock:,.0f} | – |")
    print(f"| one row anywhere | {1000 * one:.1f} ms | – |\n")


def reading(rows: int, folder: Path, rounds: int) -> None:
    """Print megabytes per second of each way to read."""
    print(f"## Reading: {rows:,} rows of {WIDTH} numbers, {BATCH:,} per batch\n")
    print("| stored as | way | MB per second | of the processor | thousand rows per second | of the processor |")
    print("|---|---|---|---|---|---|")
    for dtype in ("float32", "bfloat16", "int8", "float8"):
        store = stored(rows, folder / dtype, dtype)
        paths = sorted(store.path.glob("*.safetensors"))
        size = sum(path.stat().st_size for path in paths)
        for name, run in _ways(store, paths, size // rows * BATCH).items():
            if name == BEFORE and dtype != "float32":
                continue
            clock, processor = timed(run, rounds)
            cells = [f"{size / seconds / 1e6:,.0f}" for seconds in (clock, processor)]
            cells += [f"{rows / seconds / 1e3:,.0f}" for seconds in (clock, processor)]
            print(f"| {dtype} | {name} | {' | '.join(cells)} |", flush=True)
    print()


def _ways(store: ActivationStore, paths: list[Path], step: int) -> dict[str, Callable[[], Any]]:
    """Return the ways to read all rows of a store."""
    buffer = torch.empty(BATCH, WIDTH, dtype=store.dtype)
    seeded = torch.Generator().manual_seed
    return {
        "`np.memmap`, in order": lambda: [_copied(path, step) for path in paths],
        "`batches`, in order": lambda: _last(store.batches(BATCH)),
        "`batches`, shuffled": lambda: _last(store.batches(BATCH, seeded(0), into=lambda n: buffer[:n])),
        BEFORE: lambda: _before(store),
    }


def _copied(path: Path, step: int) -> None:
    mapped, into = np.memmap(path, np.uint8, "r"), np.empty(step, np.uint8)
    for start in range(0, len(mapped), step):
        part = mapped[start : start + step]
        into[: len(part)] = part


def _last(batches: Iterable[Tensor]) -> None:
    for _ in batches:
        pass


def _before(store: ActivationStore) -> None:
    """Read shuffled batches as earlier versions did: a list of blocks, one tensor of them, and a copy in another order."""
    draws, shards = torch.Generator().manual_seed(0), Shards(store.path, store._contents.rows, WIDTH, torch.float32)
    blocks = torch.randperm(-(-len(store) // BLOCK), generator=draws).tolist()
    together = max(TOGETHER, 8 * BATCH // BLOCK)
    for i in range(0, len(blocks), together):
        read = []
        for block in blocks[i : i + together]:
            rows = torch.empty(min(BLOCK, len(store) - block * BLOCK), WIDTH)
            shards._mapped.clear()
            shards.decode(block * BLOCK, block * BLOCK + len(rows), rows)
            read.append(rows)
        held = torch.cat(read)
        _last(held[torch.randperm(len(held), generator=draws)].split(BATCH))


def main() -> None:
    """Print a section of ``RESULTS.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=600, help="0: writing is left out")
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("# Activation stores\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the beginning, one thread in "
        f"this process, torch {torch.__version__}. Not a quiet machine where the load is above 0.1.\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        if asked.texts:
            writing(asked.texts, Path(folder))
        reading(asked.rows // 64 * 64, Path(folder), asked.rounds)
        index(Path(folder))


if __name__ == "__main__":
    main()
