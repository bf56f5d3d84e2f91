"""``interpreto app``: serve a page to type into."""

from __future__ import annotations

import importlib.util

from interpreto import app
from interpreto.cli.arguments import Arguments
from interpreto.cli.loading import load_model
from interpreto.errors import OptionError


def run(arguments: Arguments) -> int:
    """Serve the page of the command's model until the user stops it."""
    if importlib.util.find_spec("gradio") is None:
        raise OptionError("the app needs gradio, which is not installed; run `pip install gradio`.")
    model, tokenizer = load_model(arguments.model, arguments.device)
    page = app.build(model, tokenizer)
    app.serve(page, host=arguments.host, port=arguments.port, opens=arguments.open_page)
    return 0
