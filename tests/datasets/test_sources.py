"""Every kind of data gives the same rows for every range, however they are cut."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import datasets
import fsspec
import pandas
import pytest

from interpreto import ExplanationDataset, explain_dataset
from interpreto.concepts.activation_store import ActivationStore
from interpreto.datasets.opening import read_source
from interpreto.errors import FileError, InputError, OptionError
from tests.datasets.explainers import occlusion

TEXTS = ["A fine film.", 'She said "no",\nand left.', "Ünïcode — ☃", "one, two; three", "tab\there", "last"] * 120
LABELS = ["up", "down", "up", "down", "up", "up"] * 120
PLAIN = [text.replace("\n", " ") for text in TEXTS]


def table() -> pandas.DataFrame:
    return pandas.DataFrame({"id": range(len(TEXTS)), "review": TEXTS, "label": LABELS})


def parquet(folder: Path) -> str:
    frame = table()
    frame[:100].to_parquet(folder / "a.parquet", row_group_size=33)
    frame[100:101].to_parquet(folder / "b.parquet")
    frame[101:].to_parquet(folder / "c.parquet", row_group_size=500)
    return str(folder)


def comma(folder: Path) -> Path:
    with (folder / "data.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review", "label"])
        writer.writerows(zip(range(len(TEXTS)), TEXTS, LABELS, strict=True))
    return folder / "data.csv"


def lines(folder: Path) -> str:
    content = [json.dumps({"review": text, "label": label}) for text, label in zip(TEXTS, LABELS, strict=True)]
    (folder / "data.jsonl").write_text("\n\n".join(content), encoding="utf-8")
    return f"file://{folder}/*.jsonl"


def remote(folder: Path) -> str:
    with fsspec.open(f"memory://{folder.name}/data.parquet", "wb") as file:
        table().to_parquet(file)
    return f"memory://{folder.name}/data.parquet"


FORMS = {
    "parquet": parquet,
    "csv": comma,
    "jsonl": lines,
    "memory": remote,
    "frame": lambda _: table(),
    "dataset": lambda _: datasets.Dataset.from_pandas(table()),
    "columns": lambda _: {"review": TEXTS, "label": LABELS},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_range_is_what_it_should_be(tmp_path, form):
    source = read_source(FORMS[form](tmp_path), None, None, "label")
    assert len(source) == len(TEXTS) and source.columns.text == "review"
    for start, stop in [(0, 1), (0, 720), (99, 102), (255, 258), (700, 720), (100, 101), (0, 300)]:
        rows = source.part(start, stop).rows()
        assert rows.inputs == TEXTS[start:stop] and rows.labels == LABELS[start:stop] and rows.targets is None


def test_lines_of_text_are_inputs(tmp_path):
    (tmp_path / "data.txt").write_text("\n".join([*PLAIN, "", ""]), encoding="utf-8")
    source = read_source(tmp_path / "data.txt", None, None, None)
    assert source.part(0, len(source)).rows().inputs == PLAIN


@pytest.mark.parametrize("form", FORMS)
def test_one_letter_makes_it_other_data(tmp_path, form, monkeypatch):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    first = read_source(FORMS[form](tmp_path / "1"), None, None, "label").fingerprint
    assert read_source(FORMS[form](tmp_path / "1"), None, None, "label").fingerprint == first
    monkeypatch.setitem(globals(), "TEXTS", [*TEXTS[:-1], "lost"])
    assert read_source(FORMS[form](tmp_path / "2"), None, None, "label").fingerprint != first


def test_two_columns_are_pairs(tmp_path):
    source = read_source({"a": ["x", "y"], "b": ["u", "v"]}, ("a", "b"), None, None)
    assert source.part(0, 2).rows().inputs == [("x", "u"), ("y", "v")]


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (["a"], ("text", None, None), InputError, "a list, which has no columns"),
        ({"x": ["a"], "y": ["b"]}, (None, None, None), InputError, "no column is called 'text' or alike"),
        ({"text": ["a"]}, (None, "why", None), InputError, "`target`: there is no column 'why'; there are 'text'"),
        ((text for text in "ab"), (None, None, None), InputError, "read only once"),
        ([1, 2], (None, None, None), InputError, r"data\[0\]"),
        ([], (None, None, None), InputError, "no rows"),
        ("nowhere.parquet", (None, None, None), FileError, "there is no file"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(data, options, error, message):
    with pytest.raises(error, match=message):
        read_source(data, *options)


def test_damaged_files_are_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n[1]\n')
    (tmp_path / "c.csv").write_bytes(b"text\n\xff\n")
    (tmp_path / "d.csv").write_text("")
    for name, message in (("a.parquet", "Parquet"), ("b.jsonl", "no object"), ("c.csv", "UTF-8"), ("d.csv", "is empty")):
        with pytest.raises(FileError, match=message):
            read_source(tmp_path / name, None, None, None)
    with pytest.raises(OptionError, match="several kinds"):
        read_source(tmp_path, None, None, None)


@pytest.mark.parametrize("separator", list(";\t|,"))
def test_a_table_has_the_separator_of_its_first_line(tmp_path, separator):
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=separator).writerows([["text", "n"], ["a, b; c|d\te", 1], ["two\nlines", 2], ["", 3]])
    source = read_source(tmp_path / "a.csv", None, "n", None)
    assert source.part(0, 3).rows().inputs == ["a, b; c|d\te", "two\nlines", ""] and source.part(1, 2).rows().targets == ["2"]


def test_a_table_holds_long_texts_and_tells_what_it_cannot_read(tmp_path):
    long = "word " * 40_000
    (tmp_path / "a.csv").write_text(f'text,n\n"{long}",1\n', encoding="utf-8")
    assert read_source(tmp_path / "a.csv", None, None, None).part(0, 1).rows().inputs == [long]
    (tmp_path / "b.csv").write_bytes(b"text,n\na\rb,1\n")
    with pytest.raises(FileError, match=r"b\.csv' cannot be read as a table"):
        read_source(tmp_path / "b.csv", None, None, None)


def test_what_other_programs_keep_in_a_folder_is_not_read(tmp_path):
    for name in ("a.txt", "deep/er/b.txt", "_temporary/c.txt", ".ipynb_checkpoints/a.txt", "deep/.d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert read_source(tmp_path, None, None, None).part(0, 2).rows().inputs == ["a.txt", "deep/er/b.txt"]


@pytest.mark.parametrize("nothing", [float("nan"), pandas.NA, pandas.NaT, None])
def test_a_text_that_is_missing_in_a_table_is_as_null_in_a_file(nothing):
    frame = pandas.DataFrame({"text": pandas.Series(["a", nothing, "b"], dtype=object)})
    source = read_source(frame, None, None, None)
    assert source.part(0, 3).rows().inputs == ["a", None, "b"]
    assert source.fingerprint == read_source({"text": ["a", None, "b"]}, None, None, None).fingerprint


@pytest.mark.parametrize("make", [lambda out: explain_dataset(occlusion(), ["a"], out), ExplanationDataset, ActivationStore])
def test_results_are_in_a_folder_and_at_no_address(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=r"got 'memory://out'; pass a folder"):
        make("memory://out")
    assert not list(tmp_path.iterdir())
