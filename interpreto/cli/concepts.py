"""``interpreto concepts``: find concepts in the activations of a model on the texts of a file."""

from __future__ import annotations

import re
from typing import Any

from interpreto import concepts
from interpreto.cli.arguments import Arguments
from interpreto.cli.hints import did_you_mean
from interpreto.cli.loading import load_model
from interpreto.cli.output import read_outputs, write_json
from interpreto.cli.texts import read_texts
from interpreto.concepts.dashboard import concept_dashboard
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.concepts.summaries import global_concepts
from interpreto.concepts.views import GlobalConcepts
from interpreto.errors import OptionError
from interpreto.validation import check_count, shown

ENDINGS = (".html", ".json")


def run(arguments: Arguments) -> int:
    """Find concepts, print them and write the command's files."""
    outputs = read_outputs(arguments, ENDINGS)
    explainer, texts, activations = found_concepts(arguments)
    unit = arguments.granularity
    view = global_concepts(
        explainer,
        texts,
        latent_activations=activations,
        k_concepts=arguments.number,
        activation_granularity=unit,
    )
    print(view)
    outputs.write(
        {
            ".html": lambda path: concept_dashboard(explainer, texts, activation_granularity=unit).to_html(path),
            ".json": lambda path: write_json(as_json(view), path),
        }
    )
    return 0


def found_concepts(arguments: Arguments) -> tuple[Any, list[str], Any]:
    """Return concepts of the texts of a file, the texts, and their activations."""
    kind = _kind(arguments.method)
    check_count(arguments.number, "--number")
    texts, _ = read_texts(arguments.file, arguments.column, None, arguments.limit)
    model, tokenizer = load_model(arguments.model, arguments.device)
    splitter = ModelWithSplitPoints(model, [block_of(model, arguments.block)], tokenizer=tokenizer)
    unit, progress = arguments.granularity, arguments.progress or None
    activations = splitter.get_activations(texts, activation_granularity=unit, tqdm_bar=progress)
    return kind(splitter, nb_concepts=arguments.number, random_state=arguments.seed).fit(activations), texts, activations


def as_json(view: GlobalConcepts) -> list[dict[str, Any]]:
    """Return a row per concept: its name, and its importance and mean effect for each output."""
    return [
        {
            "concept": concept,
            "name": view.name(concept),
            "words": [text for text, _ in view.labels.get(concept, ())],
            "importances": dict(zip(view.outputs, view.importances[:, concept].tolist(), strict=True)),
            "effects": dict(zip(view.outputs, view.effects[:, concept].tolist(), strict=True)),
            "texts": [passage.text for passage in view.passages(concept)],
        }
        for concept in view.shown
    ]


def _kind(name: str) -> Any:
    """Return the class of a concept explainer, given its name with or without "Concepts"."""
    known = {_plain(found.removesuffix("Concepts")): found for found in concepts.__all__ if found.endswith("Concepts")}
    plain = _plain(name.removesuffix("Concepts"))
    if plain in known and plain != "neuronsas":
        return getattr(concepts, known[plain])
    names = [_slug(found.removesuffix("Concepts")) for found in known.values() if found != "NeuronsAsConcepts"]
    raise OptionError(
        f"`--method`: there are no concepts by {shown(name)}.{did_you_mean(name, names)} There are {', '.join(names)}."
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _slug(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def block_of(model: Any, block: int | None) -> int:
    """Return the block after which activations are read; None: the middle one."""
    count = int(getattr(model.config, "num_hidden_layers", None) or getattr(model.config, "num_layers", None) or 1)
    if block is None:
        return (count - 1) // 2
    return check_count(block, "--block", 0, count - 1)
