"""The way of a first reader, timed: a clone, an installation, the first explanation, an own model, a report.

    python -m benchmarks.first_reader [--source REPOSITORY]

Everything is new but the cache of pip: a clone of this repository, an environment, a folder to work in. The commands are
those of the README; the own model is a classifier saved by transformers, as a reader's is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
OWN_MODEL = (
    "from interpreto import demo; model, tokenizer = demo.load_classifier(); "
    "model.save_pretrained('mine'); tokenizer.save_pretrained('mine')"
)
LIMIT = 600  # seconds that the whole way may take


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=str(ROOT), help="What is cloned: this repository.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = walked(arguments.source, Path(folder))
    print(report(taken))
    if sum(taken.values()) > LIMIT:
        raise SystemExit(f"the way took longer than {LIMIT} s")


def walked(source: str, folder: Path) -> dict[str, float]:
    """Return the seconds of each step, in order."""
    taken: dict[str, float] = {}
    clone, environment, work = folder / "clone", folder / "environment", folder / "work"
    work.mkdir()
    binaries = environment / ("Scripts" if os.name == "nt" else "bin")
    quiet = os.environ | {"PYTHONPATH": "", "INTERPRETO_PROGRESS": "0", "TQDM_DISABLE": "1"}

    def run(*command: str | Path, where: Path = work) -> None:
        done = subprocess.run(command, cwd=where, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        taken[name] = time.perf_counter() - start

    interpreto = binaries / "interpreto"
    with step("clone"):
        run("git", "clone", "-q", source, clone)
    with step("environment, `pip install .`"):
        venv.create(environment, with_pip=True)
        run(binaries / "python", "-m", "pip", "install", "-q", "-c", "constraints.txt", ".", where=clone)
    with step("`interpreto explain`, the embedded classifier"):
        run(interpreto, "explain", "A gorgeous, moving film.", "-o", "first.html")
    run(binaries / "python", "-c", OWN_MODEL)  # stands where a reader's own model does: not timed
    with step("`interpreto explain --model`, an own model"):
        run(interpreto, "explain", "The plot is thin, but I enjoyed it.", "--model", "mine", "-o", "own.html")
    with step("`interpreto demo`, which writes a table of 200 texts"):
        run(interpreto, "demo", "--no-open")
    with step("`interpreto report` on the table, with the own model"):
        run(interpreto, "report", "interpreto-demo/sentences.csv", "--model", "mine", "-o", "report.html")
    pages = [work / name for name in ("first.html", "own.html", "report.html")]
    assert all(page.stat().st_size > 10_000 for page in pages), "a page is missing"
    return taken


def report(taken: dict[str, float]) -> str:
    """Return the steps as a table."""
    rows = [f"| {name} | {seconds:.0f} s |" for name, seconds in taken.items()]
    lines = ["# The first reader", "", "A new clone, environment and folder; packages came from a local mirror, so that"]
    lines += ["downloading PyTorch over a slower line comes on top. Two cores.", "", "| step | time |", "|---|---|", *rows]
    return "\n".join([*lines, f"| the whole way | {sum(taken.values()):.0f} s |"]) + "\n"


if __name__ == "__main__":
    main()
