"""Whatever ends a worker or a driver, the next call goes on, and the result equals that of a run that nothing ended."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from interpreto import demo, explain_dataset
from interpreto.datasets import ExplanationDataset
from interpreto.datasets.shards import SHARDS
from interpreto.errors import EngineError, FileError
from tests.datasets.explainers import assert_same, digests, occlusion, sampled, slow_occlusion, suicidal, texts

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("INTERPRETO_KILLS", "1"))
TEXTS = int(os.environ.get("INTERPRETO_KILL_TEXTS", "120"))
DRIVER = """
import sys
from tests.datasets.explainers import slow_occlusion, texts
from interpreto import explain_dataset
if __name__ == "__main__":
    explain_dataset(slow_occlusion(), texts(int(sys.argv[2])), sys.argv[1], rows_per_shard=8, workers=int(sys.argv[3]))
"""


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
def test_killed_workers_are_replaced(tmp_path):
    """Workers are killed at random points while the driver goes on; each text is there once, with the same bytes."""
    found, kills = texts(TEXTS), []
    explain_dataset(slow_occlusion(), found, tmp_path / "whole", rows_per_shard=8)
    draws = random.Random(0)
    done = threading.Event()

    def kill() -> None:
        """End a worker soon after a shard was finished, again and again."""
        before = 0
        while len(kills) < KILLS and not done.wait(0.05):
            there = len(list((tmp_path / "out" / SHARDS).glob("*.parquet")))
            workers = [child for child in multiprocessing.active_children() if child.name.startswith("interpreto-")]
            if workers and there > before and not done.wait(draws.uniform(0, 0.3)):
                os.kill(draws.choice(workers).pid, signal.SIGKILL)
                kills.append(there)
                before = there

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        dataset = explain_dataset(slow_occlusion(), found, tmp_path / "out", rows_per_shard=8, workers=2)
    finally:
        done.set()
        killer.join()
    assert len(kills) == KILLS and dataset.verify(found)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_driver_is_taken_up_again(tmp_path):
    """The driver is killed at random points, its workers end by themselves, and the last call completes the data set."""
    found, draws = texts(TEXTS), random.Random(1)
    explain_dataset(slow_occlusion(), found, tmp_path / "whole", rows_per_shard=8)
    for i in range(KILLS):
        workers = 1 + i % 2
        command = [sys.executable, "-c", DRIVER, str(tmp_path / "out"), str(TEXTS), str(workers)]
        driver = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        before = len(list((tmp_path / "out" / SHARDS).glob("*.parquet")))
        while driver.poll() is None and len(list((tmp_path / "out" / SHARDS).glob("*.parquet"))) <= before:
            time.sleep(0.05)
        time.sleep(draws.uniform(0, 0.5))
        driver.kill()
        driver.wait()
    time.sleep(1)  # workers finish the shard that they have, and end
    there = len(ExplanationDataset(tmp_path / "out"))
    assert there
    dataset = explain_dataset(slow_occlusion(), found, tmp_path / "out", rows_per_shard=8)
    assert dataset.verify(found) and digests(tmp_path / "out").keys() >= digests(tmp_path / "whole").keys()
    for name, content in digests(tmp_path / "whole").items():
        assert digests(tmp_path / "out")[name] == content


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
