"""``interpreto sae info``: what the files of a published sparse autoencoder say, and whether it fits a model."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

from interpreto.cli.arguments import Arguments
from interpreto.cli.loading import load_model
from interpreto.cli.screen import screen
from interpreto.concepts import load_sae
from interpreto.concepts.coders.base import CoderConcepts
from interpreto.concepts.pretrained.explainer import PublishedSAEConcepts


def run(arguments: Arguments) -> int:
    """Print the facts of an autoencoder; with a model, the variance of its activations that it explains."""
    model, tokenizer = (None, None) if arguments.model is None else load_model(arguments.model, None)
    sae = load_sae(
        arguments.path, arguments.name, model=model, tokenizer=tokenizer, norm_scaling_factor=arguments.norm_scaling_factor
    )
    facts = described(sae)
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return 0
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    screen().print(table)
    return 0


def described(sae: PublishedSAEConcepts | CoderConcepts) -> dict[str, Any]:
    """Return the facts of an autoencoder, a transcoder or a crosscoder, those that are known."""
    if isinstance(sae, CoderConcepts):
        wiring, model = sae.concept_model.wiring, sae.concept_model
        sizes: dict[str, Any] = {"reads_width": _told(wiring.reads), "writes_width": _told(wiring.writes)}
        options: dict[str, Any] = {"activation": model.activation, "k": model.k, "skip": model.has_skip}
    else:
        sizes = {"width": int(sae.get_dictionary().shape[1])}
        options = {name: value for name, value in sae.concept_model_options.items() if name != "published"}
    facts = {
        **sae.published,
        "concepts": sae.nb_concepts,
        **sizes,
        **options,
        "split_point": sae.split_point,
        "variance_explained": None if sae.variance_explained is None else round(sae.variance_explained, 3),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _told(widths: tuple[int, ...]) -> int | list[int]:
    """Return the width of one place, or those of several."""
    return widths[0] if len(widths) == 1 else list(widths)
