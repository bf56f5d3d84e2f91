"""Curves of metrics: their means, the random band, and that no name leaves its place."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch

from interpreto import Occlusion, Saliency, demo
from interpreto.errors import InputError, OptionError
from interpreto.metrics import ABPC, Benchmark, Deletion, Sparseness
from interpreto.metrics.benchmark_table import BenchmarkTable, Cell
from interpreto.metrics.result import MetricResult
from interpreto.visualizations import plot_curves
from interpreto.visualizations.curve_layout import GRID, read_curves
from interpreto.visualizations.curves import renderer
from interpreto.visualizations.html.curves import to_svg
from interpreto.visualizations.terminal.curves import to_lines
from tests.metrics.games import additive, explained, model_of
from tests.visualizations.test_html import Outline

TEXTS = ["A gorgeous, moving film.", "Dull, and far too long.", "It is what it is."]


@pytest.fixture(scope="module")
def table():
    model, tokenizer = demo.load_classifier()
    return Benchmark(model, tokenizer, metrics=["Deletion", "ABPC"]).run(
        [Occlusion(model, tokenizer), Saliency(model, tokenizer)], TEXTS
    )


def results(table, metric="Deletion"):
    return {name: table[name, metric] for name in table.names}


def test_a_mean_is_of_curves_read_off_one_grid():
    game = model_of(additive((0.4, 0.3, 0.2, 0.1)), 4)
    result = Deletion(*game, measure="score").run(explained(*game, (4, 3, 2, 1), (1, 2, 3, 4)))
    metric, label, (curve,) = read_curves(result)
    assert (metric, label) == ("Deletion", "score (Deletion)")
    steps = np.array([1.0, 0.75, 0.5, 0.25, 0.0])  # the mean of 1 .6 .3 .1 0 and 1 .9 .7 .4 0
    np.testing.assert_allclose(curve.mean[:: (GRID - 1) // 4], steps, atol=1e-6)
    assert curve.area == pytest.approx(float(result), abs=1e-3)


def test_uneven_steps_stand_where_they_are():
    game = model_of(additive([0.1] * 10), 10)
    result = Deletion(*game, measure="score", n_perturbations=4).run(explained(*game, range(10, 0, -1)))
    (curve,) = read_curves(result)[2]
    np.testing.assert_allclose(curve.mean, np.linspace(1, 0, GRID), atol=1e-6)


def test_random_orders_span_a_band(table):
    curves = {curve.name: curve for curve in read_curves(results(table))[2]}
    random = curves["random"]
    assert bool((random.low <= random.mean + 1e-12).all() and (random.mean <= random.high + 1e-12).all())
    assert float((random.high - random.low).max()) > 0.01
    assert curves["Occlusion"].low is None
    assert (curves["Occlusion"].mean <= curves["reversed Occlusion"].mean + 1e-9).mean() > 0.9


def test_each_backend_shows_them(table, tmp_path, capsys):
    figure = table.curves("Deletion", tmp_path / "curves.pdf", backend="matplotlib")
    assert [line.get_label() for line in figure.axes[0].lines] == table.names
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), read_curves(results(table))[2][0].mean)
    assert table.curves("ABPC", tmp_path / "curves.html", backend="terminal") is None
    out = capsys.readouterr().out
    assert all(name in out for name in table.names)
    page = (tmp_path / "curves.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<polyline") == len(table.names)
    assert page.count("<polygon") == 1
    assert "<script" not in page


def test_areas_are_written_beside_the_bars(table):
    line = to_lines("probability", read_curves(results(table))[2]).splitlines()[1]
    assert float(re.search(r"area (\d\.\d+)", line)[1]) == pytest.approx(float(table["Occlusion", "Deletion"]), abs=2e-3)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '" onload="alert(1)', "'&lt;", "$x$ & y"])
def test_names_stay_text(name):
    game = model_of(additive((0.4, 0.3)), 2)
    result = Deletion(*game).run(explained(*game, (2, 1)))
    svg = to_svg("a & b", read_curves({name: result})[2])
    assert "<script" not in svg
    assert 'onload="' not in svg
    assert plot_curves({name: result}, backend="matplotlib").axes[0].lines[0].get_label() == name


def test_names_of_methods_cannot_act_on_a_terminal_or_break_a_line(capsys):
    game = model_of(additive((0.4, 0.3)), 2)
    plot_curves({"a\x1b[31m\nb\u202ec": Deletion(*game).run(explained(*game, (2, 1)))}, backend="terminal")
    out = capsys.readouterr().out
    assert "a␛[31m b⟨U+202E⟩c" in out and not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out)
    assert len(out.splitlines()) == 2


def test_what_cannot_be_drawn(table):
    game = model_of(additive((0.4, 0.3)), 2)
    outputs = explained(*game, (2, 1))
    with pytest.raises(InputError, match="no curve"):
        plot_curves(Sparseness().run(outputs))
    with pytest.raises(InputError, match="ABPC, Deletion"):
        plot_curves({"a": Deletion(*game).run(outputs), "b": ABPC(*game).run(outputs)})
    with pytest.raises(InputError, match="got none"):
        plot_curves({})
    with pytest.raises(OptionError, match="`backend`: got 'svg'"):
        plot_curves(table["Occlusion", "Deletion"], backend="svg")
    assert torch.is_tensor(table["Occlusion", "Deletion"].details["fractions"][0][0])


def test_a_single_curve_is_next_to_the_line_of_random_orders():
    game = model_of(additive((0.4, 0.3, 0.2, 0.1)), 4)
    result = Deletion(*game, measure="score").run(explained(*game, (4, 3, 2, 1)))
    figure = plot_curves(result, backend="matplotlib")
    line, chance = figure.axes[0].lines
    assert chance.get_label() == "random, if units add up"
    orders = [[0, *np.cumsum(order)] for order in itertools.permutations((0.4, 0.3, 0.2, 0.1))]  # what is lost, step by step
    np.testing.assert_allclose(chance.get_ydata()[:: (GRID - 1) // 4], 1 - np.mean(orders, axis=0), atol=1e-6)
    assert line.get_ydata()[50] < chance.get_ydata()[50]
    page = renderer(result).to_html()
    assert page.count("<polyline") == 2 and page.count("<main") == 1 and 'lang="en"' in page


def test_the_page_of_a_benchmark_has_winners_intervals_and_curves(table, tmp_path):
    page = table.to_html(tmp_path / "benchmark.html")
    outline = Outline(page)
    assert [tag for tag, _ in outline.elements if tag in ("main", "h1")] == ["main", "h1"]
    assert ("html", (("lang", "en"),)) in outline.elements
    shown = " ".join(outline.texts)
    assert "2 methods, 2 metrics, 3 texts" in shown and "Deletion ↓" in shown and "ABPC ↑" in shown
    best = table.best("Deletion")
    assert best == min(("Occlusion", "Saliency"), key=lambda name: float(table[name, "Deletion"]))
    assert page.count('<td class="best"') == 2 and page.count("<polygon") == 2 == page.count("interpreto-curves")
    low, high = table["Occlusion", "Deletion"].interval()
    assert f"95 % interval {low:.4g} to {high:.4g}" in page
    figure = table.plot(backend="matplotlib")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Deletion", "ABPC"]
    assert table._repr_html_().startswith('<div class="interpreto benchmark">')


def test_methods_are_as_good_as_the_best_where_their_difference_may_be_nothing():
    def result(values):
        return MetricResult(float(np.mean(values)), torch.tensor(values), {}, True, (None, None), len(values), 0, {}, "ABPC")

    cells = {
        "best": result([1.0, 2.0, 3.0, 4.0]),
        "worse": result([0.0, 1.1, 2.0, 3.1]),
        "alike": result([1.2, 1.6, 3.3, 3.6]),
        "other texts": result([2.0, 2.0]),
        "random": result([1.0, 2.0, 3.0, 3.9]),
    }
    made = BenchmarkTable({name: {"ABPC": Cell(own, 1)} for name, own in cells.items()})
    assert made.best("ABPC") == "best" and made.as_good_as_the_best("ABPC") == ["alike"]
    assert "not clearly better than alike" in made.to_html()
