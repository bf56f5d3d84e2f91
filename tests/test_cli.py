"""The command line, in process, on the embedded classifier."""

from __future__ import annotations

import csv
import inspect
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import interpreto
from interpreto import Contrast, Explanations, KernelShap, ModelWithSplitPoints, Occlusion, demo
from interpreto.cli import main
from interpreto.cli.arguments import COMMANDS, COMPARED_BY, METHODS
from interpreto.cli.demo import TEXT as TEXT_OF_DEMO
from interpreto.cli.hints import read_method
from interpreto.concepts import ContrastiveConcept
from interpreto.metrics import Benchmark
from interpreto.registry import TEXT_METHODS
from tests import tiny, tiny_tasks
from tests.concepts.pretrained import writers

TEXT = "A gorgeous, moving film."


def run(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("method", [known.slug for known in TEXT_METHODS])
def test_every_method_explains(capsys, method):
    taken = inspect.signature(getattr(interpreto, METHODS[method])).parameters
    steps = ("--steps", "64") if {"n_perturbations", "n_token_perturbations"} & set(taken) else ()
    code, out, err = run(capsys, "explain", TEXT, "--method", method, *steps)
    assert (code, err) == (0, "")
    assert out.startswith("positive") and "gorgeous" in out and METHODS[method] in out


def test_numbers_are_those_of_the_library(capsys, tmp_path):
    wanted = KernelShap(*demo.load_classifier(), granularity="token", random_state=3, tolerance=0.05)(
        TEXT, ["negative", "positive"]
    )[0]
    arguments = ["--method", "kernel-shap", "--granularity", "token", "--target", "negative", "--target", "1", "--seed", "3"]
    code, _, _ = run(
        capsys, "explain", TEXT, *arguments, "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")
    )
    (found,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert code == 0
    assert found["attributions"] == wanted.attributions.tolist() and found["residual"] == wanted.residual.tolist()
    assert found["target_labels"] == ["negative", "positive"] and found["elements"] == wanted.elements
    assert (tmp_path / "a.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_sampling_ends_at_the_tolerance_unless_told_otherwise(capsys):
    text = "A gorgeous, moving film about nothing much at all, and yet not dull."
    precise = run(capsys, "explain", text)[1]
    assert "rows" in precise and run(capsys, "explain", text, "--tolerance", "0.05")[1] == precise
    assert "budget ended after" in run(capsys, "explain", text, "--tolerance", "1e-9")[1]
    assert "rows" not in run(capsys, "explain", text, "--tolerance", "0")[1]
    code, _, err = run(capsys, "explain", text, "--method", "occlusion", "--tolerance", "0.1")
    assert code and "`--tolerance`: occlusion has no such option; these have: lime, kernel-shap" in err
    assert "`tolerance`: got -1.0" in run(capsys, "explain", text, "--tolerance", "-1")[2]


def test_a_dash_reads_lines(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Good film.\n\nBad film.\n"))
    assert run(capsys, "explain", "-", "--method", "occlusion", "--json", str(tmp_path / "a.json"))[0] == 0
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


def test_two_texts_are_one_input(capsys, tmp_path):
    model, tokenizer = tiny_tasks.QUESTION_ANSWERERS["bert"]()
    model.save_pretrained(tmp_path / "qa")
    tokenizer.save_pretrained(tmp_path / "qa")
    pairs = [("What is Rome?", "Paris is in France, and Rome is in Italy."), ("Who?", "She said, in Rome, no.")]
    written = "".join(json.dumps({"id": i, "question": a, "context": b}) + "\n" for i, (a, b) in enumerate(pairs))
    (tmp_path / "pairs.jsonl").write_text(written, encoding="utf-8")
    given = [part for pair in pairs for part in (pair[0], "--pair", pair[1])]
    table = ["--file", str(tmp_path / "pairs.jsonl"), "--column", "question", "--pair-column", "context"]
    asked = ["--model", str(tmp_path / "qa"), "--target", "Rome", "--method", "occlusion", "--json", str(tmp_path / "a.json")]
    wanted = interpreto.Occlusion(model, tokenizer)(pairs, "Rome")
    for arguments in (given, table):
        assert run(capsys, "explain", *arguments, *asked)[0] == 0
        for one, explanation in zip(json.loads((tmp_path / "a.json").read_text("utf-8")), wanted, strict=True):
            assert one["elements"] == explanation.elements and one["target_labels"] == ["Rome"]
            assert one["attributions"][0] == pytest.approx(explanation.attributions[0].tolist(), rel=1e-5, abs=1e-6)
    code, _, err = run(capsys, "explain", *table[:-1], "contxt", *asked)
    assert code == 2 and "`--pair-column`: got 'contxt'" in err and "Did you mean 'context'?" in err
    (tmp_path / "plain.txt").write_text("A text.", encoding="utf-8")
    assert "`--pair-column`: " in run(capsys, "explain", "-f", str(tmp_path / "plain.txt"), "--pair-column", "b")[2]


@pytest.mark.parametrize(("at", "point"), [("1", 1), ("-2", -2), ("bert.encoder.layer.1", "bert.encoder.layer.1")])
def test_activations_of_a_module_are_explained(capsys, tmp_path, at, point):
    assert run(capsys, "explain", TEXT, "--at", at, "--json", str(tmp_path / "a.json"))[0] == 0
    (found,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    wanted = interpreto.IntegratedGradients(*demo.load_classifier(), at=point)(TEXT)[0]
    assert (found["method"], found["hook_point"]) == ("IntegratedGradients", wanted.hook_point)
    assert found["attributions"][0] == pytest.approx(wanted.attributions[0].tolist(), rel=1e-5, abs=1e-6)


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
            ["--method", "integrated-gradients", "--replacement", "mask"],
            "`--replacement`: integrated-gradients has no such option; these have: occlusion, lime, kernel-shap, sobol",
        ),
        (["--method", "occlusion", "--steps", "9"], "`--steps`: occlusion has no such option"),
        (["--model", "/no/such/folder"], "/no/such/folder"),
        (["--mode", "softmx"], "`inference_mode`: got 'softmx'"),
        (["--model", "no-such-model"], "`--model`: there is no folder 'no-such-model', nothing of that name was downloaded"),
        (["--device", "cuda:99"], "`--device`: got 'cuda:99'"),
        (["--device", "gpu"], "`--device`: got 'gpu'"),
        (["--method", "kernel-shup"], "`--method`: there is no method 'kernel-shup'. Did you mean 'kernel-shap'?"),
        (["--rows", "tokens"], "`--rows`: got 'tokens'"),
        (["-o", "a.pdf"], "`--output`: got 'a.pdf'; pass a name that ends in .html, .json, .csv, .parquet, .safetensors"),
        (["--metod", "occlusion"], "there is no option '--metod'. Did you mean '--method'? See `interpreto explain --help`"),
        (["--seed", "x"], "Invalid value for '--seed'"),
        (["--pair", "a", "--pair", "b"], "`--pair`: got 2 for 1 texts; each text has one second text, in the same order"),
        (["--pair-column", "second"], "`--pair-column`: got 'second' without a table; pass one with `--file`"),
        (["--at", "1", "--method", "lime"], "`--at`: lime explains the input alone; these explain activations: saliency,"),
        (["--at", "bert.layer"], "`at`: the model has no module 'bert.layer'. Under 'bert' it has:"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_two(capsys, monkeypatch, arguments, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, out, err = run(capsys, "explain", TEXT, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("interpreto: error: ") and message in err and err.count("\n") == 1


def test_a_warning_is_a_line(capsys):
    code, _, err = run(
        capsys, "explain", TEXT, "--method", "integrated-gradients", "--steps", "1", "--baseline", "zero", "--target", "0"
    )
    assert code == 0
    assert err.startswith("interpreto: warning: IntegratedGradients: the attributions of") and "n_perturbations=" in err


def test_methods_lists_all(capsys):
    code, out, _ = run(capsys, "methods")
    assert code == 0 and all(name in out for name in (*METHODS, "ShapleyInteractions", "Consensus"))
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", METHODS)
def test_one_method_is_shown_with_what_is_known_of_it(capsys, name):
    _, out, _ = run(capsys, "methods", METHODS[name])
    assert f"interpreto.{METHODS[name]}" in out and f"--method {name}" in out
    found = json.loads(run(capsys, "methods", name, "--json")[1])
    assert (found["name"], found["class"]) == (name, METHODS[name]) and found["url"].startswith("https://")
    assert all(option["meaning"] for option in found["options"]), found["options"]
    assert "Did you mean" in run(capsys, "methods", f"{name}z")[2]


def test_all_methods_as_json(capsys):
    assert [each["name"] for each in json.loads(run(capsys, "methods", "--json")[1])] == list(METHODS)


@pytest.mark.parametrize("arguments", [["--help"], [], ["explain", "--help"], ["methods", "--no"], ["explaln"]])
def test_help_and_typing_errors_load_no_torch(arguments):
    code = f"import sys; from interpreto.cli import main; main({arguments}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.endswith("False\n")


def test_alone_it_says_in_a_few_lines_what_to_type(capsys):
    code, out, err = run(capsys)
    assert (code, err) == (0, "") and out.count("\n") < 8
    assert 'interpreto explain "A gorgeous, moving film."' in out


def test_help_has_groups_examples_and_defaults(capsys):
    for command in COMMANDS:
        code, out, _ = run(capsys, command, "--help")
        assert code == 0 and "Examples:" in out and f"interpreto {command}" in out, command
        assert max(map(len, out.splitlines())) <= 80
    out = run(capsys, "explain", "--help")[1]
    assert all(f"─ {group} ─" in out for group in ("What is explained", "How", "Output"))
    assert "default: word" in out and out.count("kernel-shap") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explaln", TEXT], "there is no command 'explaln'"),
        (["explaln", TEXT], "Did you mean 'explain'?"),
        ([TEXT], f'To explain a text: interpreto explain "{TEXT}"'),
        (["compare"], "See `interpreto compare --help`"),
        (["methods", "--jsn"], "there is no option '--jsn'. Did you mean '--json'?"),
    ],
)
def test_a_typing_error_is_hinted_at(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


@pytest.mark.parametrize("spelling", ["kernelshap", "KernelShap", "kernel_shap", "KERNEL-SHAP"])
def test_a_method_is_read_in_every_spelling(spelling):
    assert read_method(spelling) == "kernel-shap"


def test_the_default_method_ranks_well(capsys, language_model):
    assert "KernelShap" in run(capsys, "explain", TEXT)[1]
    assert "Occlusion" in run(capsys, "explain", "The film was", "--model", language_model, "--max-new-tokens", "2")[1]


def test_files_are_written_by_their_endings_and_the_page_is_shown(capsys, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    names = ["a.html", "a.json", "a.csv", "a.parquet", "a.safetensors"]
    asked = [part for name in names for part in ("-o", str(tmp_path / name))]
    assert run(capsys, "explain", TEXT, "--method", "occlusion", *asked, "--open")[0] == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    assert shown == [(tmp_path / "a.html").as_uri()]
    assert Explanations.load(tmp_path / "a.safetensors").texts == [TEXT]
    with (tmp_path / "a.csv").open(encoding="utf-8") as file:
        assert [row["unit"] for row in csv.DictReader(file)] == ["A", "gorgeous", ",", "moving", "film", "."]
    assert run(capsys, "explain", TEXT, "--method", "occlusion", "--open")[0] == 0
    assert "<!DOCTYPE html>" in Path(shown[1].removeprefix("file://")).read_text(encoding="utf-8")


def test_a_missing_package_is_told_before_anything_is_computed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    code, out, err = run(capsys, "explain", TEXT, "--model", "/no/such", "--csv", str(tmp_path / "a.csv"))
    assert (code, out) == (2, "") and "needs pandas; run `pip install pandas`" in err


def test_every_method_of_the_package_has_a_name_here():
    from interpreto.attributions import methods

    assert set(METHODS.values()) == set(methods.__all__)
    assert {"kernel-shap": "KernelShap", "input-x-gradient": "InputXGradient", "lime": "Lime"}.items() <= METHODS.items()


def test_the_name_of_a_file_is_not_explained(capsys, tmp_path, monkeypatch):
    (tmp_path / "review.txt").write_text("A gorgeous,\nmoving film.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "explain", "review.txt", "--method", "occlusion")
    assert (code, out) == (2, "")
    assert "`TEXT`: 'review.txt' is a file; pass `--file review.txt` to explain what it holds, or `--text review.txt`" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("review.txt\n"))
    assert run(capsys, "explain", "-", "--method", "occlusion")[0] == 0
    assert "txt" in run(capsys, "explain", "--text", "review.txt", "--method", "occlusion")[1]
    assert "`TEXT`: there is no file 'reviews.csv'" in run(capsys, "explain", "reviews.csv")[2]
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
    (tmp_path / "t.jsonl").write_text('{"id": 1, "title": "Fine."}\n\n{"id": 2, "title": "Poor."}\n', encoding="utf-8")
    (tmp_path / "bad.jsonl").write_text("{\n", encoding="utf-8")
    table = ["--file", str(tmp_path / "t.jsonl"), "--column"]
    assert run(capsys, "explain", *table, "title", "--limit", "1", *arguments)[0] == 0
    assert [e["text"] for e in json.loads((tmp_path / "a.json").read_text())] == ["Fine."]
    assert "has 'id', 'title'. Did you mean 'title'?" in run(capsys, "explain", *table, "titlle")[2]
    assert "is no table" in run(capsys, "explain", "--file", str(tmp_path / "bytes.txt"), "--column", "a")[2]
    for name, message in (
        ("bad.jsonl", "line 1 of"),
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
        assert max(map(len, out.splitlines())) <= 80
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

    def test_three_metrics_fit_a_terminal_of_eighty_cells(self, capsys, tmp_path):
        (tmp_path / "t.csv").write_text("text\nGood.\nA dull film.\n", encoding="utf-8")
        code, out, _ = run(capsys, "compare", str(tmp_path / "t.csv"), "--methods", "occlusion", "-o", str(tmp_path / "t.json"))
        head = out.splitlines()[0]
        assert code == 0 and all(metric in head for metric in COMPARED_BY) and max(map(len, out.splitlines())) <= 80
        rows = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
        assert {row["metric"] for row in rows} == set(COMPARED_BY) and all(row["n_valid"] <= 2 for row in rows)

    @pytest.mark.parametrize(
        ("content", "options", "message"),
        [
            (None, [], "there is no file"),
            ("text\n", [], "holds no text"),
            ("a,b\n1,2\n", ["--column", "c"], "has 'a', 'b'"),
            ("text\nGood.\n", ["--metrics", "Deletions"], "Did you mean 'Deletion'?"),
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


class TestConcepts:
    def test_concepts_of_a_file_are_named_and_written(self, capsys, tmp_path):
        texts = [sentence.text for sentence in demo.load_sentences("movie")[:30]]
        (tmp_path / "t.txt").write_text("\n".join(texts), encoding="utf-8")
        files = ["-o", str(tmp_path / "c.html"), "-o", str(tmp_path / "c.json")]
        code, out, err = run(capsys, "concepts", str(tmp_path / "t.txt"), "--number", "3", "--method", "SVD", *files)
        assert (code, err) == (0, "") and "positive" in out
        rows = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
        assert sorted(row["concept"] for row in rows) == [0, 1, 2]
        assert all(set(row["importances"]) == {"negative", "positive"} and row["texts"] for row in rows)
        assert "30 texts" in (tmp_path / "c.html").read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--method", "semi-nfm"], "Did you mean 'semi-nmf'?"),
            (["--number", "0"], "`--number`: got 0"),
            (["--block", "3"], "`--block`: got 3; pass a whole number from 0 to 2"),
            (["--granularity", "wrd"], "got 'wrd'"),
        ],
    )
    def test_what_cannot_be(self, capsys, tmp_path, options, message):
        (tmp_path / "t.txt").write_text("Good.\n", encoding="utf-8")
        code, _, err = run(capsys, "concepts", str(tmp_path / "t.txt"), *options)
        assert code == 2 and message in err


class TestReport:
    def test_one_page_on_a_labeled_file(self, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        rows = [
            "review,stars",
            *(f"{text},{label}" for text, label in (("A gorgeous film.", "positive"), ("Dull.", "negative"))),
        ]
        (tmp_path / "t.csv").write_text("\n".join([*rows, "What a waste.,positive"]), encoding="utf-8")
        asked = ["--column", "review", "--label", "stars", "--method", "occlusion", "--faithfulness", "0", "--concepts", "0"]
        code, out, err = run(capsys, "report", "t.csv", *asked)
        assert (code, err) == (0, "") and "page: report.html" in out
        assert "What a waste." in (tmp_path / "report.html").read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["none.csv"], "`DATA`: there is no file 'none.csv'"),
            (["t.csv", "--label", "labell"], "Did you mean 'label'?"),
            (["t.csv", "--method", "occlusionn"], "Did you mean 'occlusion'?"),
            (["t.csv", "-o", "a.csv"], "`--output`: got 'a.csv'; pass a name that ends in .html"),
            (["t.csv", "--concepts", "-1"], "`--concepts`: got -1"),
        ],
    )
    def test_what_cannot_be(self, capsys, tmp_path, monkeypatch, options, message):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "t.csv").write_text("text,label\nGood.,positive\n", encoding="utf-8")
        code, _, err = run(capsys, "report", *options)
        assert code == 2 and message in err and err.count("\n") == 1


class TestDemo:
    def test_it_shows_one_text_then_why_methods_disagree_then_how_to_go_on(self, capsys, tmp_path, monkeypatch):
        shown = []
        monkeypatch.setattr("webbrowser.open", shown.append)
        code, out, err = run(capsys, "demo", str(tmp_path / "new"))
        assert (code, err) == (0, "") and out.startswith("positive")
        assert out.index("KernelShap") < out.index("different questions") < out.index("Now try your text")
        assert sorted(file.name for file in (tmp_path / "new").iterdir()) == [
            "explanation.html",
            "methods.html",
            "sentences.csv",
        ]
        assert shown == [(tmp_path / "new" / "explanation.html").as_uri()]
        with (tmp_path / "new" / "sentences.csv").open(encoding="utf-8") as file:
            assert {row["label"] for row in csv.DictReader(file)} == {"positive", "negative"}

    def test_what_is_said_of_the_methods_is_true(self):
        model, tokenizer = demo.load_classifier()
        one, many = Occlusion(model, tokenizer)(TEXT_OF_DEMO)[0], KernelShap(model, tokenizer)(TEXT_OF_DEMO)[0]
        i = one.elements.index("gorgeous")
        assert abs(float(one.attributions[0, i])) < 0.05 and float(many.attributions[0, i]) > 0.3

    def test_a_folder_that_cannot_be(self, capsys, tmp_path):
        (tmp_path / "file").write_text("", encoding="utf-8")
        code, _, err = run(capsys, "demo", str(tmp_path / "file" / "new"))
        assert code == 2 and "`FOLDER`:" in err


def test_the_facts_of_a_published_autoencoder(capsys, tmp_path):
    writers.sae_lens(tmp_path, "topk")
    code, out, _ = run(capsys, "sae", "info", str(tmp_path), "--json")
    facts = json.loads(out)
    assert code == 0 and (facts["concepts"], facts["width"], facts["k"]) == (writers.C, writers.D, writers.K)
    assert facts["hook"] == "blocks.1.hook_resid_post" and "variance_explained" not in facts
    code, out, _ = run(capsys, "sae", "info", str(tmp_path))
    assert code == 0 and "SAELens" in out and "hook_resid_post" in out
    code, _, err = run(capsys, "sae", "info", str(tmp_path / "nowhere"))
    assert code == 2 and "`source`: there is no folder" in err
    model, tokenizer = demo.load_classifier()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    code, _, err = run(capsys, "sae", "info", str(tmp_path), "--model", str(tmp_path / "model"))
    assert code == 2 and "has another width than 6" in err


class TestLens:
    def test_each_layer_has_a_line(self, capsys, tmp_path):
        page, numbers = tmp_path / "lens.html", tmp_path / "lens.json"
        assert main(["lens", "A gorgeous, moving film.", "-o", str(page), "--json", str(numbers)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[2:6]] == ["layer", "layer", "layer", "embeddings"]
        (text,) = json.loads(numbers.read_text(encoding="utf-8"))
        assert text["answers"] == ["positive"] and text["ranks"][-1] == [1] and len(text["likeliest"]) == 4
        assert "A gorgeous" in page.read_text(encoding="utf-8")

    def test_a_target_is_followed(self, capsys):
        assert main(["lens", "Dull.", "--target", "positive", "-k", "1"]) == 0
        assert "rank 2" in capsys.readouterr().out

    def test_wrong_calls_are_one_line(self, capsys):
        for arguments, said in ((["lens"], "there is no text"), (["lens", "x", "--tuned", "/nowhere"], "no file")):
            assert main(arguments) == 2
            assert said in capsys.readouterr().err


def test_a_language_model_is_steered(capsys, tmp_path):
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    given = ("steer", "The film was", "--model", str(tmp_path / "lm"), "--random", "1", "--max-new-tokens", "4")
    pairs = ("--toward", "I loved it.", "--away", "I hated it.", "--effect", "sentiment")
    page, numbers = tmp_path / "steer.html", tmp_path / "steer.json"
    code, out, _ = run(capsys, *given, *pairs, "--strength", "-2", "0", "2", "-o", str(page), "--json", str(numbers))
    found = json.loads(numbers.read_text(encoding="utf-8"))
    assert code == 0 and "×-2" in out and [one["strength"] for one in found["steerings"]] == [-2.0, 0.0, 2.0]
    assert found["effect"] == "probability of positive" and len(found["steerings"][0]["control_changes"]) == 1
    assert "<svg" in page.read_text(encoding="utf-8") and set(found["steerings"][0]["texts"]) == {"The film was"}
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    concept = ContrastiveConcept(splitter).fit(["I loved it."], ["I hated it."])
    concept.save(tmp_path / "concept.safetensors")
    code, out, _ = run(capsys, *given, "--concepts", str(tmp_path / "concept.safetensors"), "--strength", "1.5")
    assert code == 0 and "×1.5" in out and "amount of the concept" in out
    for more, said in (
        ((), "`--concepts`: pass a file"),
        (("--toward", "a"), "`negatives`"),
        ((*pairs[:4], "--effect", "joy"), "`--effect`: got 'joy'"),
        ((*pairs[:4], "--block", "7"), "`--block`"),
    ):
        code, _, err = run(capsys, *given, *more)
        assert code == 2 and said in err, err


def test_a_data_set_is_explained_resumed_and_shown(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["A gorgeous, moving film.", "A dull film.", " ", "What a dull, dull waste."]
    (tmp_path / "data.csv").write_text("\n".join(["review", *(f'"{row}"' for row in rows)]))
    for part in ("0/2", "1/2"):
        given = ["data.csv", "--method", "occlusion", "--rows-per-shard", "2", "--part", part, "-o", "out"]
        code, out, _ = run(capsys, "explain-dataset", *given, "--target", "negative")
        assert code == 0 and out.endswith("failures: interpreto dataset show out\n")
    code, out, _ = run(capsys, "dataset", "show", "out", "--json", "--verify", "--html", "page.html")
    found = json.loads(out)
    assert (code, found["explanations"], found["failures"], found["shards"], found["files"]) == (0, 3, 1, "2 of 2", "whole")
    assert found["first_failures"][0][:2] == [2, "InputError"] and (tmp_path / "page.html").exists()
    assert "dull" in run(capsys, "dataset", "show", "out")[1] or "no word for sure" in run(capsys, "dataset", "show", "out")[1]
    code, _, err = run(capsys, "explain-dataset", "data.csv", "--method", "saliency", "-o", "out")
    assert code == 2 and "method ('Occlusion', now 'Saliency')" in err
    assert "as in 2/10" in run(capsys, "explain-dataset", "data.csv", "--part", "two", "-o", "out")[2]


def test_methods_are_compared_in_parts_that_are_kept(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["A gorgeous, moving film.", "A dull film.", "What a dull, dull waste."]
    (tmp_path / "data.csv").write_text("\n".join(["review", *(f'"{row}"' for row in rows)]))
    given = ["compare", "data.csv", "--methods", "occlusion", "--methods", "saliency", "--metrics", "ABPC"]
    whole = run(capsys, *given)
    parts = run(capsys, *given, "--folder", "scores", "--rows-per-shard", "2", "-o", "table.csv")
    assert whole[0] == parts[0] == 0 and parts[1].startswith(whole[1].rstrip("\n")) and "over 3 texts" in parts[1]
    assert (
        len(list((tmp_path / "scores" / "shards").iterdir())) == 2 and "Saliency,ABPC" in (tmp_path / "table.csv").read_text()
    )
    code, _, err = run(capsys, *given, "--folder", "scores", "--limit", "2")
    assert code == 2 and "with --folder, all texts are compared" in err
