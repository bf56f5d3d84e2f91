"""``interpreto lens``: show what a model would answer after each of its layers."""

from __future__ import annotations

import sys
from typing import Any

from interpreto.cli.arguments import Arguments
from interpreto.cli.loading import load_model
from interpreto.cli.output import read_outputs, write_json
from interpreto.concepts.lenses.logit_lens import LogitLens
from interpreto.concepts.lenses.output import LensOutput
from interpreto.concepts.lenses.tuned_lens import TunedLens
from interpreto.errors import OptionError
from interpreto.visualizations.lens import renderer

ENDINGS = (".html", ".json")


def run(arguments: Arguments) -> int:
    """Read the layers of the command's texts, print a line for each, and write the command's files."""
    outputs = read_outputs(arguments, ENDINGS)
    texts = [text for given in arguments.texts or () for text in (sys.stdin.read().splitlines() if given == "-" else [given])]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise OptionError('there is no text; try `interpreto lens "A gorgeous, moving film."`.')
    model, tokenizer = load_model(arguments.model, arguments.device)
    options: dict[str, Any] = {"k": arguments.k, "batch_size": arguments.batch_size, "max_new_tokens": arguments.max_new_tokens}
    if arguments.tuned is None:
        lens: LogitLens | TunedLens = LogitLens(model, tokenizer, **options)
    else:
        lens = TunedLens.load(arguments.tuned, model, tokenizer, **options)
    found = lens(texts, arguments.target)
    page = renderer(found)
    print(page.text())
    outputs.write({".html": page.to_html, ".json": lambda path: write_json([as_json(output) for output in found], path)})
    return 0


def as_json(output: LensOutput) -> dict[str, Any]:
    """Return the likeliest outputs of each layer and token, with their probabilities, and what is followed."""
    return {
        "text": output.text,
        "tokens": list(output.tokens),
        "layers": list(output.layers),
        "likeliest": [
            [[[name, chance] for name, chance in output.top(row, token)] for token in range(len(output.tokens))]
            for row in range(len(output.layers))
        ],
        "answers": output.target_labels,
        "probabilities": output.target_probabilities.tolist(),
        "ranks": output.target_ranks.tolist(),
        "divergence": output.divergence.tolist(),
        "method": output.method,
    }
