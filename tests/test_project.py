"""Facts about the project that stand in several files are the same in all of them."""

from __future__ import annotations

import re
from pathlib import Path

import interpreto

ROOT = Path(__file__).parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere():
    version = interpreto.__version__
    assert f"\nversion: {version}\n" in read("CITATION.cff")
    assert f"version = {{{version}}}" in read("docs/citations.md")
    assert re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", read("CHANGELOG.md"), re.MULTILINE)


def test_ci_runs_lint_and_both_lanes_and_nothing_hidden():
    assert [line for line in read(".ci/run").splitlines() if line.startswith("make ")] == [
        "make lint",
        "make test",
        "make test-all",
    ]


def test_pre_commit_runs_the_checks_of_lint():
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)
    assert lint is not None
    hooks = read(".pre-commit-config.yaml")
    for tool in ("ruff format", "ruff check", "codespell", "tools/check_language.py", "pyright"):
        assert tool in lint[1] and tool in hooks


def test_messages_name_the_package_that_is_missing():
    """There is no `interpreto` to install with extras from an index, so a message that says so leads nowhere."""
    assert [path for path in (ROOT / "interpreto").rglob("*.py") if 'install "interpreto[' in path.read_text("utf-8")] == []
