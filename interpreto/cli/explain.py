"""``interpreto explain``: explain texts and chats."""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import interpreto
from interpreto.attributions.explanations import Explanations
from interpreto.attributions.output import AttributionOutput
from interpreto.cli.arguments import DEFAULT, DEFAULT_AT, DEFAULT_OF_GENERATION, METHODS, TOLERANCE, Arguments
from interpreto.cli.hints import read_method
from interpreto.cli.loading import load_model, read_device
from interpreto.cli.output import read_outputs, write_json
from interpreto.cli.texts import check_text, is_image, read_chat, read_text
from interpreto.errors import InterpretoWarning, ModelError, OptionError, TokenizerError
from interpreto.inputs.targets import Contrast
from interpreto.models.image_chats import writes_about_images
from interpreto.models.images import reads_images
from interpreto.models.pictured_wrapping import reads_both
from interpreto.models.served import ServedModel
from interpreto.models.tasks import Classification, Task, TokenClassification, resolve_task
from interpreto.models.zero_shot import ZeroShotClassifier
from interpreto.registry import METHODS as REGISTERED
from interpreto.registry import find_method
from interpreto.renderable import visible
from interpreto.validation import check_choice
from interpreto.visualizations.attributions import to_html
from interpreto.visualizations.terminal.attributions import to_text

ENDINGS = (".html", ".json", ".csv", ".parquet", ".safetensors")
ROWS = ("token", "unit", "sequence")


def run(arguments: Arguments) -> int:
    """Explain the command's inputs, print them and write its files."""
    outputs = read_outputs(arguments, ENDINGS, tables=True)
    if arguments.rows is not None:
        check_choice(arguments.rows, "--rows", ROWS)
    if arguments.at is not None and arguments.method is None:
        arguments.method = DEFAULT_AT
    if arguments.method is not None:
        arguments.method = read_method(arguments.method)
        method_options(arguments)
    inputs = _inputs(arguments)
    if arguments.device is not None:
        read_device(arguments.device)
    pictured = [name for name in arguments.texts or () if is_image(name) and name in inputs]
    model, tokenizer = _model(arguments, images=bool(pictured) and len(pictured) == len(inputs))
    tokenizer = check_images(arguments, inputs, pictured, (model, tokenizer))
    if arguments.method is None:
        generates = resolve_task(model, tokenizer, None, None).generates
        arguments.method = DEFAULT_OF_GENERATION if generates else DEFAULT
    method = getattr(interpreto, METHODS[arguments.method])
    explainer = method(model, tokenizer, arguments.batch_size, **method_options(arguments))
    explanations = _explained(explainer, inputs, arguments)
    outputs.write(
        {
            ".html": lambda path: to_html(explanations, path),
            ".json": lambda path: write_json([as_json(explanation) for explanation in explanations], path),
            **dict.fromkeys((".csv", ".parquet", ".safetensors"), explanations.save),
        }
    )
    return 0


def check_images(arguments: Arguments, inputs: Sequence[Any], pictured: Sequence[str], loaded: tuple[Any, Any]) -> Any:
    """Return what reads the inputs of a model: of one that reads texts without images too, its tokenizer.

    Args:
        arguments: The command's.
        inputs: As they were read.
        pictured: Those that are images alone.
        loaded: The model, and its tokenizer or processor.

    Raises:
        OptionError: an input is an image, or has one, and the model reads no such input.
    """
    model, processor = loaded
    illustrated = [item for item in inputs if isinstance(item, tuple) and any(is_image(str(part)) for part in item)]
    if pictured and not reads_images(model, processor):
        more = ", or `--labels`, or `--pair` with a text" if reads_both(model) else ""
        raise OptionError(
            f"`TEXT`: {visible(pictured[0])!r} is an image, and {type(model).__name__} reads texts; pass an image "
            f"classifier as `--model`, or `--text {visible(pictured[0])}` to explain its name{more}."
        )
    if illustrated and not reads_both(model):
        name = next(str(part) for part in illustrated[0] if is_image(str(part)))
        raise OptionError(
            f"`--pair`: {visible(name)!r} is an image, and {type(model).__name__} reads no images with texts; pass a model "
            "that does (CLIP, Llava) as `--model`."
        )
    return processor.tokenizer if writes_about_images(model) and not illustrated else processor


def _model(arguments: Arguments, *, images: bool) -> tuple[Any, Any]:
    """Return the model and its tokenizer; a server's model has none."""
    if arguments.labels is not None:
        return _zero_shot(arguments, images=images)
    if arguments.served is None:
        return load_model(arguments.model, arguments.device, images=images)
    if arguments.model is None:
        raise OptionError(f"`--model`: pass the name of a model of {visible(arguments.served)}.")
    if arguments.device is not None:
        raise OptionError(f"`--device`: got {arguments.device!r}, but the model is run by {visible(arguments.served)}.")
    try:
        return ServedModel(arguments.served, arguments.model), None
    except OptionError as error:
        raise OptionError(str(error).replace("`url`", "`--served`")) from error


def _zero_shot(arguments: Arguments, *, images: bool) -> tuple[Any, Any]:
    """Return a classifier of images by the labels of the command, and its processor."""
    labels = [label.strip() for value in arguments.labels or () for label in value.split(",")]
    if not images or arguments.served is not None:
        raise OptionError("`--labels`: are classes of images; pass files of images, and nothing else, as `TEXT`.")
    if arguments.model is None:
        raise OptionError("`--model`: pass a model that compares images with texts (CLIP, SigLIP); `--labels` are its classes.")
    try:
        model = ZeroShotClassifier.from_folder(arguments.model, labels)
    except (ModelError, OptionError, TokenizerError) as error:
        raise type(error)(str(error).replace("`model`", "`--model`").replace("`labels`", "`--labels`")) from error
    return (model if arguments.device is None else model.to(read_device(arguments.device))), model.processor


def _explained(explainer: Any, inputs: Sequence[Any], arguments: Arguments) -> Explanations:
    """Explain the inputs, print them, then the warnings."""
    targets = _targets(arguments, len(inputs), explainer.task)
    asked = {
        "roles": arguments.roles,
        "aggregate": arguments.rows,
        "attribute_targets": False if arguments.prompt_only else None,
        "generation_kwargs": None if arguments.max_new_tokens is None else {"max_new_tokens": arguments.max_new_tokens},
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InterpretoWarning)
        explanations = explainer(inputs, targets, **asked)
    for explanation in explanations:
        print(to_text(explanation, color=False if arguments.no_color else None))
    for warning in caught:
        if issubclass(warning.category, InterpretoWarning):
            print(f"interpreto: warning: {visible(str(warning.message))}", file=sys.stderr)
    return Explanations(explanations)


def method_options(arguments: Arguments) -> dict[str, Any]:
    """Return the options of the method; those that it does not take are an error."""
    taken = inspect.signature(getattr(interpreto, METHODS[arguments.method])).parameters
    options: dict[str, Any] = {
        "granularity": arguments.granularity,
        "inference_mode": arguments.mode,
        "random_state": arguments.seed,
        "truncation": arguments.truncation,
    }
    if arguments.progress:
        options["tqdm_bar"] = True
    if "tolerance" in taken and arguments.tolerance is None:
        options["tolerance"] = TOLERANCE
    steps = "n_token_perturbations" if "n_token_perturbations" in taken else "n_perturbations"
    for flag, name in (("replacement",) * 2, ("baseline",) * 2, ("steps", steps), ("tolerance",) * 2):
        value = getattr(arguments, flag)
        if value is None:
            continue
        if name not in taken:
            takers = ", ".join(k for k, v in METHODS.items() if name in inspect.signature(getattr(interpreto, v)).parameters)
            raise OptionError(f"`--{flag}`: {arguments.method} has no such option; these have: {takers}.")
        options[name] = int(value) if flag == "replacement" and value.isdecimal() else value
    if arguments.at is not None:
        options["at"] = _hook_point(arguments)
    if options.get("tolerance") == 0:
        options["tolerance"] = None
    return options


def _hook_point(arguments: Arguments) -> str | int:
    """Return the module whose activations are explained: its path, or the number of a block."""
    found = find_method(METHODS[arguments.method])
    if found is None or found.evidence != "gradients":
        takers = ", ".join(method.slug for method in REGISTERED if method.evidence == "gradients")
        raise OptionError(f"`--at`: {arguments.method} explains the input alone; these explain activations: {takers}.")
    value = str(arguments.at)
    return int(value) if value.removeprefix("-").isdecimal() else value


def _inputs(arguments: Arguments) -> list[Any]:
    """Return the texts, then the texts of files, then the chat; a chat and one image are one input."""
    inputs: list[Any] = []
    for argument in arguments.texts or ():
        inputs += _lines() if argument == "-" else [check_text(argument)]
    inputs += arguments.text or ()
    if arguments.pair is not None:
        inputs = _pairs(inputs, arguments.pair)
    if arguments.pair_column is not None and not arguments.file:
        raise OptionError(f"`--pair-column`: got {arguments.pair_column!r} without a table; pass one with `--file`.")
    for path in arguments.file or ():
        inputs += read_text(path, arguments.column, arguments.limit, arguments.pair_column)
    if arguments.messages is not None:
        alone = len(inputs) == 1 and is_image(inputs[0])
        chat = read_chat(arguments.messages)
        inputs = [(chat, Path(inputs[0]))] if alone else [*inputs, chat]
    if not inputs:
        raise OptionError(
            "`TEXT`: got none; pass a text, - for standard input, `--file FILE`, or a chat with `--messages`. "
            'For example: interpreto explain "A gorgeous, moving film."'
        )
    return inputs


def _pairs(texts: Sequence[str], seconds: Sequence[str]) -> list[tuple[str, str]]:
    """Return the texts, or images, of the command line, each with its second text."""
    if len(texts) != len(seconds):
        raise OptionError(
            f"`--pair`: got {len(seconds)} for {len(texts)} texts; each text has one second text, in the same order. Pairs of "
            "a table: `--file FILE --column FIRST --pair-column SECOND`."
        )
    return list(zip(texts, seconds, strict=True))


def _targets(arguments: Arguments, n: int, task: Task) -> list[Any] | None:
    """Return a target per input, as its task reads them."""
    if arguments.target is None:
        if arguments.against is not None:
            raise OptionError("`--against`: got an alternative without a `--target` to set it against.")
        return None
    generates = task.generates
    read = _reader_of(task)
    if arguments.against is not None:
        contrasts = [Contrast(read(target), read(arguments.against)) for target in arguments.target]
        return [contrasts[0] if generates and len(contrasts) == 1 else contrasts] * n
    if not generates:
        return [[read(target) for target in arguments.target]] * n
    if len(arguments.target) > 1:
        raise OptionError(f"`--target`: got {len(arguments.target)} texts; a language model has one continuation.")
    return [arguments.target[0]] * n


def _reader_of(task: Task) -> Callable[[str], Any]:
    """Return how a task reads a target: ``word: tag`` is a place and its tag, a number a class."""
    if isinstance(task, TokenClassification):
        return lambda value: tuple(part.strip() for part in value.rsplit(":", 1))
    return _class if isinstance(task, Classification) else str


def _class(value: str) -> int | str:
    return int(value) if value.removeprefix("-").isdecimal() else value


def _lines() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line.strip()]


def as_json(explanation: AttributionOutput) -> dict[str, Any]:
    """Return all numbers of an explanation, with None for NaN and infinity."""
    errors, names = explanation.standard_error, ("base_scores", "reference_scores", "residual")
    return {
        "text": explanation.text,
        "method": explanation.method,
        "granularity": explanation.granularity,
        "inference_mode": explanation.inference_mode,
        "replacement": explanation.replacement,
        "baseline": explanation.baseline,
        "stopped": explanation.stopped,
        "hook_point": explanation.hook_point,
        "elements": explanation.elements,
        "spans": explanation.spans,
        "targets": explanation.targets.tolist(),
        "target_labels": explanation.target_labels,
        "target_spans": explanation.target_spans,
        "attributions": _plain(explanation.attributions.tolist()),
        "standard_error": None if errors is None else _plain(errors.tolist()),
        **{n: None if (v := getattr(explanation, n)) is None else _plain(v.tolist()) for n in names},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if math.isfinite(value) else None
