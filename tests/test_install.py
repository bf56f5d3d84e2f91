"""What a user installs is complete: in an environment with nothing else in it, the examples of the README run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

EXAMPLES = """
import importlib.util, json, re, sys
from pathlib import Path

root = Path(sys.argv[1])
spec = importlib.util.spec_from_file_location("tiny", root / "tests" / "tiny.py")
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
language_model, its_tokenizer = tiny.chat_lm()
scope = {"language_model": language_model, "its_tokenizer": its_tokenizer}
blocks = re.findall(r"```python\\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
for block in blocks:
    exec(compile(block, "README.md", "exec"), scope)
import interpreto
print(json.dumps({"blocks": len(blocks), "from": interpreto.__file__, "top": scope["explanations"][0].top(1)[0][0]}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment where only the library, its dependencies and what the README names are installed."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=300)
    python = folder / "venv" / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{ROOT}[notebook]", "scikit-learn"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=1200)
    offline = re.search(
        r"Failed to establish a new connection|Name or service not known|Network is unreachable", installed.stderr
    )
    if installed.returncode and offline and not os.environ.get("CI"):
        pytest.skip("no package index can be reached, so nothing can be installed")
    assert not installed.returncode, installed.stderr
    yield python
    shutil.rmtree(folder)  # a gigabyte, which pytest would keep


def run(python: Path, *arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run([python, "-I", *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=600)
    assert not done.returncode, done.stderr
    return done.stdout


def test_the_examples_of_the_readme_run(python, tmp_path):
    script = tmp_path / "examples.py"
    script.write_text(EXAMPLES, encoding="utf-8")
    told = run(python, script, ROOT, cwd=tmp_path).splitlines()[-1]
    assert '"blocks": 5' in told
    assert '"top": "gorgeous"' in told
    assert str(python.parent.parent) in told and str(ROOT) not in told.replace(str(python.parent.parent), "")
    assert "gorgeous" in (tmp_path / "explanation.html").read_text(encoding="utf-8")


def test_the_command_line_is_there(python, tmp_path):
    told = run(python, "-m", "interpreto", "explain", "A gorgeous, moving film.", cwd=tmp_path)
    assert "gorgeous" in told
    assert (python.parent / "interpreto").exists()


def test_a_missing_extra_says_what_to_type(python, tmp_path):
    code = "from interpreto import ModelWithSplitPoints, demo; m, t = demo.load_classifier(); "
    code += "ModelWithSplitPoints(m, [1], tokenizer=t, backend='nnsight')"
    done = subprocess.run([python, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode and "pip install nnsight" in done.stderr
