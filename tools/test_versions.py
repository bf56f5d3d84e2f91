"""Run a contract subset of the tests with several releases of transformers, each in an environment of its own.

``make test-versions`` calls it. An environment lies in `.versions/<release>` and holds transformers and the packages whose
versions go with it; everything else, torch included, is the development environment's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".versions"
RELEASES = ("4.46.3", "4.52.4", "4.57.6", "pinned", "newest")
"""The lowest supported release, two in between, the one of constraints.txt, and the newest of the package index."""

TOGETHER = ("tokenizers", "huggingface-hub")  # whose versions a release of transformers decides
SUBSET = ("tests/versions", "tests/models/test_session.py")  # everything else is tested with the pinned release alone
VERSIONS = """
import json, importlib.metadata as metadata
print(json.dumps({name: metadata.version(name) for name in ("transformers", "tokenizers", "huggingface-hub", "torch")}))
"""


@dataclass(frozen=True)
class Result:
    """Results of the tests in one environment."""

    release: str
    versions: dict[str, str]
    passed: int
    skipped: int
    failed: int
    seconds: float

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        counts = (self.passed, self.skipped, self.failed, round(self.seconds))
        return (self.release, *self.versions.values(), *map(str, counts))


def environment(release: str) -> Path:
    """Return the Python of a release's environment, made where it does not exist yet; the newest is looked up each time."""
    if release == "pinned":
        return Path(sys.executable)
    home = FOLDER / release
    python = home / "bin" / "python"
    ready = home / "ready"
    if ready.exists() and release != "newest":
        return python
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    own = next((home / "lib").glob("python*/site-packages"))
    shared = own / "development.pth"
    shared.unlink(missing_ok=True)  # pip installs nothing that it sees there
    install(python, "transformers" if release == "newest" else f"transformers=={release}")
    install(python, *companions(own))
    shared.write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    ready.touch()
    return python


def install(python: Path, *requirements: str) -> None:
    """Install packages into an environment, without what they require."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(python), "install"]
    subprocess.run([*pip, "--upgrade", "--no-deps", *requirements], check=True)


def companions(site_packages: Path) -> list[str]:
    """Return the requirements of an installed transformers on the packages that go with it."""
    metadata = next(site_packages.glob("transformers-*.dist-info")) / "METADATA"
    required = re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [line for line in required if ";" not in line]
    return [line for line in plain if re.split(r"[^\w-]", line.replace("_", "-"))[0] in TOGETHER]


def versions_of(python: Path) -> dict[str, str]:
    """Return the versions of the packages that the table names."""
    said = subprocess.run([str(python), "-c", VERSIONS], check=True, capture_output=True, text=True).stdout
    return json.loads(said)


def run(release: str, workers: int, arguments: list[str]) -> Result:
    """Run the subset in the environment of one release."""
    python = environment(release)
    versions = versions_of(python)
    report = FOLDER / f"{release}.xml"
    report.unlink(missing_ok=True)
    print(f"\n=== transformers {versions['transformers']} ({release})", flush=True)
    parallel = ["-n", str(workers), "--dist", "load"] if workers > 1 else []
    chosen = arguments or list(SUBSET)
    start = time.monotonic()
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *parallel, *chosen]
    subprocess.run(command, cwd=ROOT, check=False)
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    count = {name: int(suite.get(name, "0")) for name in ("tests", "skipped", "failures", "errors")}
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - count["skipped"] - failed
    return Result(release, versions, passed, count["skipped"], failed, time.monotonic() - start)


def table(results: list[Result]) -> str:
    """Return the results as a Markdown table."""
    head = ("environment", "transformers", "tokenizers", "huggingface_hub", "torch", "passed", "skipped", "failed", "seconds")
    rows = [head, tuple("-" * len(name) for name in head), *(result.row() for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def main() -> int:
    """Run the releases that are asked for, all by default, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", nargs="+", default=RELEASES, help="versions of transformers, 'pinned' or 'newest'")
    parser.add_argument("-n", type=int, default=2, help="workers")
    parser.add_argument("tests", nargs="*", help="passed to pytest; the contract subset by default")
    asked = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    results: list[Result] = []
    for release in asked.releases:
        done = {result.versions["transformers"]: result for result in results}
        same = done.get(versions_of(environment(release))["transformers"])
        results.append(
            replace(same, release=f"{release} (= {same.release}, run once)") if same else run(release, asked.n, asked.tests)
        )
    print("\n" + table(results))
    return int(any(result.failed or not result.passed for result in results))


if __name__ == "__main__":
    sys.exit(main())
