"""Concepts in a terminal, with colors or as plain text."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from interpreto.concepts.views import ConceptView, LocalConcepts, Passage
from interpreto.errors import OptionError
from interpreto.visualizations.colors import ACTIVATIONS
from interpreto.visualizations.concept_layout import facts, largest_effect, ordered_outputs, without_noise
from interpreto.visualizations.terminal.console import BAR, Lines, background, bars, one_line, segment_text
from interpreto.visualizations.text_layout import format_number, split_at_units

OUTPUTS = 4  # with bars
CONCEPTS = 3  # the most important, with texts
TEXTS = 2  # per concept
WRITTEN = 0.3
"""Share of the largest activation below which none is written where there are no colors."""


def concepts_to_text(
    view: ConceptView, *, width: int | None = None, color: bool | None = None, colour: bool | None = None
) -> str:
    """Return concepts as lines for a terminal: bars per output, then the texts of the most important concepts.

    Args:
        view: What to show.
        width: Cells per line; None is the width of the terminal.
        color: Color by ANSI codes instead of writing activations in brackets; None: if standard output takes colors and
            the environment does not set NO_COLOR.
        colour: Old spelling of ``color``.

    Returns:
        Lines, without control characters other than ANSI codes.

    Raises:
        OptionError: Both spellings of ``color`` are given.

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
    if color is not None and colour is not None:
        raise OptionError("`colour` is the old spelling of `color`; pass one of them.")
    view, lines = without_noise(view), Lines(width, colour if color is None else color)
    outputs = ordered_outputs(view)
    for output in outputs[:OUTPUTS]:
        lines.add(_heading(view, output), *_bars(view, output, lines.width))
        lines.add_blank()
    if len(outputs) > OUTPUTS:
        lines.add_text(Text(f"+{len(outputs) - OUTPUTS} more outputs\n", style="dim"))
    for concept in view.shown[:CONCEPTS]:
        texts = view.passages(concept)[:TEXTS]
        scale = max((float(passage.activations.abs().max()) for passage in texts), default=0.0)
        verdict = f", label: {one_line(view.verdicts[concept])}" if concept in view.verdicts else ""
        lines.add_text(Text(f"concept {concept}, activations up to {format_number(scale)}{verdict}", style="bold"))
        for passage in texts:
            lines.add_text(_passage(passage, scale, lines.color))
        lines.add_blank()
    lines.add_text(Text(_facts(view), "dim"))
    return str(lines)


def _heading(view: ConceptView, output: int) -> Text:
    name, score = one_line(view.outputs[output]), ""
    if isinstance(view, LocalConcepts) and view.has_scores:
        score = f"  {format_number(float(view.scores[output]))} {one_line(view.score_unit)}"
    return Text.assemble((name, "bold"), score)


def _bars(view: ConceptView, output: int, width: int) -> list[Text]:
    """Return the concepts by importance, each with the bar of its importance and its effect."""
    sizes, net = view.totals()
    top, order = largest_effect(view), view.ranked(output)
    names = [f"{concept} {one_line(view.name(concept))}" for concept in order]
    column = min(max(map(cell_len, names), default=0), max(width - BAR - 32, 12))
    effects = [float(net[output, concept]) for concept in order]
    marks, amounts = [], []
    for concept, effect in zip(order, effects, strict=True):
        size = float(sizes[output, concept])
        filled, whole = (round(BAR * value / top) if top else 0 for value in (abs(effect), size))
        marks.append("█" * filled + "░" * (whole - filled))
        amounts.append(f"{format_number(effect, sign=True):>9}  of {format_number(size)}")
    return bars(names, column, marks, effects, amounts)


def _passage(passage: Passage, scale: float, color: bool) -> Text:
    line, values = Text("  "), passage.activations.tolist()
    for segment in split_at_units(passage.text, passage.spans, passage.elements):
        if segment.unit is None:
            line.append(segment_text(segment), "dim")
            continue
        weight = values[segment.unit] / scale if scale else 0.0
        line.append(segment_text(segment), background(weight, ends=ACTIVATIONS) if color else None)
        if not color and abs(weight) >= WRITTEN:
            line.append(f"[{format_number(values[segment.unit])}]")
    return line


def _facts(view: ConceptView) -> str:
    what = f"bars: █ effect, ░ importance, the {view.about.scale}, in {view.about.unit}"
    return " · ".join(one_line(part) for part in [*(value for _, value in facts(view)), what])
