"""Parts by tokens in every medium; the page holds the numbers of the result."""

from __future__ import annotations

import json
import re

import pytest
import torch

from interpreto.concepts import PatchingOutput
from interpreto.errors import InputError
from interpreto.visualizations.patching import renderer


def made(gap=4.0, parts=3, agreement=None):
    """Return a result with numbers of its own."""
    draw = torch.Generator().manual_seed(parts)
    changes = {"denoise": torch.randn(parts, 2, generator=draw), "noise": torch.randn(parts, 2, generator=draw)}
    names = tuple(f"layer {i}" for i in range(parts))
    scores = 3.0, 3.0 - gap
    exact = {} if agreement is None else changes
    method = "exact" if agreement is None else "attribution"
    sides = "The <b>king", "The <i>queen", ("The", " <b>king"), ("The", " <i>queen")
    return PatchingOutput(*sides, names, "' he' − ' she'", *scores, changes, method, exact, agreement or {})


def data_of(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1])["pairs"]


def test_a_page_holds_every_number_and_loads_nothing(tmp_path):
    output = made(agreement={"denoise": 0.5, "noise": float("nan")})
    output.plot(tmp_path / "patching.html", backend="terminal")
    page = (tmp_path / "patching.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=", page) and "<b>king" not in page
    (pair,) = data_of(page)
    for direction in ("denoise", "noise"):
        for row, values in enumerate(output.effects(direction).tolist()):
            assert pair["grids"][direction][row] == pytest.approx(values, rel=1e-6)
    assert pair["agreement"] == {"denoise": 0.5, "noise": None} and pair["shares"] is True
    assert (pair["parts"], pair["scores"]) == (list(output.parts), [3, -1])


def test_without_a_gap_changes_are_shown_as_they_are():
    output = made(gap=0.0)
    (pair,) = data_of(output.to_html())
    assert pair["shares"] is False and output.effects().isnan().all()
    assert pair["grids"]["noise"][0] == pytest.approx(output.changes["noise"][0].tolist(), rel=1e-6)
    assert "%" not in str(output)


def test_of_many_parts_the_largest_are_drawn_in_order():
    output = made(parts=200)
    (pair,) = data_of(output.to_html())
    largest = sum(values.abs().amax(1) for values in output.changes.values())
    wanted = sorted(largest.topk(60).indices.tolist())
    assert pair["parts"] == [f"layer {i}" for i in wanted] and pair["count"] == 200


def test_every_medium_draws_it():
    output = made(agreement={"denoise": 0.5, "noise": 1.0})
    figure = output.plot(backend="matplotlib")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["layer 2", "layer 1", "layer 0"]
    text = str(output)
    part, token, change = output.top(1)[0]
    assert f"{part} at {output.tokens[token]!r}".replace("' ", "'") in text.replace("' ", "'")
    assert f"{change / output.gap:+.0%}" in text and "Spearman with exact patching of the largest cells: 0.50" in text
    assert "<table>" in output._repr_html_()
    with pytest.raises(InputError, match="nothing in it"):
        renderer([])
