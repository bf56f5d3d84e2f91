"""A benchmark over shards has the table of one call, whatever the shards, and can be resumed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from interpreto import BenchmarkDataset, BlackBox, KernelShap, Occlusion, benchmark_dataset, explain_dataset
from interpreto.datasets import ExplanationDataset
from interpreto.datasets.shards import SHARDS
from interpreto.errors import EngineError, FileError, InputError, OptionError
from interpreto.metrics import ABPC, AttributionMetric, Benchmark, MonotonicityCorrelation, TokenF1
from interpreto.metrics.attributions.base import CaseResult
from interpreto.metrics.mean_curves import curve_sums
from interpreto.visualizations.curve_layout import read_curves
from tests.datasets.explainers import score, texts

METRICS = ("Deletion", "ABPC", "FaithfulnessCorrelation", "Sparseness")
EXACT = 1e-12


def model() -> BlackBox:
    return BlackBox(score, ["up", "down"])


def methods() -> dict:
    return {"occlusion": Occlusion(model()), "shap": KernelShap(model(), n_perturbations=24, random_state=3)}


def benchmark(**options) -> Benchmark:
    return Benchmark(model(), **{"metrics": METRICS, "n_random": 2, **options})


@pytest.fixture(scope="module")
def found():
    return texts(9)


@pytest.fixture(scope="module")
def whole(found):
    return benchmark().run(methods(), found)


def assert_same_table(table, whole) -> None:
    """Assert that all that a table says of methods is what another one says."""
    assert table.names == whole.names and table.metrics == whole.metrics and table.directions == whole.directions
    for name, row in whole.cells.items():
        assert list(table.cells[name]) == list(row)
        for metric, cell in row.items():
            one, all_of = table.cells[name][metric].result, cell.result
            assert float(one) == pytest.approx(float(all_of), abs=EXACT, nan_ok=True)
            assert one.quiet_interval(0.9) == pytest.approx(all_of.quiet_interval(0.9), abs=EXACT, nan_ok=True)
            assert (one.n_valid, one.n_skipped) == (all_of.n_valid, all_of.n_skipped)
            assert one.value_range == all_of.value_range and one.details.get("skipped") == all_of.details.get("skipped")
            assert one.details.get("draws") == pytest.approx(all_of.details.get("draws"), abs=EXACT, nan_ok=True)
    for metric in whole.metrics:
        assert table.best(metric) == whole.best(metric)
        assert table.as_good_as_the_best(metric) == whole.as_good_as_the_best(metric)
        for name in whole.names[:-1]:
            margin = whole.margin(metric, name, whole.names[-1])
            assert table.margin(metric, name, whole.names[-1]) == pytest.approx(margin, abs=EXACT, nan_ok=True)
            low, high = table.margin(metric, whole.names[-1], name)
            assert (-high, -low) == pytest.approx(margin, abs=EXACT, nan_ok=True)


@pytest.mark.parametrize("size", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_the_table_is_that_of_one_call_whatever_the_size_of_shards(tmp_path, found, whole, size):
    dataset = benchmark_dataset(benchmark(), methods(), found, tmp_path / "out", rows_per_shard=size)
    table = dataset.table()
    assert table["occlusion", "ABPC"].per_sample is None and whole["occlusion", "ABPC"].per_sample is not None
    assert_same_table(table, whole)
    assert table.explaining["occlusion"].rows == whole.explaining["occlusion"].rows > 0
    assert dataset.verify(found) and dataset.is_complete and len(dataset) == 9 and not dataset.failures


@pytest.mark.slow
def test_curves_are_those_of_one_call(tmp_path, found, whole):
    table = benchmark_dataset(benchmark(), methods(), found, tmp_path / "out", rows_per_shard=4).table()
    for metric in ("Deletion", "ABPC"):
        for one, all_of in zip(*(read_curves({n: t[n, metric] for n in t.names})[2] for t in (table, whole)), strict=True):
            np.testing.assert_allclose(one.mean, all_of.mean, atol=EXACT)
            assert (one.low is None) == (all_of.low is None)
            if one.low is not None:
                np.testing.assert_allclose(np.stack([one.low, one.high]), np.stack([all_of.low, all_of.high]), atol=EXACT)
    assert not curve_sums(table["occlusion", "Sparseness"])
    page = table.to_html()
    assert "95 % interval" in page and page.count("<path") == whole.to_html().count("<path")


@pytest.mark.slow
def test_scores_of_texts_are_kept(tmp_path, found, whole):
    dataset = benchmark_dataset(benchmark(), methods(), {"text": found}, tmp_path / "out", rows_per_shard=6)
    frame = dataset.to_pandas()
    assert frame["text"].tolist() == found and frame["id"].tolist() == list(range(9))
    for name, row in whole.cells.items():
        for metric, cell in row.items():
            np.testing.assert_allclose(frame[f"{name} / {metric}"], cell.result.per_sample, atol=EXACT)


@pytest.mark.slow
def test_jobs_in_any_order_and_what_is_lost_is_computed_again(tmp_path, found, whole):
    for job in (2, 0, 1):
        dataset = benchmark_dataset(benchmark(), methods(), found, tmp_path / "out", rows_per_shard=3, part=(job, 3))
        assert dataset.is_complete == (job == 1)
    lost = tmp_path / "out" / SHARDS / "rows-000000000003-000000000006.parquet"
    before = lost.read_bytes()
    lost.unlink()
    assert len(BenchmarkDataset(tmp_path / "out").table().names) == 4 and len(BenchmarkDataset(tmp_path / "out")) == 6
    again = benchmark_dataset(benchmark(), methods(), found, tmp_path / "out", rows_per_shard=3)
    assert lost.read_bytes() == before
    assert_same_table(again.table(), whole)


@pytest.mark.slow
def test_workers_compute_the_same(tmp_path, found, whole):
    dataset = benchmark_dataset(benchmark(), methods(), found, tmp_path / "out", rows_per_shard=4, workers=2)
    assert_same_table(dataset.table(), whole)
    moved = benchmark_dataset(benchmark(), methods(), found, tmp_path / "moved", rows_per_shard=9, workers=["cpu"])
    assert_same_table(moved.table(), whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_actors_compute_the_same(tmp_path, found, whole):
    pytest.importorskip("ray")
    dataset = benchmark_dataset(benchmark(), methods(), found, tmp_path / "out", rows_per_shard=4, engine="ray", workers=2)
    assert_same_table(dataset.table(), whole)


@pytest.mark.slow
def test_models_agree_to_rounding(tmp_path):
    from interpreto import IntegratedGradients, demo
    from interpreto.metrics import RandomLogit

    parts = demo.load_classifier()
    explainers = [Occlusion(*parts), IntegratedGradients(*parts, n_perturbations=10)]
    modes = {mode: Occlusion(*parts, inference_mode=mode) for mode in ("logits", "softmax")}
    with pytest.raises(InputError, match="they explain logits and softmax"):
        benchmark_dataset(Benchmark(*parts), modes, ["a"], tmp_path / "no")
    found = [sentence.text for sentence in demo.load_sentences()[:5]]
    own = Benchmark(*parts, metrics=["ABPC", "Completeness", RandomLogit, ABPC(*parts, replacement="zero")])
    whole = own.run(explainers, found)
    table = benchmark_dataset(own, explainers, found, tmp_path / "out", rows_per_shard=2).table()
    for name, row in whole.cells.items():
        for metric, cell in row.items():
            assert float(table[name, metric]) == pytest.approx(float(cell.result), abs=1e-5, nan_ok=True)
    two = benchmark_dataset(own, explainers, found, tmp_path / "two", rows_per_shard=4, workers=2).table()
    for metric in whole.metrics:
        assert float(two["Occlusion", metric]) == pytest.approx(float(table["Occlusion", metric]), abs=1e-5, nan_ok=True)


@pytest.mark.slow
def test_explanations_that_are_there_are_scored(tmp_path, found, whole):
    explanations = {
        name: explain_dataset(method, found, tmp_path / name, rows_per_shard=size)
        for (name, method), size in zip(methods().items(), (4, 7), strict=True)
    }
    dataset = benchmark_dataset(benchmark(), explanations, None, tmp_path / "out", rows_per_shard=5)
    assert_same_table(dataset.table(), whole)
    mixed = {"occlusion": explanations["occlusion"], "shap": methods()["shap"]}
    assert_same_table(benchmark_dataset(benchmark(), mixed, None, tmp_path / "mixed", rows_per_shard=8).table(), whole)
    with pytest.raises(InputError, match="'occlusion' are explanations, after an explainer"):
        benchmark_dataset(benchmark(), dict(reversed(mixed.items())), None, tmp_path / "no")
    with pytest.raises(InputError, match="have inputs of their own"):
        benchmark_dataset(benchmark(), explanations, found, tmp_path / "no")
    filtered = {"occlusion": explanations["occlusion"].filter(containing="film")}
    with pytest.raises(InputError, match="all explanations of a complete run"):
        benchmark_dataset(benchmark(), filtered, None, tmp_path / "no")


class FailsOn(AttributionMetric):
    """A metric of one's own that fails on texts with a word, or, without one, on every text."""

    higher_is_better = True

    def __init__(self, word: str = "") -> None:
        self.word = word

    def run(self, explanations):
        if any(self.word in output.text for output in explanations):
            raise KeyError(f"a word: {self.word}")
        return self.summarize([[CaseResult(float(len(output.text)))] for output in explanations])


@pytest.mark.slow
def test_a_text_that_fails_loses_its_own_scores(tmp_path, found):
    given = [*found, "boom", "long long"]
    asked = {"metrics": ["ABPC", FailsOn("long long")]}
    dataset = benchmark_dataset(benchmark(**asked), methods(), given, tmp_path / "out", rows_per_shard=10)
    kinds = {(failure.id, failure.method, failure.metric, failure.kind) for failure in dataset.failures}
    assert (9, "occlusion", None, "ModelError") in kinds
    assert {(10, name, "FailsOn", "KeyError") for name in ("occlusion", "shap", "random", "reversed occlusion")} <= kinds
    table = dataset.table()
    assert table["occlusion", "ABPC"].n_skipped == 1
    assert table["occlusion", "FailsOn"].n_skipped == 1 + sum("long long" in text for text in given)
    kept = [text for text in given if text != "boom"]
    all_of = benchmark(metrics=["ABPC"]).run(methods(), kept)
    assert float(table["shap", "ABPC"]) == pytest.approx(float(all_of["shap", "ABPC"]), abs=EXACT)
    assert table.margin("ABPC", "shap") == pytest.approx(all_of.margin("ABPC", "shap"), abs=EXACT)
    assert "texts, first on number 10: KeyError" in str(table) and dataset.verify(given)
    with pytest.raises(EngineError, match=r"data\[0\].*RuntimeError"):
        benchmark_dataset(benchmark(**asked), methods(), given[9:10], tmp_path / "raise", on_error="raise")


def test_what_fails_on_every_text_ends_the_run(tmp_path, found):
    with pytest.raises(EngineError, match=r"fails with KeyError: .a word.* leave it out"):
        benchmark_dataset(benchmark(metrics=[FailsOn()]), methods(), found, tmp_path / "out")
    assert not list((tmp_path / "out" / SHARDS).iterdir())


def test_metrics_of_all_texts_together_are_refused(tmp_path, found):
    game = benchmark().game
    for metric in (TokenF1([[(0, 2)]] * 9), MonotonicityCorrelation(game, n_samples=2)):
        with pytest.raises(OptionError, match="depends on all texts of the call"):
            benchmark_dataset(benchmark(metrics=[metric]), methods(), found, tmp_path / "out")


@pytest.mark.slow
def test_another_method_or_metric_is_refused_by_name(tmp_path, found):
    benchmark_dataset(benchmark(), methods(), found, tmp_path / "out", rows_per_shard=32)
    other = {**methods(), "shap": KernelShap(model(), n_perturbations=32, random_state=3)}
    with pytest.raises(FileError, match=r"option `shap.n_perturbations` \(24, now 32\)"):
        benchmark_dataset(benchmark(), other, found, tmp_path / "out", rows_per_shard=32)
    with pytest.raises(FileError, match="option `n_random`"):
        benchmark_dataset(benchmark(n_random=3), methods(), found, tmp_path / "out", rows_per_shard=32)
    with pytest.raises(FileError, match=r"data .fingerprint"):
        benchmark_dataset(benchmark(), methods(), [*found[:-1], "x"], tmp_path / "out", rows_per_shard=32)
    with pytest.raises(FileError, match=r"no manifest of explanations .* It is one of scores"):
        ExplanationDataset(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["format"] == "interpreto.benchmark/1"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": None}, InputError, "`data`: got none"),
        ({"methods": {"a": "Occlusion"}}, InputError, "'a' is 'Occlusion'"),
        ({"methods": {"a": Occlusion(model(), random_state=None)}}, OptionError, "needs a seed"),
        ({"target": "t", "targets": "up", "data": {"text": ["a"], "t": ["up"]}}, OptionError, "says them already"),
        ({"rows_per_shard": 0}, OptionError, "rows_per_shard"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, arguments, error, message):
    given = {"benchmark": benchmark(), "methods": methods(), "data": ["a fine film"], "out": tmp_path / "out", **arguments}
    with pytest.raises(error, match=message):
        benchmark_dataset(**given)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_targets_are_those_of_the_call(tmp_path, found):
    own = benchmark(metrics=["ABPC", "Sparseness"])
    whole = own.run(methods(), found, [["up", "down"]] * len(found))
    table = benchmark_dataset(own, methods(), found, tmp_path / "out", targets=["up", "down"], rows_per_shard=6).table()
    assert_same_table(table, whole)
    column = {"text": found, "target": ["down"] * len(found)}
    table = benchmark_dataset(own, methods(), column, tmp_path / "column", target="target", rows_per_shard=6).table()
    assert_same_table(table, own.run(methods(), found, ["down"] * len(found)))


@pytest.mark.slow
def test_a_data_set_can_be_opened_while_it_is_written(tmp_path, found):
    benchmark_dataset(benchmark(), methods(), found, tmp_path / "out", rows_per_shard=3, part=(1, 2))
    dataset = BenchmarkDataset(tmp_path / "out")
    assert not dataset.is_complete and len(dataset) == 3 and "1 of 3 shards" in repr(dataset)
    assert torch.isfinite(torch.tensor(dataset.table().margin("ABPC", "occlusion"))).all()
    (tmp_path / "out" / SHARDS / "rows-000000000003-000000000006.parquet").write_bytes(b"PAR1")
    assert dataset.verify().damaged == ("rows-000000000003-000000000006.parquet",)
