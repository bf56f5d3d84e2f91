"""Arguments of the commands. Nothing here loads torch."""

from __future__ import annotations

import argparse
import re

import interpreto

COLUMNS = ("text", "sentence", "prompt", "review", "content")
"""Names under which a table's texts are looked for, before its first column is taken."""


def command_name(name: str) -> str:
    """Return a method's name on the command line.

    Examples:
        >>> command_name("InputXGradient"), command_name("KernelShap"), command_name("AttnLRP")
        ('input-x-gradient', 'kernel-shap', 'attn-lrp')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


METHODS = {command_name(name): name for name in interpreto.ATTRIBUTION_METHODS}
"""Classes of the package by their names on the command line."""
COMPARED = ("occlusion", "kernel-shap", "integrated-gradients", "saliency")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    found = argparse.ArgumentParser(prog="interpreto", description="Explain predictions of Hugging Face models on text.")
    found.add_argument("--version", action="version", version=f"interpreto {interpreto.__version__}")
    commands = found.add_subparsers(dest="command", required=True)
    _explain(commands.add_parser("explain", help="explain texts", description="Explain a classifier or a language model."))
    about = "Evaluate methods by metrics on the texts of a file. The best of a column is starred; random is chance."
    _compare(commands.add_parser("compare", help="evaluate methods by metrics", description=about))
    commands.add_parser("methods", help="list the methods and their options")
    return found


def _explain(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("texts", nargs="*", metavar="TEXT", help="a text; - reads one per line from standard input")
    add("--file", metavar="FILE", action="append", help="a file with one text; a .csv or .tsv has one per row")
    add("--messages", metavar="FILE", help="a chat instead of a text: JSON with a list of {role, content}")
    add("--method", choices=METHODS, default="integrated-gradients")
    target = "a class (repeat it for several), or the continuation of a language model; default: the model's own"
    add("--target", action="append", metavar="NAME_OR_TEXT", help=target)
    add("--against", metavar="NAME_OR_TEXT", help="explain why the target rather than this")
    add("--roles", metavar="ROLE", action="append", help="explain by the messages of this role alone")
    add("--rows", choices=("token", "unit", "sequence"), help="rows of a generation; default: token")
    add("--prompt-only", action="store_true", help="explain a generation by its prompt alone")
    add("--max-new-tokens", type=int, metavar="N", help="longest generation of a language model; default: 64")
    mode = "the score: logits (default of classifiers), softmax, log_softmax (of language models) or sigmoid"
    add("--mode", help=mode)
    add("--replacement", help="replacement of masked units (mask methods)")
    add("--baseline", help="start of the path (integrated-gradients, gradient-shap)")
    add("--steps", type=int, metavar="N", help="number of perturbations of the method")
    add("--no-color", "--no-colour", dest="no_color", action="store_true", help="plain text, as with NO_COLOR set")
    add("--json", metavar="FILE", help="write all numbers as well")
    _shared(command, "all_tokens, token, word (default), sentence, paragraph or turn")


def _compare(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("file", metavar="TEXTS", help="a .csv or .tsv with a header, or a file with one text per line")
    add("--column", help=f"column of the texts; default: {', '.join(COLUMNS)}, or the first")
    add("--target-column", metavar="COLUMN", help="column of the targets: a class, or the continuation")
    add("--limit", type=int, metavar="N", help="number of texts, evenly spread over the file")
    methods = f"default: {' '.join(COMPARED)}"
    add("--methods", nargs="+", choices=METHODS, default=list(COMPARED), metavar="METHOD", help=methods)
    add("--metrics", nargs="+", metavar="METRIC", help="such as Deletion ABPC Infidelity; default: eight of them")
    add("--replacement", default="auto", help="replacement of masked units, for methods and metrics")
    add("--csv", metavar="FILE", help="write all cells, with intervals and costs, as well")
    _shared(command, "all_tokens, token, word (default), sentence or paragraph")


def _shared(command: argparse.ArgumentParser, granularities: str) -> None:
    add = command.add_argument
    add("--model", metavar="REPO_OR_DIR", help="a classifier or a language model; default: the embedded sentiment classifier")
    add("--granularity", default="word", help=granularities)
    add("--batch-size", type=int, metavar="N", help="rows per forward pass; default: as many as fit")
    add("--seed", type=int, default=0, metavar="N")
    add("--device", help="where to run, such as cuda; default: the model's device")
    add("--truncation", action="store_true", help="explain the beginning of texts that are too long")
    add("--progress", action="store_true", help="show progress bars")
    add("--html", metavar="FILE", help="write a page as well")
