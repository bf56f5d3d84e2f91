"""``interpreto dataset show``: what a data set of explanations is of, how far it is, what failed, which words matter."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

from interpreto.cli.arguments import Arguments
from interpreto.cli.screen import screen
from interpreto.datasets import ExplanationDataset
from interpreto.renderable import visible
from interpreto.storage import check_writable
from interpreto.validation import check_count

FAILURES = 3  # that are shown
MANY, FEW = 20, 3  # texts, and how many of them a word must occur in


def run(arguments: Arguments) -> int:
    """Print the facts of a data set, and write a page if one is asked for."""
    top = check_count(arguments.top, "--top", 0)
    page = None if arguments.html is None else check_writable(arguments.html, "--html")
    dataset = ExplanationDataset(arguments.out)
    facts = described(dataset)
    if arguments.verify:
        checked = dataset.verify()
        facts["files"] = "whole" if not checked.damaged else f"damaged: {', '.join(checked.damaged)}"
    words = {} if not top or not len(dataset) else important(dataset, top)
    failures = [[failure.id, failure.kind, failure.message] for failure in dataset.failures[:FAILURES]]
    if arguments.json:
        print(json.dumps({**facts, "words": words, "first_failures": failures}, ensure_ascii=False, indent=1))
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in facts.items():
            table.add_row(name, f"{value:,}" if isinstance(value, int) else visible(str(value)))
        for target, found in words.items():
            table.add_row(f"towards {visible(target)}", visible(", ".join(found)) or "no word for sure")
        for number, kind, message in failures:
            table.add_row(f"failure of {number}", visible(f"{kind}: {message}"))
        screen().print(table)
    if page is not None:
        dataset.to_html(page)
    return 0 if facts.get("files", "whole") == "whole" else 1


def described(dataset: ExplanationDataset) -> dict[str, Any]:
    """Return what a data set is of, and how far it is."""
    manifest = dataset.manifest
    return {
        "data": manifest.data.get("name", ""),
        "method": manifest.explainer["method"],
        "model": manifest.explainer["model"].get("class", ""),
        "inputs": manifest.rows,
        "explanations": dataset.n_explained,
        "failures": dataset.n_failures,
        "shards": f"{len(dataset.shards)} of {manifest.n_shards}",
        "bytes": dataset.bytes,
        "versions": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }


def important(dataset: ExplanationDataset, top: int) -> dict[str, list[str]]:
    """Return the words of each target with the surest effect towards it."""
    found = dataset.importance("word", FEW if len(dataset) >= MANY else 1, examples=0)
    return {target: [row.unit for row in found.top(top, target, sign=1, surest=True)] for target in found.targets}
