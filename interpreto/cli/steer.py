"""``interpreto steer``: let a language model write while a concept is changed, next to random directions."""

from __future__ import annotations

import math
from typing import Any

from interpreto import demo
from interpreto.cli.arguments import Arguments
from interpreto.cli.concepts import block_of
from interpreto.cli.loading import load_model
from interpreto.cli.output import read_outputs, write_json
from interpreto.concepts.probes.contrastive import ContrastiveConcept
from interpreto.concepts.serialization import load_concepts
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.concepts.steering.compare import STRENGTHS, compare_steering
from interpreto.concepts.steering.comparison import SteeringComparison
from interpreto.concepts.steering.measures import ClassProbability
from interpreto.concepts.steering.steering import Steering
from interpreto.errors import OptionError
from interpreto.validation import shown

ENDINGS = (".html", ".json", ".csv")
EFFECTS = ("concept", "sentiment")


def run(arguments: Arguments) -> int:
    """Steer by a concept of a file or of pairs of texts, print the texts, and write the command's files."""
    outputs = read_outputs(arguments, ENDINGS)
    if arguments.effect not in EFFECTS:
        raise OptionError(f"`--effect`: got {shown(arguments.effect)}; pass one of {', '.join(EFFECTS)}.")
    model, tokenizer = load_model(arguments.model, arguments.device)
    explainer = _concepts(arguments, model, tokenizer)
    found = compare_steering(
        model,
        list(arguments.prompts),
        Steering.add(explainer, arguments.concept, at=arguments.at, unit=arguments.unit),
        arguments.strength or STRENGTHS,
        effect=ClassProbability(*demo.load_classifier(), "positive") if arguments.effect == "sentiment" else None,
        max_new_tokens=arguments.max_new_tokens,
        n_random=arguments.random,
        random_state=arguments.seed,
        tqdm_bar=arguments.progress or None,
    )
    print(found)
    outputs.write(
        {
            ".html": found.to_html,
            ".json": lambda path: write_json(as_json(found), path),
            ".csv": lambda path: found.to_dataframe().to_csv(path, index=False),
        }
    )
    return 0


def as_json(found: SteeringComparison) -> dict[str, Any]:
    """Return what was written under each steering, with its numbers, those of the controls, and what is suggested."""
    return {
        "steered": found.told,
        "effect": found.effect_name,
        "suggested": found.suggested,
        "verdict": found.verdict,
        "steerings": [
            {
                "name": name,
                "strength": _number(found.strengths[j]),
                "effect": _number(found.mean_effect[j]),
                "change": _number(found.change[j]),
                "cost": _number(found.cost[j]),
                "beyond_controls": bool(found.beyond[j]),
                "control_changes": [_number(value) for value in found.control_change[:, j]],
                "texts": dict(zip(found.prompts, (own[j] for own in found.texts), strict=True)),
            }
            for j, name in enumerate(found.names)
        ],
    }


def _number(value: Any) -> float | None:
    return None if math.isnan(float(value)) else float(value)


def _concepts(arguments: Arguments, model: Any, tokenizer: Any) -> Any:
    """Return the concepts of a file, or the one that pairs of texts differ in."""
    toward, away = arguments.toward or [], arguments.away or []
    if (arguments.concepts is None) == (not toward and not away):
        raise OptionError("`--concepts`: pass a file that `save` wrote; or pairs of texts, as --toward TEXT --away TEXT.")
    if arguments.concepts is None:
        splitter = ModelWithSplitPoints(model, [block_of(model, arguments.block)], tokenizer=tokenizer)
        return ContrastiveConcept(splitter).fit(toward, away)
    point = load_concepts(arguments.concepts).split_point
    if point is None:
        raise OptionError(f"`--concepts`: {shown(arguments.concepts)} is of no model; fit concepts with a splitter.")
    return load_concepts(arguments.concepts, splitter=ModelWithSplitPoints(model, [point], tokenizer=tokenizer))
