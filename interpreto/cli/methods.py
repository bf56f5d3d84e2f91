"""``interpreto methods``: list the methods and their options."""

from __future__ import annotations

import argparse
import inspect

import interpreto
from interpreto.cli.arguments import METHODS

SHARED = ("model", "tokenizer", "batch_size", "options")


def run(_arguments: argparse.Namespace) -> int:
    """Print a line per method and its options."""
    for name, cls in METHODS.items():
        method = getattr(interpreto, cls)
        own = [p for p in inspect.signature(method).parameters.values() if p.name not in SHARED]
        options = ", ".join(f"{p.name}={getattr(p.default, 'value', p.default)!r}" for p in own)
        what = (inspect.getdoc(method) or "").split("\n")[0].replace("``", "")
        print(f"{name:<22}{what}\n{'':<22}{cls}({options})\n")
    return 0
