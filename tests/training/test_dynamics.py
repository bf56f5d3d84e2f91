"""The record: batches in any order, files, refusals; the model runs as it is in the midst of a training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from interpreto.errors import FileError, InputError, OptionError
from interpreto.models.head_reader import HeadReader
from interpreto.training import TrainingDynamics
from tests import tiny

TEXTS = list(tiny.SENTENCES[1:5])


def filled(features: bool = True) -> TrainingDynamics:
    generator = torch.Generator().manual_seed(0)
    dynamics = TrainingDynamics(["a", "b", "c", "d"], classes=["no", "yes"])
    for epoch in range(3):
        logits, rows = torch.randn(4, 2, generator=generator), torch.randn(4, 5, generator=generator)
        dynamics.record(epoch, range(4), logits, [0, 1, 1, 0], rows if features else None)
    return dynamics


class TestRecord:
    def test_batches_in_any_order_are_the_whole(self):
        whole, parts = filled(), TrainingDynamics(["a", "b", "c", "d"], classes=["no", "yes"])
        for epoch in (2, 0, 1):
            for batch in ([3, 1], [0, 2]):
                labels = [[0, 1, 1, 0][i] for i in batch]
                parts.record(epoch, torch.tensor(batch), whole.logits[epoch, batch], labels, whole.features[epoch, batch])
        order = [parts.ids.index(i) for i in whole.ids]
        assert parts.epochs == [0, 1, 2] and parts.ids == [3, 1, 0, 2] and parts.texts == ["d", "b", "a", "c"]
        assert torch.equal(parts.logits[:, order], whole.logits) and torch.equal(parts.features[:, order], whole.features)
        for name in ("confidence", "variability", "correctness", "forgetting_events", "tidy", "area_under_margin"):
            assert torch.equal(getattr(parts, name)[order], getattr(whole, name)), name
        assert torch.equal(parts.tracin()[order], whole.tracin())

    def test_a_text_that_comes_twice_in_an_epoch_is_replaced(self):
        dynamics = TrainingDynamics()
        dynamics.record(0, ["x"], [[0.0, 1.0]], [1])
        dynamics.record(0, ["x"], [[0.0, 3.0]], [1])
        assert dynamics.area_under_margin.tolist() == [3.0] and dynamics.texts == ["x"]

    def test_what_was_recorded_is_a_copy(self):
        logits = torch.zeros(1, 2, requires_grad=True)
        dynamics = TrainingDynamics()
        dynamics.record(0, [0], logits, [1])
        with torch.no_grad():
            logits += 5
        assert dynamics.logits.tolist() == [[[0.0, 0.0]]] and not dynamics.logits.requires_grad

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (((0, [0, 0], torch.zeros(2, 2), [0, 0])), "occurs twice"),
            (((0, [0.5], torch.zeros(1, 2), [0])), "whole numbers or strings"),
            (((0, [0], torch.zeros(2, 2), [0])), "one row for each of 1 texts"),
            (((0, [0], torch.zeros(1, 2), [2])), "classes 0 to 1"),
            (((0, [0], torch.zeros(1, 2), torch.tensor([0.0]))), "the number of a class"),
            (((1, [7], torch.zeros(1, 3), [0])), "2 were recorded before"),
            (((1, [7], torch.zeros(1, 2), [0])), "recorded with 1 before"),
            (((-1, [9], torch.zeros(1, 2), [0])), "`epoch`"),
        ],
    )
    def test_what_does_not_fit_is_refused_and_nothing_is_kept(self, call, message):
        dynamics = TrainingDynamics()
        dynamics.record(0, [7], torch.zeros(1, 2), [1])
        with pytest.raises(ValueError, match=message):
            dynamics.record(*call)
        assert dynamics.ids == [7] and dynamics.epochs == [0]

    def test_an_empty_record_says_so(self):
        with pytest.raises(InputError, match="nothing was recorded"):
            TrainingDynamics().logits  # noqa: B018


class TestFiles:
    @pytest.mark.parametrize("name", ["a.safetensors", "a.parquet"])
    def test_a_record_is_read_as_it_was_written(self, name, tmp_path):
        dynamics = filled(features=name.endswith("safetensors"))
        dynamics.record(3, [1, "own"], torch.ones(2, 2), [1, 0])
        dynamics.save(tmp_path / name)
        found = TrainingDynamics.load(tmp_path / name)
        assert (found.ids, found.texts, found.epochs, found.classes) == (
            dynamics.ids,
            dynamics.texts,
            dynamics.epochs,
            dynamics.classes,
        )
        order = [found.ids.index(one) for one in dynamics.ids]
        assert torch.equal(found.logits[:, order].nan_to_num(9), dynamics.logits.nan_to_num(9))
        assert torch.equal(found.labels, dynamics.labels)
        if name.endswith("safetensors"):
            assert torch.equal(found.features.nan_to_num(9), dynamics.features.nan_to_num(9))
        assert not list(tmp_path.glob("*.partial"))

    @pytest.mark.parametrize("name", ["a.safetensors", "a.parquet"])
    def test_other_files_are_refused(self, name, tmp_path):
        with pytest.raises(FileError, match="there is no file"):
            TrainingDynamics.load(tmp_path / name)
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(FileError, match="cannot be read"):
            TrainingDynamics.load(tmp_path / name)

    def test_a_table_has_a_row_per_text(self):
        frame = filled().to_dataframe()
        assert frame["text"].tolist() == ["a", "b", "c", "d"] and frame["label"].tolist() == ["no", "yes", "yes", "no"]
        assert torch.allclose(torch.tensor(frame["confidence"].tolist()), filled().confidence)


class TestSuspicion:
    def test_the_most_suspicious_come_first_with_the_preferred_label(self):
        dynamics = TrainingDynamics(["right", "wrong", "hard"], classes=["no", "yes"])
        for epoch in range(4):
            dynamics.record(epoch, range(3), [[0.0, 4.0], [3.0, 0.0], [0.0, 0.1]], [1, 1, 1])
        for by in ("aum", "confidence", "bhdf"):
            found = dynamics.suspected_label_errors(2, by)
            assert found.texts == ("wrong", "hard") and found.suggestions == ("no", "yes") and found.labels == ("yes", "yes")
            assert found.n == 3 and found.to_dataframe()[by].tolist() == found.scores.tolist()
        assert dynamics.suspected_label_errors(1, "forgetting").scores.tolist() == [float("inf")]
        with pytest.raises(OptionError, match="'aum'"):
            dynamics.suspicion("loss")
        with pytest.raises(OptionError, match="pass `features`"):
            dynamics.suspicion("tracin")


class TestModel:
    @pytest.mark.parametrize("family", ["bert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "roberta"))])
    def test_what_the_head_reads_gives_the_models_logits(self, family):
        model, tokenizer = tiny.CLASSIFIERS[family]()
        model.train()
        found = HeadReader(model, tokenizer).read(TEXTS)
        head = HeadReader(model, tokenizer).layer
        assert torch.allclose(head(found.features), found.logits, atol=1e-5) and model.training
        model.eval()
        for text, logits in zip(TEXTS, found.logits, strict=True):
            assert torch.allclose(model(**tokenizer(text, return_tensors="pt")).logits[0], logits, atol=1e-4)

    def test_recording_changes_no_training(self):
        """Weights and random draws after two epochs are those of a training that is not recorded."""
        states = []
        for recorded in (False, True):
            model, tokenizer = copy.deepcopy(tiny.CLASSIFIERS["bert"]())
            torch.manual_seed(0)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            dynamics, labels = TrainingDynamics(), torch.tensor([0, 1, 2, 0])
            for epoch in range(2):
                model.train()
                batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
                cross_entropy(model(**batch).logits, labels).backward()
                optimizer.step()
                optimizer.zero_grad()
                if recorded:
                    dynamics.record_model(epoch, model, tokenizer, TEXTS, labels, features=True)
            states.append((model.state_dict(), torch.get_rng_state(), dynamics))
        (plain, before, _), (other, after, dynamics) = states
        assert torch.equal(before, after) and all(torch.equal(plain[name], other[name]) for name in plain)
        assert dynamics.logits.shape == (2, 4, 3) and dynamics.texts == TEXTS
        assert not torch.equal(dynamics.logits[0], dynamics.logits[1])

    @pytest.mark.slow
    def test_the_trainer_calls_it_at_the_end_of_each_epoch(self, tmp_path):
        pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")
        from transformers import Trainer, TrainingArguments

        model, tokenizer = copy.deepcopy(tiny.CLASSIFIERS["bert"]())
        labels = [0, 1, 2, 0]
        rows = [{**tokenizer(text), "labels": label} for text, label in zip(TEXTS, labels, strict=True)]

        def collate(batch):
            return tokenizer.pad(batch, return_tensors="pt")

        dynamics = TrainingDynamics()
        arguments = TrainingArguments(
            str(tmp_path),
            num_train_epochs=3,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            learning_rate=1e-3,
        )
        callback = dynamics.callback(tokenizer, TEXTS, labels, features=True)
        Trainer(model, arguments, train_dataset=rows, data_collator=collate, callbacks=[callback]).train()
        assert dynamics.epochs == [0, 1, 2] and dynamics.texts == TEXTS
        assert torch.allclose(dynamics.logits[-1], HeadReader(model, tokenizer).read(TEXTS).logits, atol=1e-6)
        assert not torch.equal(dynamics.logits[0], dynamics.logits[-1])
