"""Commands on data sets of any size. The module of its name runs each, and is imported only then."""

from __future__ import annotations

from typing import Annotated

import typer

from interpreto.cli.arguments import (
    HOW,
    OUTPUT,
    TOLERANCE,
    WHAT,
    BatchSize,
    Device,
    Granularity,
    Method,
    Model,
    Progress,
    Seed,
    Truncation,
)
from interpreto.cli.program import examples, group, program, run


@program.command(
    "explain-dataset",
    epilog=examples(
        "interpreto explain-dataset reviews.csv -o explained",
        "interpreto explain-dataset 'texts/*.parquet' --model DIR --method occlusion --workers 2 -o explained",
        "interpreto dataset show explained",
    ),
)
def explain_dataset(  # noqa: PLR0917  # the options, as typer reads them
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A file, a folder, a pattern or an address: .parquet, .csv, .tsv, .jsonl, .txt."),
    ],
    out: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where to write; what is there is not computed again."),
    ],
    column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the texts. Default: text, sentence, review, …", rich_help_panel=WHAT),
    ] = None,
    target_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the targets: a class, or the continuation.", rich_help_panel=WHAT),
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="NAME", help="Column of the true labels.", rich_help_panel=WHAT)] = None,
    model: Model = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A class, of every text; may be repeated.", rich_help_panel=WHAT),
    ] = None,
    method: Method = None,
    granularity: Granularity = "word",
    mode: Annotated[
        str | None, typer.Option(metavar="SCORE", help="logits, softmax, log_softmax or sigmoid.", rich_help_panel=HOW)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Number of perturbations of the method.", rich_help_panel=HOW)
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help=f"As of `explain`: {TOLERANCE} by default; 0: all perturbations.", rich_help_panel=HOW
        ),
    ] = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    device: Device = None,
    truncation: Truncation = False,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Processes with a copy of the model each.", rich_help_panel=HOW)
    ] = 1,
    engine: Annotated[str, typer.Option(metavar="NAME", help="local, or ray for a cluster.", rich_help_panel=HOW)] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a cluster of Ray; auto: this machine's.", rich_help_panel=HOW)
    ] = None,
    gpus: Annotated[
        float, typer.Option(metavar="X", help="GPUs of each worker of Ray; a share is possible.", rich_help_panel=HOW)
    ] = 0.0,
    rows_per_shard: Annotated[
        int, typer.Option(metavar="N", help="Texts that are computed again if a worker dies.", rich_help_panel=HOW)
    ] = 1024,
    part: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Compute the shards of job I of N, counted from 0, alone.", rich_help_panel=HOW),
    ] = None,
    on_error: Annotated[
        str, typer.Option(metavar="WHAT", help="Of a text that fails: record it, or raise.", rich_help_panel=HOW)
    ] = "record",
    progress: Progress = False,
) -> int:
    """Explain a data set of any size, in parts that can be resumed; repeat the command to go on."""
    return run("explain_dataset", locals())


dataset_program = group("dataset", "Look at what explain-dataset has written.", "interpreto dataset show FOLDER")


@dataset_program.command(epilog=examples("interpreto dataset show FOLDER", "interpreto dataset show FOLDER --html page.html"))
def show(
    out: Annotated[str, typer.Argument(metavar="FOLDER", help="What `explain-dataset` wrote, finished or not.")],
    top: Annotated[int, typer.Option(metavar="N", help="Words of each class; 0: none.", rich_help_panel=WHAT)] = 5,
    verify: Annotated[bool, typer.Option("--verify", help="Check every file.", rich_help_panel=WHAT)] = False,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write a page of a sample.", rich_help_panel=OUTPUT)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)] = False,
) -> int:
    """Show what a data set of explanations is of, how far it is, what failed, and which words matter."""
    return run("dataset", locals())
