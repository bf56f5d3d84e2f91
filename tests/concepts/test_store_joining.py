"""Stores that are joined, checked, encoded, or of an earlier version. Their activations are lookups, equal on every machine."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from interpreto import demo
from interpreto.concepts import SemiNMFConcepts
from interpreto.concepts.activation_store import ActivationStore
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.errors import FileError, OptionError
from tests.tiny import CLASSIFIERS, SENTENCES

ROWS = 15  # of a shard


@pytest.fixture(scope="module")
def splitter():
    model, tokenizer = CLASSIFIERS["bert"]()
    return ModelWithSplitPoints(model, "bert.embeddings.word_embeddings", tokenizer=tokenizer)


@pytest.fixture(scope="module")
def whole(splitter, tmp_path_factory):
    return splitter.store_activations(SENTENCES, tmp_path_factory.mktemp("whole"), "word", rows_per_shard=ROWS)


@pytest.fixture
def parts(splitter, tmp_path):
    """Return stores of the sentences, of different sizes and with different shards."""
    ranges = ((0, 1), (1, 4), (4, len(SENTENCES)))
    return [
        splitter.store_activations(SENTENCES[a:b], tmp_path / f"part{i}", "word", rows_per_shard=ROWS - 5 * i)
        for i, (a, b) in enumerate(ranges)
    ]


def test_a_joined_store_is_the_store_of_all_inputs(splitter, whole, parts, tmp_path):
    store = ActivationStore.join(parts, tmp_path / "joined")
    assert torch.equal(store.read(), whole.read()) and list(store.units()) == list(whole.units())
    assert [store.unit(i) for i in (0, 20, -1)] == [whole.unit(i) for i in (0, 20, -1)]
    assert store.verify() and whole.verify()
    assert os.stat(tmp_path / "joined" / "shard-00000.arrow").st_nlink == 2  # nothing is copied
    store.check_model(splitter.model, splitter.split_point)
    again = ActivationStore.join([part.path for part in parts], tmp_path / "joined")
    assert torch.equal(again.read(), whole.read())
    fewer = ActivationStore.join(parts[:2], tmp_path / "joined")
    assert len(fewer) < len(whole) and fewer.verify()
    twice = ActivationStore.join([fewer, parts[2]], tmp_path / "of joined ones")
    assert list(twice.units()) == list(whole.units()) and twice.verify()
    with pytest.raises(FileError, match="was joined from others"):
        splitter.store_activations(SENTENCES, tmp_path / "joined", "word", rows_per_shard=ROWS)


def test_without_links_files_are_copied(whole, parts, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refused)
    store = ActivationStore.join(parts, tmp_path / "joined")
    assert os.stat(tmp_path / "joined" / "shard-00000.arrow").st_nlink == 1
    assert torch.equal(store.read(), whole.read()) and store.verify()


def test_stores_that_differ_are_not_joined(splitter, parts, tmp_path):
    other = splitter.store_activations(SENTENCES[:2], tmp_path / "max", "word", "max")
    with pytest.raises(FileError, match=r"part0' and .*max' differ in aggregation_strategy"):
        ActivationStore.join([*parts, other], tmp_path / "joined")
    tuned, tokenizer = CLASSIFIERS["bert"]()
    with torch.no_grad():
        tuned.bert.embeddings.word_embeddings.weight.add_(1)
    theirs = ModelWithSplitPoints(tuned, splitter.split_point, tokenizer=tokenizer)
    other = theirs.store_activations(SENTENCES[:2], tmp_path / "tuned", "word")
    with pytest.raises(FileError, match="differ in model"):
        ActivationStore.join([*parts, other], tmp_path / "joined")
    with pytest.raises(OptionError, match=r"part1' twice"):
        ActivationStore.join([*parts, parts[1].path], tmp_path / "joined")
    with pytest.raises(OptionError, match="got none"):
        ActivationStore.join([], tmp_path / "joined")
    with pytest.raises(FileError, match="holds another store"):
        ActivationStore.join(parts[:1], parts[2].path)
    assert parts[2].verify()


@pytest.fixture
def store(splitter, tmp_path):
    return splitter.store_activations(SENTENCES, tmp_path / "store", "word", rows_per_shard=ROWS)


def change_a_byte(place):
    content = bytearray(place.read_bytes())
    content[-9] ^= 1
    place.write_bytes(content)


@pytest.mark.parametrize("name", ["shard-00001.safetensors", "shard-00001.arrow"])
@pytest.mark.parametrize("damage", [change_a_byte, os.unlink, lambda place: place.write_bytes(place.read_bytes()[:-9])])
def test_the_broken_file_is_named(splitter, store, name, damage):
    damage(store.path / name)
    checked = store.verify()
    assert not checked and checked.damaged == (name,) and not checked.misplaced
    if damage is not change_a_byte:  # which only checksums see
        assert splitter.store_activations(SENTENCES, store.path, "word", rows_per_shard=ROWS).verify()


def test_a_hole_or_an_overlap_is_named(store):
    """The files of a shard are taken out, or are there twice, and the index says so: each file is whole."""
    index = json.loads((store.path / "index.json").read_text())
    for places in ([0, 2, 3], [0, 1, 1, 2], [1, 2, 3]):
        listed = {name: [index[name][i] for i in places] for name in ("rows", "inputs", "checksums")}
        folder = store.path.parent / "-".join(map(str, places))
        folder.mkdir()
        for new, old in enumerate(places):
            for ending in ("safetensors", "arrow"):
                os.link(store.path / f"shard-{old:05d}.{ending}", folder / f"shard-{new:05d}.{ending}")
        (folder / "index.json").write_text(json.dumps({**index, **listed}))
        first = next(i for i, place in enumerate(places) if place != i)
        checked = ActivationStore(folder).verify()
        assert not checked and not checked.damaged and checked.misplaced == (f"shard-{first:05d}.arrow",)


@pytest.mark.parametrize(("encoding", "bound"), [("int8", 1 / 254), ("float8", 1 / 16)])
def test_rows_of_a_byte_per_number(splitter, whole, tmp_path, encoding, bound):
    store = splitter.store_activations(SENTENCES, tmp_path, "word", rows_per_shard=ROWS, dtype=encoding)
    assert store.dtype is torch.float32 and store.shape == whole.shape and store.verify()
    error = (store.read() - whole.read()).abs()
    assert bool((error <= whole.read().abs().amax(1, keepdim=True) * bound * 1.001).all()) and bool(error.any())
    assert torch.equal(torch.cat(list(store.batches(7))), store.read())
    assert torch.equal(store.rows(3, 40), store.read()[3:40])
    size = sum(os.path.getsize(tmp_path / name) for name in os.listdir(tmp_path) if name.endswith("safetensors"))
    full = sum(os.path.getsize(whole.path / name) for name in os.listdir(whole.path) if name.endswith("safetensors"))
    assert size < full / 2
    assert list(store.units()) == list(whole.units())
    with pytest.raises(FileError, match="differs in dtype"):
        splitter.store_activations(SENTENCES, tmp_path, "word", rows_per_shard=ROWS)
    with pytest.raises(OptionError, match="`dtype`: got 'int4'"):
        splitter.store_activations(SENTENCES, tmp_path, "word", dtype="int4")


# --- Stores of format 1, as interpreto 0.1 and 0.2 wrote them


def test_a_store_of_an_earlier_version_is_read(tmp_path):
    """Written by hand, letter for letter."""
    (tmp_path / "index.json").write_text(
        '{"format": 1, "config": {"model": {"class": "BertModel", "config": "ab", "weights": "cd"}, "split_point": "layer.1", '
        '"activation_granularity": "word", "aggregation_strategy": "mean", "dtype": "as computed", "rows_per_shard": 3, '
        '"probe": null}, "complete": true, "rows": [3, 1], "width": 2, "dtype": "float32", "samples": 3}'
    )
    (tmp_path / "shard-00000.json").write_text(
        '{"digest": "0123456789abcdef", "rows": 3, "width": 2, "dtype": "float32", "samples": [0, 0, 1], "units": [0, 1, 0], '
        '"spans": [[0, 1], [2, 6], [0, 4]], "texts": ["A", "film", "Déjà"]}'
    )
    (tmp_path / "shard-00001.json").write_text(
        '{"digest": "0123456789abcdef", "rows": 1, "width": 2, "dtype": "float32", "samples": [2], "units": [0], '
        '"spans": [[0, 2]], "texts": ["vu"]}'
    )
    rows = torch.arange(8, dtype=torch.float32).reshape(4, 2)
    save_file({"activations": rows[:3].clone()}, tmp_path / "shard-00000.safetensors")
    save_file({"activations": rows[3:].clone()}, tmp_path / "shard-00001.safetensors")
    store = ActivationStore(tmp_path)
    assert torch.equal(store.read(), rows) and store.config.split_point == "layer.1"
    assert [(u.sample, u.unit, u.span, u.text) for u in store.units()] == [
        (0, 0, (0, 1), "A"),
        (0, 1, (2, 6), "film"),
        (1, 0, (0, 4), "Déjà"),
        (2, 0, (0, 2), "vu"),
    ]
    checked = store.verify()
    assert checked and len(checked.unknown) == 4  # no checksum was taken then
    with pytest.raises(FileError, match="of an earlier version; write it anew"):
        ActivationStore.join([store], tmp_path / "joined")


def as_format_1(store, splitter, samples):
    """Turn a store into one of format 1."""
    index = json.loads((store.path / "index.json").read_text())
    units, done, inputs = list(store.units()), 0, 0
    for i, (rows, count) in enumerate(zip(index["rows"], index["inputs"], strict=True)):
        digest = hashlib.sha256()
        for sample in samples[inputs : inputs + count]:
            digest.update(sample.input_ids.numpy().tobytes())
            digest.update(sample.units.index.numpy().tobytes())
        own = units[done : done + rows]
        found = {"digest": digest.hexdigest()[:16], "rows": rows, "width": index["width"], "dtype": index["dtype"]}
        found |= {"samples": [u.sample for u in own], "units": [u.unit for u in own]}
        found |= {"spans": [u.span for u in own], "texts": [u.text for u in own]}
        (store.path / f"shard-{i:05d}.json").write_text(json.dumps(found))
        (store.path / f"shard-{i:05d}.arrow").unlink()
        done, inputs = done + rows, inputs + count
    kept = {name: value for name, value in index.items() if name not in ("inputs", "checksums")}
    (store.path / "index.json").write_text(json.dumps({**kept, "format": 1}))


@pytest.mark.parametrize("missing", [None, 0, 2])
def test_a_store_of_an_earlier_version_is_taken_up(splitter, whole, store, missing):
    as_format_1(store, splitter, splitter.samples(SENTENCES, "word"))
    assert list(ActivationStore(store.path).units()) == list(whole.units())
    files = [store.path / name for name in os.listdir(store.path) if name.startswith("shard")]
    stamps = [file.stat().st_mtime_ns for file in files]
    if missing is not None:
        (store.path / f"shard-{missing:05d}.json").unlink()
    found = splitter.store_activations(SENTENCES, store.path, "word", rows_per_shard=ROWS)
    assert torch.equal(found.read(), whole.read()) and list(found.units()) == list(whole.units()) and found.verify()
    left = [file.exists() and file.stat().st_mtime_ns == stamp for file, stamp in zip(files, stamps, strict=True)]
    assert sum(left) == len(files) - (0 if missing is None else 2)
    with pytest.raises(FileError, match="of other inputs"):
        splitter.store_activations(SENTENCES[1:], store.path, "word", rows_per_shard=ROWS)


@pytest.mark.parametrize("entries", [{"digest": None}, {"rows": 2}, {"samples": None}, {"spans": [[0]]}, {"texts": [1]}])
def test_a_damaged_index_of_an_earlier_version_is_told(splitter, store, entries):
    as_format_1(store, splitter, splitter.samples(SENTENCES, "word"))
    place = store.path / "shard-00000.json"
    index = json.loads(place.read_text())
    place.write_text(json.dumps({name: value for name, value in {**index, **entries}.items() if value is not None}))
    with pytest.raises(FileError):
        ActivationStore(store.path).unit(0)
    with pytest.raises(FileError):
        splitter.store_activations(SENTENCES, store.path, "word", rows_per_shard=ROWS)


@pytest.mark.slow
def test_factors_of_encoded_rows_explain_as_much(tmp_path):
    """The bound is that of the guide, and leaves room for another processor."""
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    texts = [sentence.text for sentence in demo.load_sentences("movie")][:100]
    explained = {}
    for dtype in (None, "int8", "float8"):
        store = splitter.store_activations(texts, tmp_path / str(dtype), "word", dtype=dtype)
        exact = ActivationStore(tmp_path / "None").read()
        factors = SemiNMFConcepts(splitter, nb_concepts=10).fit(store)
        left = exact - factors.decode_concepts(factors.encode_activations(exact))
        explained[dtype] = 1 - float(left.square().sum() / (exact - exact.mean(0)).square().sum())
    assert explained[None] > 0.3
    assert explained["int8"] == pytest.approx(explained[None], abs=0.005)
    assert explained["float8"] == pytest.approx(explained[None], abs=0.005)
