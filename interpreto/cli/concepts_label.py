"""``interpreto concepts label``: label the concepts of a model, and score each label on texts that it was not made from."""

from __future__ import annotations

from typing import Any

from interpreto.cli.arguments import Arguments
from interpreto.cli.concepts import found_concepts
from interpreto.cli.loading import load_model
from interpreto.cli.output import read_outputs
from interpreto.cli.texts import read_texts
from interpreto.concepts.dashboard import concept_dashboard
from interpreto.concepts.interpretations import KeywordLabels, ThemeLabels
from interpreto.concepts.interpretations.concept_label import ConceptLabels
from interpreto.concepts.serialization import load_concepts
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.errors import OptionError
from interpreto.judges import CachedJudge, EndpointJudge
from interpreto.metrics import Detection
from interpreto.renderable import visible

ENDINGS = (".html", ".json", ".csv")


def run(arguments: Arguments) -> int:
    """Label concepts, print the labels with their scores, and write the command's files."""
    outputs = read_outputs(arguments, ENDINGS)
    judge = _judge(arguments)
    explainer, texts, activations = _concepts(arguments)
    labels = _labels(explainer, texts, activations, judge, arguments)
    for concept, label in labels.items():
        print(f"{concept}  {label}")
    if judge is not None:
        print(f"{judge.name}: {judge.usage.calls} prompts sent, {judge.usage.cached} known, {judge.usage.failures} unanswered")
    unit = arguments.granularity
    outputs.write(
        {
            ".html": lambda path: concept_dashboard(
                explainer, texts, interpretation=labels, activation_granularity=unit
            ).to_html(path),
            ".json": labels.save,
            ".csv": lambda path: labels.to_dataframe().to_csv(path, index=False),
        }
    )
    return 0


def _labels(explainer: Any, texts: list[str], activations: Any, judge: Any, arguments: Arguments) -> ConceptLabels:
    """Return keywords with their scores, or what a judge writes and how well it finds it again."""
    unit, seed = arguments.granularity, arguments.seed
    if judge is None:
        return KeywordLabels(explainer, unit, random_state=seed).interpret(texts, activations)
    labels = ThemeLabels(explainer, judge, unit, random_state=seed).interpret(texts, activations)
    return Detection(explainer, judge, unit, random_state=seed).score(labels, texts, activations)


def _judge(arguments: Arguments) -> CachedJudge | None:
    if arguments.judge is None:
        if arguments.judge_model is not None or arguments.cache is not None or arguments.calls is not None:
            raise OptionError("`--judge-model`, `--cache`, `--calls`: are of a judge; pass its address, as --judge URL.")
        return None
    if arguments.judge_model is None:
        raise OptionError(f"`--judge-model`: pass the name of a model of {visible(arguments.judge)}.")
    return CachedJudge(EndpointJudge(arguments.judge, arguments.judge_model), arguments.cache, calls=arguments.calls)


def _concepts(arguments: Arguments) -> tuple[Any, list[str], Any]:
    """Return the concepts of a file, or those that are found on the texts."""
    if arguments.concepts is None:
        return found_concepts(arguments)
    texts, _ = read_texts(arguments.file, arguments.column, None, arguments.limit)
    model, tokenizer = load_model(arguments.model, arguments.device)
    point = load_concepts(arguments.concepts).split_point
    if point is None:
        raise OptionError(f"`--concepts`: {visible(arguments.concepts)} is of no model; fit concepts with a splitter.")
    splitter = ModelWithSplitPoints(model, [point], tokenizer=tokenizer)
    return load_concepts(arguments.concepts, splitter=splitter), texts, None
