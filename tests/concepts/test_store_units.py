"""What rows represent, in Arrow: as it was given, read a few rows at a time, and told from files that are damaged."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from interpreto.concepts import store_units
from interpreto.concepts.store_index import ShardFacts
from interpreto.concepts.store_units import StoredUnit, read_facts, read_units, write_units
from interpreto.errors import FileError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import Units

TEXTS = ("Größe zählt 🎬.", "A film.", "A film.", "")


def sample(text, units):
    index = torch.arange(len(units))
    return Sample(text, index, Units(index, tuple(text for text, _ in units), tuple(span for _, span in units)))


SAMPLES = [
    sample(TEXTS[0], [("Größe", (0, 5)), ("zählt", (6, 11)), ("🎬", (12, 13)), (".", (13, 14))]),
    sample(TEXTS[1], [("[CLS]", (0, 0)), ("A", (0, 1)), ("film", (2, 6))]),
    sample(TEXTS[2], []),
    sample(TEXTS[2], [("A film.", (0, 7))]),
    sample(TEXTS[3], [("", (0, 0)), ("�", (0, 0))]),
]
FACTS = ShardFacts(40, 45, 10, 3, "float32", "0123", 77, "abc")
EXPECTED = [
    StoredUnit(40 + i, u, span, text)
    for i, one in enumerate(SAMPLES)
    for u, (span, text) in enumerate(zip(one.units.spans, one.units.texts, strict=True))
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(store_units, "ROWS", 4)  # three batches
    place = tmp_path / "shard-00000.arrow"
    write_units(place, SAMPLES, FACTS)
    return place


def test_units_are_read_as_they_were_given(place):
    assert read_facts(place) == FACTS
    for low, high in [(0, 10), (0, 4), (3, 5), (9, 10), (4, 4), (2, 9)]:
        assert list(read_units(place, 10, low, high, 40)) == EXPECTED[low:high]


def test_a_text_is_stored_once_and_other_tools_read_the_file(place):
    ipc = pytest.importorskip("pyarrow.ipc")
    with ipc.open_file(str(place)) as file:
        table = file.read_all()
    frame = table.to_pandas()
    assert table["text"].chunk(0).dictionary.to_pylist() == list(dict.fromkeys(TEXTS))
    assert frame["text"].tolist() == [SAMPLES[i].text for i in frame["input"]]
    assert frame["own"].dropna().tolist() == ["[CLS]", "�"]


def test_two_writers_write_the_same_bytes(place, tmp_path):
    write_units(tmp_path / "again.arrow", SAMPLES, FACTS)
    assert (tmp_path / "again.arrow").read_bytes() == place.read_bytes()


def test_no_unit(tmp_path):
    write_units(tmp_path / "none.arrow", SAMPLES[2:3], ShardFacts(0, 1, 0, 3, "float32", "", 0, ""))
    assert list(read_units(tmp_path / "none.arrow", 0, 0, 0, 0)) == []


def test_a_damaged_file_is_told(place, tmp_path):
    content = place.read_bytes()
    for cut in (0, 5, len(content) // 2, len(content) - 1):
        place.write_bytes(content[:cut])
        with pytest.raises(FileError, match="cannot be read"):
            list(read_units(place, 10, 0, 10, 0))
    place.write_bytes(content)
    with pytest.raises(FileError, match="not of this store"):
        list(read_units(place, 11, 0, 11, 0))
    with pytest.raises(FileError, match="cannot be read"):
        read_facts(tmp_path / "missing.arrow")


@pytest.mark.parametrize(
    "facts", [None, [], {}, {**FACTS.written(), "rows": -1}, {**FACTS.written(), "dtype": "load"}, {**FACTS.written(), "x": 1}]
)
def test_facts_of_another_kind_are_told(tmp_path, facts):
    pyarrow, ipc = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.ipc")
    table = pyarrow.table({"input": [1]}).replace_schema_metadata({b"interpreto": json.dumps(facts).encode()})
    with ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as file:
        file.write_table(table)
    with pytest.raises(FileError, match="is damaged: its entry"):
        read_facts(tmp_path / "x.arrow")
    with pytest.raises(FileError, match="not of this store"):
        list(read_units(tmp_path / "x.arrow", 1, 0, 1, 0))


def test_without_pyarrow_there_is_a_word_on_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    with pytest.raises(OptionError, match="`store_activations` needs pyarrow; run `pip install pyarrow`"):
        write_units(tmp_path / "x.arrow", SAMPLES, FACTS)
