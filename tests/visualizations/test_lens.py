"""Layers by tokens in every medium; the page holds the numbers of the result."""

from __future__ import annotations

import json
import re

import pytest

from interpreto import LogitLens, plot_lens
from interpreto.errors import InputError
from tests import tiny

TEXTS = ["The film was <b>not</b> good.", "Great"]


@pytest.fixture(scope="module")
def outputs():
    return LogitLens(*tiny.CAUSAL_LMS["gpt2"](), k=3)(TEXTS)


def test_a_page_holds_every_number_and_loads_nothing(outputs, tmp_path):
    plot_lens(outputs, tmp_path / "lens.html", backend="terminal")
    page = (tmp_path / "lens.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=", page) and "<b>not" not in page
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    for output, drawn in zip(outputs, data["texts"], strict=True):
        assert drawn["tokens"] == list(output.tokens) and drawn["ids"] == output.ids.tolist()
        assert drawn["ranks"] == output.target_ranks.tolist() and drawn["answers"] == output.target_labels
        assert drawn["answer"][0] == pytest.approx(output.target_probabilities[0].tolist(), rel=1e-6)
        assert {int(i) for i in drawn["labels"]} >= set(output.ids.flatten().tolist())


def test_every_medium_draws_it(outputs, capsys):
    figure = plot_lens(outputs, backend="matplotlib")
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["1", "0", "embeddings"]
    assert len(first.texts) >= 3 * len(outputs[0].tokens)
    plot_lens(outputs, backend="terminal")
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == TEXTS[0] and lines[2].lstrip().startswith("layer 1") and "rank 1 " in lines[2]
    assert str(outputs[1]).startswith("Great\n") and "<table>" in outputs[0]._repr_html_()


def test_other_things_are_refused(outputs):
    with pytest.raises(InputError, match="nothing in it"):
        plot_lens([])


def test_aligned_answers_stand_at_the_token_that_they_predict(outputs, tmp_path, capsys):
    plain, aligned = outputs[0], outputs[0].aligned()
    assert aligned.tokens == plain.tokens[1:] and aligned.aligned() is aligned and not plain.is_aligned
    for layer in plain.layers:
        for token in range(len(aligned.tokens)):
            assert aligned.top(layer, token) == plain.top(layer, token)  # after token t, so of token t + 1
    assert aligned.depth.tolist() == plain.depth.tolist()[:-1] and aligned.ranks(0) == plain.ranks(0)
    plot_lens(outputs, tmp_path / "lens.html", align=True, backend="terminal")
    assert f"in place of {plain.tokens[-1]!r}" in capsys.readouterr().out
    page = (tmp_path / "lens.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert data["texts"][0]["tokens"] == list(plain.tokens[1:]) and data["texts"][0]["answers"] == plain.target_labels[:-1]
    classifier = LogitLens(*tiny.CLASSIFIERS["bert"]())("A film.")[0]
    assert classifier.aligned() is classifier
