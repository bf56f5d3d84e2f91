"""Rounding of the scores is no evidence: no view draws values below it, and every view draws values above it."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from interpreto.rounding import noise_of
from interpreto.visualizations import plot_attributions, to_html
from interpreto.visualizations.concepts import concepts_to_html
from interpreto.visualizations.terminal.attributions import to_text
from interpreto.visualizations.terminal.concepts import concepts_to_text
from interpreto.visualizations.text_layout import noise, without_noise
from tests.visualizations.concept_examples import local
from tests.visualizations.examples import explanation, film, generation


def rounded(size: float, score: float = 1.0, **facts):
    """An explanation whose values are ``size`` and half of it."""
    return explanation(["a", "b"], [[size, -size / 2]], base_scores=torch.tensor([score]), **facts)


def drawn(output) -> dict[str, bool]:
    """Whether each medium draws anything of the values."""
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', to_html(output)).group(1))[0][0]
    values = np.frombuffer(base64.b64decode(data["values"][0]), "<f4")
    (axes,) = plot_attributions(output, backend="matplotlib").axes
    return {
        "page": bool((values != 0).any()) and data["scales"][0] > 0,
        "static page": "background-color" in to_html(output),
        "terminal": "█" in to_text(output, color=False),
        "colors": bool(re.search(r"\x1b\[(?![02]m)", to_text(output, color=True).split("\n")[1])),  # neither dim nor reset
        "figure": any(patch.get_width() for patch in axes.patches),
    }


@pytest.mark.parametrize("score", [1.0, -300.0, 1e-6])
def test_values_within_the_rounding_of_the_scores_are_drawn_as_zero(score):
    limit = noise_of(score)
    assert not any(drawn(rounded(0.9 * limit, score)).values())
    assert all(drawn(rounded(1.5 * limit, score)).values())


def test_the_reference_counts_and_so_does_the_precision_of_the_scores():
    limit = noise_of(100.0)
    assert not any(drawn(rounded(0.9 * limit, 1e-3, reference_scores=torch.tensor([100.0]))).values())
    exact = explanation(["a"], [[0.9 * limit]], base_scores=torch.tensor([100.0], dtype=torch.float64))
    assert without_noise(exact).attributions.item() != 0


def test_magnitudes_have_units_of_their_own():
    assert all(drawn(rounded(1e-12, signed=False)).values())


def test_each_row_has_its_own_rounding():
    output = explanation(["a", "b"], [[1e-5, 2.0], [1e-5, 2.0]], base_scores=torch.tensor([1.0, 1e3]))
    assert without_noise(output).attributions.tolist() == [[pytest.approx(1e-5), 2.0], [0.0, 2.0]]
    assert noise(output).tolist() == pytest.approx([noise_of(1.0), noise_of(1e3)])


def test_what_cannot_be_seen_stays_unseen_and_other_values_stay_exact():
    for output in (film(), generation("A film", [" so", " good"])):
        clean = without_noise(output).attributions
        assert torch.equal(clean.isnan(), output.attributions.isnan())
        assert torch.equal(clean.nan_to_num(), output.attributions.nan_to_num())


def test_infinite_scores_hide_nothing():
    output = explanation(["a"], [[1.0]], base_scores=torch.tensor([torch.inf]))
    assert without_noise(output).attributions.item() == 1.0


def test_errors_within_the_rounding_are_drawn_as_zero():
    output = rounded(0.5 * noise_of(1.0), standard_error=torch.full((1, 2), 0.4 * noise_of(1.0)))
    text = to_text(output, color=False)
    assert "±" not in text and re.search(r"a  ▏ +0$", text, re.MULTILINE)


@pytest.mark.parametrize(("share", "seen"), [(0.9, False), (1.5, True)])
def test_effects_of_concepts_within_the_rounding_of_the_scores_are_drawn_as_zero(share, seen):
    view = local()
    limit = noise_of(view.scores.abs().min())
    limits = torch.tensor([noise_of(score) for score in view.scores]) if not seen else torch.full_like(view.scores, limit * 10)
    view = replace(view, effects=share * limits[:, None, None] * torch.ones_like(view.effects))
    assert ("█" in concepts_to_text(view, color=False).replace("bars: █", "")) == seen
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', concepts_to_html(view)).group(1))
    assert (data["top"] > 0) == seen
    widths = [patch.get_width() for axes in view.plot(backend="matplotlib").axes[:2] for patch in axes.patches]
    assert any(widths) == seen
