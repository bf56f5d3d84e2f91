"""Workers write the store that one process writes, whatever ends them. Activations are lookups, equal on every machine."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from interpreto.concepts.activation_store import ActivationStore
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
from interpreto.concepts.store_writing import Range, ShardTask
from interpreto.errors import EngineError, FileError, ModelError, OptionError
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES

ROOT = Path(__file__).parents[2]
POINT = "bert.embeddings.word_embeddings"
KILLS = int(os.environ.get("INTERPRETO_KILLS", "1"))
TEXTS = [f"{sentence} {i}" for i in range(12) for sentence in SENTENCES]


class Slow(ModelWithSplitPoints):
    """Takes a while for each shard, without use of the processor."""

    def activations_of(self, *args, **kwargs):
        time.sleep(0.05)
        return super().activations_of(*args, **kwargs)


class Deadly(ModelWithSplitPoints):
    """Ends its process at the text of a shard that says so."""

    def activations_of(self, samples, *args, **kwargs):
        if any("suicide" in sample.text for sample in samples):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().activations_of(samples, *args, **kwargs)


def splitter(kind=ModelWithSplitPoints):
    model, tokenizer = CLASSIFIERS["bert"]()
    return kind(model, POINT, tokenizer=tokenizer)


def written(path, **options):
    return splitter(Slow).store_activations(TEXTS, path, "word", rows_per_shard=40, **options)


def files(folder):
    """Return the bytes of each file of a store but its lock."""
    return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir()) if file.name != ".lock"}


def test_shards_travel_as_they_are():
    samples = splitter().samples(SENTENCES, "word")
    task = ShardTask(Range(3, 40, 40 + len(samples)), samples)
    sent = pickle.dumps(task)
    assert len(sent) < 2500 * len(samples)
    found = pickle.loads(sent)
    assert found.shard == task.shard
    for one, other in zip(found.samples, samples, strict=True):
        assert one.text == other.text and torch.equal(one.input_ids, other.input_ids)
        assert torch.equal(one.units.index, other.units.index)
        assert (one.units.texts, one.units.spans) == (other.units.texts, other.units.spans)
        assert one.inputs.keys() == other.inputs.keys()
        assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)


@pytest.mark.parametrize("again", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy])
def test_a_splitter_is_made_again(again):
    model, tokenizer = CLASSIFIERS["bert"]()
    lm, lm_tokenizer = CAUSAL_LMS["gpt2"]()
    made = [
        ModelWithSplitPoints(model, [0, -1], tokenizer=tokenizer, truncation=True),
        SplitterForClassification(model, tokenizer=tokenizer),
        SplitterForGeneration(lm, 0, lm_tokenizer, max_new_tokens=2),
    ]
    for one in made:
        one.batch_size = 3
        found = again(one)
        assert type(found) is type(one) and found.split_points == one.split_points and found.batch_size == 3
        point = one.split_points[0]
        samples = one.samples(SENTENCES[:3])
        assert torch.equal(found.activations_of(samples, split_point=point), one.activations_of(samples, split_point=point))


def test_options_of_engines_are_checked(tmp_path):
    for options, message in [
        ({"engine": "spark"}, "`engine`: got 'spark'"),
        ({"workers": 0}, "`workers`: got 0"),
        ({"workers": "cuda"}, "`workers`: got 'cuda'"),
        ({"engine": "ray", "workers": ["cuda:0"]}, "Ray finds devices itself"),
    ]:
        with pytest.raises(OptionError, match=message):
            splitter().store_activations(SENTENCES, tmp_path, **options)
    local = splitter(type("Local", (ModelWithSplitPoints,), {}))  # no other process finds this class
    with pytest.raises(OptionError, match="cannot be sent to another process"):
        local.store_activations(SENTENCES, tmp_path, workers=2)


@pytest.mark.slow
def test_workers_write_what_one_process_writes(tmp_path):
    """The same bytes in every file, with any number of workers; no worker is started where nothing is missing."""
    whole = written(tmp_path / "one")
    assert len(files(tmp_path / "one")) > 20
    store = written(tmp_path / "two", workers=2)
    assert files(tmp_path / "two") == files(tmp_path / "one") and store.verify()
    (tmp_path / "two" / "shard-00003.arrow").unlink()
    stamps = {name: os.stat(tmp_path / "two" / name).st_mtime_ns for name in files(tmp_path / "two")}
    assert written(tmp_path / "two", workers=["cpu"]).verify()
    assert files(tmp_path / "two") == files(tmp_path / "one")
    new = [name for name, stamp in stamps.items() if os.stat(tmp_path / "two" / name).st_mtime_ns != stamp]
    assert sorted(new) == ["index.json", "shard-00003.safetensors"]
    assert torch.equal(written(tmp_path / "two", workers=2).read(), whole.read())
    assert not multiprocessing.active_children()
    for options, message in [({"dtype": "int8"}, "differs in dtype"), ({}, "of other inputs")]:
        with pytest.raises(FileError, match=message):
            splitter(Slow).store_activations(
                TEXTS if options else TEXTS[1:], tmp_path / "two", "word", rows_per_shard=40, workers=2, **options
            )


@pytest.mark.slow
def test_a_model_is_loaded_by_each_worker_and_must_be_the_same(tmp_path):
    model, tokenizer = CLASSIFIERS["bert"]()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    loaded = ModelWithSplitPoints(str(tmp_path / "model"), POINT)
    assert len(pickle.dumps(loaded)) < 1000  # the name alone is sent
    store = loaded.store_activations(SENTENCES, tmp_path / "two", "word", rows_per_shard=20, workers=["cpu"])
    assert torch.equal(store.read(), loaded.store_activations(SENTENCES, tmp_path / "one", "word").read())
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.add_(1)
    with pytest.raises(ModelError, match="a worker made a model that differs from this one"):
        loaded.store_activations(SENTENCES, tmp_path / "other", "word", rows_per_shard=20, workers=["cpu"])


@pytest.mark.slow
def test_killed_workers_are_replaced(tmp_path, monkeypatch):
    """Workers are killed at random points while the driver goes on; each row is there once, with the same bytes."""
    monkeypatch.setattr("interpreto.engines.local.ATTEMPTS", KILLS + 2)  # one shard may meet many of them
    written(tmp_path / "whole")
    kills, draws, done = [], random.Random(0), threading.Event()

    def kill() -> None:
        """End a worker soon after a shard was finished, again and again."""
        before = 0
        while len(kills) < KILLS and not done.wait(0.02):
            there = len(list((tmp_path / "out").glob("*.arrow")))
            workers = [child for child in multiprocessing.active_children() if child.name.startswith("interpreto-")]
            if workers and there > before and not done.wait(draws.uniform(0, 0.05)):
                os.kill(draws.choice(workers).pid, signal.SIGKILL)
                kills.append(there)
                before = there

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        store = written(tmp_path / "out", workers=2)
    finally:
        done.set()
        killer.join()
    assert len(kills) == KILLS and store.verify()
    assert files(tmp_path / "out") == files(tmp_path / "whole")


DRIVER = """
import sys
from tests.concepts.test_store_engines import written
if __name__ == "__main__":
    written(sys.argv[1], workers=int(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_driver_is_taken_up_again(tmp_path):
    """The driver is killed at random points, its workers end by themselves, and the last call completes the store."""
    written(tmp_path / "whole")
    draws, out = random.Random(1), tmp_path / "out"
    for i in range(KILLS):
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(out), str(1 + i % 2)], cwd=ROOT, stderr=subprocess.DEVNULL)
        before = len(list(out.glob("*.arrow")))
        while driver.poll() is None and len(list(out.glob("*.arrow"))) <= before:
            time.sleep(0.02)
        time.sleep(draws.uniform(0, 0.2))
        driver.kill()
        driver.wait()
    time.sleep(1)  # workers finish the shard that they have, and end
    with pytest.raises(FileError, match="not finished"):
        ActivationStore(out)
    assert written(out).verify() and files(out) == files(tmp_path / "whole")


@pytest.mark.slow
def test_a_shard_that_kills_every_worker_ends_the_run(tmp_path):
    texts = [*SENTENCES, "a suicide note", *SENTENCES]
    with pytest.raises(EngineError, match=r"3 workers died over inputs \d+ to \d+ \(the last one by SIGKILL\)"):
        splitter(Deadly).store_activations(texts, tmp_path, "word", rows_per_shard=20, workers=["cpu"])
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_actors_of_ray_write_what_one_process_writes(tmp_path):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        store = splitter().store_activations(TEXTS, tmp_path / "ray", "word", rows_per_shard=60, engine="ray", workers=2)
    finally:
        ray.shutdown()
    splitter().store_activations(TEXTS, tmp_path / "one", "word", rows_per_shard=60)
    assert files(tmp_path / "ray") == files(tmp_path / "one") and store.verify()
