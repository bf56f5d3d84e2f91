"""``interpreto report``: one page on a classifier and a labeled data set."""

from __future__ import annotations

import sys
from pathlib import Path

from interpreto.cli.arguments import Arguments
from interpreto.cli.hints import read_method
from interpreto.cli.loading import load_model
from interpreto.cli.output import read_outputs
from interpreto.errors import FileError
from interpreto.metrics.report import report
from interpreto.validation import check_count

PAGE = "report.html"
"""The page that is written where no other is asked for."""


def run(arguments: Arguments) -> int:
    """Report on the model and the data, print the summary and write the page."""
    if not arguments.html and not arguments.output:
        arguments.html = PAGE
    outputs = read_outputs(arguments, (".html",))
    method = None if arguments.method is None else read_method(arguments.method)
    for flag in ("faithfulness", "concepts"):
        check_count(getattr(arguments, flag), f"--{flag}", 0)
    if not Path(arguments.file).expanduser().is_file():
        raise FileError(f"`DATA`: there is no file {arguments.file!r}.")
    model, tokenizer = load_model(arguments.model, arguments.device)
    found = report(
        model,
        arguments.file,
        tokenizer,
        text=arguments.column,
        label=arguments.label,
        method=method,
        max_texts=arguments.limit,
        n_faithfulness=arguments.faithfulness,
        nb_concepts=arguments.concepts,
        random_state=arguments.seed,
        batch_size=arguments.batch_size,
        on_step=_say,
        granularity=arguments.granularity,
        truncation=arguments.truncation,
    )
    print(found)
    outputs.write({".html": found.to_html})
    for _, path in outputs.files if not outputs.opens else ():
        print(f"page: {path}")
    return 0


def _say(step: str) -> None:
    """Say on standard error what is done, where a person reads it."""
    if sys.stderr.isatty():
        print(f"{step} …", file=sys.stderr)
