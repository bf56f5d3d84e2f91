import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from interpreto import demo, storage
from interpreto.concepts.activation_store import ActivationStore
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
from interpreto.errors import FileError, OptionError
from interpreto.models import fingerprint
from interpreto.models.fingerprint import identity
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES, SEQ2SEQ


@pytest.fixture
def splitter():
    model, tokenizer = CLASSIFIERS["bert"]()
    return ModelWithSplitPoints(model, 0, tokenizer=tokenizer)


def shards(path):
    return sorted(file.name for file in path.glob("*.safetensors"))


@pytest.mark.parametrize("granularity", ["token", "word", "sample", "all_tokens"])
def test_a_store_holds_what_get_activations_answers(splitter, granularity, tmp_path):
    store = splitter.store_activations(SENTENCES, tmp_path, granularity, rows_per_shard=20)
    (rows,) = splitter.get_activations(SENTENCES, granularity).values()
    assert store.shape == tuple(rows.shape)
    assert len(store) == len(rows)
    assert store.dtype is rows.dtype
    assert torch.allclose(store.read(), rows, atol=1e-5)
    assert torch.equal(ActivationStore(tmp_path).read(), store.read())
    assert len(shards(tmp_path)) == (1 if granularity == "sample" else len(shards(tmp_path)))


def test_rows_say_what_they_stand_for(splitter, tmp_path):
    store = splitter.store_activations(SENTENCES, tmp_path, "word", rows_per_shard=15)
    assert len(shards(tmp_path)) > 2
    expected = [
        (n, u, span, text)
        for n, sample in enumerate(splitter.samples(SENTENCES, "word"))
        for u, (span, text) in enumerate(zip(sample.units.spans, sample.units.texts, strict=True))
    ]
    found = [(unit.sample, unit.unit, unit.span, unit.text) for unit in store.units()]
    assert found == expected
    for sample, _, (start, end), text in found:
        assert SENTENCES[sample][start:end] == text
    for i in (0, 17, len(store) - 1, -1):
        unit = store.unit(i)
        assert (unit.sample, unit.unit, unit.span, unit.text) == expected[i]
    assert [unit.text for unit in store.units(10, 25)] == [text for *_, text in expected[10:25]]
    with pytest.raises(OptionError, match="got row 999"):
        store.unit(999)


def test_batches_in_order_and_rows_across_shards(splitter, tmp_path):
    store = splitter.store_activations(SENTENCES, tmp_path, rows_per_shard=10)
    whole = store.read()
    for size in (1, 7, 1000):
        assert torch.equal(torch.cat(list(store.batches(size))), whole)
    assert torch.equal(store.rows(3, 40), whole[3:40])
    assert torch.equal(store.rows(-5, 10_000), whole)
    for start, stop in ((5, 5), (9, 3), (len(store), len(store) + 4)):
        assert store.rows(start, stop).shape == (0, whole.shape[1])
    assert {len(batch) for batch in list(store.batches(7))[:-1]} == {7}


def test_shuffled_batches_have_every_row_once_and_follow_their_seed(tmp_path):
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    texts = [sentence.text for sentence in demo.load_sentences()[:400]]
    store = splitter.store_activations(texts, tmp_path, rows_per_shard=3000)
    whole = store.read()
    assert len(shards(tmp_path)) >= 3

    def epoch(seed):
        return list(store.batches(100, torch.Generator().manual_seed(seed)))

    first = epoch(0)
    before = torch.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(first, epoch(0), strict=True))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(torch.cat(first), torch.cat(epoch(1)))
    assert {len(batch) for batch in first[:-1]} == {100}
    shuffled = torch.cat(first)
    assert shuffled.shape == whole.shape
    order = torch.cdist(shuffled[:300].double(), whole.double()).argmin(1)
    assert len(set(order.tolist())) > 250  # [the same words in the same place have the same activations]
    assert torch.allclose(shuffled.double().sum(0), whole.double().sum(0), atol=1e-6 * len(whole))
    assert torch.equal(shuffled[:, 0].sort().values, whole[:, 0].sort().values)
    assert order.double().std() > len(whole) / 6  # far from consecutive


def test_an_interrupted_call_goes_on_at_the_first_missing_shard(splitter, tmp_path, monkeypatch):
    monkeypatch.setattr("interpreto.inputs.streaming.CHUNK", 2)
    whole = splitter.store_activations(SENTENCES, tmp_path / "whole", "word", rows_per_shard=15)

    def broken():
        yield from SENTENCES[:6]
        raise KeyboardInterrupt

    path = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        splitter.store_activations(broken(), path, "word", rows_per_shard=15)
    done = shards(path)
    assert 0 < len(done) < len(shards(tmp_path / "whole"))
    with pytest.raises(FileError, match="not finished"):
        ActivationStore(path)
    # a shard whose index is missing was not finished
    (path / "shard-00000.arrow").unlink()
    stamps = {name: (path / name).stat().st_mtime_ns for name in done}
    store = splitter.store_activations(SENTENCES, path, "word", rows_per_shard=15)
    assert torch.allclose(store.read(), whole.read(), atol=1e-5)
    assert list(store.units()) == list(whole.units())
    rewritten = [name for name in done if (path / name).stat().st_mtime_ns != stamps[name]]
    assert rewritten == ["shard-00000.safetensors"]


def test_a_finished_store_is_not_computed_again(splitter, tmp_path):
    splitter.store_activations(SENTENCES, tmp_path)
    read = []
    hook = splitter.model.register_forward_pre_hook(lambda *given: read.append(given[-1]["input_ids"]), with_kwargs=True)
    store = splitter.store_activations(SENTENCES, tmp_path)
    hook.remove()
    assert len(store)
    assert [len(ids) for ids in read] == [1]  # the fixed input that tells the model from others


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_shard_is_named_and_written_again(splitter, tmp_path, damage):
    store = splitter.store_activations(SENTENCES, tmp_path, "word", rows_per_shard=15)
    whole, place = store.read(), tmp_path / "shard-00001.safetensors"
    content = place.read_bytes()
    place.unlink()
    if damage == "cut":
        place.write_bytes(content[:-100])
    assert torch.equal(store.rows(0, 15), whole[:15])
    with pytest.raises(FileError, match=r"shard-00001.safetensors' cannot be read .* delete it, and repeat the call"):
        store.read()
    again = splitter.store_activations(SENTENCES, tmp_path, "word", rows_per_shard=15)
    assert torch.allclose(again.read(), whole, atol=1e-5)


def test_a_shard_of_another_store_is_noticed(splitter, tmp_path):
    store = splitter.store_activations(SENTENCES, tmp_path / "one", "word", rows_per_shard=15)
    splitter.store_activations(SENTENCES[:1], tmp_path / "other", "word", rows_per_shard=15)
    (tmp_path / "other" / "shard-00000.safetensors").replace(tmp_path / "one" / "shard-00000.safetensors")
    with pytest.raises(FileError, match="not the file that the store's index speaks of"):
        store.read()


def test_memory_holds_one_shard(splitter, tmp_path):
    """Texts are taken as they are needed, and shards written as they are full."""
    written = []

    def texts():
        for i in range(1000):
            written.append(len(shards(tmp_path)) if tmp_path.exists() else 0)
            yield SENTENCES[i % 8]

    store = splitter.store_activations(texts(), tmp_path, "sample", rows_per_shard=100)
    assert len(store) == 1000
    assert written[900] >= 5


def test_other_inputs_or_options_are_refused(splitter, tmp_path):
    splitter.store_activations(SENTENCES, tmp_path, "word", rows_per_shard=15)
    for inputs in (SENTENCES[::-1], SENTENCES[:-3]):
        with pytest.raises(FileError, match="of other inputs"):
            splitter.store_activations(inputs, tmp_path, "word", rows_per_shard=15)
    with pytest.raises(FileError, match="differs in activation_granularity"):
        splitter.store_activations(SENTENCES, tmp_path, "token", rows_per_shard=15)
    with pytest.raises(FileError, match="differs in aggregation_strategy"):
        splitter.store_activations(SENTENCES, tmp_path, "word", "max", rows_per_shard=15)
    with pytest.raises(FileError, match="differs in dtype"):
        splitter.store_activations(SENTENCES, tmp_path, "word", dtype=torch.bfloat16, rows_per_shard=15)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("dear diary")
    with pytest.raises(FileError, match="holds something else"):
        splitter.store_activations(SENTENCES, tmp_path / "full")
    assert (tmp_path / "full" / "diary.txt").read_text() == "dear diary"


def test_a_store_of_another_model_is_refused(splitter, tmp_path):
    store = splitter.store_activations(SENTENCES, tmp_path)
    store.check_model(splitter.model, "bert.encoder.layer.0")
    with pytest.raises(FileError, match=r"split point 'bert.encoder.layer.0', not 'bert.encoder.layer.1'"):
        store.check_model(splitter.model, "bert.encoder.layer.1")
    with pytest.raises(FileError, match="its class is BertForSequenceClassification, and this model's is Roberta"):
        store.check_model(CLASSIFIERS["roberta"]()[0], "bert.encoder.layer.0")
    tuned, _ = CLASSIFIERS["bert"]()
    tuned.classifier.weight.data[0, 0] += 1
    with pytest.raises(FileError, match="its weights is"):
        store.check_model(tuned, "bert.encoder.layer.0")


def test_identity_is_of_the_model_and_not_of_how_it_was_loaded(tmp_path):
    model, _ = CLASSIFIERS["bert"]()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert identity(again) == identity(model) == identity(type(model).from_pretrained(tmp_path, dtype=torch.bfloat16))


def test_low_precision_is_kept(splitter, tmp_path):
    store = splitter.store_activations(SENTENCES, tmp_path, dtype=torch.bfloat16)
    assert store.dtype is torch.bfloat16
    (rows,) = splitter.get_activations(SENTENCES).values()
    assert torch.allclose(store.read().float(), rows, rtol=2**-7, atol=1e-2)


def test_every_splitter_stores(tmp_path):
    model, tokenizer = CLASSIFIERS["roberta"]()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    store = splitter.store_activations(SENTENCES, tmp_path / "classes")
    assert torch.allclose(store.read(), splitter.get_activations(SENTENCES)[0], atol=1e-5)
    assert [unit.text for unit in store.units()] == SENTENCES
    lm, lm_tokenizer = CAUSAL_LMS["llama"]()
    writer = SplitterForGeneration(lm, 0, lm_tokenizer, max_new_tokens=3)
    store = writer.store_activations(SENTENCES, tmp_path / "answers", "word")
    assert torch.allclose(store.read(), writer.get_activations(SENTENCES, "word")["model.layers.0"], atol=1e-5)


def test_a_split_point_is_chosen_among_several(splitter, tmp_path):
    both = ModelWithSplitPoints(splitter.model, [0, 1], tokenizer=splitter.tokenizer)
    with pytest.raises(OptionError, match="`split_point`: got None"):
        both.store_activations(SENTENCES, tmp_path)
    store = both.store_activations(SENTENCES, tmp_path, split_point="bert.encoder.layer.1")
    assert torch.allclose(store.read(), both.get_activations(SENTENCES)["bert.encoder.layer.1"], atol=1e-5)


def test_what_is_no_store(tmp_path):
    with pytest.raises(FileError, match=r"holds no activation store \(index.json is missing\)"):
        ActivationStore(tmp_path)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(FileError, match="cannot be read"):
        ActivationStore(tmp_path)
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(FileError, match="no index of an activation store"):
        ActivationStore(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(FileError, match="no activation store of this version"):
        ActivationStore(tmp_path)


def test_sizes_are_at_least_one(splitter, tmp_path):
    with pytest.raises(OptionError, match="`rows_per_shard`: got 0"):
        splitter.store_activations(SENTENCES, tmp_path, rows_per_shard=0)
    store = splitter.store_activations(SENTENCES, tmp_path / "other")
    with pytest.raises(OptionError, match="`size`: got 0"):
        next(store.batches(0))


# --- Damage, full disks, several writers, models that only seem the same


def changed(path, **entries):
    """Change entries of an index in JSON; None: leave the entry out."""
    index = json.loads(path.read_text())
    for name, value in entries.items():
        part, own = (index["config"], name[7:]) if name.startswith("config_") else (index, name)
        part.pop(own) if value is None else part.update({own: value})
    path.write_text(json.dumps(index))


HOSTILE = [
    {"complete": None},
    {"complete": 1},
    {"config": None},
    {"config": []},
    {"config": {}},
    {"config_split_point": None},
    {"config_split_point": 3},
    {"config_model": {"class": 1}},
    {"config_rows_per_shard": True},
    {"config_probe": {"values": "x"}},
    {"config_new": 1},
    {"rows": None},
    {"rows": ["a"]},
    {"rows": [-3]},
    {"rows": [1.5]},
    {"width": "4"},
    {"width": -1},
    {"dtype": "load"},
    {"dtype": "no_such"},
    {"dtype": ["float32"]},
    {"inputs": None},
    {"inputs": [1, 2]},
    {"checksums": [["a"]]},
    {"checksums": [[1, 2]]},
    {"parts": [2]},
    {"parts": "one"},
]


@pytest.mark.parametrize("entries", HOSTILE, ids=str)
def test_a_damaged_index_is_told(splitter, tmp_path, entries):
    splitter.store_activations(SENTENCES[:2], tmp_path)
    changed(tmp_path / "index.json", **entries)
    with pytest.raises(FileError, match=r"index.json' is damaged: its entry"):
        ActivationStore(tmp_path)
    if not set(entries) & {"rows", "width", "dtype", "inputs", "checksums", "parts"}:  # these are written anew
        with pytest.raises(FileError, match="damaged"):
            splitter.store_activations(SENTENCES[:2], tmp_path)


def test_a_shard_of_another_width_or_dtype_is_told(splitter, tmp_path):
    store = splitter.store_activations(SENTENCES[:1], tmp_path, "sample")
    for tensor in (torch.zeros(1, store.shape[1] + 1), torch.zeros(1, store.shape[1], dtype=torch.int64)):
        save_file({"activations": tensor}, tmp_path / "shard-00000.safetensors")
        with pytest.raises(FileError, match="not the file"):
            store.read()
    save_file({"others": torch.zeros(1)}, tmp_path / "shard-00000.safetensors")
    with pytest.raises(FileError):
        store.read()


@pytest.mark.parametrize("fails_at", range(6))
def test_a_full_disk_is_told_and_the_same_call_goes_on(splitter, tmp_path, monkeypatch, fails_at):
    """Whichever of a store's files is the first that does not fit."""
    count, put = [], storage._put

    def full(partial, target):
        count.append(target.name)
        if len(count) == fails_at + 1:
            raise OSError(28, "No space left on device")
        put(partial, target)

    monkeypatch.setattr("interpreto.storage._put", full)
    with pytest.raises(FileError, match="cannot be written"):
        splitter.store_activations(SENTENCES, tmp_path / "a", "word", rows_per_shard=30)
    assert not [file for file in os.listdir(tmp_path / "a") if file.endswith(".partial")]
    monkeypatch.undo()
    store = splitter.store_activations(SENTENCES, tmp_path / "a", "word", rows_per_shard=30)
    whole = splitter.store_activations(SENTENCES, tmp_path / "b", "word", rows_per_shard=30)
    assert torch.equal(store.read(), whole.read()) and list(store.units()) == list(whole.units())


def test_what_an_ended_writer_left_is_cleared_away(splitter, tmp_path):
    for name in ("index.json.partial", "index.json.0a.partial", "shard-00000.safetensors.0a.partial"):
        (tmp_path / name).write_text("half")
    assert len(splitter.store_activations(SENTENCES, tmp_path))
    assert not [file for file in os.listdir(tmp_path) if file.endswith(".partial")]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "film.mp4.partial").write_text("a download of the user's")
    with pytest.raises(FileError, match="holds something else"):
        splitter.store_activations(SENTENCES, tmp_path / "other")


def test_writers_of_one_store_take_turns(splitter, tmp_path):
    whole = splitter.store_activations(SENTENCES, tmp_path / "whole", "word", rows_per_shard=10)
    runs = []
    hook = splitter.model.register_forward_pre_hook(lambda *_: (runs.append(1), time.sleep(0.002))[0])
    with ThreadPoolExecutor(3) as pool:
        stores = list(
            pool.map(lambda _: splitter.store_activations(SENTENCES, tmp_path / "one", "word", rows_per_shard=10), range(3))
        )
    hook.remove()
    assert all(torch.equal(store.read(), whole.read()) and list(store.units()) == list(whole.units()) for store in stores)
    assert len(runs) < 3 * len(shards(tmp_path / "one"))  # what one has written is not run again


def test_folders_that_cannot_be_made_are_told(splitter, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(FileError):
            splitter.store_activations(SENTENCES[:1], path)


def test_a_tilde_is_the_home_folder(splitter, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    splitter.store_activations(SENTENCES[:1], "~/store")
    assert len(ActivationStore("~/store")) and (tmp_path / "store" / "index.json").exists()


def test_an_offloaded_model_is_the_model_and_another_is_not(splitter, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    point = "bert.encoder.layer.0"
    store = splitter.store_activations(SENTENCES[:2], tmp_path)

    def offloaded(factor):
        model, _ = CLASSIFIERS["bert"]()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(factor)
        accelerate.cpu_offload(model, execution_device="cpu")
        assert next(model.parameters()).device.type == "meta"
        return model

    store.check_model(offloaded(1.0), point)
    with pytest.raises(FileError, match="of another model"):
        store.check_model(offloaded(1.5), point)


def test_what_changes_activations_but_no_weight_is_noticed(splitter, tmp_path):
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False)
    tuned = peft.get_peft_model(splitter.model, config).eval()
    point = "base_model.model.bert.encoder.layer.1"
    adapted = ModelWithSplitPoints(tuned, point, tokenizer=splitter.tokenizer)
    store = adapted.store_activations(SENTENCES[:2], tmp_path)
    store.check_model(tuned, point)
    with tuned.disable_adapter():
        with pytest.raises(FileError, match="switched on or off"):
            store.check_model(tuned, point)
        with pytest.raises(FileError, match="differs in model"):
            adapted.store_activations(SENTENCES[:2], tmp_path)
    hook = tuned.base_model.model.bert.encoder.layer[0].output.dense.register_forward_hook(lambda *given: -given[-1])
    with pytest.raises(FileError, match="switched on or off"):
        store.check_model(tuned, point)
    hook.remove()
    store.check_model(tuned, point)


@pytest.mark.parametrize("family", ["bert", "xlnet", "gpt2", "bart-lm", "t5-lm"])
def test_every_family_has_a_fingerprint(family):
    model, _ = SEQ2SEQ[family[:-3]]() if family.endswith("-lm") else CLASSIFIERS[family]()
    point = next(name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear))
    first, again = fingerprint.probe(model, point), fingerprint.probe(model, point)
    assert first is not None and first.values == again.values and 8 < len(first.values) <= fingerprint.PROBED_VALUES
    half = fingerprint.probe(model.bfloat16(), point)
    assert half.low_precision and half.agrees(first)
