"""``interpreto demo``: a first page, and a table of sentences to try the other commands on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from rich.table import Table

from interpreto import IntegratedGradients, KernelShap, Occlusion, Saliency, demo
from interpreto.attributions.explanations import Explanations
from interpreto.cli.arguments import Arguments
from interpreto.cli.output import show
from interpreto.cli.screen import screen
from interpreto.errors import FileError
from interpreto.storage import replacing
from interpreto.visualizations.attributions import to_html
from interpreto.visualizations.terminal.attributions import to_text

TEXT = "A gorgeous, moving film with terrific actors."
SENTENCES = 200
DISAGREEMENT = """\
The methods ask different questions. Occlusion masks one word at a time: without "gorgeous" the model is as sure as before, as
"terrific" and "moving" still praise the film. KernelShap and IntegratedGradients divide the whole score, so that each word
gets its share. Saliency is the slope of the score, and no amount at all. `interpreto compare` measures on many texts which of
them tells best what your model does."""


def run(arguments: Arguments) -> int:
    """Explain a sentence in the terminal and as a page, compare four methods on it, and say how to go on."""
    folder = _folder(arguments.folder)
    model, tokenizer = demo.load_classifier()
    shown = KernelShap(model, tokenizer)(TEXT)
    print(to_text(shown[0]))
    others = [method(model, tokenizer)(TEXT)[0] for method in (IntegratedGradients, Occlusion, Saliency)]
    compared = Explanations([*shown, *others])
    page = folder / "explanation.html"
    to_html(shown, page, title="Why positive?")
    to_html(compared, folder / "methods.html", title="Four methods, one sentence")
    _write_sentences(folder / "sentences.csv")
    _print_compared(compared)
    print(f"\n{DISAGREEMENT}\n")
    print(f"{page}: the first explanation as a page; {folder / 'methods.html'}: the four methods next to each other")
    print(f"{folder / 'sentences.csv'}: {SENTENCES} rated sentences, to try `interpreto compare` and `interpreto report` on")
    print('Now try your text: interpreto explain "…" --open    or type into a page: interpreto app')
    if arguments.open_page:
        show(page)
    return 0


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"`FOLDER`: {str(folder)!r} cannot be made ({error.strerror}).") from error
    return folder


def _print_compared(compared: Explanations) -> None:
    """Print a row per word and a column per method."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("word")
    for explanation in compared:
        table.add_column(explanation.method, justify="right")
    for i, element in enumerate(compared[0].elements):
        table.add_row(element, *(f"{float(explanation.attributions[0, i]):+.2f}" for explanation in compared))
    console = screen()
    console.print()
    console.print(table)


def _write_sentences(path: Path) -> None:
    """Write held-out sentences with their labels, which no training has seen."""
    held_out = [sentence for sentence in demo.load_sentences(split="held-out") if abs(sentence.score) >= 1][:SENTENCES]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["text", "label"])
    writer.writerows([sentence.text, "positive" if sentence.score > 0 else "negative"] for sentence in held_out)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
