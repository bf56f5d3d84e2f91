"""Files are written whole or not at all, wherever their path leads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch

from interpreto.errors import FileError
from interpreto.storage import alone_with, check_writable, read_file, replacing, write_file

TENSORS = {"a": torch.arange(6.0).reshape(2, 3)}


def written(path, value=1.0):
    write_file(path, "kind", {"a": torch.full((2, 3), value)}, {"fact": value})


def half(path, error):
    with replacing(path) as partial:
        partial.write_bytes(b"half")
        raise error


def held(path):
    return read_file(path, "kind", "a test")[1]["fact"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "not yours")])
def test_a_file_that_cannot_be_written_leaves_everything_as_it_was(tmp_path, error):
    path = tmp_path / "file"
    written(path)
    before = path.read_bytes()
    with pytest.raises(FileError, match="file' cannot be written") as told:
        half(path, error)
    assert told.value.__cause__ is error and isinstance(told.value, OSError)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_other_exceptions_pass_and_leave_nothing_behind(tmp_path, error):
    with pytest.raises(error):
        half(tmp_path / "file", error)
    assert not os.listdir(tmp_path)


def test_two_writers_of_one_file_never_mix(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write_bytes(b"first, begun")
        with replacing(path) as second:
            assert second != first
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second"
        first.write_bytes(b"first, whole")
    assert path.read_bytes() == b"first, whole" and os.listdir(tmp_path) == ["file"]


def test_links_are_followed(tmp_path):
    (tmp_path / "far").mkdir()
    real, link, chain = tmp_path / "far" / "file", tmp_path / "link", tmp_path / "chain"
    link.symlink_to(real)
    chain.symlink_to(link)
    written(chain, 1.0)  # a link to what is not there yet
    assert chain.is_symlink() and link.is_symlink() and held(real) == 1.0
    written(link, 2.0)
    assert link.is_symlink() and held(real) == 2.0 and sorted(os.listdir(tmp_path / "far")) == ["file"]
    lost = tmp_path / "lost"
    lost.symlink_to(tmp_path / "nowhere" / "file")
    with pytest.raises(FileError, match=r"there is no folder '.*nowhere'"):
        written(lost)
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(FileError):
        written(tmp_path / "a")


def test_a_device_is_written_to_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with replacing(pipe) as partial:
        partial.write_bytes(b"all of it")
    reader.join(10)
    assert read == [b"all of it"] and pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]
    written("/dev/null")
    assert Path("/dev/null").is_char_device()


def test_permissions_stay(tmp_path):
    path = tmp_path / "file"
    written(path)
    plain = path.stat().st_mode
    path.chmod(0o600)
    written(path, 2.0)
    assert path.stat().st_mode & 0o777 == 0o600 and plain & 0o400
    assert held(path) == 2.0


def test_the_home_folder_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert check_writable("~/file") == tmp_path / "file"
    written("~/file", 3.0)
    assert held("~/file") == 3.0 and os.listdir(tmp_path) == ["file"]


def test_folders_are_checked_before(tmp_path):
    with pytest.raises(FileError, match="there is no folder"):
        check_writable(tmp_path / "no" / "file")
    with pytest.raises(FileError, match="is a folder"):
        check_writable(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\x80" * 64, (1 << 40).to_bytes(8, "little") + b"{}"])
def test_files_of_others_are_told(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FileError, match="cannot be read as a test"):
        held(path)


def test_a_lock_is_one_threads(tmp_path):
    inside, most = [], []

    def work():
        with alone_with(tmp_path / ".lock"):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4
