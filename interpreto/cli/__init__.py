"""Command line: ``interpreto explain TEXT``, ``interpreto compare TEXTS.csv`` and ``interpreto methods``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from interpreto.cli.arguments import parser
from interpreto.errors import InterpretoError
from interpreto.renderable import visible


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    The command's module is imported by its name, so that help and errors in arguments load no torch.

    Args:
        argv: Arguments; None: those of the process.

    Returns:
        The exit status: 0, or 2 for a request that cannot be met.
    """
    arguments = parser().parse_args(argv)
    try:
        return importlib.import_module(f"interpreto.cli.{arguments.command}").run(arguments)
    except (InterpretoError, OSError) as error:
        print(f"interpreto: error: {visible(str(error))}", file=sys.stderr)
        return 2
