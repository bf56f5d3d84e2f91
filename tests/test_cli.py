"""The command line, in process, on the embedded classifier."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from interpreto import Contrast, KernelShap, Occlusion, demo
from interpreto.cli import main
from interpreto.cli.arguments import METHODS
from interpreto.metrics import Benchmark
from tests import tiny

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


@pytest.fixture
def language_model(tmp_path):
    """A folder with a language model that knows chats."""
    model, tokenizer = tiny.chat_lm()
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    return str(tmp_path / "lm")


def test_a_language_models_target_is_a_text(capsys, tmp_path, language_model):
    arguments = ["--model", language_model, "--method", "occlusion", "--target", " good", "--json", str(tmp_path / "a.json")]
    code, out, err = run(capsys, "explain", "The film was", *arguments)
    assert code == 0 and "error" not in err and "film" in out
    (found,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    wanted = Occlusion(*tiny.chat_lm())("The film was", " good")[0]
    assert found["text"] == "The film was good" and found["targets"] == wanted.targets.tolist()
    for row, own in zip(found["attributions"], wanted.attributions, strict=True):
        assert [value is None for value in row] == own.isnan().tolist()
        assert [value for value in row if value is not None] == pytest.approx(own[~own.isnan()].tolist(), abs=1e-5)
    assert found["inference_mode"] == "log_softmax" and found["target_spans"][-1][1] == len("The film was good")
    assert run(capsys, "explain", "The film was", "--model", language_model, "--max-new-tokens", "3")[0] == 0


def test_a_chat_is_a_file(capsys, tmp_path, language_model):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Was it good?"}]
    (tmp_path / "chat.json").write_text(json.dumps(chat), encoding="utf-8")
    common = ["--messages", str(tmp_path / "chat.json"), "--model", language_model, "--method", "occlusion"]
    asked = ["--target", "Yes", "--against", "No", "--roles", "user", "--json", str(tmp_path / "a.json")]
    assert run(capsys, "explain", *common, *asked)[0] == 0
    (found,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    wanted = Occlusion(*tiny.chat_lm())(chat, Contrast("Yes", "No"), roles=("user",))[0]
    assert found["elements"] == ["Was", "it", "good", "?"] == wanted.elements
    assert found["attributions"][0] == pytest.approx(wanted.attributions[0].tolist(), abs=1e-5)
    (tmp_path / "messages.json").write_text(json.dumps({"messages": chat}), encoding="utf-8")
    common[1] = str(tmp_path / "messages.json")
    assert run(capsys, "explain", *common, "--target", "Yes", "--rows", "sequence", "--prompt-only")[0] == 0


def test_classes_are_set_against_each_other(capsys, tmp_path):
    arguments = ["--target", "positive", "--against", "negative", "--method", "occlusion", "--json", str(tmp_path / "a.json")]
    assert run(capsys, "explain", TEXT, *arguments)[0] == 0
    (found,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert found["target_labels"] == ["positive − negative"]


def test_a_chat_that_is_none_is_refused(capsys, tmp_path):
    for content, message in (("{", "holds no JSON"), ("[1]", "holds no list of messages")):
        (tmp_path / "chat.json").write_text(content, encoding="utf-8")
        code, _, err = run(capsys, "explain", "--messages", str(tmp_path / "chat.json"))
        assert code == 2 and message in err
    assert "`TEXT`: got none" in run(capsys, "explain")[2]
    assert "`--against`: got an alternative without" in run(capsys, "explain", TEXT, "--against", "negative")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "positiv"], "no class is called 'positiv'; there are 'negative', 'positive'. Did you mean 'positive'?"),
        (["--granularity", "wrd"], "`granularity`: got 'wrd'"),
        (
            ["--replacement", "mask"],
            "`--replacement`: integrated-gradients has no such option; these have: kernel-shap, lime, occlusion, sobol",
        ),
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


def test_every_method_of_the_package_has_a_name_here():
    from interpreto.attributions import methods

    assert set(METHODS.values()) == set(methods.__all__)
    assert {"kernel-shap": "KernelShap", "input-x-gradient": "InputXGradient", "lime": "Lime"}.items() <= METHODS.items()


def test_the_name_of_a_file_is_not_explained(capsys, tmp_path, monkeypatch):
    (tmp_path / "review.txt").write_text("A gorgeous,\nmoving film.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "explain", "review.txt", "--method", "occlusion")
    assert (code, out) == (2, "") and "`TEXT`: 'review.txt' is the name of a file; pass `--file review.txt`" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("review.txt\n"))
    assert run(capsys, "explain", "-", "--method", "occlusion")[0] == 0
    code, _, _ = run(capsys, "explain", "--file", "review.txt", "--method", "occlusion", "--json", "a.json")
    assert code == 0
    assert [e["text"] for e in json.loads((tmp_path / "a.json").read_text())] == ["A gorgeous,\nmoving film."]


def test_a_file_holds_a_text_and_a_table_one_per_row(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "t.csv").write_text("id,review\n1,Good.\n2,Bad.\n", encoding="utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    arguments = ["--method", "occlusion", "--json", "~/a.json", "--html", "~/a.html"]
    assert run(capsys, "explain", TEXT, "--file", "~/t.csv", *arguments)[0] == 0
    assert [e["text"] for e in json.loads((tmp_path / "a.json").read_text())] == [TEXT, "Good.", "Bad."]
    assert (tmp_path / "a.html").is_file()
    for name, message in (
        ("bytes.txt", "is no text in UTF-8"),
        ("empty.txt", "holds no text"),
        ("none.txt", "there is no file"),
    ):
        code, _, err = run(capsys, "explain", "--file", str(tmp_path / name))
        assert code == 2 and "`--file`: " in err and message in err


@pytest.mark.parametrize("flag", ["--html", "--json"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_computed(capsys, tmp_path, flag):
    code, out, err = run(capsys, "explain", TEXT, "--model", "/no/such/model", flag, str(tmp_path / "no" / "a"))
    assert (code, out) == (2, "") and f"`{flag}`: there is no folder" in err


def test_numbers_are_written_whole_or_not_at_all(capsys, tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("as it was", encoding="utf-8")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    code, _, err = run(capsys, "explain", TEXT, "--method", "occlusion", "--json", str(tmp_path / "a.json"))
    assert code == 2 and "No space left" in err
    assert (tmp_path / "a.json").read_bytes() == b"as it was" and [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("plain", [["--no-color"], ["--no-colour"], "NO_COLOR"])
def test_plain_text_where_it_is_asked_for(capsys, monkeypatch, plain):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    arguments = ["explain", TEXT, "--method", "occlusion"]
    assert "\x1b[" in run(capsys, *arguments)[1]
    if plain == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    out = run(capsys, *arguments, *(plain if isinstance(plain, list) else []))[1]
    assert "\x1b" not in out and "gorgeous[+" in out


def test_control_characters_never_reach_the_terminal(capsys):
    code, out, err = run(capsys, "explain", "A \x1b[31mred\x07 film", "--target", "\x1b[2Jbad", "--no-color")
    assert code == 2 and "\x1b" not in out + err and "\x07" not in out + err
    out = run(capsys, "explain", "A \x1b[31mred\x07 film", "--method", "occlusion", "--no-color")[1]
    assert "\x1b" not in out and "\x07" not in out and "red" in out


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "interpreto", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("interpreto ")


class TestCompare:
    def test_methods_are_judged_on_the_texts_of_a_table(self, capsys, tmp_path):
        table = tmp_path / "texts.csv"
        table.write_text('id,Text\n1,"A gorgeous, moving film."\n2,Dull and far too long.\n3,\n', encoding="utf-8")
        files = ["--html", str(tmp_path / "t.html"), "--csv", str(tmp_path / "t.csv")]
        methods = ["--methods", "occlusion", "saliency", "--metrics", "deletion", "ABPC"]
        code, out, err = run(capsys, "compare", str(table), *methods, *files)
        assert (code, err) == (0, "")
        assert "Deletion ↓" in out and "random" in out and "2 texts" in out
        model, tokenizer = demo.load_classifier()
        wanted = Benchmark(model, tokenizer, metrics=["Deletion"], baselines=()).run(
            [Occlusion(model, tokenizer)], ["A gorgeous, moving film.", "Dull and far too long."]
        )
        with (tmp_path / "t.csv").open(encoding="utf-8") as file:
            rows = {(row["method"], row["metric"]): float(row["score"]) for row in csv.DictReader(file)}
        assert rows["Occlusion", "Deletion"] == pytest.approx(float(wanted["Occlusion", "Deletion"]), abs=1e-6)
        assert len(rows) == 8
        assert "<table" in (tmp_path / "t.html").read_text(encoding="utf-8")

    def test_targets_and_a_part_of_the_texts(self, capsys, tmp_path):
        lines = ["line,label", *(f"Film {i} is good.,negative" for i in range(10))]
        (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
        options = ["--target-column", "label", "--limit", "3", "--methods", "occlusion", "--metrics", "Deletion"]
        code, out, _ = run(capsys, "compare", str(tmp_path / "t.csv"), *options)
        assert code == 0 and "3 texts" in out

    @pytest.mark.parametrize(
        ("content", "options", "message"),
        [
            (None, [], "there is no file"),
            ("text\n", [], "holds no text"),
            ("a,b\n1,2\n", ["--column", "c"], "has 'a', 'b'"),
            ("text\nGood.\n", ["--metrics", "Deletions"], "Did you mean Deletion?"),
            ("text\nGood.\n", ["--metrics", "GameMetric"], "there is no 'GameMetric'"),
            ("text\nGood.\n", ["--metrics", "TokenF1"], "there is no 'TokenF1'"),
            ("text\nGood.\n", ["--limit", "0"], "`--limit`"),
            ("text\nGood.\n", ["--device", "cuda:99"], "`--device`: got 'cuda:99'"),
            ("text\nGood.\n", ["--html", "/nowhere/t.html"], "there is no folder '/nowhere'"),
        ],
    )
    def test_what_cannot_be(self, capsys, tmp_path, content, options, message):
        if content is not None:
            (tmp_path / "t.csv").write_text(content, encoding="utf-8")
        code, _, err = run(capsys, "compare", str(tmp_path / "t.csv"), *options)
        assert code == 2 and message in err
