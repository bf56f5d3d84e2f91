"""The program that commands are added to, and what each of them needs to be one."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import interpreto
from interpreto.cli.arguments import COMMANDS, Arguments

SHORT = """interpreto explains predictions of Hugging Face models on text. Try:

  interpreto explain "A gorgeous, moving film."

`interpreto demo` opens a first page, `interpreto app` one to type into, and `interpreto --help` lists all commands."""

HELP: dict[str, Any] = {"help_option_names": ["--help", "-h"]}


class InOrder(TyperGroup):
    """Commands in the order of `COMMANDS`, whatever file they are in."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands as help lists them."""
        return sorted(super().list_commands(ctx), key=lambda name: COMMANDS.index(name.split()[0]))


program = typer.Typer(
    name="interpreto",
    cls=InOrder,
    epilog='Example: interpreto explain "A gorgeous, moving film." --open',
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings=HELP,
)


def group(name: str, text: str, example: str) -> typer.Typer:
    """Add a command that has commands of its own."""
    made = typer.Typer(help=text, epilog=examples(example), no_args_is_help=True, context_settings=HELP)
    program.add_typer(made, name=name)
    return made


def examples(*lines: str) -> str:
    """Return the examples below the help of a command."""
    return "\n\n".join(["Examples:", *(f"  {line}" for line in lines)])


def run(command: str, arguments: dict[str, object]) -> int:
    """Run a command by the module of its name, and return its exit status."""
    return int(importlib.import_module(f"interpreto.cli.{command}").run(Arguments(**arguments)))


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"interpreto {interpreto.__version__}")
        raise typer.Exit
    return asked


@program.callback()
def _start(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """Explain predictions of Hugging Face models on text."""
