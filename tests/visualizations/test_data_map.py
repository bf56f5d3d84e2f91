"""Data maps and suspected label errors in every medium show the numbers of the record."""

from __future__ import annotations

import re

import pytest

from interpreto.training import TrainingDynamics
from interpreto.visualizations.training_layout import COLORS, DOTS, read_map
from tests.visualizations.pages import training


def test_each_text_is_a_dot_at_its_variability_and_confidence():
    record = training()
    drawn = read_map(record)
    assert [(dot.x, dot.y) for dot in drawn.dots] == list(
        zip(record.variability.tolist(), record.confidence.tolist(), strict=True)
    )
    page = record.to_html()
    assert len(re.findall(r'<circle cx="[\d.]+" cy="[\d.]+" r="3.2"', page)) == 12
    assert drawn.dots[11].step == 0 and f'fill="{COLORS[0]}"' in page
    assert drawn.never == int(record.forgetting_events.isinf().sum()) >= 1


def test_forgotten_texts_come_in_the_order_of_their_events_and_none_that_was_never_learned():
    record = training()
    drawn, events = read_map(record), record.forgetting_events
    counts = [one.events for one in drawn.forgotten]
    assert counts == sorted((int(e) for e in events.tolist() if 0 < e < float("inf")), reverse=True) and len(counts) >= 2
    assert "text 11" not in record.to_html().split("Most forgotten")[1]
    assert str(record).startswith(f"12 texts, 6 epochs: {drawn.never} never learned")


def test_of_many_texts_every_nth_is_drawn():
    record = TrainingDynamics()
    n = 2 * DOTS + 1
    record.record(0, range(n), [[0.0, 1.0]] * n, [1] * n)
    assert len(read_map(record).dots) == n // 3 + 1 and read_map(record).n == n


def test_texts_and_labels_are_escaped(tmp_path):
    for shown in (training(), training().suspected_label_errors(3)):
        page = shown.to_html(tmp_path / "a.html")
        assert "<b>bold" not in page and "&lt;b&gt;bold" in page and "<no>" not in page
        assert shown._repr_html_().startswith('<div class="interpreto')


def test_label_errors_are_rows_in_the_order_of_suspicion():
    found = training().suspected_label_errors(4)
    rows = re.findall(r'<th scope="row">(text \d+)', found.to_html())
    assert rows == [text.split(" <")[0] for text in found.texts] and rows[0] == "text 11"
    lines = str(found).splitlines()
    assert lines[0] == "4 of 12 texts, by negative area under the margin" and "yes → <no>: text 11" in lines[1]
    same = training().suspected_label_errors(12)
    assert any(row.endswith("the same: " + same.texts[-1]) for row in str(same).splitlines())


def test_for_print():
    pytest.importorskip("matplotlib")
    record = training()
    axes = record.plot(backend="matplotlib").axes[0]
    assert sum(len(part.get_offsets()) for part in axes.collections) == 12
    for by in ("aum", "forgetting"):
        assert len(record.suspected_label_errors(3, by).plot(backend="matplotlib").axes[0].patches) == 3
