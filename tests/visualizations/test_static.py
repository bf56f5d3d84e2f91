"""What is left of a page where its script is stripped: words and values, with inline colors, and no more than text."""

from __future__ import annotations

import re

import pytest
import torch

from interpreto import Occlusion, Saliency, demo
from interpreto.metrics import Benchmark
from interpreto.visualizations import to_fragment, to_html
from interpreto.visualizations.concepts import concepts_to_fragment, concepts_to_html
from interpreto.visualizations.curves import renderer as curve_renderer
from tests.visualizations.concept_examples import dataset, local
from tests.visualizations.examples import INJECTIONS, conversation, explanation, film, generation

SCRIPTS = re.compile(r"<(script|style)[\s\S]*?</\1>")


def left(page: str) -> str:
    """A page as a sanitizer leaves it: without scripts and style sheets."""
    return SCRIPTS.sub("", page)


def words(page: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", left(page)).split())


@pytest.mark.parametrize("write", [to_fragment, to_html])
def test_words_and_values_remain(write):
    shown = words(write([film(), film(method="Lime")]))
    for part in (
        "A dull but lovely film",
        "positive 0.500 logits · Occlusion",
        "dull −0.800",
        "lovely +0.612",
        "· Lime",
        "negative",
    ):
        assert part in shown
    assert shown.count("−0.800") == 2  # once per method


def test_units_are_colored_by_their_share_of_the_largest_value():
    page = left(to_fragment(film(base_scores=torch.tensor([1.5, 0.5]))))
    found = re.findall(r'background-color:#(\w{6})">([^<]*)<', page)
    assert re.findall(r'underline dotted;background-color:#\w{6}">([^<]*)<', page) == ["dull"]
    colors = {word: color for color, word in found}
    assert set(colors) == {"dull", "lovely", "A"}  # 0.02 of 0.8 is too faint, NaN is none
    assert colors["dull"] == "5c9eeb"  # full, against
    red, blue = int(colors["lovely"][:2], 16), int(colors["lovely"][4:], 16)
    assert red > blue


def test_a_generation_is_its_whole_answer():
    shown = words(to_fragment(generation("The film was", [" so", " good"])))
    assert "so good −3.00 log-probability (nats) · Occlusion" in shown and "The film was so good" in shown
    assert "the sum of 2 rows" in shown


@pytest.mark.parametrize("view", [dataset(), local()], ids=["data set", "text"])
@pytest.mark.parametrize("write", [concepts_to_fragment, concepts_to_html])
def test_concepts_remain(write, view):
    shown = words(write(view))
    assert all(name in shown for name in view.outputs) and "importance" in shown
    assert view.passages(view.shown[0])[0].text in shown


def test_curves_and_tables_need_no_script():
    model, tokenizer = demo.load_classifier()
    methods = [Occlusion(model, tokenizer), Saliency(model, tokenizer)]
    table = Benchmark(model, tokenizer, metrics=["Deletion"]).run(methods, ["A gorgeous film."])
    curves = curve_renderer({name: table[name, "Deletion"] for name in table.names})
    for page in (curves.page(), curves.fragment(), table._repr_html_()):
        without_drawing = words(re.sub(r"<svg[\s\S]*?</svg>", "", left(page)))  # sanitizers take drawings out, too
        assert "Occlusion" in without_drawing and re.search(r"\d\.\d+", without_drawing)


@pytest.mark.parametrize("bad", INJECTIONS)
def test_texts_stay_texts(bad):
    pages = (
        (explanation(["word", "other"], [[0.5, -0.2]], ["label"]), explanation([bad, "other"], [[0.5, -0.2]], [bad])),
        (conversation(), conversation(bad, bad)),
    )
    for harmless, output in pages:
        tags = [re.findall("<[^>]*>", left(to_fragment(one))) for one in (harmless, output)]
        assert tags[0] == tags[1]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", left(to_fragment(output)))


def test_it_stays_small():
    values = torch.linspace(1, 2, 3000)[None].tolist()
    output = explanation([f"w{i}" for i in range(3000)], values * 40)
    assert len(left(to_fragment(output))) < 2 * len(output.text)
