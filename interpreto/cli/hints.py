"""Errors in the arguments of a command, with what was probably meant. Nothing here loads torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from interpreto.cli.arguments import COMMANDS, METHODS
from interpreto.errors import OptionError
from interpreto.validation import shown

LISTS = ("--methods", "--metrics", "--strength")
"""Options that take several values after one name."""
_REFUSALS = tuple(kind for kind in typer.BadParameter.__mro__ if kind.__name__ in ("UsageError", "ClickException"))


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Return " Did you mean …?" with the nearest known name; empty where none is near.

    Examples:
        >>> did_you_mean("kernel-shup", ["kernel-shap", "lime"])
        " Did you mean 'kernel-shap'?"
    """
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(value.lower(), names, n=1)
    return f" Did you mean {names[near[0]]!r}?" if near else ""


def read_method(name: str, flag: str = "--method") -> str:
    """Return the command-line name of a method, given in any of its spellings.

    Raises:
        OptionError: There is no such method.

    Examples:
        >>> read_method("KernelShap"), read_method("kernel_shap"), read_method("kernelshap")
        ('kernel-shap', 'kernel-shap', 'kernel-shap')
    """
    plain = {_plain(slug): slug for slug in METHODS}
    if _plain(name) in plain:
        return plain[_plain(name)]
    raise OptionError(
        f"`{flag}`: there is no method {shown(name)}.{did_you_mean(name, METHODS)} `interpreto methods` lists all of them."
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def check_command(given: Sequence[str]) -> None:
    """Check that the first argument is a command.

    Raises:
        OptionError: It is something else.
    """
    if not given or given[0].startswith("-") or given[0] in COMMANDS:
        return
    name = given[0]
    hint = did_you_mean(name, COMMANDS)
    if not hint:
        quoted = name if " " not in name else f'"{name}"'
        hint = f" To explain a text: interpreto explain {quoted}"
    raise OptionError(f"there is no command {shown(name)}; there are {', '.join(COMMANDS)}.{hint}")


def paired(given: Sequence[str]) -> list[str]:
    """Return the arguments with ``concepts label`` as one name, that of a command of its own.

    Examples:
        >>> paired(["concepts", "label", "t.csv"]), paired(["concepts", "t.csv"])
        (['concepts label', 't.csv'], ['concepts', 't.csv'])
    """
    return ["concepts label", *given[2:]] if list(given[:2]) == ["concepts", "label"] else list(given)


def spread(given: Sequence[str]) -> list[str]:
    """Return the arguments with ``--methods a b`` as ``--methods a --methods b``.

    Examples:
        >>> spread(["--strength", "-2", "0"])
        ['--strength', '-2', '--strength', '0']
        >>> spread(["compare", "t.csv", "--methods", "lime", "sobol", "--limit", "3"])
        ['compare', 't.csv', '--methods', 'lime', '--methods', 'sobol', '--limit', '3']
    """
    found: list[str] = []
    flag, waits = None, False
    for argument in given:
        if (
            flag is not None
            and (not argument.startswith("-") or _is_number(argument))
            and (waits or not Path(argument).is_file())
        ):
            found += [flag, argument]
            waits = False
            continue
        if flag is not None and waits:
            found.append(flag)
        flag = argument if argument in LISTS else None
        waits = flag is not None
        if flag is None:
            found.append(argument)
    return [*found, *([flag] if flag is not None and waits else [])]


def _is_number(argument: str) -> bool:
    try:
        float(argument)
    except ValueError:
        return False
    return True


def refusal(error: Exception) -> str | None:
    """Return what is wrong with the arguments, on one line; None for an exception that says something else."""
    if not isinstance(error, _REFUSALS):
        return None
    option = getattr(error, "option_name", None)
    known = getattr(error, "possibilities", None)
    if option is None or known is None:
        message = str(error.format_message())  # type: ignore[attr-defined]  # of a UsageError
        return f"{message.rstrip('.')}.{_help(error)}"
    return f"there is no option {option!r}.{did_you_mean(option, known)}{_help(error)}"


def _help(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return "" if context is None else f" See `{context.command_path} --help`."
