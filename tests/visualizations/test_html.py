"""Pages hold the numbers, load nothing, and every text of theirs is only a text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import torch

from interpreto.errors import InputError
from interpreto.visualizations.attributions import plot_attributions, to_fragment, to_html
from tests.visualizations.examples import INJECTIONS, explanation, film


class Outline(HTMLParser):
    """The elements of a page, and what stands in its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple]] = []
        self.texts: list[str] = []
        self.scripts: dict[str, str] = {}
        self.inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(attrs)))
        if tag == "script":
            self.inside = dict(attrs).get("type", "script")

    def handle_endtag(self, tag):
        if tag == "script":
            self.inside = None

    def handle_data(self, data):
        if self.inside is None:
            self.texts.append(data)
        else:
            self.scripts[self.inside] = self.scripts.get(self.inside, "") + data


def payload(page):
    return json.loads(Outline(page).scripts["application/json"])


def test_the_numbers_of_the_explanation_are_in_the_page():
    error = torch.full((2, 5), 0.012345678)
    output = film(standard_error=error, reference_scores=torch.tensor([0.1, 0.2]), residual=torch.tensor([1e-7, -2e-3]))
    (found,) = payload(to_html([output]))
    assert found["values"] == [[0.1, -0.8, 0.02, 0.61235, None], [-0.1, 0.8, 0.0, -0.4, 0.3]]
    assert found["errors"][0][0] == 0.012346
    assert found["elements"] == output.elements and found["labels"] == ["positive", "negative"]
    assert found["scores"] == [0.5, 1.5] and found["references"] == [0.1, 0.2] and found["residuals"] == [1e-7, -0.002]
    assert "".join(piece[0] for piece in found["pieces"]) == output.text


def test_a_list_has_a_card_for_each_and_the_page_is_written(tmp_path):
    page = to_html([film(), film(method="Lime")], tmp_path / "a.html", title="Two")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == page
    assert len(payload(page)) == 2 and ("title", ()) in Outline(page).elements and "Two" in Outline(page).texts


def test_nothing_is_loaded_and_no_other_script_may_run():
    page = to_html([film()])
    assert not re.search(r"https?://|url\(|@import|\bsrc=|\bhref=", page)
    policy = next(dict(a)["content"] for tag, a in Outline(page).elements if tag == "meta" and "http-equiv" in dict(a))
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert not re.search(r"\beval\(|innerHTML|insertAdjacentHTML|document\.write", page)


@pytest.mark.parametrize("bad", INJECTIONS)
def test_texts_make_no_elements_and_survive(bad):
    harmless = explanation(["word", "other"], [[0.5, -0.2]], ["label"])
    output = explanation([bad, "other"], [[0.5, -0.2]], [bad], replacement=bad, baseline=bad)
    for write in (lambda e: to_html([e], title=bad if e is output else "x"), lambda e: to_fragment([e])):
        wanted, found = Outline(write(harmless)), Outline(write(output))
        assert [e for e in found.elements if e[0] != "meta"] == [e for e in wanted.elements if e[0] != "meta"]
        assert found.scripts["script"] == wanted.scripts["script"]
        (data,) = json.loads(found.scripts["application/json"])
        assert data["labels"] == [bad] and data["elements"][0] == bad
        assert not set("<>&\u2028\u2029") & set(found.scripts["application/json"])


def test_fragments_stand_side_by_side():
    twice = Outline(to_fragment([film()]) + to_fragment([film()]))
    assert not [value for _, attributes in twice.elements for name, value in attributes if name == "id"]
    assert sum(tag == "div" for tag, _ in twice.elements) == 2


def test_an_explanation_shows_itself_in_a_notebook():
    output = film()
    assert output._repr_html_() == to_fragment([output]) and output.to_html() == to_html([output])


def test_no_explanation_is_refused():
    with pytest.raises(InputError, match=r"`explanations`: got none; pass at least one"):
        to_html([])


def test_without_a_notebook_plots_are_printed(capsys, tmp_path):
    plot_attributions(film(), tmp_path / "a.html")
    assert "lovely" in capsys.readouterr().out and (tmp_path / "a.html").exists()
    film().plot()
    assert "positive" in capsys.readouterr().out
