"""axe-core, a checker of accessibility, from npm: fetched once into a folder that git ignores."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.visualizations.browser import Browser

VERSION = "4.14.1"
FILE = Path(__file__).parents[2] / ".cache" / f"axe-core-{VERSION}" / "axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
needs_npm = pytest.mark.skipif(
    shutil.which("npm") is None and not FILE.exists() and not os.environ.get("CI"),  # there it fails
    reason="no npm on the PATH: `make browsers`, or install it, to check accessibility",
)


def source() -> str:
    """Return axe-core's script."""
    if not FILE.exists():
        with tempfile.TemporaryDirectory() as folder:
            command = ["npm", "pack", "--silent", f"axe-core@{VERSION}"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
            (packed,) = Path(folder).glob("*.tgz")
            with tarfile.open(packed) as archive:
                member = archive.extractfile("package/axe.min.js")
                assert member is not None
                FILE.parent.mkdir(parents=True, exist_ok=True)
                partial = FILE.with_suffix(f".{os.getpid()}")
                partial.write_bytes(member.read())
        partial.replace(FILE)
    return FILE.read_text(encoding="utf-8")


def findings(browser: Browser) -> list[str]:
    """Return what axe-core finds wrong with the page that is open: a rule, what it says, and where."""
    browser.ask("Runtime.evaluate", expression=source())
    run = f"axe.run(document, {{runOnly: {{type: 'tag', values: {LEVELS!r}}}, resultTypes: ['violations']}})"
    told = "found => found.violations.flatMap(v => v.nodes.map(n => `${v.id}: ${n.failureSummary} ${n.html}`))"
    answer = browser.ask("Runtime.evaluate", expression=f"{run}.then({told})", awaitPromise=True, returnByValue=True)
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    return answer["result"]["value"]
