"""Results draw themselves: the drawing code is found by name and imported on first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from interpreto.concepts.views import ConceptView
from interpreto.renderable import Renderable, visible
from interpreto.visualizations.attributions import renderer, to_fragment, to_html
from tests.visualizations.concept_examples import dataset, local
from tests.visualizations.examples import film


@pytest.mark.parametrize("result", [film(), dataset(), local()], ids=lambda result: type(result).__name__)
def test_a_result_is_its_page_its_fragment_and_its_lines(result, tmp_path, capsys):
    assert isinstance(result, Renderable)
    assert result.to_html(tmp_path / "a.html") == (tmp_path / "a.html").read_text(encoding="utf-8")
    assert result._repr_html_() in result.to_html() or result._repr_html_().startswith('<div class="interpreto')
    assert result.plot(tmp_path / "b.html") is None
    assert capsys.readouterr().out == f"{result}\n"
    assert (tmp_path / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()
    assert result.plot(backend="matplotlib").axes


def test_one_explanation_is_a_list_of_one():
    assert film().to_html() == to_html([film()]) == to_html(film())
    assert film()._repr_html_() == to_fragment([film()])


def test_data_of_a_page_are_made_once(monkeypatch, tmp_path):
    from interpreto.visualizations import attributions

    made = []
    monkeypatch.setattr(attributions, "page_of", lambda shown, make=attributions.page_of: made.append(shown) or make(shown))
    shown = renderer([film(), film(method="Lime")])
    shown.to_html(tmp_path / "a.html")
    shown.fragment()
    assert len(made) == 1


def test_what_explains_imports_nothing_that_draws():
    code = (
        "import sys, interpreto.attributions.output, interpreto.concepts.views, interpreto.metrics.benchmark;"
        "print([name for name in sys.modules if name.startswith('interpreto.visualizations')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_views_of_concepts_stay_abstract():
    with pytest.raises(TypeError, match="abstract"):
        ConceptView()


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), 0xD800])
def test_no_control_character_is_left_but_tabs_and_line_ends(code):
    character = chr(code)
    assert (character in visible(f"a{character}b")) == (character in "\t\n")
