"""The command line, in process, on the embedded classifier."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from interpreto import KernelShap, demo
from interpreto.cli import METHODS, main

TEXT = "A gorgeous, moving film."


def run(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains(capsys, method):
    code, out, err = (
        run(capsys, "explain", TEXT, "--method", method, "--steps", "64")
        if method not in ("occlusion", "saliency", "input-x-gradient")
        else run(capsys, "explain", TEXT, "--method", method)
    )
    assert (code, err) == (0, "")
    assert out.startswith("positive") and "gorgeous" in out and METHODS[method] in out


def test_numbers_are_those_of_the_library(capsys, tmp_path):
    wanted = KernelShap(*demo.load_classifier(), granularity="token", random_state=3)(TEXT, ["negative", "positive"])[0]
    arguments = ["--method", "kernel-shap", "--granularity", "token", "--target", "negative", "--target", "1", "--seed", "3"]
    code, _, _ = run(
        capsys, "explain", TEXT, *arguments, "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")
    )
    (found,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert code == 0
    assert found["attributions"] == wanted.attributions.tolist() and found["residual"] == wanted.residual.tolist()
    assert found["target_labels"] == ["negative", "positive"] and found["elements"] == wanted.elements
    assert (tmp_path / "a.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_a_dash_reads_lines(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Good film.\n\nBad film.\n"))
    assert run(capsys, "explain", "-", "--json", str(tmp_path / "a.json"))[0] == 0
    assert [e["text"] for e in json.loads((tmp_path / "a.json").read_text())] == ["Good film.", "Bad film."]


def test_a_folder_is_a_model(capsys, tmp_path):
    model, tokenizer = demo.load_classifier()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    capsys.readouterr()
    own, embedded = run(capsys, "explain", TEXT, "--model", str(tmp_path)), run(capsys, "explain", TEXT)
    assert own[0] == 0 and own[1] == embedded[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "positiv"], "no class is called 'positiv'; there are 'negative', 'positive'. Did you mean 'positive'?"),
        (["--granularity", "wrd"], "`granularity`: got 'wrd'"),
        (["--replacement", "mask"], "`--replacement`: integrated-gradients has no such option; these have: occlusion, lime"),
        (["--method", "occlusion", "--steps", "9"], "`--steps`: occlusion has no such option"),
        (["--model", "/no/such/folder"], "/no/such/folder"),
        (["--mode", "softmx"], "`inference_mode`: got 'softmx'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_two(capsys, arguments, message):
    code, out, err = run(capsys, "explain", TEXT, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("interpreto: error: ") and message in err and "Traceback" not in err


def test_a_warning_is_a_line(capsys):
    code, _, err = run(capsys, "explain", TEXT, "--steps", "1", "--baseline", "zero", "--target", "0")
    assert code == 0
    assert err.startswith("interpreto: warning: IntegratedGradients: the attributions of") and "n_perturbations=" in err


def test_methods_lists_all(capsys):
    code, out, _ = run(capsys, "methods")
    assert code == 0
    for name, method in METHODS.items():
        assert name in out and method in out


def test_help_loads_no_torch():
    code = (
        "import sys\ntry:\n from interpreto.cli import main; main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.endswith("False\n")


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "interpreto", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("interpreto ")
