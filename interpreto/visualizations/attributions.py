"""Attributions as HTML: a page of its own, or a fragment for notebooks.

What comes from the user or the model reaches the page as JSON alone, which the script turns into text nodes. The page
lets only that script run (by its hash) and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import sys
from collections.abc import Iterable, Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path
from string import Template
from typing import Any

from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError
from interpreto.visualizations.reading import (
    Piece,
    adds_up,
    answered,
    pieces,
    scale,
    score_unit,
    total,
    value_unit,
    with_rows,
)
from interpreto.visualizations.terminal import to_text

TITLE = "Attributions"
PER_ROW = ("labels", "values", "errors", "scores", "references", "residuals", "sums", "addsUp")
_UNSAFE = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def to_html(
    explanations: Sequence[AttributionOutput], path: str | PathLike[str] | None = None, *, title: str | None = None
) -> str:
    """A self-contained page, one card for each explanation.

    Args:
        explanations: What to show, in order.
        path: Where to write the page too, as UTF-8.
        title: The page's heading; None: ``"Attributions"``.

    Raises:
        InputError: when there is nothing to show, or something else than explanations.
    """
    script = _asset("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = Template(_asset("page.html")).substitute(
        title=_escaped(TITLE if title is None else title),
        style=_asset("style.css"),
        data=_json([_described(explanation) for explanation in _checked(explanations)]),
        script=script,
        digest=digest,
    )
    if path is not None:
        Path(path).write_text(page, encoding="utf-8", newline="\n")
    return page


def to_fragment(explanations: Sequence[AttributionOutput]) -> str:
    """The same cards in one element, for a notebook; it may stand any number of times in one page."""
    data = _json([_described(explanation) for explanation in _checked(explanations)])
    return (
        f'<div class="interpreto"><style>{_asset("style.css")}</style>'
        f'<script type="application/json">{data}</script><script>{_asset("script.js")}</script></div>'
    )


def plot_attributions(
    explanations: AttributionOutput | Sequence[AttributionOutput], path: str | PathLike[str] | None = None
) -> None:
    """Show explanations: in a notebook as HTML, elsewhere in the terminal. With ``path``, write the page there too.

    Example:
        >>> from interpreto import Occlusion, demo, plot_attributions
        >>> plot_attributions(Occlusion(*demo.load_classifier())("A gorgeous, moving film."))  # doctest: +ELLIPSIS
        positive ...
    """
    shown = _checked([explanations] if isinstance(explanations, AttributionOutput) else explanations)
    if path is not None:
        to_html(shown, path)
    if _in_notebook():
        display = sys.modules["IPython"].display
        display.display(display.HTML(to_fragment(shown)))
    else:
        print("\n\n".join(to_text(explanation) for explanation in shown))


def _in_notebook() -> bool:
    """Whether a kernel runs this, so that HTML can be shown."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _checked(explanations: Iterable[Any]) -> list[AttributionOutput]:
    shown = list(explanations)
    if not shown:
        raise InputError("`explanations`: got none; pass at least one AttributionOutput.")
    for i, explanation in enumerate(shown):
        if not isinstance(explanation, AttributionOutput):
            raise InputError(f"`explanations[{i}]`: got {type(explanation).__name__}; pass a list of AttributionOutput.")
    return shown


def _described(explanation: AttributionOutput) -> dict[str, Any]:
    """What the script reads. Values are lists for each target; numbers have five significant digits."""
    if not answered(explanation):
        return _rows(explanation) | {"pieces": [[p.text, p.unit, int(p.named), None] for p in pieces(explanation)]}
    cut = with_rows(pieces(explanation), explanation.target_spans)
    data = {"pieces": [[p.text, p.unit, int(p.named), p.row] for p in cut], "answer": _answer(cut, explanation)}
    if not explanation.signed or len(explanation.target_labels) == 1:
        return _rows(explanation) | data
    rows, whole = _rows(explanation), _rows(explanation.sequence())  # the sequence's row follows those of the tokens
    for name in PER_ROW:
        if rows[name] is not None:
            own = whole[name] or [[None] * len(explanation.elements)]
            rows[name] = [*rows[name], *own]
    return rows | data | {"whole": len(explanation.target_labels), "scales": [rows["scale"], whole["scale"]]}


def _answer(cut: Sequence[Piece], explanation: AttributionOutput) -> int:
    """The first piece of the answer."""
    return next((i for i, piece in enumerate(cut) if piece.row is not None), len(cut))


def _rows(explanation: AttributionOutput) -> dict[str, Any]:
    rows = range(len(explanation.target_labels))
    return {
        "elements": explanation.elements,
        "labels": explanation.target_labels,
        "values": _numbers(explanation.attributions),
        "errors": _numbers(explanation.standard_error),
        "scores": _numbers(explanation.base_scores),
        "references": _numbers(explanation.reference_scores),
        "residuals": _numbers(explanation.residual),
        "sums": [_number(total(explanation, row)) for row in rows],
        "addsUp": [adds_up(explanation, row) for row in rows],
        "scale": _number(scale(explanation)),
        "signed": explanation.signed,
        "unit": value_unit(explanation),
        "scoreUnit": score_unit(explanation),
        "reference": "baseline" if explanation.baseline is not None else "all removed",
        "element": explanation.granularity if explanation.granularity != "custom" else "unit",
        "facts": _facts(explanation),
    }


def _facts(explanation: AttributionOutput) -> list[tuple[str, str]]:
    facts: list[tuple[str, Any]] = [
        ("Method", explanation.method),
        ("Granularity", explanation.granularity),
        ("Score", explanation.inference_mode),
        ("Task", explanation.model_task),
        ("Pooling", explanation.granularity_aggregation_strategy),
        ("Baseline", explanation.baseline),
        ("Replacement", explanation.replacement if isinstance(explanation.replacement, str | None) else _token(explanation)),
    ]
    return [(name, str(value).replace("_", " ")) for name, value in facts if value is not None]


def _token(explanation: AttributionOutput) -> str:
    return f"token {explanation.replacement}"


def _numbers(values: Tensor | None) -> Any:
    """Nested lists of numbers, null where they are none."""
    if values is None:
        return None
    return [_number(value) for value in values.tolist()] if values.ndim == 1 else [_numbers(row) for row in values]


def _number(value: float) -> float | int | None:
    if value - value != 0:  # NaN and infinity, of which JSON has none
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _json(data: Any) -> str:
    """JSON in ASCII that cannot end the element that it stands in."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def _escaped(text: str) -> str:
    """Text for an element's content, whatever characters it has."""
    return html.escape(text.replace("\0", "\ufffd")).encode("utf-8", "replace").decode("utf-8")


def _asset(name: str) -> str:
    return (files("interpreto.visualizations") / "html" / name).read_text(encoding="utf-8")
