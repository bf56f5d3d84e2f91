"""The code in README and CONTRIBUTING runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interpreto import demo
from tests import tiny

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
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
        assert scope["explanation"].text == "The capital of France is Paris"
    else:
        rise = scope["Rise"](*demo.load_classifier())("A gorgeous, moving film.", "positive")[0]
        assert max(zip(rise.attributions[0].tolist(), rise.elements, strict=True))[1] == "gorgeous"


def test_what_the_documents_point_at_exists():
    for name in ("README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md", "docs/DIFFERENCES.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert ((ROOT / name).parent / target).exists(), f"{name} points at {target}"
        for path in re.findall(r"`((?:interpreto|tests|benchmarks|docs|tools)/[\w./]+)`", text):
            assert (ROOT / path).exists(), f"{name} names {path}"
