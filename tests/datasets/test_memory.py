"""Memory goes back to the system after each shard."""

from __future__ import annotations

import platform
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
