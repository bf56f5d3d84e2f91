"""The code in README and CONTRIBUTING runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from interpreto import demo
from interpreto.cli import main
from interpreto.cli.arguments import COMMANDS
from interpreto.registry import METHODS
from tests import tiny

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/metrics.md"])
def test_the_examples_run(name, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    language_model, its_tokenizer = tiny.chat_lm()
    scope: dict = {"language_model": language_model, "its_tokenizer": its_tokenizer}
    for block in blocks:
        exec(compile(block, name, "exec"), scope)
    if name == "README.md":
        assert (tmp_path / "explanation.html").exists() and (tmp_path / "explanation.safetensors").exists()
        assert "gorgeous" in capsys.readouterr().out
        assert (tmp_path / "concepts.html").exists()
        assert scope["explanation"].text == "The capital of France is Paris"
    if name == "CONTRIBUTING.md":
        rise = scope["Rise"](*demo.load_classifier())("A gorgeous, moving film.", "positive")[0]
        assert max(zip(rise.attributions[0].tolist(), rise.elements, strict=True))[1] == "gorgeous"
        drop = scope["TopUnitDrop"](*demo.load_classifier()).run(rise)
        assert 0.01 < float(drop) < 1 and drop.name == "TopUnitDrop"
        assert scope["prototypes"].get_dictionary().shape == (8, 128)


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path, monkeypatch, capsys):
    """As they stand there, in their order; another language model takes the place of the hub's."""
    model, tokenizer = tiny.chat_lm()
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda _address: True)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("interpreto ")]
    assert {command[0] for command in commands} == {*COMMANDS} - {"sae"}  # which needs one: test_cli.py
    for command in commands:
        if command[0] != "app":  # which serves until it is stopped
            given = ["lm" if argument == "HuggingFaceTB/SmolLM2-135M-Instruct" else argument for argument in command]
            assert main(given) == 0, (command, capsys.readouterr().err)
    assert (tmp_path / "explanations.html").exists() and (tmp_path / "concepts.html").exists()


def test_every_method_has_its_row_and_its_source():
    rows = [row for row in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if row.startswith("| `")]
    for method in METHODS:
        (row,) = [row for row in rows if row.startswith(f"| `{method.name}` |")]
        assert f"({method.url})" in row, method.name


def test_every_metric_is_defined_in_the_documents():
    import interpreto.metrics

    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    base = (
        interpreto.metrics.AttributionMetric,
        interpreto.metrics.GameMetric,
        interpreto.metrics.ConceptMetric,
        interpreto.metrics.LabelScoring,
    )
    found = [getattr(interpreto.metrics, name) for name in interpreto.metrics.__all__]
    judging = [o for o in found if isinstance(o, type) and o not in base and hasattr(o, "higher_is_better")]
    assert len(judging) > 45
    missing = [o.__name__ for o in judging if f"`{o.__name__}`" not in text and o.__name__ not in ("MetricResult", "RowMetric")]
    assert not missing


def test_what_the_documents_point_at_exists():
    for name in ("README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md", "docs/DIFFERENCES.md", "docs/metrics.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert ((ROOT / name).parent / target).exists(), f"{name} points at {target}"
        for path in re.findall(r"`((?:interpreto|tests|benchmarks|docs|tools)/[\w./]+)`", text):
            assert (ROOT / path).exists(), f"{name} names {path}"
