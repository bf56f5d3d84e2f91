"""What a user installs is complete: in environments with nothing else in them, the README runs, and so does each extra."""

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
EXTRAS = {
    "app": "from interpreto.app import build; assert build().title == 'interpreto'",
    "concepts": (
        "from interpreto import ModelWithSplitPoints, demo; from interpreto.concepts import ICAConcepts; "
        "m, t = demo.load_classifier(); s = ModelWithSplitPoints(m, [1], tokenizer=t, backend='nnsight'); "
        "a = s.get_activations(['A gorgeous film.', 'A dull, long film.'], 'word'); ICAConcepts(s, nb_concepts=2).fit(a)"
    ),
    "datasets": "import datasets; datasets.Dataset.from_dict({'text': ['Good.']}).to_parquet('a.parquet')",
    "notebook": (
        "from interpreto import Occlusion, demo, plot_attributions; e = Occlusion(*demo.load_classifier())('A good film.'); "
        "e.to_dataframe(); plot_attributions(e, 'a.png', backend='matplotlib'); e[0]._repr_html_()"
    ),
    "scale": "import ray.data; from interpreto.datasets import explain_dataset",
}
"""What each extra is for, in a line."""
UNWANTED = ("torchvision", "opencv-python", "timm", "overcomplete")
"""Packages that no extra but `overcomplete` brings."""


def install(python: Path, *requirements: str) -> None:
    """Install what a user would, at the pinned versions; a machine without a package index skips the test, CI does not."""
    command = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", *requirements]
    done = subprocess.run(command, cwd=python.parent, capture_output=True, text=True, check=False, timeout=1200)
    offline = re.search(r"Failed to establish a new connection|Name or service not known|Network is unreachable", done.stderr)
    if done.returncode and offline and not os.environ.get("CI"):
        pytest.skip("no package index can be reached, so nothing can be installed")
    assert not done.returncode, done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment with only the library and its dependencies; tests add extras in order."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=300)
    python = folder / "venv" / "bin" / "python"
    install(python, str(ROOT))
    yield python
    shutil.rmtree(folder)  # a gigabyte, which pytest would keep


def run(python: Path, *arguments: str | Path, cwd: Path) -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [python, "-I", *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert not done.returncode, done.stderr
    return done.stdout


def test_the_library_alone_explains_and_shows_its_commands(python, tmp_path):
    told = run(python, "-m", "interpreto", "explain", "A gorgeous, moving film.", "-o", "a.html", cwd=tmp_path)
    assert "gorgeous" in told and (tmp_path / "a.html").exists()
    assert (python.parent / "interpreto").exists()
    assert "kernel-shap" in run(python, "-m", "interpreto", "methods", cwd=tmp_path)
    told = run(python, "-c", "from importlib.metadata import distributions as d; print(*[x.name for x in d()])", cwd=tmp_path)
    assert not {"pandas", "matplotlib", "gradio", "nnsight", "scikit-learn", *UNWANTED} & set(told.split())


@pytest.mark.parametrize(
    ("code", "package"),
    [
        ("ModelWithSplitPoints(m, [1], tokenizer=t, backend='nnsight')", "nnsight"),
        ("Occlusion(m, t)('Good.').to_dataframe()", "pandas"),
        ("build()", "gradio"),
    ],
)
def test_a_missing_package_is_named_with_what_to_type(python, tmp_path, code, package):
    names = "from interpreto import ModelWithSplitPoints, Occlusion, demo; from interpreto.app import build; "
    code = f"{names} m, t = demo.load_classifier(); {code}"
    done = subprocess.run([python, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode and f"pip install {package}" in done.stderr


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_it_is_for(python, tmp_path, extra):
    install(python, f"{ROOT}[{extra}]")
    run(python, "-W", "ignore", "-c", EXTRAS[extra], cwd=tmp_path)
    told = run(python, "-c", "from importlib.metadata import distributions as d; print(*[x.name for x in d()])", cwd=tmp_path)
    assert not set(UNWANTED) & set(told.split())


def test_the_examples_of_the_readme_run(python, tmp_path):
    install(python, f"{ROOT}[notebook,concepts]")
    script = tmp_path / "examples.py"
    script.write_text(EXAMPLES, encoding="utf-8")
    told = run(python, script, ROOT, cwd=tmp_path).splitlines()[-1]
    assert '"blocks": 5' in told
    assert '"top": "gorgeous"' in told
    assert str(python.parent.parent) in told and str(ROOT) not in told.replace(str(python.parent.parent), "")
    assert "wonderful" in (tmp_path / "explanation.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("extra", ["overcomplete", "all"])
def test_the_remaining_extras_are_found_by_pip(python, extra):
    """Not installed: torchvision has to be that of torch's own index, next to a CPU-only torch."""
    command = [python, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet", "--report", "-", f"{ROOT}[{extra}]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert not done.returncode, done.stderr
    assert f'"{extra}"' in done.stdout and "does not provide the extra" not in done.stderr
