"""Concepts in a terminal, in color where it can, in plain text where it cannot."""

from __future__ import annotations

import io

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from interpreto.concepts.views import ConceptView, LocalConcepts, Passage
from interpreto.renderable import visible
from interpreto.visualizations.html.concepts import facts
from interpreto.visualizations.terminal.attributions import BAR, FAINT, PALE, _console
from interpreto.visualizations.text_layout import cut, number

OUTPUTS = 4  # with bars of their own
CONCEPTS = 3  # of the most important, with their texts
TEXTS = 2  # of each of these
WRITTEN = 0.3  # below this share of the largest, an activation is not written where there are no colors
FULL, OPPOSITE = (171, 118, 204), (94, 176, 98)  # most of a concept, and least where it has a sign


def concepts_to_text(view: ConceptView, *, width: int | None = None, color: bool | None = None) -> str:
    """Concepts as lines for a terminal: for each output its concepts with bars, then the texts of the most important.

    Args:
        view: What to show.
        width: Cells of a line; None: as wide as the terminal.
        color: Whether to color by ANSI codes; else activations stand in brackets. None: where standard output takes
            colors.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import PCAConcepts
        >>> from interpreto.concepts.summaries import local_concepts
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> texts = ["A charming film.", "Dull."]
        >>> explainer = PCAConcepts(splitter, nb_concepts=2).fit(splitter.get_activations(texts, "word"))
        >>> view = local_concepts(explainer, "A charming film.")
        >>> print(concepts_to_text(view, width=60, color=False).split(chr(10))[0])  # doctest: +ELLIPSIS
        positive  ... logit
    """
    console, colored = _console(width, color)
    outputs = _outputs(view)
    for output in outputs[:OUTPUTS]:
        for line in [_heading(view, output), *_bars(view, output, console.width)]:
            console.print(line, no_wrap=True, overflow="ellipsis")
        console.print()
    if len(outputs) > OUTPUTS:
        console.print(Text(f"+{len(outputs) - OUTPUTS} more outputs\n", style="dim"))
    for concept in view.shown[:CONCEPTS]:
        texts = view.passages(concept)[:TEXTS]
        scale = max((float(passage.activations.abs().max()) for passage in texts), default=0.0)
        console.print(Text(f"concept {concept}, activations up to {number(scale)}", style="bold"))
        for passage in texts:
            console.print(_passage(passage, scale, colored), soft_wrap=False)
        console.print()
    console.print(Text(_facts(view), "dim"))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip("\n").split("\n"))


def _outputs(view: ConceptView) -> list[int]:
    """The class that the model predicts first; else in order."""
    order = list(range(len(view.outputs)))
    if isinstance(view, LocalConcepts) and view.about.output == "class":
        return sorted(order, key=lambda output: -float(view.scores[output]))
    return order


def _heading(view: ConceptView, output: int) -> Text:
    name = _one_line(view.outputs[output])
    score = f"  {number(float(view.scores[output]))} {_one_line(view.score_unit)}" if isinstance(view, LocalConcepts) else ""
    return Text.assemble((name, "bold"), score)


def _bars(view: ConceptView, output: int, width: int) -> list[Text]:
    """The concepts by importance, each with the bar of it and the effect."""
    sizes, net = view.totals()
    top = float(sizes[:, list(view.shown)].max())
    order = view.ranked(output)
    names = [f"{concept} {_one_line(view.name(concept))}" for concept in order]
    column = min(max(map(cell_len, names), default=0), max(width - BAR - 32, 12))
    lines = []
    for concept, name in zip(order, names, strict=True):
        size, effect = float(sizes[output, concept]), float(net[output, concept])
        shown = name if cell_len(name) <= column else set_cell_size(name, column - 1) + "…"
        filled = round(BAR * abs(effect) / top) if top else 0
        whole = round(BAR * size / top) if top else 0
        bar = "█" * filled + "░" * (whole - filled)
        tint = "rgb(230,126,34)" if effect >= 0 else "rgb(66,133,214)"
        amounts = f"{number(effect, sign=True):>9}  of {number(size)}"
        lines.append(Text.assemble("  ", set_cell_size(shown, column), "  ", (f"{bar or '▏':<{BAR}}", tint), amounts))
    return lines


def _passage(passage: Passage, scale: float, color: bool) -> Text:
    line = Text("  ")
    values = passage.activations.tolist()
    for piece in cut(passage.text, passage.spans, passage.elements):
        shown = f" {visible(piece.text)} " if piece.named else visible(piece.text)
        if piece.unit is None:
            line.append(shown, "dim")
            continue
        weight = values[piece.unit] / scale if scale else 0.0
        line.append(shown, _style(weight) if color else None)
        if not color and abs(weight) >= WRITTEN:
            line.append(f"[{number(values[piece.unit])}]")
    return line


def _style(weight: float) -> Style | None:
    if not abs(weight) >= FAINT:
        return None
    end = FULL if weight > 0 else OPPOSITE
    red, green, blue = (round(pale + (full - pale) * min(abs(weight), 1.0)) for pale, full in zip(PALE, end, strict=True))
    return Style(color="#16181d", bgcolor=f"rgb({red},{green},{blue})")


def _facts(view: ConceptView) -> str:
    what = f"bars: █ effect, ░ importance, the {view.about.scale}, in {view.about.unit}"
    return " · ".join(_one_line(part) for part in [*(value for _, value in facts(view)), what])


def _one_line(text: str) -> str:
    return " ".join(visible(text).split()) or repr(text)
