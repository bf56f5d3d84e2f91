"""The page of a report: written as HTML, so that it can be read without its script, which adds charts, table and cards."""

from __future__ import annotations

from typing import Any

import interpreto
from interpreto.metrics.report import Report
from interpreto.visualizations.html.dataset import REPORT_LOOK, dataset_page
from interpreto.visualizations.html.importance import group_positions, grouped, importance_part, importance_static
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.html.report_parts import (
    calibration_section,
    class_table,
    concept_cards,
    confusion_section,
    mistake_list,
    tiles,
    trust_section,
)
from interpreto.visualizations.html.static import plain
from interpreto.visualizations.html.table import table_part, table_static
from interpreto.visualizations.report_summary import percent, summary
from interpreto.visualizations.table_layout import TextRow, mistakes, shown_target

MISTAKES = 8

Section = tuple[str, str, str, str]
"""Name in the address, heading, lead, content."""


def page_of(report: Report) -> Page:
    """Return the page of a report."""
    places = group_positions(report.explanations)
    groups = grouped(report.explanations, places)
    rows = _rows(report, [group for group, _ in places])
    parts: dict[str, Any] = {
        "importance": importance_part(report.importance, places, mistakes(report.explanations)),
        "table": table_part(rows, "confidence", percent=True, classes=report.quality.names),
    }
    body = _body(report, [group for group, _ in places], rows)
    return dataset_page(groups, parts, body=body, look=REPORT_LOOK)


def title_of(report: Report) -> str:
    """Return the heading of the page."""
    return f"{report.model} on {report.data.source}"


def _rows(report: Report, groups: list[int]) -> list[TextRow]:
    return [
        TextRow(groups[i], own.text, shown_target(own), own.prediction, own.label, float(report.quality.confidences[i]))
        for i, own in enumerate(report.explanations)
    ]


def _body(report: Report, groups: list[int], rows: list[TextRow]) -> str:
    sections = [*_findings(report, groups), *_details(report, groups, rows)]
    links = "".join(f'<a href="#{name}">{plain(heading)}</a>' for name, heading, _, _ in sections)
    about = f"{len(report.data):,} labeled texts, {len(report.quality.names)} classes, explained by {report.method}"
    found = [
        f'<section class="part" id="{name}"><h2>{plain(heading)}</h2><p class="lead">{plain(lead, 600)}</p>{content}</section>'
        for name, heading, lead, content in sections
    ]
    foot = (
        f'<p class="foot">Written by interpreto {plain(interpreto.__version__)}. This file loads nothing and works offline; it '
        "holds the texts that it reports on.</p>"
    )
    return (
        f'<p class="about">{plain(about, 200)}</p><nav class="contents" aria-label="Parts of the report">{links}</nav>'
        f'{tiles(report)}<div class="card"><h2 class="spoken">Summary</h2><ul class="findings">{_summary(report)}</ul></div>'
        f"{''.join(found)}{foot}"
    )


def _summary(report: Report) -> str:
    return "".join(f"<li><b>{plain(about)}.</b> {plain(said, 600)}</li>" for about, said in summary(report))


def _findings(report: Report, groups: list[int]) -> list[Section]:
    quality = report.quality
    left = confusion_section(quality) + class_table(quality)
    worst = report.mistakes(MISTAKES) if not bool(quality.right.all()) else []
    sections: list[Section] = [
        (
            "right-and-wrong",
            "Right and wrong",
            "True labels in rows, predictions in columns; shares are of the row. Select a cell to see its texts.",
            f'<div class="pair"><div>{left}</div>{calibration_section(quality)}</div>',
        )
    ]
    if worst:
        lead = "What the model got wrong while it was most sure, with the words that led it there."
        sections.append(("mistakes", "Most confident mistakes", lead, mistake_list(report, worst, groups)))
    lead = (
        "Mean effect of a word on the score of a class over all texts, with its 95 % interval. Select a word to see its "
        "sentences."
    )
    static = importance_static(report.importance)
    sections.append(("words", "Words that matter", lead, f'<div data-part="importance">{static}</div>'))
    return sections


def _details(report: Report, groups: list[int], rows: list[TextRow]) -> list[Section]:
    sections: list[Section] = []
    if report.concepts is not None:
        lead = (
            f"Directions that texts share in what the classification head reads ({report.concepts.method}); together they "
            f"rebuild {percent(report.concepts.explained)} of its variance. Names are the words whose texts have most of a "
            "direction; bars are what it adds to the score of each class."
        )
        sections.append(("concepts", "Concepts", lead, concept_cards(report, groups)))
    if report.faithfulness is not None:
        lead = (
            "Are these the words that the model uses? Words are masked in the order of the explanation, the most important "
            "first, and in random orders: the faster the predicted class loses its probability, the better the order."
        )
        sections.append(("trust", "Can the explanations be trusted?", lead, trust_section(report.faithfulness)))
    lead = "All texts, in their order. Select one to see its explanation."
    sections.append(("texts", "All texts", lead, f'<div data-part="table">{table_static(rows)}</div>'))
    facts = "".join(f'<tr><th scope="row">{plain(name)}</th><td>{plain(value, 600)}</td></tr>' for name, value in report.run)
    remarks = "".join(f'<p class="hint">{plain(remark, 600)}</p>' for remark in report.remarks)
    run = f'<div class="card"><table class="run"><tbody>{facts}</tbody></table>{remarks}</div>'
    sections.append(("run", "What was run", "Enough to repeat it.", run))
    return sections
