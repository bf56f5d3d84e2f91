"""Whatever ends a worker or a driver, the next call goes on, and the result equals that of a run that nothing ended."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import resource
import shutil
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from pyarrow import parquet

from interpreto import demo, explain_dataset, storage
from interpreto.datasets import ExplanationDataset
from interpreto.datasets.shards import SHARDS
from interpreto.errors import EngineError, FileError
from tests.datasets.explainers import assert_same, digests, occlusion, sampled, slow_occlusion, suicidal, texts

KILLS = int(os.environ.get("INTERPRETO_KILLS", "1"))
TEXTS = int(os.environ.get("INTERPRETO_KILL_TEXTS", "120"))
ROWS = 8  # texts of a shard


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the digests of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    explain_dataset(slow_occlusion(), texts(TEXTS), folder, rows_per_shard=ROWS)
    return digests(folder)


def drive(out: str, workers: int) -> None:
    """Explain the texts: what a driver runs that is killed."""
    explain_dataset(slow_occlusion(), texts(TEXTS), out, rows_per_shard=ROWS, workers=workers)


@pytest.mark.slow
def test_workers_write_what_one_process_writes(tmp_path):
    found = texts(40)
    found[7] = " "
    one = explain_dataset(sampled(), found, tmp_path / "one", rows_per_shard=6)
    two = explain_dataset(sampled(), found, tmp_path / "two", rows_per_shard=6, workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two") and two.failures == one.failures and two.verify(found)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_workers_on_devices_run_the_model(tmp_path):
    from interpreto import Occlusion

    model, tokenizer = demo.load_classifier()
    found = ["A dull film.", "A gorgeous, moving film."]
    dataset = explain_dataset(Occlusion(model, tokenizer), found, tmp_path / "out", workers=["cpu"])
    assert_same(dataset, Occlusion(model, tokenizer)(found), 1e-6)


@pytest.mark.slow
def test_killed_workers_are_replaced(tmp_path, whole):
    """Workers are killed at random points while the driver goes on; each text is there once, with the same bytes."""
    found, kills = texts(TEXTS), []
    draws = random.Random(0)
    done = threading.Event()

    def kill() -> None:
        """End one worker, then the other, soon after shards are finished; a third time over one shard ends the run."""
        before, often = 0, Counter()
        while len(kills) < KILLS and not done.wait(0.02):
            there = {int(file.name[5:17]) // ROWS for file in (tmp_path / "out" / SHARDS).glob("*.parquet")}
            begun = set(range(max(there, default=-1) + 3)) - there
            if len(there) > before and all(often[shard] < 2 for shard in begun) and not done.wait(draws.uniform(0, 0.3)):
                name = f"interpreto-{len(kills) % 2}"
                worker = next((child for child in multiprocessing.active_children() if child.name == name), None)
                with suppress(ValueError, ProcessLookupError):  # it has just ended
                    if worker is not None:
                        os.kill(worker.pid, signal.SIGKILL)
                        kills.append(worker.pid)
                        before = len(there)
                        often.update(begun)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        dataset = explain_dataset(slow_occlusion(), found, tmp_path / "out", rows_per_shard=ROWS, workers=2)
    finally:
        done.set()
        killer.join()
    assert len(kills) == KILLS and dataset.verify(found)
    assert digests(tmp_path / "out") == whole


@pytest.mark.slow
def test_a_killed_driver_is_taken_up_again(tmp_path, whole):
    """The driver is killed at random points, its workers end by themselves, and the last call completes the data set.

    Drivers are forked from a process that has imported everything. One of five has two workers.
    """
    out, draws = tmp_path / "out", random.Random(1)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.datasets.test_crashes"])
    for i in range(KILLS):
        driver = context.Process(target=drive, args=(str(out), 2 if i % 5 == 0 else 1))
        before = len(list((out / SHARDS).glob("*.parquet")))
        driver.start()
        while driver.is_alive() and len(list((out / SHARDS).glob("*.parquet"))) <= before:
            time.sleep(0.02)
        time.sleep(draws.uniform(0, 0.5))
        assert driver.is_alive()
        driver.kill()
        driver.join()
    time.sleep(1)  # workers finish the shard that they have, and end
    there = len(ExplanationDataset(out))
    assert 0 < there < TEXTS
    dataset = explain_dataset(slow_occlusion(), texts(TEXTS), out, rows_per_shard=ROWS)
    assert dataset.verify(texts(TEXTS)) and digests(out) == whole


@pytest.mark.slow
def test_a_disk_that_is_full_again_and_again_loses_nothing(tmp_path, monkeypatch):
    """Writing fails at random points, in the middle of a file or when it is flushed; each call goes on from there."""
    found, draws, full = texts(TEXTS), random.Random(2), []
    explain_dataset(occlusion(), found, tmp_path / "whole", rows_per_shard=ROWS)
    shards, out = -(-TEXTS // ROWS), tmp_path / "out"
    write, flush, left = parquet.write_table, storage._flush, [0]

    def refuse() -> None:
        full.append(len(digests(out)))
        raise OSError(errno.ENOSPC, "No space left on device")

    def limited_write(table, file, **options):
        write(table, file, **options)
        left[0] -= 1
        if left[0] == 0 and draws.random() < 0.5:
            os.truncate(file, draws.randrange(file.stat().st_size))
            refuse()

    def limited_flush(path):
        if left[0] == 0 and path.is_file():
            refuse()
        flush(path)

    monkeypatch.setattr(parquet, "write_table", limited_write)
    monkeypatch.setattr(storage, "_flush", limited_flush)
    for _ in range(max(KILLS, 3)):
        left[0] = draws.randint(1, max(1, shards // (max(KILLS, 3) + 1)))
        with pytest.raises(FileError, match="No space left"):
            explain_dataset(occlusion(), found, out, rows_per_shard=ROWS)
        left[0] = -1
        assert not list((out / SHARDS).glob("*.partial")) and digests(out).items() <= digests(tmp_path / "whole").items()
    monkeypatch.undo()
    assert explain_dataset(occlusion(), found, out, rows_per_shard=ROWS).verify(found)
    assert len(full) >= max(KILLS, 3) and digests(out) == digests(tmp_path / "whole")


@pytest.mark.slow
def test_a_shard_that_kills_every_worker_ends_the_run(tmp_path):
    found = [*texts(4), "a suicide note", *texts(3)]
    with pytest.raises(EngineError, match=r"3 workers died over inputs 4 to 6 \(the last one by SIGKILL\)"):
        explain_dataset(suicidal(), found, tmp_path / "out", rows_per_shard=2, workers=["cpu"])
    assert not multiprocessing.active_children()


def test_a_file_limit_is_a_full_disk(tmp_path):
    """The system refuses to write more than some bytes per file: what was whole before stays, nothing half-written does."""
    found, limits = texts(9), resource.getrlimit(resource.RLIMIT_FSIZE)
    explain_dataset(occlusion(), found, tmp_path / "a", rows_per_shard=4)
    begun = begin_without_shards(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # Python ignores the signal that comes with it
    try:
        with pytest.raises(FileError, match="cannot be written"):
            explain_dataset(occlusion(), found, begun, rows_per_shard=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not digests(begun)
    assert explain_dataset(occlusion(), found, begun, rows_per_shard=4).verify(found)
    assert digests(begun) == digests(tmp_path / "a")


def begin_without_shards(folder: Path) -> Path:
    """Return a folder with a manifest, and with no shard of it."""
    shutil.copytree(folder / "a", folder / "b")
    for file in (folder / "b" / SHARDS).iterdir():
        file.unlink()
    return folder / "b"


@pytest.mark.slow
def test_an_error_in_a_worker_is_raised_by_the_driver(tmp_path):
    from interpreto import BlackBox, Occlusion
    from tests.datasets.explainers import never

    with pytest.raises(EngineError, match="on fire"):
        explain_dataset(Occlusion(BlackBox(never, ["up"])), texts(20), tmp_path / "out", rows_per_shard=10, workers=["cpu"])
    with pytest.raises(FileError, match="cannot be"):
        explain_dataset(occlusion(), texts(2), "/proc/nowhere", workers=2)
