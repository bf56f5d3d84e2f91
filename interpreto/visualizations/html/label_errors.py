"""The page of suspected label errors: a table of texts with their labels and what the model preferred."""

from __future__ import annotations

from interpreto.renderable import visible
from interpreto.training.label_errors import LabelErrors
from interpreto.visualizations.html.data_map import table_of
from interpreto.visualizations.html.page import Look, Page
from interpreto.visualizations.html.static import plain

LOOK = Look([], ["dataset.css", "report.css"], name="figure")
SCORES = {
    "aum": "negative area under the margin",
    "tidy": "mean epoch predicted (TIDY)",
    "confidence": "1 − confidence",
    "correctness": "1 − share of epochs predicted",
    "forgetting": "forgetting events",
    "bhdf": "probability of an error (BHDF)",
    "tracin": "self-influence (TracIn)",
}
"""Names of the scores in tables."""
GUIDE = (
    "Training texts whose labels are most suspicious, the most suspicious first. The label is what the model was trained with, "
    "the suggestion the class that it preferred on average over the epochs; where both are the same, the text was merely hard. "
    "A suspicion is no proof: read each text before you change its label."
)


def page_of(found: LabelErrors) -> Page:
    """Return the page of suspected label errors."""
    heads = ("text", "label", "suggestion", SCORES.get(found.by, found.by), "confidence", "epochs predicted")
    rows = [row_of(found, i) for i in range(len(found))]
    about = f"The {len(found)} most suspicious of {found.n:,} texts, by {SCORES.get(found.by, found.by)}."
    reading = f'<details class="guide"><summary>How to read this</summary><p>{plain(GUIDE, 2000)}</p></details>'
    table = table_of(heads, rows, "Suspected label errors")
    return Page(LOOK, "null", body=f'{reading}<p class="about">{plain(about, 200)}</p><div class="card">{table}</div>')


def row_of(found: LabelErrors, i: int) -> tuple[str, ...]:
    """Return the cells of one text."""
    suggestion = found.suggestions[i] if found.suggestions[i] != found.labels[i] else "the same"
    numbers = (f"{float(found.scores[i]):.3g}", f"{float(found.confidence[i]):.2f}", f"{float(found.correctness[i]):.0%}")
    return tuple(visible(cell) for cell in (found.texts[i], found.labels[i], suggestion, *numbers))
