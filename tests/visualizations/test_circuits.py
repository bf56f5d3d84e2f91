"""Circuits in every medium, always with the curve; the page holds the numbers of the circuit."""

from __future__ import annotations

import json
import re

import pytest

from tests.visualizations.pages import attribution_graph, circuit


def data_of(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.parametrize("tokens", [True, False])
def test_a_page_holds_every_number_and_loads_nothing(tmp_path, tokens):
    found = circuit(tokens)
    found.plot(tmp_path / "circuit.html", backend="terminal")
    page = (tmp_path / "circuit.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=", page) and "<b>king" not in page
    data = data_of(page)
    assert [node["name"] for node in data["nodes"]] == [node.name for node in found.nodes]
    assert [node["effect"] for node in data["nodes"]] == pytest.approx([node.effect for node in found.nodes])
    assert data["edges"] == [[edge.source, edge.target, pytest.approx(edge.weight)] for edge in found.edges]
    assert data["curve"][1] == [1, 0.25, 0.5] and data["curve"][-1][0] == found.candidates
    assert data["rows"] == ["layer 0 att.o input", "layer 0 mlp", "layer 2 mlp"]  # the place without a node is left out


def test_nodes_at_one_token_stand_next_to_each_other():
    data = data_of(circuit(True).to_html())
    places = {(node["row"], node["column"]) for node in data["nodes"]}
    assert len(places) == len(data["nodes"])
    assert data["columns"] == [0.0, 1.0, 2.0] and data["width"] == 3  # a token is as wide as its nodes on one row
    for node in data["nodes"]:
        assert node["token"] == min(range(3), key=lambda t: abs(data["columns"][t] - node["column"]))


def test_many_nodes_at_one_token_go_on_in_the_next_row():
    found = attribution_graph()
    data = data_of(found.to_html())
    assert data["rows"] == ["embedding", "layer 1 mlp", "", ""] and data["width"] == 1 + 4 + 1
    assert [node["row"] for node in data["nodes"]] == [1] * 4 + [2] * 4 + [3, 0, 1]
    assert [node["column"] for node in data["nodes"][:4]] == [1, 2, 3, 4] and data["nodes"][8]["column"] == 2.5
    assert [node["bare"] for node in data["nodes"]] == [False] * 9 + [True, True]
    assert data["graph"] == [0.75, 0.5] and data["nodes"][9]["influence"] == 0.4
    assert "influence 40.0 %" in str(found) and "replacement score 0.75" in str(found) and "40.0 %" in found._repr_html_()
    labels = found.plot(backend="matplotlib").axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["embedding", "layer 1 mlp"]


@pytest.mark.parametrize("tokens", [True, False])
def test_every_medium_shows_the_curve(tokens):
    found = circuit(tokens)
    figure = found.plot(backend="matplotlib")
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == ["0", "1", "4", "9"]
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels.count("head 1") == 2 if tokens else "head 0" in labels
    text = str(found)
    assert re.search(r"4: +0\.75 +0\.80 ←", text) and "→" in text
    assert found._repr_html_().count("<table>") == 2 and "<table" in found.to_html()
