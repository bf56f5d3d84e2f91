"""Options that several commands share, as typer reads them. Nothing here loads torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated

import typer

from interpreto.registry import METHODS as REGISTERED

Arguments = SimpleNamespace
"""The arguments of a command, by name."""
COLUMNS = ("text", "sentence", "prompt", "review", "content")
"""Names under which a table's texts are looked for, before its first column is taken."""
COMMANDS = (
    *("explain", "compare", "report", "explain-dataset", "dataset"),
    *("concepts", "lens", "steer", "sae"),
    *("methods", "app", "demo"),
)
"""In the order in which help lists them."""
METHODS = {method.slug: method.name for method in REGISTERED}
"""Classes of the package by their names on the command line."""
COMPARED = ("occlusion", "kernel-shap", "integrated-gradients", "saliency")
"""Methods that are compared by default."""
COMPARED_BY = ("Deletion", "ABPC", "Infidelity")
"""Metrics by which they are compared by default: what a ranking is worth, against chance, and what the amounts are worth."""
DEFAULT, DEFAULT_OF_GENERATION = "kernel-shap", "occlusion"
"""Methods that `explain` takes: the best of the tables; for language models, whose passes are long, the cheapest good one."""
DEFAULT_AT = "integrated-gradients"
"""Method that `explain` takes for the activations of a module."""
TOLERANCE = 0.05
"""Precision that `explain` asks sampled methods for, in shares of the score gap."""
WHAT, HOW, OUTPUT = "What is explained", "How", "Output"

Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="A text; - reads one per line from standard input.")]
TextsFile = Annotated[str, typer.Argument(metavar="TEXTS", help="A .csv, .tsv or .jsonl, or a file with one text per line.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="REPO_OR_DIR",
        help="A classifier or a language model. Default: the embedded sentiment classifier.",
        rich_help_panel=WHAT,
    ),
]
ServedAt = Annotated[
    str | None,
    typer.Option(
        "--served",
        metavar="URL",
        help="An OpenAI-compatible server of language models, such as http://127.0.0.1:8000/v1: `--model` is the name there; "
        "the key is read from OPENAI_API_KEY.",
        rich_help_panel=WHAT,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        metavar="METHOD",
        help=f"One of `interpreto methods`. Default: {DEFAULT}; {DEFAULT_OF_GENERATION} for a language model.",
        rich_help_panel=HOW,
    ),
]
Granularity = Annotated[
    str,
    typer.Option(
        metavar="UNIT",
        help="all_tokens, token, word, sentence, paragraph or turn; of an image, patch, grid or superpixel.",
        rich_help_panel=HOW,
    ),
]
ConceptCount = Annotated[int, typer.Option(metavar="N", help="Number of concepts.", rich_help_panel=HOW)]
ConceptMethod = Annotated[
    str, typer.Option(metavar="NAME", help="semi-nmf, nmf, pca, ica, k-means, top-k-sae, …", rich_help_panel=HOW)
]
ConceptUnit = Annotated[str, typer.Option(metavar="UNIT", help="token, word, sentence or sample.", rich_help_panel=HOW)]
Block = Annotated[
    int | None,
    typer.Option(metavar="N", help="The block after which activations are read. Default: the middle one.", rich_help_panel=HOW),
]
BatchSize = Annotated[
    int | None,
    typer.Option(metavar="N", help="Rows per forward pass. Default: as many as fit.", rich_help_panel=HOW),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of what is sampled.", rich_help_panel=HOW)]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE", help="Where to run: cpu, cuda, mps, auto. Default: where the model is.", rich_help_panel=HOW
    ),
]
Truncation = Annotated[
    bool, typer.Option("--truncation", help="Explain the beginning of texts that are too long.", rich_help_panel=HOW)
]
Progress = Annotated[bool, typer.Option("--progress", help="Show progress bars.", rich_help_panel=OUTPUT)]
Column = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help=f"Column of the texts. Default: {', '.join(COLUMNS)}, or the first.", rich_help_panel=WHAT
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(metavar="N", help="Number of texts, evenly spread over the file. Default: all.", rich_help_panel=WHAT),
]
Html = Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write a page.", rich_help_panel=OUTPUT)]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write all numbers.", rich_help_panel=OUTPUT)]
Csv = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Write a table.", rich_help_panel=OUTPUT)]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write a file of the kind that its name ends in, such as .html, .json or .csv. May be repeated.",
        rich_help_panel=OUTPUT,
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Show the page in the browser.", rich_help_panel=OUTPUT)]
