"""Commands on concepts, and on what a model holds inside. The module of its name runs each, and is imported only then."""

from __future__ import annotations

from typing import Annotated

import typer

from interpreto.cli.arguments import (
    HOW,
    OUTPUT,
    WHAT,
    BatchSize,
    Block,
    Column,
    ConceptCount,
    ConceptMethod,
    ConceptUnit,
    Csv,
    Device,
    Html,
    Json,
    Limit,
    Model,
    Open,
    Output,
    Progress,
    Seed,
    Texts,
    TextsFile,
)
from interpreto.cli.program import examples, group, program, run


@program.command(
    epilog=examples(
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
    return run("concepts", locals())


@program.command(
    "concepts label",
    epilog=examples(
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
    return run("concepts_label", locals())


@program.command(
    epilog=examples(
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
    return run("lens", locals())


@program.command(
    epilog=examples(
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
    return run("steer", locals())


sae_program = group("sae", "Look at published sparse autoencoders.", "interpreto sae info FOLDER")


@sae_program.command(epilog=examples("interpreto sae info FOLDER", "interpreto sae info REPO layer_12/width_16k --model DIR"))
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
    return run("sae", locals())
