"""A text with colored units for LaTeX."""

from __future__ import annotations

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import TargetError
from interpreto.renderable import visible
from interpreto.visualizations.colors import blend
from interpreto.visualizations.text_layout import clipped, ranked_rows, segments_of, text_scale, without_noise

_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
}


def to_latex(explanation: AttributionOutput, target: int | None = None) -> str:
    r"""Return the text of an explanation with a background per unit, as LaTeX for ``\usepackage{xcolor}``.

    Args:
        explanation: What to show.
        target: Row of the target; None is the class with the highest score, or the first token of an answer.

    Returns:
        Lines without a document around them. Units against the target are set in italics as well.

    Raises:
        TargetError: There is no such row.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> from interpreto.visualizations.latex import to_latex
        >>> text = to_latex(Occlusion(*demo.load_classifier())("A gorgeous film.")[0])
        >>> "colorbox" in text and "gorgeous" in text
        True
    """
    count = len(explanation.target_labels)
    if target is not None and not 0 <= target < count:
        raise TargetError(f"`target`: got {target} for an explanation of {count} rows; pass one of 0..{count - 1}, or None.")
    drawn, row = without_noise(explanation), ranked_rows(explanation)[0] if target is None else target
    scale, values, parts = text_scale(drawn), drawn.attributions[row].tolist(), []
    for segment in segments_of(drawn):
        weight = 0.0 if segment.unit is None else clipped(values[segment.unit], scale)
        color = blend(weight, signed=drawn.signed)
        text = escaped(segment.text)
        if color is not None:
            inner = f"\\textit{{{text}}}" if weight < 0 else text
            text = f"\\colorbox[HTML]{{{bytes(color).hex().upper()}}}{{\\strut {inner}}}"
        parts.append(text)
    return f"{{\\setlength{{\\fboxsep}}{{1pt}}\\sloppy {''.join(parts)}}}"


def escaped(text: str) -> str:
    r"""Return a text in which no character has a meaning for LaTeX; line breaks become spaces.

    Examples:
        >>> print(escaped("50 % of $x_1$"))
        50 \% of \$x\_1\$
    """
    return "".join(_SPECIAL.get(character, character) for character in visible(text).replace("\n", " "))
