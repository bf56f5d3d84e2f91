"""The commands and their options. Each is run by the module of its name, which is imported only then."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

import interpreto
from interpreto.cli.arguments import (
    COMPARED,
    COMPARED_BY,
    DEFAULT_AT,
    HOW,
    OUTPUT,
    TOLERANCE,
    WHAT,
    Arguments,
    BatchSize,
    Block,
    Column,
    ConceptCount,
    ConceptMethod,
    ConceptUnit,
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

SHORT = """interpreto explains predictions of Hugging Face models on text. Try:

  interpreto explain "A gorgeous, moving film."

`interpreto demo` opens a first page, `interpreto app` one to type into, and `interpreto --help` lists all commands."""

program = typer.Typer(
    name="interpreto",
    epilog='Example: interpreto explain "A gorgeous, moving film." --open',
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *(f"  {line}" for line in lines)])


def _run(command: str, arguments: dict[str, object]) -> int:
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


@program.command(
    epilog=_examples(
        'interpreto explain "A gorgeous, moving film."',
        "interpreto explain --file reviews.csv --column review --limit 20 -o reviews.html --open",
        'interpreto explain "The capital of France is" --model DIR --target " Paris" --against " London"',
        'interpreto explain "A premise." --pair "A hypothesis." --model DIR',
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
            help="The second text of a pair: a hypothesis, the context of a question. One per text.",
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
            help="Sample until values are this precise, in shares of the score gap; 0: all perturbations. Default: "
            f"{TOLERANCE}, for methods that sample.",
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
    return _run("explain", locals())


@program.command(
    epilog=_examples(
        "interpreto compare reviews.csv --limit 50",
        "interpreto compare reviews.csv --methods kernel-shap lime --metrics Deletion Insertion -o table.html",
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
    output: Output = None,
    html: Html = None,
    json: Json = None,
    csv: Csv = None,
    open_page: Open = False,
    progress: Progress = False,
) -> int:
    """Evaluate methods by metrics on the texts of a file. The best of a column is starred; random is chance."""
    return _run("compare", locals())


@program.command(
    epilog=_examples(
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
    return _run("report", locals())


@program.command(
    epilog=_examples(
        "interpreto concepts reviews.csv --open",
        "interpreto concepts reviews.csv --model DIR --number 24 --block 4 -o concepts.html",
    )
)
def concepts(  # noqa: PLR0917  # the options, as typer reads them
    file: TextsFile,
    column: Column = None,
    limit: Limit = None,
    model: Model = None,
    number: ConceptCount = 20,
    method: ConceptMethod = "semi-nmf",
    block: Block = None,
    granularity: ConceptUnit = "word",
    seed: Seed = 0,
    device: Device = None,
    output: Output = None,
    html: Html = None,
    json: Json = None,
    open_page: Open = False,
    progress: Progress = False,
) -> int:
    """Find concepts in the activations of a model on the texts of a file, and what each does to the outputs."""
    return _run("concepts", locals())


sae_program = typer.Typer(
    help="Look at published sparse autoencoders.",
    epilog=_examples("interpreto sae info FOLDER"),
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)
program.add_typer(sae_program, name="sae")


@sae_program.command(epilog=_examples("interpreto sae info FOLDER", "interpreto sae info REPO layer_12/width_16k --model DIR"))
def info(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder, a file in it, or a repository of the hub.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The folder within, where there are several.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="REPO_OR_DIR",
            help="A model: find where the autoencoder reads, and measure the variance that it explains there.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    norm_scaling_factor: Annotated[
        float | None,
        typer.Option(metavar="X", help="What rows are multiplied by, where the files do not say.", rich_help_panel=HOW),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)] = False,
) -> int:
    """Show what the files of a published sparse autoencoder say, and whether it fits a model."""
    return _run("sae", locals())


@program.command(
    "explain-dataset",
    epilog=_examples(
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
    return _run("explain_dataset", locals())


dataset_program = typer.Typer(
    help="Look at what explain-dataset has written.",
    epilog=_examples("interpreto dataset show FOLDER"),
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)
program.add_typer(dataset_program, name="dataset")


@dataset_program.command(epilog=_examples("interpreto dataset show FOLDER", "interpreto dataset show FOLDER --html page.html"))
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
    return _run("dataset", locals())


@program.command(
    epilog=_examples(
        'interpreto lens "A gorgeous, moving film."',
        'interpreto lens "The capital of France is" --model DIR --target " Paris" --open',
    )
)
def lens(  # noqa: PLR0917  # the options, as typer reads them
    texts: Texts = None,
    model: Model = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_TEXT",
            help="The class or token that is followed; next: the text's own. Default: the model's prediction.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(metavar="N", help="Tokens that a language model writes first.", rich_help_panel=WHAT)
    ] = 0,
    tuned: Annotated[
        str | None,
        typer.Option(metavar="FILE_OR_DIR", help="A tuned lens. Default: the logit lens.", rich_help_panel=HOW),
    ] = None,
    k: Annotated[int, typer.Option("--top", "-k", metavar="N", help="Outputs of each layer.", rich_help_panel=HOW)] = 5,
    batch_size: BatchSize = None,
    device: Device = None,
    output: Output = None,
    html: Html = None,
    json: Json = None,
    open_page: Open = False,
) -> int:
    """Show what a model would answer after each of its layers."""
    return _run("lens", locals())


@program.command(
    "concepts label",
    epilog=_examples(
        "interpreto concepts label reviews.csv -o labels.json --open",
        "interpreto concepts label reviews.csv --judge URL --judge-model NAME",
        "interpreto concepts label reviews.csv --model DIR --concepts FILE",
    ),
)
def concepts_label(  # noqa: PLR0917  # the options, as typer reads them
    file: TextsFile,
    column: Column = None,
    limit: Limit = None,
    model: Model = None,
    concepts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Concepts that `save` wrote. Default: found on the texts.", rich_help_panel=WHAT),
    ] = None,
    number: ConceptCount = 20,
    method: ConceptMethod = "semi-nmf",
    block: Block = None,
    granularity: ConceptUnit = "word",
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An OpenAI-compatible server that writes and scores the labels; its key is read from OPENAI_API_KEY. "
            "Default: keywords, without a server.",
            rich_help_panel=HOW,
        ),
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the model there.", rich_help_panel=HOW)
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Where replies are kept, so that a run can be resumed.", rich_help_panel=HOW),
    ] = None,
    calls: Annotated[
        int | None, typer.Option(metavar="N", help="Most prompts that are sent. Default: all.", rich_help_panel=HOW)
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    output: Output = None,
    html: Html = None,
    json: Json = None,
    csv: Csv = None,
    open_page: Open = False,
    progress: Progress = False,
) -> int:
    """Label concepts, and score each label on texts that it was not made from."""
    return _run("concepts_label", locals())


@program.command(
    epilog=_examples(
        'interpreto steer "The film was" --model DIR --toward "I loved it." --away "I hated it." --effect sentiment',
        'interpreto steer "The film was" --model DIR --concepts FILE --concept 12 --strength -2 0 2 --open',
    )
)
def steer(  # noqa: PLR0917  # the options, as typer reads them
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT", help="Beginnings of texts, which the model continues.")],
    model: Model = None,
    concepts: Annotated[
        str | None, typer.Option(metavar="FILE", help="Concepts that `save` wrote.", rich_help_panel=WHAT)
    ] = None,
    concept: Annotated[int, typer.Option(metavar="N", help="Number of the concept.", rich_help_panel=WHAT)] = 0,
    toward: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A text with what is added, instead of a file; may recur.", rich_help_panel=WHAT),
    ] = None,
    away: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Its partner, which lacks that alone; one for each.", rich_help_panel=WHAT),
    ] = None,
    strength: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help="Strengths, as in --strength -2 0 2. Default: -2 -1 0 1 2.", rich_help_panel=HOW),
    ] = None,
    unit: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Length of strength 1. Default: the median norm of the activations there.", rich_help_panel=HOW
        ),
    ] = None,
    at: Annotated[str, typer.Option(metavar="TOKENS", help="all, prompt, generated or last.", rich_help_panel=HOW)] = "all",
    block: Annotated[
        int | None,
        typer.Option(metavar="N", help="The block after which pairs are read. Default: the middle one.", rich_help_panel=HOW),
    ] = None,
    effect: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What is measured of the texts: concept, how much of it is read in them, or sentiment, by the embedded "
            "classifier.",
            rich_help_panel=HOW,
        ),
    ] = "concept",
    max_new_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens that are written.", rich_help_panel=HOW)] = 40,
    random: Annotated[int, typer.Option(metavar="N", help="Random directions to compare with.", rich_help_panel=HOW)] = 10,
    seed: Seed = 0,
    device: Device = None,
    output: Output = None,
    html: Html = None,
    json: Json = None,
    csv: Csv = None,
    open_page: Open = False,
    progress: Progress = False,
) -> int:
    """Let a language model write while a concept is added to what it thinks, next to random directions."""
    return _run("steer", locals())


@program.command(epilog=_examples("interpreto methods", "interpreto methods kernel-shap", "interpreto methods --json"))
def methods(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show one method with its options.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)] = False,
) -> int:
    """List the methods, or show one with its options."""
    return _run("methods", locals())


@program.command(epilog=_examples("interpreto app", "interpreto app --model DIR --port 7860"))
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
    return _run("app", locals())


@program.command(epilog=_examples("interpreto demo", "interpreto demo FOLDER --no-open"))
def demo(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where to write explanation.html and sentences.csv; made if missing.")
    ] = "interpreto-demo",
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Show the page in the browser.", rich_help_panel=OUTPUT)
    ] = True,
) -> int:
    """Explain a sentence by the embedded classifier, write its page and a table of sentences to try the commands on."""
    return _run("demo", locals())
