"""Commands on texts, their explanations and their methods. The module of its name runs each, and is imported only then."""

from __future__ import annotations

from typing import Annotated

import typer

from interpreto.cli.arguments import (
    COMPARED,
    COMPARED_BY,
    DEFAULT_AT,
    HOW,
    OUTPUT,
    TOLERANCE,
    WHAT,
    BatchSize,
    Column,
    Csv,
    Device,
    Granularity,
    Html,
    Json,
    Limit,
    Method,
    Model,
    Open,
    Output,
    Progress,
    Seed,
    ServedAt,
    Texts,
    TextsFile,
    Truncation,
)
from interpreto.cli.program import examples, program, run


@program.command(
    epilog=examples(
        'interpreto explain "A gorgeous, moving film."',
        "interpreto explain --file reviews.csv --column review --limit 20 -o reviews.html --open",
        'interpreto explain "The capital of France is" --model DIR --target " Paris" --against " London"',
        'interpreto explain "A premise." --pair "A hypothesis." --model DIR',
        'interpreto explain photo.png --model DIR --labels "a cat, a dog"',
        'interpreto explain photo.png --pair "What is in the picture?" --model DIR',
        'interpreto explain "The capital of France is" --served http://127.0.0.1:8000/v1 --model NAME',
    )
)
def explain(  # noqa: PLR0917  # the options, as typer reads them
    texts: Texts = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A text that is taken as it is.", rich_help_panel=WHAT)
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="The second text of a pair: a hypothesis, the context of a question, what is asked about an image. One per "
            "text.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="A file with one text; a .csv, .tsv or .jsonl has one per row.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    column: Column = None,
    pair_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the second texts of pairs. Default: none.", rich_help_panel=WHAT),
    ] = None,
    limit: Limit = None,
    messages: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A chat: JSON with a list of {role, content}.", rich_help_panel=WHAT),
    ] = None,
    model: Model = None,
    served: ServedAt = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME_OR_TEXT",
            help="A class (repeat it for several), or the continuation of a language model. Default: the model's own.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_TEXT", help="Explain why the target rather than this.", rich_help_panel=WHAT),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXTS",
            help='Classes of images in words, such as "a cat, a dog", for a model that compares images with texts (CLIP).',
            rich_help_panel=WHAT,
        ),
    ] = None,
    roles: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE", help="Explain by the messages of this role alone.", rich_help_panel=WHAT),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Rows of a generation: token (default), unit or sequence.", rich_help_panel=WHAT),
    ] = None,
    prompt_only: Annotated[
        bool, typer.Option("--prompt-only", help="Explain a generation by its prompt alone.", rich_help_panel=WHAT)
    ] = False,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", help="Longest generation of a language model. Default: 64.", rich_help_panel=WHAT),
    ] = None,
    method: Method = None,
    granularity: Granularity = "word",
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="SCORE",
            help="logits (default of classifiers), softmax, log_softmax (of language models) or sigmoid.",
            rich_help_panel=HOW,
        ),
    ] = None,
    replacement: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Replacement of masked units (methods that mask). Default: auto.", rich_help_panel=HOW
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Start of the path (methods that integrate gradients).", rich_help_panel=HOW),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Number of perturbations of the method.", rich_help_panel=HOW)
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Sample until values are this precise, in shares of the score gap or of the largest value; 0: all "
            f"perturbations. Default: {TOLERANCE}, for methods that sample.",
            rich_help_panel=HOW,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE",
            help="Explain the activations of a module: its path, or the number of a block (gradient and relevance methods; "
            f"default then: {DEFAULT_AT}).",
            rich_help_panel=HOW,
        ),
    ] = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    device: Device = None,
    truncation: Truncation = False,
    output: Output = None,
    html: Html = None,
    json: Json = None,
    csv: Csv = None,
    open_page: Open = False,
    progress: Progress = False,
    no_color: Annotated[
        bool,
        typer.Option("--no-color", "--no-colour", help="Plain text, as with NO_COLOR set.", rich_help_panel=OUTPUT),
    ] = False,
) -> int:
    """Explain texts or a chat: which words did the prediction depend on?"""
    return run("explain", locals())


@program.command(
    epilog=examples(
        "interpreto compare reviews.csv --limit 50",
        "interpreto compare reviews.csv --methods kernel-shap lime --metrics Deletion Insertion -o table.html",
        "interpreto compare 'reviews/*.parquet' --folder scores --workers 2",
    )
)
def compare(  # noqa: PLR0917  # the options, as typer reads them
    file: TextsFile,
    column: Column = None,
    target_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the targets: a class, or the continuation.", rich_help_panel=WHAT),
    ] = None,
    limit: Limit = None,
    model: Model = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD", help=f"Default: {' '.join(COMPARED)}.", rich_help_panel=HOW),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help=f"Default: {' '.join(COMPARED_BY)}; 'all' for eight of them.", rich_help_panel=HOW),
    ] = None,
    granularity: Granularity = "word",
    replacement: Annotated[
        str,
        typer.Option(metavar="NAME", help="Replacement of masked units, for methods and metrics.", rich_help_panel=HOW),
    ] = "auto",
    batch_size: BatchSize = None,
    seed: Seed = 0,
    device: Device = None,
    truncation: Truncation = False,
    folder: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep the scores of each text there, in parts: for data of any size; repeat the command to go on.",
            rich_help_panel=HOW,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", help="With --folder: processes with a copy of the model each.", rich_help_panel=HOW)
    ] = 1,
    rows_per_shard: Annotated[
        int, typer.Option(metavar="N", help="With --folder: texts of a part.", rich_help_panel=HOW)
    ] = 256,
    output: Output = None,
    html: Html = None,
    json: Json = None,
    csv: Csv = None,
    open_page: Open = False,
    progress: Progress = False,
) -> int:
    """Evaluate methods by metrics on the texts of a file. The best of a column is starred; random is chance."""
    return run("compare", locals())


@program.command(
    epilog=examples(
        "interpreto report interpreto-demo/sentences.csv --open",
        "interpreto report reviews.csv --column review --label stars --model DIR -o report.html",
    )
)
def report(  # noqa: PLR0917  # the options, as typer reads them
    file: Annotated[str, typer.Argument(metavar="DATA", help="A .csv, .tsv, .jsonl, .json or .parquet with texts and labels.")],
    column: Column = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the labels. Default: label, target, class, …", rich_help_panel=WHAT),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="Number of texts, a random sample of the data.", rich_help_panel=WHAT)
    ] = 1000,
    model: Model = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="One of `interpreto methods`. Default: integrated-gradients.", rich_help_panel=HOW),
    ] = None,
    granularity: Granularity = "word",
    faithfulness: Annotated[
        int,
        typer.Option(metavar="N", help="Texts on which explanations are compared with random ones.", rich_help_panel=HOW),
    ] = 200,
    concepts: Annotated[int, typer.Option(metavar="N", help="Number of concepts; 0: none.", rich_help_panel=HOW)] = 6,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    device: Device = None,
    truncation: Truncation = False,
    output: Output = None,
    html: Html = None,
    open_page: Open = False,
) -> int:
    """Write one page on a classifier and a labeled data set: what it gets wrong, why, and what it goes by."""
    return run("report", locals())


@program.command(epilog=examples("interpreto methods", "interpreto methods kernel-shap", "interpreto methods --json"))
def methods(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show one method with its options.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)] = False,
) -> int:
    """List the methods, or show one with its options."""
    return run("methods", locals())


@program.command(epilog=examples("interpreto app", "interpreto app --model DIR --port 7860"))
def app(
    model: Model = None,
    device: Device = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.", rich_help_panel=OUTPUT)] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(metavar="N", help="Port to listen on. Default: 7860, or the next free one.", rich_help_panel=OUTPUT),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Show the page in the browser.", rich_help_panel=OUTPUT)
    ] = True,
) -> int:
    """Serve a page on this computer: type a text, and see it explained. Needs gradio."""
    return run("app", locals())


@program.command(epilog=examples("interpreto demo", "interpreto demo FOLDER --no-open"))
def demo(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where to write explanation.html and sentences.csv; made if missing.")
    ] = "interpreto-demo",
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Show the page in the browser.", rich_help_panel=OUTPUT)
    ] = True,
) -> int:
    """Explain a sentence by the embedded classifier, write its page and a table of sentences to try the commands on."""
    return run("demo", locals())
