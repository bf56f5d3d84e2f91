"""Figures for print: what is drawn, read back from the axes."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from itertools import combinations, pairwise

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from interpreto.errors import InputError, OptionError
from interpreto.visualizations import plot_attributions
from interpreto.visualizations.latex import to_latex
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
    negative, positive = drawn(film())
    assert list(bars(positive)) == ["dull", "lovely", "A", "but"]  # nothing is drawn of what cannot be
    assert bars(positive)["dull"] == pytest.approx(-0.8) and bars(negative)["dull"] == pytest.approx(0.8)
    assert positive.get_title("left") == "positive: 0.500 logits" and positive.get_title("right") == "Occlusion"
    assert positive.get_xlabel() == "logits" and positive.get_xlim() == negative.get_xlim()
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
    tops = [round(a.get_position().y1, 6) for a in axes]
    assert tops[0] == tops[1] > tops[2] == tops[3] > tops[4]


def inches(axes: Axes) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of all that is drawn of a pair of axes."""
    assert axes.figure is not None
    box = axes.get_tightbbox()
    assert box is not None
    return tuple(float(side) / axes.figure.dpi for side in (box.x0, box.y0, box.x1, box.y1))  # type: ignore[return-value]


def test_nothing_is_drawn_over_anything_else_or_cut_off():
    long = explanation(["W" * 30, "i" * 30, "\u4e00" * 30], [[0.5, -0.2, 1.0]], ["m" * 60], standard_error=torch.ones(1, 3))
    shown = [film(), film(method="Lime"), long, generation("The film was " + "W" * 30, [" so", " " + "W" * 30]), conversation()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the font lacks Chinese letters
        figure = plot_attributions(shown, backend="matplotlib")
        width, height = figure.get_size_inches()
        boxes = [inches(axes) for axes in figure.axes]
    for left, bottom, right, top in boxes:
        assert left >= 0 and bottom >= 0 and right <= width and top <= height
    for (l1, b1, r1, t1), (l2, b2, r2, t2) in combinations(boxes, 2):
        assert r1 <= l2 or r2 <= l1 or t1 <= b2 or t2 <= b1


def test_many_methods_wrap_and_the_figure_stays_narrow():
    axes = drawn(*(explanation(["a"], [[1.0]], method=f"m{i}") for i in range(30)))
    assert axes[0].figure.get_size_inches()[0] <= 22
    places = [(-round(a.get_position().y1, 6), round(a.get_position().x0, 6)) for a in axes]
    assert places == sorted(places) and len({top for top, _ in places}) == 8


def test_the_cost_of_a_figure_is_linear_in_its_panels(monkeypatch):
    """Counted in measurements of text, which take nearly all of the time."""
    from matplotlib.text import Text as Measured

    count = 0

    def counted(self, *args, own=Measured._get_layout, **options):
        nonlocal count
        count += 1
        return own(self, *args, **options)

    monkeypatch.setattr(Measured, "_get_layout", counted)
    costs = []
    for n in (1, 3, 9):
        count = 0
        plot_attributions([explanation([f"a{i}", "b"], [[1.0, 2.0]]) for i in range(n)], backend="matplotlib")
        costs.append(count)
    assert costs == [costs[0], 3 * costs[0], 9 * costs[0]]


def test_a_figure_that_no_image_can_hold_is_refused_at_once():
    many = [explanation([f"a{i}"], [[1.0]]) for i in range(400)]
    with pytest.raises(InputError, match=r"400 panels make a figure \d+ inches tall, and an image holds 500"):
        plot_attributions(many, backend="matplotlib")


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


def test_a_waterfall_leads_from_the_reference_to_the_score():
    figure = plot_attributions(additive(30), backend="matplotlib", kind="waterfall")
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "score with every word hidden" and names[-3:] == ["20 other words", "residual", "score of the text"]
    ends = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
    assert ends[0][0] == pytest.approx(0.5) and ends[-1][1] == pytest.approx(float(additive(30).base_scores), rel=1e-5)
    assert all(a[1] == pytest.approx(b[0], abs=1e-5) for a, b in pairwise(ends))


def test_what_does_not_add_up_has_no_waterfall():
    with pytest.raises(InputError, match="do not add up"):
        plot_attributions(film(), backend="matplotlib", kind="waterfall")
    with pytest.raises(OptionError, match=r"`kind`: got 'pie'"):
        plot_attributions(film(), backend="matplotlib", kind="pie")
    with pytest.raises(OptionError, match="backend='matplotlib'"):
        plot_attributions(film(), backend="terminal", kind="waterfall")


def test_latex_has_colors_and_no_letter_of_a_text_has_a_meaning_for_it():
    text = to_latex(explanation(["a_b", "50%", "\\x{"], [[1.0, -0.5, 0.0]]))
    assert "{\\strut a\\_b}" in text and "\\textit{50\\%}" in text and "\\textbackslash{}x\\{" in text
    assert text.count("\\colorbox[HTML]") == 2
