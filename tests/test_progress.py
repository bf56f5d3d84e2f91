"""Progress: with totals, by itself in terminals and notebooks after two seconds, gone when done, and silent elsewhere."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from interpreto import ModelWithSplitPoints, Occlusion, progress
from tests import tiny

TEXTS = ["the film was good", "dull", "not so good"]


@pytest.fixture(scope="module")
def bert():
    return tiny.CLASSIFIERS["bert"]()


def test_without_a_terminal_nothing_is_shown(bert, capsys):
    Occlusion(*bert)(TEXTS)
    assert capsys.readouterr().err == ""


def test_asked_for_it_has_a_total_and_is_gone_when_done(bert, capsys):
    Occlusion(*bert, tqdm_bar=True)(TEXTS)
    shown = capsys.readouterr().err
    assert "3/3" in shown and "Occlusion" in shown and "passes" in shown
    assert shown.split("\r")[-1].strip() == ""


def test_what_is_read_as_it_comes_has_no_total(bert, capsys):
    list(Occlusion(*bert, tqdm_bar=True).stream(text for text in TEXTS))
    assert "3 texts" in (shown := capsys.readouterr().err) and "/3" not in shown


@pytest.mark.parametrize(("environment", "expected"), [("1", True), ("0", False)])
def test_in_a_terminal_it_is_shown_by_itself_after_two_seconds(bert, capsys, monkeypatch, environment, expected):
    monkeypatch.setenv("INTERPRETO_PROGRESS", environment)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    Occlusion(*bert)(TEXTS)
    assert "Occlusion" not in capsys.readouterr().err  # it took less
    monkeypatch.setattr(progress, "SECONDS", 1e-9)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    Occlusion(*bert)(TEXTS)
    assert ("Occlusion" in capsys.readouterr().err) is expected


@pytest.mark.parametrize(("kernel", "expected"), [(object(), True), (None, False)])
def test_in_a_notebook_too_and_not_in_other_shells_of_ipython(bert, capsys, monkeypatch, kernel, expected):
    shell = SimpleNamespace(kernel=kernel)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    Occlusion(*bert)(TEXTS)
    assert "Occlusion" not in capsys.readouterr().err  # it took less
    monkeypatch.setattr(progress, "SECONDS", 1e-9)
    Occlusion(*bert)(TEXTS)
    shown = capsys.readouterr().err
    assert ("Occlusion" in shown) is expected and not shown.split("\r")[-1].strip()
    monkeypatch.setenv("INTERPRETO_PROGRESS", "0")
    Occlusion(*bert)(TEXTS)
    assert capsys.readouterr().err == ""


def test_activations_tell_their_texts(bert, capsys):
    splitter = ModelWithSplitPoints(bert[0], [1], tokenizer=bert[1])
    splitter.get_activations(TEXTS, "word", tqdm_bar=True)
    assert "activations" in capsys.readouterr().err
    splitter.get_activations(TEXTS, "word")
    assert capsys.readouterr().err == ""
