"""A data set explained in shards equals one call, is taken up again where it ended, and refuses to become another one."""

from __future__ import annotations

import errno
import json

import pandas
import pytest
import torch

import interpreto.datasets.shards as shards_module
from interpreto import BlackBox, Contrast, KernelShap, Occlusion, demo, explain_dataset
from interpreto.datasets import ExplainerSpec, ExplanationDataset
from interpreto.datasets.shards import INDEX, SHARDS
from interpreto.errors import EngineError, FileError, InputError, OptionError
from tests.datasets.explainers import assert_same, digests, never, occlusion, sampled, score, texts


@pytest.mark.parametrize("rows_per_shard", [1, 4, 64])
def test_shards_equal_one_call(tmp_path, rows_per_shard):
    found = texts(10)
    dataset = explain_dataset(sampled(), found, tmp_path / "out", rows_per_shard=rows_per_shard)
    assert_same(dataset, sampled()(found))
    assert len(dataset._entries) == -(-10 // rows_per_shard) and dataset.is_complete and dataset.verify(found)


def test_draws_follow_the_input_and_not_its_place(tmp_path):
    """Seeds are drawn for each text afresh: what comes before it in its shard does not matter."""
    found = texts(12)
    dataset = explain_dataset(sampled(), found[::-1], tmp_path / "out", rows_per_shard=5)
    for one, other in zip(reversed(list(dataset)), sampled()(found), strict=True):
        assert torch.equal(one.attributions, other.attributions)


@pytest.mark.slow
def test_a_model_in_shards_equals_one_call(tmp_path):
    model, tokenizer = demo.load_classifier()
    found = [sentence.text for sentence in demo.load_sentences("movie")][:8]
    explainer = KernelShap(model, tokenizer, n_perturbations=128)
    dataset = explain_dataset(explainer, found, tmp_path / "out", rows_per_shard=5, call={"targets": [0, 1]})
    assert_same(dataset, explainer(found, [[0, 1]] * 8), tolerance=1e-6)


def test_targets_and_labels_are_columns(tmp_path):
    table = pandas.DataFrame({"review": texts(9), "why": ["up", "down", "up"] * 3, "truth": ["up"] * 9})
    dataset = explain_dataset(
        occlusion(), table, tmp_path / "out", text="review", target="why", label="truth", rows_per_shard=4
    )
    assert_same(dataset, occlusion()(list(table["review"]), list(table["why"]), labels=["up"] * 9))
    assert [one.label for one in dataset] == ["up"] * 9 and all(one.correct is not None for one in dataset)


def test_a_repeated_call_computes_what_is_missing(tmp_path):
    found, calls = texts(20), []

    def counted(some):
        calls.append(len(some))
        return score(some)

    explainer = Occlusion(BlackBox(counted, ["up", "down"]))
    explain_dataset(explainer, found, tmp_path / "out", rows_per_shard=6)
    before, whole = digests(tmp_path / "out"), sum(calls)
    calls.clear()
    explain_dataset(explainer, found, tmp_path / "out", rows_per_shard=6)
    assert not calls
    (tmp_path / "out" / SHARDS / "rows-000000000006-000000000012.parquet").unlink()
    assert len(ExplanationDataset(tmp_path / "out")) == 14
    explain_dataset(explainer, found, tmp_path / "out", rows_per_shard=6)
    assert 0 < sum(calls) < whole / 2 and digests(tmp_path / "out") == before


def test_without_its_index_shards_speak_for_themselves(tmp_path):
    found = texts(10)
    entries = explain_dataset(occlusion(), found, tmp_path / "out", rows_per_shard=4)._entries
    (tmp_path / "out" / INDEX).unlink()
    assert ExplanationDataset(tmp_path / "out")._entries == entries


@pytest.mark.parametrize("spoil", [lambda content: content[:-20], lambda content: b"", lambda content: b"x" * len(content)])
def test_a_damaged_shard_is_found_and_computed_again(tmp_path, spoil):
    found = texts(10)
    before = explain_dataset(occlusion(), found, tmp_path / "out", rows_per_shard=4)
    good, file = digests(tmp_path / "out"), tmp_path / "out" / SHARDS / "rows-000000000004-000000000008.parquet"
    file.write_bytes(spoil(file.read_bytes()))
    assert before.verify().damaged == (file.name,)
    if len(file.read_bytes()) != len(good[file.name]):  # else only its digest tells
        explain_dataset(occlusion(), found, tmp_path / "out", rows_per_shard=4)
        assert digests(tmp_path / "out") == good


def test_other_data_models_and_options_are_refused_by_name(tmp_path):
    found, out = texts(8), tmp_path / "out"
    explain_dataset(occlusion(), found, out, rows_per_shard=4)
    model, tokenizer = demo.load_classifier()
    cases = [
        (occlusion(), found[:7], {}, "data \\(rows: 8, now 7\\)"),
        (occlusion(), [*found[:7], "another text"], {}, "data \\(fingerprint"),
        (sampled(), found, {}, "method \\('Occlusion', now 'KernelShap'\\).*option `n_perturbations`"),
        (Occlusion(BlackBox(score, ["down", "up"])), found, {}, "model \\(config"),
        (Occlusion(BlackBox(never, ["up", "down"])), found, {}, "model \\(weights.*score.*never"),
        (Occlusion(model, tokenizer), found, {}, "model \\(class: 'BlackBox'"),
        (Occlusion(BlackBox(score, ["up", "down"]), granularity="sentence"), found, {}, "option `granularity` \\('word'"),
        (occlusion(), found, {"rows_per_shard": 3}, "`rows_per_shard` \\(4, now 3\\)"),
        (occlusion(), found, {"call": {"targets": "up"}}, "argument `targets`"),
    ]
    for explainer, data, options, message in cases:
        with pytest.raises(FileError, match=message):
            explain_dataset(explainer, data, out, **{"rows_per_shard": 4, **options})
    assert explain_dataset(Occlusion(BlackBox(score, ["up", "down"]), batch_size=2), found, out, rows_per_shard=4).is_complete


def test_other_weights_are_another_model(tmp_path):
    model, tokenizer = demo.load_classifier()
    explain_dataset(Occlusion(model, tokenizer), ["A dull film."], tmp_path / "out")
    with torch.no_grad():
        next(model.parameters()).add_(0.5)
    with pytest.raises(FileError, match="model \\(weights"):
        explain_dataset(Occlusion(model, tokenizer), ["A dull film."], tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileError, match="holds something else"):
        explain_dataset(occlusion(), texts(2), tmp_path)
    with pytest.raises(FileError, match="no data set of explanations"):
        ExplanationDataset(tmp_path)


@pytest.mark.parametrize("places", [(0,), (4,), (3, 5, 9), tuple(range(2, 7)), (11,)])
def test_a_text_that_fails_is_recorded_and_the_others_are_explained(tmp_path, places):
    found = texts(12)
    for place in places:
        found[place] = "  " if place % 2 else "a boom here"
    dataset = explain_dataset(sampled(), found, tmp_path / "out", rows_per_shard=5)
    kept = [i for i in range(12) if i not in places]
    assert list(dataset.ids()) == kept and len(dataset) == 12 - len(places) and dataset.n_failures == len(places)
    for one, other in zip(dataset, sampled()([found[i] for i in kept]), strict=True):
        assert torch.equal(one.attributions, other.attributions)
    assert [failure.id for failure in dataset.failures] == list(places)
    for failure in dataset.failures:
        assert failure.kind == ("InputError" if failure.id % 2 else "ModelError") and failure.message
    assert dataset.verify(found)


def test_a_text_that_fails_ends_the_run_where_that_is_asked(tmp_path):
    found = [*texts(5), "   "]
    with pytest.raises(InputError, match=r"data\[5\]"):
        explain_dataset(occlusion(), found, tmp_path / "out", rows_per_shard=2, on_error="raise")
    assert len(ExplanationDataset(tmp_path / "out")) == 4


def test_what_fails_for_every_text_is_not_about_a_text(tmp_path):
    with pytest.raises(EngineError, match=r"all 16 inputs .* on fire"):
        explain_dataset(Occlusion(BlackBox(never, ["up"])), texts(16), tmp_path / "out")
    assert not digests(tmp_path / "out")


def test_a_full_disk_leaves_what_is_whole_and_the_next_call_goes_on(tmp_path, monkeypatch):
    found, written = texts(14), []
    explain_dataset(sampled(), found, tmp_path / "whole", rows_per_shard=4)
    _, parquet = shards_module.load_pyarrow()
    write = parquet.write_table

    def full(table, file, **options):
        if SHARDS in str(file) and len(written) == 2:
            file.write_bytes(b"PAR1 and no more")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(file)
        write(table, file, **options)

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(FileError, match="No space left"):
        explain_dataset(sampled(), found, tmp_path / "out", rows_per_shard=4)
    assert len(digests(tmp_path / "out")) == 2 and len(ExplanationDataset(tmp_path / "out")) == 8
    monkeypatch.undo()
    explain_dataset(sampled(), found, tmp_path / "out", rows_per_shard=4)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_jobs_of_a_scheduler_share_a_folder(tmp_path):
    found = texts(11)
    for job in (2, 0, 1):
        dataset = explain_dataset(occlusion(), found, tmp_path / "out", rows_per_shard=2, part=(job, 3))
        assert dataset.is_complete == (job == 1)
    assert_same(dataset, occlusion()(found))


def test_a_spec_names_model_and_method(tmp_path):
    for part in demo.load_classifier():
        part.save_pretrained(tmp_path / "model")
    spec = ExplainerSpec("occlusion", tmp_path / "model", options={"granularity": "sentence"})
    dataset = explain_dataset(spec, ["A dull film. A fine plot."], tmp_path / "out")
    assert dataset[0].elements == ["A dull film.", "A fine plot."]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["explainer"]["method"] == "Occlusion" and manifest["explainer"]["options"]["granularity"] == "sentence"
    with pytest.raises(OptionError, match="`method`: got 'occlusionn'"):
        explain_dataset(ExplainerSpec("occlusionn", tmp_path / "model"), ["a"], tmp_path / "other")


def test_contrasts_and_pairs_go_through(tmp_path):
    model, tokenizer = demo.load_classifier()
    pairs = [("A dull film.", "It was long."), ("A fine film.", "It was short.")]
    call = {"targets": Contrast("positive", "negative")}
    dataset = explain_dataset(Occlusion(model, tokenizer), pairs, tmp_path / "out", call=call)
    assert_same(dataset, Occlusion(model, tokenizer)(pairs, Contrast("positive", "negative")), 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "spark"}, "engine"),
        ({"workers": 0}, "workers"),
        ({"workers": "cuda:0"}, "workers"),
        ({"workers": ["cuda:0"], "engine": "ray"}, "Ray finds devices"),
        ({"rows_per_shard": 0}, "rows_per_shard"),
        ({"on_error": "ignore"}, "on_error"),
        ({"part": (3, 3)}, "counted from 0"),
        ({"call": {"spans": [(0, 1)]}}, "`call`: got 'spans'"),
        ({"call": {"labels": ["up"]}}, "`call`: got 'labels'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        explain_dataset(occlusion(), texts(2), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_seed_of_none_cannot_be_resumed(tmp_path):
    with pytest.raises(OptionError, match="random_state"):
        explain_dataset(Occlusion(BlackBox(score), random_state=None), texts(2), tmp_path / "out")
