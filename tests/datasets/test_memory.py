"""Memory goes back to the system after each shard."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from interpreto import explain_dataset
from interpreto.engines import local
from interpreto.engines.memory import give_back
from tests.datasets.explainers import occlusion, texts


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries give memory back by themselves")
def test_what_was_freed_between_blocks_in_use_goes_back():
    """One block in a thousand stays in use: glibc keeps all pages between them until it is asked."""
    resident = Path("/proc/self/statm")
    blocks = [bytes(2000) for _ in range(100_000)]
    kept = blocks[::1000]
    del blocks
    before = int(resident.read_text().split()[1])
    assert give_back()
    assert before - int(resident.read_text().split()[1]) > 0.5 * 100_000 * 2000 / 4096
    assert len(kept) == 100


def test_each_shard_gives_back(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(local, "give_back", lambda: calls.append(1))
    explain_dataset(occlusion(), texts(9), tmp_path / "out", rows_per_shard=4)
    assert len(calls) == 3


HEAPS = """
import ctypes, sys, threading
from interpreto.engines.memory import keep_together
if sys.argv[1] == "together":
    assert keep_together()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.fopen.restype = ctypes.c_void_p, ctypes.c_void_p
waiting = threading.Barrier(5)
def work():
    libc.malloc(100_000)
    waiting.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
waiting.wait()
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have heaps of other kinds")
@pytest.mark.parametrize("how", ["apart", "together"])
def test_the_threads_of_a_worker_share_one_heap(tmp_path, how):
    file = tmp_path / "heaps.xml"
    subprocess.run([sys.executable, "-c", HEAPS, how, str(file)], check=True)
    heaps = file.read_text().count("<heap nr=")
    assert heaps == 1 if how == "together" else heaps > 1
