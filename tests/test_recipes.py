"""The recipes run as they stand, and print what the page shows."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_guides import alike, blocks, read

ROOT = Path(__file__).parent.parent
RUNS = """
import contextlib, io, json, sys
blocks, stands_in = json.load(sys.stdin)
if stands_in:  # a tracker that keeps what it is given, for where Weights & Biases is not installed
    from types import SimpleNamespace
    kept = {}
    run = SimpleNamespace(log=kept.update, finish=lambda: None)
    names = {"init": lambda project, mode: run, "Html": lambda html: html, "Table": lambda dataframe: dataframe}
    stand_in = SimpleNamespace(**names)
import matplotlib
matplotlib.use("agg")
scope, printed = {"__name__": "page"}, []
for code in blocks:
    shown = io.StringIO()
    if stands_in and "import wandb" in code:
        sys.modules["wandb"] = stand_in
    with contextlib.redirect_stdout(shown):
        exec(compile(code, "docs/recipes.md", "exec"), scope)
    printed.append(shown.getvalue())
tracked = [kept["mistakes"][:15], len(kept["words"])] if stands_in else None
print(json.dumps([printed, tracked, [type(part).__name__ for part in scope["page"].blocks.values()]]))
"""


@pytest.mark.slow
def test_the_recipes_print_what_they_show(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed; it is in the extra `app`")
    found = blocks(read("docs/recipes.md"))
    given = json.dumps([[code for code, _, _ in found], importlib.util.find_spec("wandb") is None])
    command = [sys.executable, "-W", "ignore", "-c", RUNS]
    env = {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, input=given, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=500)
    assert not done.returncode, done.stderr
    printed, tracked, parts = json.loads(done.stdout.splitlines()[-1])
    assert sum(bool(shown) for _, shown, _ in found) == 2
    for (_, shown, line), said in zip(found, printed, strict=True):
        assert alike(said, shown), f"line {line} prints:\n{said}"
    assert tracked is None or tracked == ["<!DOCTYPE html>", 17]
    assert {"Textbox", "HTML"} <= set(parts)
    written = {"figure.pdf", "figure.png", "methods.svg", "review.tex", "waterfall.pdf", "review.html"}
    assert written <= {file.name for file in tmp_path.iterdir()}
