"""The command line: ``interpreto explain TEXT``, ``interpreto compare TEXTS.csv`` and ``interpreto methods``."""

from __future__ import annotations

import argparse
import inspect
import json
import math
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import interpreto
from interpreto.cli import compare as cli_compare
from interpreto.errors import InterpretoError, OptionError

if TYPE_CHECKING:
    from interpreto.attributions.output import AttributionOutput

METHODS = {
    "occlusion": "Occlusion",
    "lime": "Lime",
    "kernel-shap": "KernelShap",
    "sobol": "Sobol",
    "saliency": "Saliency",
    "input-x-gradient": "InputXGradient",
    "integrated-gradients": "IntegratedGradients",
    "smooth-grad": "SmoothGrad",
    "square-grad": "SquareGrad",
    "var-grad": "VarGrad",
    "gradient-shap": "GradientShap",
}
SHARED = ("model", "tokenizer", "batch_size", "options")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it worked, 2 when it was asked for something it cannot do."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (InterpretoError, OSError) as error:
        print(f"interpreto: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="interpreto", description="Explain what a Hugging Face model says of a text.")
    parser.add_argument("--version", action="version", version=f"interpreto {interpreto.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    about = "Explain what a classifier says of texts, or what a language model writes after them."
    explain = commands.add_parser("explain", help="explain texts", description=about)
    explain.set_defaults(run=_explain)
    explain.add_argument("texts", nargs="*", metavar="TEXT", help="a text; - reads one a line from standard input")
    explain.add_argument("--messages", metavar="FILE", help="a chat: JSON with a list of {role, content}, in place of a text")
    explain.add_argument(
        "--model", metavar="REPO_OR_DIR", help="a classifier or a language model; default: the embedded sentiment classifier"
    )
    explain.add_argument("--method", choices=METHODS, default="integrated-gradients")
    explain.add_argument(
        "--target",
        action="append",
        metavar="NAME_OR_TEXT",
        help="a class, several times for several; of a language model, the text that follows; default: what the model answers",
    )
    explain.add_argument("--against", metavar="NAME_OR_TEXT", help="explain why the target rather than this")
    explain.add_argument("--roles", metavar="ROLE", action="append", help="explain by the messages of this role alone")
    explain.add_argument("--rows", choices=("token", "unit", "sequence"), help="rows of a generation; default: token")
    explain.add_argument("--prompt-only", action="store_true", help="explain a generation by its prompt alone")
    explain.add_argument("--max-new-tokens", type=int, metavar="N", help="what a language model writes at most; default: 64")
    explain.add_argument("--granularity", default="word", help="all_tokens, token, word (default), sentence, paragraph or turn")
    explain.add_argument(
        "--mode", help="the score: logits (default of classifiers), softmax, log_softmax (of language models) or sigmoid"
    )
    explain.add_argument("--replacement", help="what stands for removed units (mask methods)")
    explain.add_argument("--baseline", help="where the path begins (integrated-gradients, gradient-shap)")
    explain.add_argument("--steps", type=int, metavar="N", help="perturbations of the method")
    explain.add_argument("--batch-size", type=int, metavar="N", help="rows a forward pass; default: as many as fit")
    explain.add_argument("--seed", type=int, default=0, metavar="N")
    explain.add_argument("--device", help="where to run, such as cuda; default: where the model is")
    explain.add_argument("--truncation", action="store_true", help="explain the beginning of texts that are too long")
    explain.add_argument("--progress", action="store_true", help="show the forward passes done")
    explain.add_argument("--no-color", action="store_true", help="plain text")
    explain.add_argument("--html", metavar="FILE", help="write a page too")
    explain.add_argument("--json", metavar="FILE", help="write all numbers too")
    cli_compare.add_parser(commands, METHODS, _load)
    methods = commands.add_parser("methods", help="list the methods and their options")
    methods.set_defaults(run=_methods)
    return parser


def _explain(arguments: argparse.Namespace) -> int:
    from interpreto.models.tasks import Generation  # noqa: PLC0415  (help needs no torch)

    method = getattr(interpreto, METHODS[arguments.method])
    options = _options(arguments, method)
    inputs = _inputs(arguments)
    model, tokenizer = _load(arguments.model)
    explainer = method(model, tokenizer, arguments.batch_size, **options)
    targets = _targets(arguments, len(inputs), isinstance(explainer.task, Generation))
    asked = {
        "roles": arguments.roles,
        "aggregate": arguments.rows,
        "attribute_targets": False if arguments.prompt_only else None,
        "generation_kwargs": None if arguments.max_new_tokens is None else {"max_new_tokens": arguments.max_new_tokens},
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", interpreto.errors.InterpretoWarning)
        explanations = explainer(inputs, targets, **asked)
    _print(explanations, arguments, [w for w in caught if issubclass(w.category, interpreto.errors.InterpretoWarning)])
    return 0


def _print(explanations: list[AttributionOutput], arguments: argparse.Namespace, caught: list[Any]) -> None:
    from interpreto.visualizations.attributions import to_html  # noqa: PLC0415  (help needs no torch)
    from interpreto.visualizations.terminal.attributions import to_text  # noqa: PLC0415

    for explanation in explanations:
        print(to_text(explanation, color=False if arguments.no_color else None))
    for warning in caught:
        print(f"interpreto: warning: {warning.message}", file=sys.stderr)
    if arguments.html:
        to_html(explanations, arguments.html)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump([as_json(explanation) for explanation in explanations], file, ensure_ascii=False, indent=1)


def _options(arguments: argparse.Namespace, method: type) -> dict[str, Any]:
    """The method's options out of the command's; an error for those that it does not take."""
    taken = inspect.signature(method).parameters
    options: dict[str, Any] = {
        "granularity": arguments.granularity,
        "inference_mode": arguments.mode,
        "random_state": arguments.seed,
        "device": arguments.device,
        "truncation": arguments.truncation,
        "tqdm_bar": arguments.progress,
    }
    steps = "n_token_perturbations" if "n_token_perturbations" in taken else "n_perturbations"
    for flag, name in (("replacement", "replacement"), ("baseline", "baseline"), ("steps", steps)):
        value = getattr(arguments, flag)
        if value is None:
            continue
        if name not in taken:
            takers = ", ".join(k for k, v in METHODS.items() if name in inspect.signature(getattr(interpreto, v)).parameters)
            raise OptionError(f"`--{flag}`: {arguments.method} has no such option; these have: {takers}.")
        options[name] = int(value) if flag == "replacement" and value.isdigit() else value
    return options


def _load(model: str | None) -> tuple[Any, Any]:
    if model is None:
        return interpreto.demo.load_classifier()
    import transformers  # noqa: PLC0415  (help needs no torch)

    config = transformers.AutoConfig.from_pretrained(model)
    kinds = {
        "AutoModelForSeq2SeqLM": transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        "AutoModelForCausalLM": transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
    }
    declared, kind = set(config.architectures or []), "AutoModelForSequenceClassification"
    for name, mapping in kinds.items():
        if type(config) in mapping and declared & {cls.__name__ for cls in _classes(mapping[type(config)])}:
            kind = name
    return getattr(transformers, kind).from_pretrained(model).eval(), transformers.AutoTokenizer.from_pretrained(model)


def _classes(found: Any) -> tuple[type, ...]:
    return found if isinstance(found, tuple) else (found,)


def _inputs(arguments: argparse.Namespace) -> list[Any]:
    """Texts, or the chat of a file."""
    inputs: list[Any] = [text for argument in arguments.texts for text in (_lines() if argument == "-" else [argument])]
    if arguments.messages is not None:
        inputs.append(_chat(arguments.messages))
    if not inputs:
        raise OptionError("`TEXT`: got none; pass a text, - for standard input, or a chat with `--messages`.")
    return inputs


def _chat(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        try:
            chat = json.load(file)
        except json.JSONDecodeError as error:
            raise OptionError(f"`--messages`: {path!r} holds no JSON ({error}).") from error
    if isinstance(chat, dict):
        chat = chat.get("messages")
    if not isinstance(chat, list) or not all(isinstance(message, dict) and "role" in message for message in chat):
        raise OptionError(f"`--messages`: {path!r} holds no list of messages with 'role' and 'content'.")
    return chat


def _targets(arguments: argparse.Namespace, n: int, generates: bool) -> list[Any] | None:
    """A target for each input, as its task reads them."""
    if arguments.target is None:
        if arguments.against is not None:
            raise OptionError("`--against`: got an alternative without a `--target` to set it against.")
        return None
    from interpreto.inputs.targets import Contrast  # noqa: PLC0415  (help needs no torch)

    read = str if generates else _class
    if arguments.against is not None:
        contrasts = [Contrast(read(target), read(arguments.against)) for target in arguments.target]
        return [contrasts[0] if generates and len(contrasts) == 1 else contrasts] * n
    if not generates:
        return [[read(target) for target in arguments.target]] * n
    if len(arguments.target) > 1:
        raise OptionError(f"`--target`: got {len(arguments.target)} texts; a language model's answer is one.")
    return [arguments.target[0]] * n


def _class(value: str) -> int | str:
    return int(value) if value.lstrip("-").isdigit() else value


def _lines() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line.strip()]


def as_json(explanation: AttributionOutput) -> dict[str, Any]:
    """All numbers of an explanation, with null for those that are none."""
    errors, names = explanation.standard_error, ("base_scores", "reference_scores", "residual")
    return {
        "text": explanation.text,
        "method": explanation.method,
        "granularity": explanation.granularity,
        "inference_mode": explanation.inference_mode,
        "replacement": explanation.replacement,
        "baseline": explanation.baseline,
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


def _methods(_arguments: argparse.Namespace) -> int:
    for name, cls in METHODS.items():
        method = getattr(interpreto, cls)
        own = [p for p in inspect.signature(method).parameters.values() if p.name not in SHARED]
        options = ", ".join(f"{p.name}={getattr(p.default, 'value', p.default)!r}" for p in own)
        what = (inspect.getdoc(method) or "").split("\n")[0].replace("``", "")
        print(f"{name:<22}{what}\n{'':<22}{cls}({options})\n")
    return 0
