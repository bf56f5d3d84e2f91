"""Texts with labels from every kind of file and table."""

from __future__ import annotations

import json

import pytest

from interpreto.errors import FileError, InputError, OptionError
from interpreto.inputs.labeled_texts import read_labeled_texts

ROWS = [("Good, very good.", "positive"), ('A "bad" one.', "negative"), ("Fine.", "positive")]
COLUMNS = {"id": [1, 2, 3], "Sentence": [text for text, _ in ROWS], "Label": [label for _, label in ROWS]}


def written(tmp_path, name: str):
    pandas, path = pytest.importorskip("pandas"), tmp_path / name
    frame = pandas.DataFrame(COLUMNS)
    if name.endswith(".csv"):
        frame.to_csv(path, index=False, encoding="utf-8-sig")
    elif name.endswith(".tsv"):
        frame.to_csv(path, index=False, sep="\t")
    elif name.endswith(".parquet"):
        frame.to_parquet(path)
    elif name.endswith(".jsonl"):
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")) + "\n", encoding="utf-8")
    else:
        path.write_text(json.dumps(frame.to_dict("records")), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"])
def test_every_kind_of_file_holds_the_same(tmp_path, name):
    found = read_labeled_texts(written(tmp_path, name))
    assert list(zip(found.texts, found.labels, strict=True)) == ROWS
    assert (found.source, found.text_column, found.label_column, found.total, found.skipped) == (
        name,
        "Sentence",
        "Label",
        3,
        0,
    )


def test_every_kind_of_table_holds_the_same():
    pandas, datasets = pytest.importorskip("pandas"), pytest.importorskip("datasets")
    frame = pandas.DataFrame(COLUMNS)
    for data in (frame, datasets.Dataset.from_pandas(frame), COLUMNS, ROWS, list(map(list, ROWS)), read_labeled_texts(ROWS)):
        found = read_labeled_texts(data)
        assert list(zip(found.texts, found.labels, strict=True)) == ROWS


def test_columns_are_found_by_name_or_named():
    data = {"review": ["a"], "text": ["b"], "y": [1], "stars": [5]}
    assert read_labeled_texts(data).texts == ("b",) and read_labeled_texts(data).labels == (1,)
    found = read_labeled_texts(data, text="review", label="stars")
    assert (found.texts, found.labels) == (("a",), (5,))
    assert read_labeled_texts({"words": ["a"], "label": ["x"]}).text_column == "words"  # the only other one
    with pytest.raises(InputError, match=r"there is no column 'stern'.*Did you mean 'stars'"):
        read_labeled_texts(data, label="stern")
    with pytest.raises(InputError, match="`text`: no column is called 'text' or alike; name one of 'a', 'b'"):
        read_labeled_texts({"a": ["x"], "b": ["y"], "label": [1]})
    with pytest.raises(InputError, match="`label`"):
        read_labeled_texts({"text": ["x"], "b": ["y"]})


def test_rows_without_text_or_label_are_left_out_and_counted():
    found = read_labeled_texts({"text": ["a", "", None, "b", "c", 3], "label": [1.0, 1, 1, None, float("nan"), 0]})
    assert (found.texts, found.labels, found.total, found.skipped) == (("a",), (1,), 6, 5)
    with pytest.raises(InputError, match="2 rows, none of them"):
        read_labeled_texts({"text": ["a", ""], "label": ["", "x"]})


def test_a_sample_is_random_in_order_and_repeatable():
    data = read_labeled_texts([(f"text {i}", i % 2) for i in range(50)])
    sample = data.sample(10, 3)
    assert len(sample) == 10 and sample.texts == data.sample(10, 3).texts != data.sample(10, 4).texts
    assert [int(text.split()[1]) for text in sample.texts] == sorted(int(text.split()[1]) for text in sample.texts)
    assert all(int(text.split()[1]) % 2 == label for text, label in zip(sample.texts, sample.labels, strict=True))
    assert data.sample(None) is data and data.sample(50) is data
    with pytest.raises(OptionError, match="max_texts"):
        data.sample(0)


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    (tmp_path / "broken.jsonl").write_text("{", encoding="utf-8")
    (tmp_path / "numbers.json").write_text("[1, 2]", encoding="utf-8")
    (tmp_path / "latin.csv").write_bytes("text,label\nfür,1".encode("latin-1"))
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    for name in ("none.csv", "empty.csv", "broken.jsonl", "numbers.json", "latin.csv", "no.parquet"):
        with pytest.raises(FileError, match="`data`"):
            read_labeled_texts(tmp_path / name)
    with pytest.raises(OptionError, match=r"ends in \.csv"):
        read_labeled_texts(tmp_path / "a.xlsx")
    for data in (3, ["a", "b"], [], [("a", "b", "c")]):
        with pytest.raises(InputError, match="`data`"):
            read_labeled_texts(data)
