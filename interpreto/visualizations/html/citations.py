"""A page of an answer, its sources and the documents. Links lead there and back; nothing needs a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interpreto.renderable import visible
from interpreto.visualizations.html.page import escaped
from interpreto.visualizations.html.static import plain

if TYPE_CHECKING:
    from interpreto.attributions.citations import Citations, Source

STYLE = (
    ".interpreto-sources{font:15px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff}"
    ".interpreto-sources>*{max-width:46em}"
    ".interpreto-sources td,.interpreto-sources th{padding:.25em .8em .25em 0;text-align:left;vertical-align:top}"
    ".interpreto-sources .value{font-variant-numeric:tabular-nums;text-align:right}"
    ".interpreto-sources a{color:#0b57b0}"
    ".interpreto-sources blockquote{margin:.4em 0 1em;padding-left:.9em;border-left:4px solid #c2410c;font-size:1.1em}"
    ".interpreto-sources .document{white-space:pre-wrap}"
    ".interpreto-sources mark{color:inherit;background:#fde3cf;border-bottom:2px solid #c2410c;scroll-margin:3em}"
    ".interpreto-sources mark:target,.interpreto-sources section:target h3{outline:3px solid #0b57b0;outline-offset:2px}"
    "@media(prefers-color-scheme:dark){.interpreto-sources{color:#e8e8e8;background:#16181c}"
    ".interpreto-sources a{color:#8ab8ff}.interpreto-sources mark{background:#5a2d10;border-color:#ff9d66}"
    ".interpreto-sources mark:target,.interpreto-sources section:target h3{outline-color:#8ab8ff}"
    ".interpreto-sources blockquote{border-color:#ff9d66}}"
)
PAGE = "body{margin:0}main{padding:1em 1.5em 3em}"
GUIDE = (
    "Each part of the answer is followed by the numbers of the documents that it rests on, the strongest first; a number leads "
    "to the source in its document, and from there a link leads back. A value is what the source does for the explained score "
    "of that part. Sources that speak against it, or do nothing, are not marked."
)


def citations_page(title: str, citations: Citations) -> str:
    """Return a self-contained page."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{plain(title)}</title><style>{PAGE}{STYLE}</style>"
        f'<body><main class="interpreto-sources"><h1>{plain(title)}</h1>{_content(citations)}</main></body></html>'
    )


def citations_fragment(citations: Citations) -> str:
    """Return one element for a notebook."""
    return f'<div class="interpreto-sources"><style>{STYLE}</style>{_content(citations)}</div>'


def _content(citations: Citations) -> str:
    parts = [citations.sources(part) for part in range(len(citations.explanation.target_labels))]
    return (
        f"<details><summary>How to read this</summary><p>{plain(GUIDE, 2000)}</p></details>"
        f"<h2>Question</h2><p>{_written(citations.documents.question)}</p>"
        f"<h2>Answer</h2>{_answer(citations, parts)}"
        f"<h2>Sources</h2>{_table(citations, parts)}"
        f"<h2>Documents</h2>{_documents(citations, parts)}"
    )


def _answer(citations: Citations, parts: Sequence[Sequence[Source]]) -> str:
    """Return the answer, each part followed by links to its sources."""
    found = []
    for part, (label, sources) in enumerate(zip(citations.explanation.target_labels, parts, strict=True)):
        links = " ".join(
            f'<a href="#source-{source.unit}" aria-label="[{source.document + 1}] source in '
            f'{plain(source.name)}">[{source.document + 1}]</a>'
            for source in sources
        )
        found.append(f'<span id="part-{part}" tabindex="-1">{_written(label.strip())}</span> {links}')
    return f"<blockquote>{' '.join(found)}</blockquote>"


def _table(citations: Citations, parts: Sequence[Sequence[Source]]) -> str:
    """Return a row per source."""
    rows = []
    for label, sources in zip(citations.explanation.target_labels, parts, strict=True):
        if not sources:
            rows.append(f'<tr><th scope="row">{plain(label)}</th><td colspan="3">no source speaks for it</td></tr>')
        for i, source in enumerate(sources):
            head = f'<th scope="rowgroup" rowspan="{len(sources)}">{plain(label)}</th>' if not i else ""
            rows.append(
                f'<tr>{head}<td>[{source.document + 1}] {plain(source.name, 40)}</td><td><a href="#source-{source.unit}">'
                f'{plain(source.text, 160)}</a></td><td class="value">{source.value:+.3g}</td></tr>'
            )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("part of the answer", "document", "source", "value"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _documents(citations: Citations, parts: Sequence[Sequence[Source]]) -> str:
    """Return the documents, in which sources are marked and lead back to the parts that rest on them."""
    cited: dict[int, list[int]] = {}
    for part, sources in enumerate(parts):
        for source in sources:
            cited.setdefault(source.unit, []).append(part)
    text, spans, labels = citations.explanation.text, citations.explanation.spans, citations.explanation.target_labels
    found = []
    for i, (start, end) in enumerate(citations.places):
        body, at = "", start
        for unit in sorted((unit for unit in cited if start <= spans[unit][0] < end), key=lambda unit: spans[unit]):
            a, b = spans[unit]
            back = "".join(
                f' <a href="#part-{part}" aria-label="back to {plain(labels[part], 40)}">↑</a>' for part in cited[unit]
            )
            body += f'{_written(text[at:a])}<mark id="source-{unit}" tabindex="-1">{_written(text[a:b])}</mark>{back}'
            at = b
        name = "" if citations.documents.names is None else f" {plain(citations.documents.name(i))}"
        found.append(
            f'<section id="document-{i + 1}"><h3>[{i + 1}]{name}</h3>'
            f'<p class="document">{body}{_written(text[at:end])}</p></section>'
        )
    return "".join(found)


def _written(text: str) -> str:
    return escaped(visible(text))
