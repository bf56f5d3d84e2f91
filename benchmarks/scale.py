"""Data sets of explanations: texts per second by workers and engine, memory over texts, and what 10⁸ texts take to resume.

Run by ``make bench-scale``, not in CI. ``python -m benchmarks.scale --part workers --part curve``; all parts without one.
The page goes to the standard output, progress to the standard error. Each part says how long it took.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.scale_manifest import restart
from interpreto import ExplanationDataset, Occlusion, demo, explain_dataset
from interpreto.datasets.shards import SHARDS

SHORT = 60  # characters of a short text
ROWS = 256  # texts of a shard
MOST, NEAR = 0.6, 0.1  # time of two workers over that of one; of Ray over that of the local engine, less 1
EVERY = 0.2  # seconds between two looks at processes


@dataclass(frozen=True)
class Asked:
    """Sizes of the parts.

    Attributes:
        texts: Texts of a run that is timed.
        curve: Texts of the long run.
        shards: Shards of the data set that is resumed.
    """

    texts: int
    curve: int
    shards: int


@dataclass
class Seen:
    """Sizes of processes, watched from a thread.

    Attributes:
        peak: Largest resident memory of each worker, in MiB, by its process.
        done: Texts done, seconds, processor seconds of this process and its resident memory in MiB, at each tenth.
    """

    peak: dict[int, float] = field(default_factory=dict)
    done: list[tuple[int, float, float, float]] = field(default_factory=list)


def say(text: str) -> None:
    """Print progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def short_texts(n: int) -> list[str]:
    """Return short sentences of the embedded table, as often as needed; each with its number, so that none is another."""
    found = [sentence.text for sentence in demo.load_sentences() if len(sentence.text) < SHORT]
    return [f"{found[i % len(found)]} {i}" for i in range(n)]


def timed(n: int, workers: int, engine: str = "local") -> tuple[float, float]:
    """Return the seconds of a run, and those that it takes to start its workers, which a run of a text for each tells."""
    texts, explainer = short_texts(n), Occlusion(*demo.load_classifier())
    options = {"engine": engine, "workers": workers}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        explain_dataset(explainer, texts[:workers], f"{folder}/start", rows_per_shard=1, **options)
        start = time.perf_counter() - started
        started = time.perf_counter()
        explain_dataset(explainer, texts, f"{folder}/out", rows_per_shard=ROWS, **options)
        seconds = time.perf_counter() - started
    say(f"{engine}, {workers} workers: {seconds:.1f} s, of which {start:.1f} s to start")
    return seconds, start


def rows(n: int, name: str, seconds: float, start: float) -> str:
    return f"| {name} | {seconds:.1f} s | {start:.1f} s | {n / seconds:.0f} | {n / (seconds - start):.0f} |"


HEAD = "| run | time | of which starting | texts per second | without the start |\n|---|---|---|---|---|"


def verdict(what: str, ratio: float, without: float, most: float) -> str:
    kept = "kept" if without <= most else "not kept"
    return f"{what}: {ratio:.2f} of the time, {without:.2f} without the starts (at most {most:.2f} is asked: {kept})."


def workers(asked: Asked) -> None:
    """Print how much faster two workers are than one."""
    n, cores = asked.texts, torch.get_num_threads()
    print(f"### Workers: Occlusion of {n:,} short texts by the embedded classifier\n")
    found = {f"one process, {cores} threads": timed(n, 1)}
    torch.set_num_threads(1)
    found["one process, 1 thread"] = timed(n, 1)
    torch.set_num_threads(cores)
    found["two workers, half the cores each"] = timed(n, 2)
    print(HEAD)
    for name, (seconds, start) in found.items():
        print(rows(n, name, seconds, start))
    (one, idle), (single, _), (two, begin) = found.values()
    print(f"\n{verdict('Two workers, next to one process with all cores', two / one, (two - begin) / (one - idle), MOST)}")
    print(f"{verdict('Next to one process with one thread', two / single, (two - begin) / (single - idle), MOST)}\n")


def ray(asked: Asked) -> None:
    """Print how Ray compares with the local engine, by two workers."""
    print(f"### Engines: Occlusion of {asked.texts:,} short texts, two workers\n")
    if importlib.util.find_spec("ray") is None:
        print("Ray is not installed here.\n")
        return
    local = timed(asked.texts, 2)
    cluster = importlib.import_module("ray")
    cluster.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")  # or each run starts one
    try:
        ours = timed(asked.texts, 2, "ray")
    finally:
        cluster.shutdown()
    print(HEAD)
    print(rows(asked.texts, "local", *local))
    print(rows(asked.texts, "ray", *ours))
    ratio, without = ours[0] / local[0], (ours[0] - ours[1]) / (local[0] - local[1])
    print(f"\n{verdict('Ray, next to the local engine', ratio, without, 1 + NEAR)}\n")


def memory(asked: Asked) -> None:
    """Print the memory of each worker, over ten times the texts."""
    print("### Memory of two workers\n")
    print("| texts | peak of each worker | peak of the driver |\n|---|---|---|")
    explainer = Occlusion(*demo.load_classifier())
    peaks = []
    for n in (asked.texts // 10, asked.texts):
        with tempfile.TemporaryDirectory() as folder, watched(Path(folder), 0) as seen:
            explain_dataset(explainer, short_texts(n), folder, rows_per_shard=ROWS, workers=2)
        peaks.append(max(seen.peak.values()))
        each = " and ".join(f"{peak:,.0f}" for peak in seen.peak.values())
        print(f"| {n:,} | {each} MiB | {resident('self', 'VmHWM'):,.0f} MiB |", flush=True)
        say(f"{n:,} texts: {each} MiB")
    print(f"\nTen times the texts: {peaks[1] - peaks[0]:+,.0f} MiB ({peaks[1] / peaks[0] - 1:+.1%}) in the largest worker.\n")


def curve(asked: Asked) -> None:
    """Print time and memory over the number of texts of one call in one process."""
    n, cores = asked.curve, torch.get_num_threads()
    torch.set_num_threads(1)  # two threads of a small model wait for each other as soon as anything else runs
    print(f"### Curve: one call on {n:,} short texts, one process with one thread\n")
    texts, explainer = short_texts(n), Occlusion(*demo.load_classifier())
    with tempfile.TemporaryDirectory() as folder, watched(Path(folder), n) as seen:
        explain_dataset(explainer, texts, folder, rows_per_shard=ROWS)
        found = ExplanationDataset(folder)
        size, files = found.bytes, len(found.shards)
    print("| texts done | seconds per 1,000 texts since the last row | of the processor | memory of the process |")
    print("|---|---|---|---|")
    before = seen.done[0]
    for done, at, spent, resident_now in seen.done[1:]:
        k = (done - before[0]) / 1000
        print(f"| {done:,} | {(at - before[1]) / k:.2f} | {(spent - before[2]) / k:.2f} | {resident_now:,.0f} MiB |")
        before = (done, at, spent, resident_now)
    print(f"\n{size / n:,.0f} bytes per text, in {files:,} files.\n")
    torch.set_num_threads(cores)


@contextmanager
def watched(folder: Path, n: int) -> Iterator[Seen]:
    """Context manager that watches the memory of workers, and, of ``n`` texts in a folder, each tenth; 0: workers alone."""
    seen, ended = Seen(), threading.Event()

    def watch() -> None:
        started, told = time.perf_counter(), 0
        while not ended.wait(EVERY):
            for child in multiprocessing.active_children():
                if child.pid is not None and child.name.startswith("interpreto-"):
                    seen.peak[child.pid] = max(seen.peak.get(child.pid, 0.0), resident(str(child.pid), "VmHWM"))
            done = min(n, ROWS * len(list((folder / SHARDS).glob("*.parquet")))) if n else 0
            if n and done and (10 * done // n > told or not seen.done):
                told = 10 * done // n
                seen.done.append((done, time.perf_counter() - started, time.process_time(), resident("self", "VmRSS")))
                say(f"{done:,} of {n:,} texts, {seen.done[-1][1]:.0f} s, {seen.done[-1][3]:,.0f} MiB")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
        time.sleep(2 * EVERY)  # the last tenth
    finally:
        ended.set()
        thread.join()


def resident(process: str, kind: str) -> float:
    """Return the resident memory of a process in MiB: ``VmRSS`` now, ``VmHWM`` at most so far; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{kind}:")), 0.0)


PARTS: dict[str, Callable[[Asked], None]] = {
    "manifest": lambda asked: restart(asked.shards, say),
    "workers": workers,
    "ray": ray,
    "memory": memory,
    "curve": curve,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="May be repeated. Default: all.")
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--curve", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=100_000)
    given = parser.parse_args()
    asked = Asked(given.texts, given.curve, given.shards)
    print("## Data sets of explanations\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the beginning, torch "
        f"{torch.__version__} with {torch.get_num_threads()} threads. Not a quiet machine where the load is above 0.1.\n"
    )
    for name in given.part or PARTS:
        started = time.perf_counter()
        say(f"part {name}")
        PARTS[name](asked)
        took = f"part {name} took {time.perf_counter() - started:.0f} s"
        say(took)
        print(f"*{took[0].upper()}{took[1:]}.*\n", flush=True)


if __name__ == "__main__":
    main()
