"""Sources of an answer on a page: every link leads somewhere, and no text becomes markup."""

from __future__ import annotations

import re

import pytest

from interpreto import BlackBox, Citations, ContextCite, Documents, Occlusion
from interpreto.errors import InputError

DOCUMENTS = Documents(
    "Who won <the> race?",
    {"sports": "Ann won the race. Ben came second.", "<b>weather</b>": "It rained all day. Streets were empty."},
)


def rule(texts):
    return [[2.0 * ("Ann" in text) + ("race" in text) - ("Ben" in text), 3.0 * ("rained" in text)] for text in texts]


@pytest.fixture(scope="module")
def citations():
    explainer = Occlusion(BlackBox(rule, labels=["Ann won.", "It was <wet>."]), granularity="sentence")
    return Citations(explainer(DOCUMENTS, [[0, 1]])[0], DOCUMENTS)


def test_each_part_has_its_sources_by_document(citations):
    assert [(s.document, s.name, s.text, s.value) for s in citations.sources(0)] == [(0, "sports", "Ann won the race.", 2.0)]
    assert [(s.document, s.name, s.text) for s in citations.sources(1)] == [(1, "<b>weather</b>", "It rained all day.")]


def test_every_link_of_the_page_leads_somewhere_and_back(citations):
    page = citations.to_html()
    links, places = re.findall(r'href="#([\w-]+)"', page), re.findall(r' id="([\w-]+)"', page)
    assert set(links) <= set(places) and len(places) == len(set(places))
    assert {"source-0", "source-2", "part-0", "part-1"} <= set(links)
    assert page.count("<mark") == 2 and "<script" not in page and "http:" not in page and "https:" not in page
    assert "default-src 'none'" in page


def test_text_is_never_markup(citations):
    for page in (citations.to_html(), citations._repr_html_()):
        assert "<b>weather" not in page and "<the>" not in page and "<wet>" not in page
        assert "&lt;b&gt;weather" in page


def test_the_terminal_names_documents_and_values(citations):
    lines = str(citations).splitlines()
    assert lines[1:3] == ["• Ann won.", "    [1] sports: Ann won the race.  +2.00"]


def test_a_figure_has_a_dot_per_source(citations):
    pytest.importorskip("matplotlib")
    assert len(citations.plot(backend="matplotlib").axes[0].get_yticklabels()) == 1


def test_an_answer_without_a_source_is_said_to_have_none():
    explainer = ContextCite(BlackBox(lambda texts: [1.0] * len(texts)))
    found = Citations(explainer(DOCUMENTS, 0)[0], DOCUMENTS)
    assert found.sources() == [] and "no source speaks for it" in found.to_html() and "no source" in str(found)


def test_other_documents_are_refused(citations):
    with pytest.raises(InputError, match="document 1"):
        Citations(citations.explanation, Documents("Why?", ["Something else."]))
