"""``interpreto methods``: list the methods, or show one with its options."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

from rich.table import Table

import interpreto
from interpreto.cli.arguments import METHODS, Arguments
from interpreto.cli.hints import read_method
from interpreto.cli.screen import screen
from interpreto.registry import MethodSummary, find_method

SHARED = ("model", "tokenizer", "batch_size", "options")
"""Parameters that every method has."""
IN_PYTHON = (
    "ShapleyInteractions (what units contribute together)",
    "Consensus (the mean of methods or models)",
    "GlobalAttribution (words over many texts)",
)
"""Names that no command runs, as they return something else than an explanation of each text."""


def run(arguments: Arguments) -> int:
    """Print the methods as a table, one of them in full, or JSON."""
    names = list(METHODS) if arguments.name is None else [read_method(arguments.name, "NAME")]
    if arguments.json:
        described = [_described(name) for name in names]
        print(json.dumps(described if arguments.name is None else described[0], ensure_ascii=False, indent=1))
    elif arguments.name is None:
        _print_table()
    else:
        _print_one(names[0])
    return 0


def _print_table() -> None:
    """Print a row per method: name, what it computes, and passes through the model for a text of ``u`` units."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", no_wrap=True)
    table.add_column("what it computes")
    table.add_column("passes for u units")
    for name in METHODS:
        found = _described(name)
        table.add_row(name, found["summary"], found["passes"])
    console = screen()
    console.print(table)
    console.print("\n`interpreto methods NAME` shows one with its options.", markup=False)
    console.print(f"In Python alone: {', '.join(IN_PYTHON)}.", markup=False)


def _print_one(name: str) -> None:
    found = _described(name)
    facts = [
        ("class", f"interpreto.{found['class']}"),
        ("reads", "scores of masked inputs" if found["evidence"] == "scores" else found["evidence"]),
        ("explains", " and ".join(found["inputs"])),
        ("values", "signed" if found["signed"] else "magnitudes, without a sign"),
        ("sum to", found["sums_to"] or "nothing in particular"),
        ("error", "standard errors, as values are sampled" if found["sampled"] else "none: values are not sampled"),
        ("passes", f"{found['passes']}, for an input of u units"),
        ("source", f"{found['source']}, {found['url']}"),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for fact in facts:
        table.add_row(*fact)
    options = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("option", "default", "meaning"):
        options.add_column(column, no_wrap=column == "option")
    for option in found["options"]:
        options.add_row(option["name"], option["default"], option["meaning"])
    console = screen()
    console.print(f"{name}: {found['summary']}\n", markup=False)
    console.print(table)
    if found["options"]:
        console.print()
        console.print(options)
    example = '"A gorgeous, moving film."' if "texts" in found["inputs"] else "image.png"
    console.print(f"\ninterpreto explain {example} --method {name}", markup=False)


def _described(name: str) -> dict[str, Any]:
    """Return everything that is known of a method."""
    known = find_method(name)
    assert isinstance(known, MethodSummary)  # the command line's names are those of the registry
    method = getattr(interpreto, known.name)
    documented = inspect.getdoc(method) or ""
    own = [p for p in inspect.signature(method).parameters.values() if p.name not in SHARED]
    return {
        "name": name,
        "class": known.name,
        "summary": _summary(documented),
        "evidence": known.evidence,
        "inputs": list(known.inputs),
        "signed": known.signed,
        "passes": known.passes,
        "sums_to": known.sums_to,
        "sampled": known.sampled,
        "source": known.source,
        "url": known.url,
        "options": [
            {
                "name": p.name,
                "default": "" if p.default is p.empty else repr(getattr(p.default, "value", p.default)),
                "meaning": _meaning(method, p.name),
            }
            for p in own
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ],
    }


def _summary(documented: str) -> str:
    """Return the first sentence of a docstring without markup."""
    first = " ".join(documented.split("\n\n", maxsplit=1)[0].split())
    return first.replace("`", "")


def _meaning(method: type, option: str) -> str:
    """Return what the docstring of a method, or of a class that it extends, says of an argument."""
    for documented in filter(None, (vars(cls).get("__doc__") for cls in method.__mro__)):
        found = re.search(
            rf"^    {re.escape(option)}:\s*(.*?)(?=^    \w+:|^\S|\n\n|\Z)",
            inspect.cleandoc(documented),
            re.DOTALL | re.MULTILINE,
        )
        if found is not None:
            return " ".join(found[1].replace("`", "").split())
    return ""
