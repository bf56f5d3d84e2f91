"""Command line: ``interpreto explain TEXT``, and ``interpreto --help`` for the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from interpreto.cli import commands, concept_commands, dataset_commands  # noqa: F401  # they add themselves to the program
from interpreto.cli.hints import check_command, paired, refusal, spread
from interpreto.cli.program import SHORT, program
from interpreto.errors import InterpretoError
from interpreto.renderable import visible

COMPLETES = "_INTERPRETO_COMPLETE"
"""The variable by which a shell asks for completions."""
STOPPED = 130
"""The exit status of a command that the user stopped."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    The command's module is imported when the command runs, so that help and errors in arguments load no torch.

    Args:
        argv: Arguments; None: those of the process.

    Returns:
        The exit status: 0; 2 for a request that cannot be met; 130 if the user stopped the command.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if not given and COMPLETES not in os.environ:
        print(SHORT)
        return 0
    command = typer.main.get_command(program)
    try:
        check_command(given)
        status = command(spread(paired(given)), prog_name="interpreto", standalone_mode=False)
    except typer.Abort:
        return STOPPED
    except BrokenPipeError:  # what reads our output has ended, as in `interpreto methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InterpretoError, OSError, ImportError) as error:
        return _failed(str(error))
    except Exception as error:
        message = refusal(error)
        if message is None:
            raise
        return _failed(message)
    return status if isinstance(status, int) else 0


def _failed(message: str) -> int:
    """Write an error as one line, and return its exit status."""
    print(f"interpreto: error: {' '.join(visible(message).split())}", file=sys.stderr)
    return 2
