"""Old import paths work for one release, and say where each module went."""

import importlib
import subprocess
import sys

import pytest

from interpreto import _moved


@pytest.mark.parametrize("old", _moved.MOVED)
def test_every_old_path_leads_to_a_module(old):
    assert importlib.import_module(f"interpreto.{_moved.MOVED[old]}")
    sys.modules.pop(f"interpreto.{old}", None)
    with pytest.warns(DeprecationWarning, match=rf"`interpreto\.{_moved.MOVED[old]}`"):
        module = importlib.import_module(f"interpreto.{old}")
    for name, renamed in _moved.RENAMED.get(old, {}).items():
        path, _, new = renamed.rpartition(".")
        assert getattr(module, name) is getattr(importlib.import_module(f"interpreto.{path or _moved.MOVED[old]}"), new)


def test_the_warning_points_at_the_import():
    code = "from interpreto.inference import Shortcuts\nfrom interpreto.granularity import Granularity"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert "<string>:1: DeprecationWarning" in done.stderr and "<string>:2: DeprecationWarning" in done.stderr
