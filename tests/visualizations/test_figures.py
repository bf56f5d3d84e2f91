"""Figures for print: what is drawn, read back from the axes."""

from __future__ import annotations

import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from interpreto.visualizations import plot_attributions
from tests.visualizations.examples import INJECTIONS, additive, conversation, explanation, film, generation


@pytest.fixture(autouse=True)
def _own_settings():
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def drawn(*explanations) -> list[Axes]:
    figure = plot_attributions(list(explanations), backend="matplotlib")
    assert isinstance(figure, Figure)
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def bars(axes: Axes) -> dict[str, float]:
    names = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(names, (patch.get_width() for patch in axes.patches), strict=True))


def test_bars_are_the_largest_units_of_each_class():
    positive, negative = drawn(film())
    assert list(bars(positive)) == ["dull", "lovely", "A", "but"]  # nothing is drawn of what cannot be
    assert bars(positive)["dull"] == pytest.approx(-0.8) and bars(negative)["dull"] == pytest.approx(0.8)
    assert positive.get_title("left") == "positive: 0.500 logit" and positive.get_title("right") == "Occlusion"
    assert positive.get_xlabel() == "logit" and positive.get_xlim() == negative.get_xlim()
    assert positive.get_ylim() == (3.5, -0.5)  # the largest is on top
    colors = {patch.get_facecolor() for patch in positive.patches}
    assert len(colors) == 2
    assert len(bars(drawn(additive(30))[0])) == 10


def test_errors_are_drawn():
    (axes,) = drawn(explanation(["a", "b"], [[1.0, -2.0]], standard_error=torch.tensor([[0.25, 0.5]])))
    (lines,) = (container.lines[2][0] for container in axes.containers if hasattr(container, "lines"))
    assert [np.ptp(segment[:, 0]) for segment in lines.get_segments()] == [1.0, 0.5]


def test_methods_stand_side_by_side_and_texts_below_each_other():
    other = explanation(["Other"], [[1.0]])
    axes = drawn(film(), other, film(method="Lime"))
    assert [a.get_title("right") for a in axes] == ["Occlusion", "Lime", "Occlusion", "Lime", "Occlusion"]
    spots = [a.get_subplotspec().get_topmost_subplotspec().rowspan.start for a in axes]  # type: ignore[union-attr]
    assert spots == [0, 0, 1, 1, 2]


def test_a_generation_is_a_heat_map():
    output = generation("The film was", [" so", " good"], [[0.5, -1.0, 2.0, 0, 0], [4.0, 1.0, -3.0, 0.25, 0]])
    (axes,) = drawn(output)
    image = axes.images[0]
    assert np.array_equal(np.ma.filled(image.get_array(), np.nan), output.attributions.numpy(), equal_nan=True)
    assert image.get_clim() == (-4.0, 4.0)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["The", "film", "was", "so", "good"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["so", "good"]
    assert axes.lines[0].get_xdata()[0] == 2.5  # where the answer begins
    low, middle, high = (image.cmap(image.norm(value)) for value in (-4.0, 0.0, 4.0))
    assert middle[:3] == pytest.approx((1, 1, 1), abs=0.01) and low[2] > low[0] and high[0] > high[2]
    assert image.cmap(np.ma.masked)[:3] == pytest.approx((0.847,) * 3, abs=0.01)


def test_magnitudes_have_no_side_against():
    (axes,) = drawn(generation("The film was", [" so", " good"], signed=False))
    assert axes.images[0].get_clim()[0] == 0
    assert drawn(film(signed=False))[0].get_xlim()[0] == 0


def test_a_long_generation_is_drawn_with_some_names():
    (axes,) = drawn(generation(" ".join(f"w{i}" for i in range(400)), [f" a{i}" for i in range(50)]))
    assert len(axes.get_xticklabels()) <= 80 and len(axes.get_yticklabels()) == 50
    assert axes.figure.get_size_inches()[0] <= 24


def test_it_is_written_in_the_format_of_the_suffix(tmp_path):
    for suffix, begins in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        plot_attributions(film(), tmp_path / f"a.{suffix}", backend="matplotlib")
        assert (tmp_path / f"a.{suffix}").read_bytes().startswith(begins)
    assert plot_attributions([conversation()], backend="matplotlib")._repr_png_().startswith(b"\x89PNG")


def test_texts_are_drawn_as_they_are(tmp_path):
    texts = [*INJECTIONS, "$\\frac{", "$x^2$", "_a_^b"]
    outputs = [generation("A $\\x{", texts, method=texts[0]), *(explanation([bad], [[0.5]], [bad]) for bad in texts[9:12])]
    plot_attributions(outputs, tmp_path / "a.svg", backend="matplotlib")
    written = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "<script" not in written and "<img" not in written and "<iframe" not in written
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", written)


def test_a_users_latex_does_not_run_what_a_text_says():
    matplotlib.rcParams["text.usetex"] = True
    for axes in drawn(explanation(["\\input{x}"], [[0.5]]), generation("$a$", ["$b$", "c"], method="$m$")):
        texts = [text for text in axes.findobj(Text) if isinstance(text, Text) and text.get_text()]
        assert texts and not any(text.get_usetex() or text.get_parse_math() for text in texts)


def test_nothing_of_pyplot_is_touched():
    code = (
        "import sys; from tests.visualizations.examples import film; from interpreto import plot_attributions;"
        "assert 'matplotlib' not in sys.modules; plot_attributions(film(), backend='matplotlib');"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
