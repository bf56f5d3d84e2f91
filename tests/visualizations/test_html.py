"""Pages hold the numbers, load nothing, and every text of theirs is only a text."""

from __future__ import annotations

import base64
import json
import re
import sys
from html.parser import HTMLParser
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from interpreto.errors import InputError, OptionError
from interpreto.visualizations.attributions import plot_attributions, to_fragment, to_html
from tests.visualizations.examples import INJECTIONS, conversation, explanation, film, generation


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


def numbers(rows):
    return np.array([np.frombuffer(base64.b64decode(row), "<f4") for row in rows])


def test_the_numbers_of_the_explanation_are_in_the_page():
    error = torch.full((2, 5), 0.012345678)
    output = film(standard_error=error, reference_scores=torch.tensor([0.1, 0.2]), residual=torch.tensor([1e-7, -2e-3]))
    ((found,),) = payload(to_html([output]))
    assert np.array_equal(numbers(found["values"]), output.attributions.numpy(), equal_nan=True)
    assert np.array_equal(numbers(found["errors"]), error.numpy())
    assert found["elements"] == output.elements and found["labels"] == ["positive", "negative"]
    assert found["scores"] == [0.5, 1.5] and found["references"] == [0.1, 0.2] and found["residuals"] == [0, -0.002]
    assert "".join(segment[0] for segment in found["segments"]) == output.text and found["blocks"] == [["text", 9]]


def test_the_row_of_a_whole_answer_is_the_sum_of_those_of_its_tokens():
    output = generation("The film was", [" so", " good"], standard_error=torch.ones(2, 5))
    ((found,),) = payload(to_html([output]))
    values = numbers(found["values"])
    assert np.array_equal(values[:2], output.attributions.numpy(), equal_nan=True)
    assert np.array_equal(values[2], output.sequence().attributions[0].numpy(), equal_nan=True)
    assert found["whole"] == 2 and found["scores"] == [-1, -2, -3] and found["errors"][2] is None
    assert found["blocks"] == [["text", 5], ["answer", 2]] and found["scales"] == [0.9, 1.1]
    ((found,),) = payload(to_html([generation("The film", [" a", " b"], signed=False)]))
    assert "whole" not in found and len(found["values"]) == 2


def test_infinity_and_nothing_are_values_too():
    ((found,),) = payload(
        to_html([explanation(["a", "b"], [[float("inf"), float("nan")]], base_scores=torch.tensor([-torch.inf]))])
    )
    assert numbers(found["values"])[0][0] == np.inf and np.isnan(numbers(found["values"])[0][1])
    assert found["scores"] == [None] and found["scales"] == [0]


def test_explanations_of_one_text_are_grouped_in_order(tmp_path):
    other = explanation(["Other", "text"], [[1.0, 2.0]])
    page = to_html([film(), other, film(method="Lime")], tmp_path / "a.html", title="Two")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == page
    assert [[one["facts"][0] for one in group] for group in payload(page)] == [
        [["Method", "Occlusion"], ["Method", "Lime"]],
        [["Method", "Occlusion"]],
    ]
    assert ("title", ()) in Outline(page).elements and "Two" in Outline(page).texts


def test_many_values_are_sent_compactly():
    output = explanation([f"w{i}" for i in range(500)], np.random.default_rng(0).normal(size=(50, 500)).tolist())
    assert len(to_html([output])) < 6 * 50 * 500 + 90_000
    assert len(to_html([film()])) < 70_000


def test_nothing_is_loaded_and_no_other_script_may_run():
    page = to_html([film()]).replace('xmlns="http://www.w3.org/2000/svg"', "")  # a name, not an address
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
        ((data,),) = json.loads(found.scripts["application/json"])
        assert data["labels"] == [bad] and data["elements"][0] == bad
        assert not set("<>&\u2028\u2029") & set(found.scripts["application/json"])


@pytest.mark.parametrize("bad", INJECTIONS)
def test_texts_of_a_generation_make_no_elements_and_survive(bad):
    for harmless, output in (
        (generation("word", ["a", "b"]), generation(bad.replace(" ", "_"), [bad, "b"], method=bad, inference_mode=bad)),
        (conversation(), conversation(bad, bad)),
    ):
        for write in (lambda e: to_html([e]), lambda e: to_fragment([e])):
            wanted, found = Outline(write(harmless)), Outline(write(output))
            assert [e for e in found.elements if e[0] != "meta"] == [e for e in wanted.elements if e[0] != "meta"]
            assert found.scripts["script"] == wanted.scripts["script"]
            ((data,),) = json.loads(found.scripts["application/json"])
            assert data["labels"][: len(output.targets)] == output.target_labels
            assert "".join(segment[0] for segment in data["segments"]) == output.text
            assert not set("<>&\u2028\u2029") & set(found.scripts["application/json"])
            assert found.scripts["application/json"].isascii()


def test_fragments_stand_side_by_side():
    twice = Outline(to_fragment([film()]) + to_fragment([film()]))
    assert not [value for _, attributes in twice.elements for name, value in attributes if name == "id"]
    assert sum(dict(attributes).get("class") == "interpreto" for _, attributes in twice.elements) == 2


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


def test_a_notebook_shows_the_fragment(monkeypatch, capsys):
    shown = []
    display = ModuleType("IPython.display")
    display.HTML, display.display = str, shown.append  # type: ignore[attr-defined]
    notebook = ModuleType("IPython")
    notebook.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    notebook.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    plot_attributions([film()])
    assert shown == [to_fragment([film()])] and capsys.readouterr().out == ""
    plot_attributions(film(), backend="terminal")
    assert len(shown) == 1 and "positive" in capsys.readouterr().out


def test_a_backend_that_is_missing_or_unknown_is_told(monkeypatch):
    with pytest.raises(OptionError, match=r"`backend`: got 'svg'; pass one of 'auto', 'notebook', 'terminal', 'matplotlib'"):
        plot_attributions(film(), backend="svg")
    for module, backend in (("IPython", "notebook"), ("matplotlib", "matplotlib")):
        monkeypatch.setitem(sys.modules, module, None)
        for loaded in [name for name in sys.modules if name.startswith(f"{module}.")]:
            monkeypatch.setitem(sys.modules, loaded, None)
        monkeypatch.delitem(sys.modules, "interpreto.visualizations.figures.attributions", raising=False)
        monkeypatch.delattr("interpreto.visualizations.figures.attributions", raising=False)
        with pytest.raises(OptionError, match=f"pip install {module.lower()}"):
            plot_attributions(film(), backend=backend)
