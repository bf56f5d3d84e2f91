"""Methods beside each other: one table, whose cells are those of each metric alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from interpreto import IntegratedGradients, KernelShap, Occlusion, Saliency, demo
from interpreto.errors import EstimateWarning, FailureWarning, InputError, OptionError
from interpreto.metrics import (
    ABPC,
    AttributionMetric,
    Benchmark,
    Deletion,
    GameMetric,
    MaxSensitivity,
    MetricResult,
    SensitivityN,
    TokenF1,
)
from interpreto.metrics.attributions.base import CaseResult
from interpreto.metrics.attributions.cases import random_like, reversed_of
from interpreto.metrics.benchmark import DEFAULT, counted
from tests import tiny


@pytest.fixture(scope="module")
def classifier():
    return demo.load_classifier()


@pytest.fixture(scope="module")
def texts():
    return [sentence.text for sentence in demo.load_sentences()[:12]]


@pytest.fixture(scope="module")
def table(classifier, texts):
    methods = [Occlusion(*classifier), IntegratedGradients(*classifier), Saliency(*classifier)]
    metrics = [*DEFAULT, "DecisionFlip", "Sparseness", "RandomLogit"]
    return Benchmark(*classifier, metrics=metrics).run(methods, texts)


class TestTable:
    def test_rows_and_columns(self, table):
        assert table.names == ["Occlusion", "IntegratedGradients", "Saliency", "random", "reversed Occlusion"]
        assert table.metrics == [*DEFAULT, "DecisionFlip", "Sparseness", "RandomLogit"]

    def test_a_cell_is_the_metric_alone(self, table, classifier, texts):
        outputs = IntegratedGradients(*classifier)(texts)
        for metric in (Deletion, ABPC):
            alone = metric(*classifier).run(outputs)
            torch.testing.assert_close(
                table["IntegratedGradients", metric.__name__].per_sample, alone.per_sample, atol=1e-6, rtol=0
            )

    def test_its_cost_is_what_the_metric_alone_sends_through_the_model(self, table, classifier, texts):
        model, _ = classifier
        outputs = Occlusion(*classifier)(texts)
        for metric in ("Deletion", "ABPC", "AOPCSufficiency"):
            known = Benchmark(*classifier, metrics=[metric], baselines=())
            known.run({"Occlusion": outputs})  # how the model takes padding is measured once
            with counted(model) as spent:
                known.run({"Occlusion": outputs})
            assert table.cells["Occlusion"][metric].rows == spent.rows == spent.copies  # the old name

    def test_a_method_that_cannot_be_judged_has_no_number(self, table):
        assert math.isnan(float(table["Saliency", "Infidelity"]))
        assert math.isnan(float(table["Occlusion", "Completeness"]))
        assert "RandomLogit" not in table.cells["random"]
        assert float(table["IntegratedGradients", "Completeness"]) >= 0

    def test_upside_down_is_upside_down(self, table):
        for a, b in (("Deletion", "Insertion"), ("Insertion", "Deletion")):
            mirrored = table["reversed Occlusion", b].per_sample
            torch.testing.assert_close(table["Occlusion", a].per_sample, mirrored, atol=1e-6, rtol=0)
        assert float(table["reversed Occlusion", "ABPC"]) == pytest.approx(-float(table["Occlusion", "ABPC"]), abs=1e-6)

    def test_reversing_costs_nothing(self, classifier, texts):
        outputs = Occlusion(*classifier)(texts)
        rows = []
        for baselines in ((), ("reversed",)):
            benchmark = Benchmark(*classifier, metrics=["ABPC"], baselines=baselines)
            benchmark.run({"first": outputs})
            with counted(classifier[0]) as spent:
                benchmark.run({"first": outputs})
            rows.append(spent.rows)
        assert rows[0] == rows[1]

    def test_random_knows_nothing_and_methods_beat_it(self, table):
        assert abs(float(table["random", "ABPC"])) < 0.15
        assert len(table["random", "Deletion"].details["draws"]) == 5
        for name in ("Occlusion", "IntegratedGradients"):
            low, high = table.margin("ABPC", name)
            assert 0 < low < high
            low, high = table.margin("Deletion", name)
            assert 0 < low < high

    def test_it_is_shown(self, table, tmp_path):
        text, markdown, page = str(table), table.to_markdown(), table.to_html(tmp_path / "table.html")
        assert "Deletion ↓" in text
        assert "ABPC ↑" in markdown
        best = max(("Occlusion", "IntegratedGradients", "Saliency"), key=lambda name: float(table[name, "ABPC"]))
        assert f"**{float(table[best, 'ABPC']):.3f}**" in markdown
        assert "95 % interval" in page
        assert (tmp_path / "table.html").read_text(encoding="utf-8") == page and page.startswith("<!DOCTYPE html>")
        frame = table.to_dataframe()
        assert frame["rows"].equals(frame["copies"]) and "| rows per text |" in markdown
        assert len(frame) == sum(len(row) for row in table.cells.values())
        assert bool(((frame.low <= frame.score) | frame.low.isna()).all())
        assert "[" in table.to_markdown(intervals=True)

    def test_names_are_escaped(self, classifier, texts):
        name = "<img src=x onerror=alert(1)>'\""
        page = Benchmark(*classifier, metrics=["Sparseness"]).run({name: Occlusion(*classifier)(texts[:1])}).to_html()
        assert "<img" not in page
        assert "&lt;img" in page


class TestRuns:
    def test_all_explain_the_units_and_targets_of_the_first(self, classifier, texts):
        methods = {"tokens": Occlusion(*classifier, granularity="token"), "words": Saliency(*classifier)}
        table = Benchmark(*classifier, metrics=["Deletion"], baselines=()).run(methods, texts[:3], ["negative"] * 3)
        first = [len(curves[0]) for curves in table["tokens", "Deletion"].details["curves"]]
        assert [len(curves[0]) for curves in table["words", "Deletion"].details["curves"]] == first

    def test_metrics_of_ones_own_keep_their_options(self, classifier, texts):
        own = Deletion(*classifier, replacement="zero", n_perturbations=3)
        table = Benchmark(*classifier, metrics=[own, ABPC], baselines=()).run([Occlusion(*classifier)], texts[:3])
        assert table["Occlusion", "Deletion"].config["replacement"] == "zero"
        assert table["Occlusion", "Deletion"].config["n_perturbations"] == 3
        assert table["Occlusion", "ABPC"].config["replacement"] == "mask"

    def test_one_metric_with_several_options_has_a_column_for_each(self, classifier, texts):
        metrics = [Deletion(*classifier, replacement=name) for name in ("zero", "drop")]
        table = Benchmark(*classifier, metrics=[*metrics, "ABPC", "ABPC"], baselines=()).run(
            [Occlusion(*classifier)], texts[:3]
        )
        assert table.metrics == ["Deletion(replacement='zero')", "Deletion(replacement='drop')", "ABPC", "ABPC 2"]
        zero, drop = (float(table["Occlusion", name]) for name in table.metrics[:2])
        assert zero == pytest.approx(float(metrics[0].run(Occlusion(*classifier)(texts[:3]))), abs=1e-6)
        assert zero != drop

    def test_several_targets_and_equal_texts_cost_what_they_send(self, classifier, texts):
        model, _ = classifier
        outputs = Occlusion(*classifier)([texts[0], texts[0], texts[1]], [[0, 1]] * 3)
        for metric in ("Deletion", "Infidelity", "ABPC"):
            benchmark = Benchmark(*classifier, metrics=[metric], baselines=())
            benchmark.run({"own": outputs})
            with counted(model) as spent:
                table = benchmark.run({"own": outputs})
            assert table.cells["own"][metric].rows == spent.rows

    def test_a_mean_over_some_texts_says_so(self, classifier, texts):
        outputs = Occlusion(*classifier)(texts[:3])
        outputs[0] = replace(outputs[0], attributions=torch.ones_like(outputs[0].attributions))
        table = Benchmark(*classifier, metrics=["FaithfulnessCorrelation", "Deletion"], baselines=()).run({"own": outputs})
        assert "(2 of 3)" in str(table)
        assert "(3 of 3)" not in str(table)

    def test_amounts_of_two_scores_are_not_compared(self, classifier, texts):
        methods = {mode: Occlusion(*classifier, inference_mode=mode) for mode in ("logits", "softmax")}
        with pytest.raises(InputError, match="they explain logits and softmax, and Infidelity is in units"):
            Benchmark(*classifier, metrics=["ABPC", "Infidelity"]).run(methods, texts[:2])
        assert Benchmark(*classifier, metrics=["ABPC"]).run(methods, texts[:2]).names[:2] == ["logits", "softmax"]

    def test_metrics_of_explainers_and_of_people(self, classifier, texts):
        metrics = [MaxSensitivity, TokenF1([[(0, 3)]] * 2)]
        table = Benchmark(*classifier, metrics=metrics, baselines=("random",)).run([Occlusion(*classifier)], texts[:2])
        assert isinstance(table["Occlusion", "MaxSensitivity"], MetricResult)
        assert table.cells["Occlusion"]["MaxSensitivity"].rows > 0
        assert "MaxSensitivity" not in table.cells["random"]
        assert "TokenF1" in table.cells["random"]

    def test_generations(self):
        model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
        methods = [Occlusion(model, tokenizer), KernelShap(model, tokenizer, n_perturbations=40)]
        table = Benchmark(model, tokenizer, metrics=["ABPC", "LogOdds"]).run(
            methods, ["The film was", "What a"], [" great", " story"]
        )
        assert table.names == ["Occlusion", "KernelShap", "random", "reversed Occlusion"]
        assert float(table["reversed Occlusion", "ABPC"]) == pytest.approx(-float(table["Occlusion", "ABPC"]), abs=1e-6)

    def test_random_values_are_the_methods_own_in_other_places(self, classifier, texts):
        (output,) = Occlusion(*classifier)(texts[:1])
        one, same, other = (random_like(output, seed).attributions for seed in (0, 0, 1))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert torch.equal(one.sort().values, output.attributions.sort().values)
        assert torch.equal(reversed_of(output).attributions, -output.attributions)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"metrics": ["Deletions"]}, "'Deletions'"),
            ({"metrics": ["TokenF1"]}, "rationales"),
            ({"metrics": [3]}, "got 3"),
            ({"metrics": ["GameMetric"]}, "'GameMetric'"),
            ({"random_state": -1}, "random_state"),
            ({"baselines": ["best"]}, "'best'"),
            ({"n_random": 0}, "n_random"),
        ],
    )
    def test_options_that_cannot_be(self, classifier, options, message):
        with pytest.raises(OptionError, match=message):
            Benchmark(*classifier, **options)

    def test_methods_that_cannot_be_compared(self, classifier, texts):
        benchmark, occlusion = Benchmark(*classifier, metrics=["Sparseness"]), Occlusion(*classifier)
        one, two = occlusion(texts[:1]), occlusion(texts[1:2])
        with pytest.raises(InputError, match="explains 2 inputs"):
            benchmark.run({"a": one, "b": [*one, *two]})
        with pytest.raises(InputError, match="another text"):
            benchmark.run({"a": one, "b": two})
        with pytest.raises(InputError, match="got none"):
            benchmark.run([occlusion])
        with pytest.raises(InputError, match="'random' is what the table calls a baseline"):
            benchmark.run({"a": one, "random": one})
        with pytest.raises(InputError, match="without a name"):
            benchmark.run([one])
        with pytest.raises(InputError, match="got none"):
            benchmark.run({})


class Failing(Occlusion):
    """Explains nothing."""

    def explain(self, *_arguments, **_options):
        raise RuntimeError("this method <fails>")

    __call__ = explain_samples = explain


class FailingScore(GameMetric):
    """Fails for explanations whose first attribution is the largest of all; masks what Deletion masks first."""

    higher_is_better = True
    measures = ("probability",)

    def masks(self, case):
        return case.orders[:1] == 0

    def score(self, case, scores):
        if case.output.method == "Saliency":
            raise ZeroDivisionError("no score")
        return CaseResult(float(scores.full["probability"] - scores.masked["probability"][0]))


class FailingAlone(AttributionMetric):
    higher_is_better = False

    def run(self, explanations):
        raise KeyError("alone")


class TestFailures:
    """A failing method or metric costs its own cells and is named; the rest is as without it."""

    @pytest.mark.parametrize("first", [True, False])
    def test_a_method_that_fails_costs_its_own_row(self, classifier, texts, first):
        good, bad = Occlusion(*classifier), Failing(*classifier)
        methods = {"bad": bad, "good": good} if first else {"good": good, "bad": bad}
        benchmark = Benchmark(*classifier, metrics=["Deletion", "Sparseness"])
        with pytest.warns(FailureWarning, match="bad failed: RuntimeError: this method <fails>. The rest of the table is kept"):
            table = benchmark.run(methods, texts[:3])
        alone = benchmark.run({"good": good}, texts[:3])
        assert table.names == [*methods, "random", "reversed good"]
        assert float(table["good", "Deletion"]) == float(alone["good", "Deletion"])
        assert table.cells["bad"] == {}
        assert str(table).splitlines()[1 + list(methods).index("bad")].split()[:3] == ["bad", "failed", "failed"]
        for shown in (str(table), table.to_markdown()):
            assert "bad failed: RuntimeError: this method <fails>" in shown
        assert "| bad | failed | failed |" in table.to_markdown()
        page = table.to_html()
        assert "bad failed: RuntimeError: this method &lt;fails&gt;" in page
        assert "<fails>" not in page
        assert len(table.to_dataframe()) == 6

    def test_a_metric_that_fails_costs_its_own_column_and_other_cells_are_as_without_it(self, classifier, texts):
        methods = [Occlusion(*classifier), IntegratedGradients(*classifier)]
        metrics = ["Deletion", FailingAlone(), "Sparseness"]
        with pytest.warns(FailureWarning, match="FailingAlone of Occlusion failed: KeyError: 'alone'"):
            table = Benchmark(*classifier, metrics=metrics, baselines=()).run(methods, texts[:3])
        assert table.metrics == ["Deletion", "FailingAlone", "Sparseness"]
        assert [(f.method, f.metric) for f in table.failures] == [(n, "FailingAlone") for n in table.names]
        assert "FailingAlone ↓" in str(table)
        alone = Benchmark(*classifier, metrics=["Deletion", "Sparseness"], baselines=()).run(methods, texts[:3])
        for name in table.names:
            for metric in ("Deletion", "Sparseness"):
                assert torch.equal(table[name, metric].per_sample, alone[name, metric].per_sample)

    def test_one_that_shares_its_sweep_costs_only_the_cells_that_fail(self, classifier, texts):
        methods = [Occlusion(*classifier), Saliency(*classifier)]
        benchmark = Benchmark(*classifier, metrics=["Deletion", FailingScore], baselines=())
        with pytest.warns(FailureWarning, match="FailingScore of Saliency failed: ZeroDivisionError: no score"):
            table = benchmark.run(methods, texts[:3])
        assert float(table["Occlusion", "FailingScore"]) > 0
        assert {name: set(row) for name, row in table.cells.items()} == {
            "Occlusion": {"Deletion", "FailingScore"},
            "Saliency": {"Deletion"},
        }

    def test_where_nothing_is_left_the_first_error_is_raised(self, classifier, texts):
        with pytest.raises(RuntimeError, match="this method"):
            Benchmark(*classifier, metrics=["Deletion"]).run([Failing(*classifier)], texts[:1])
        with pytest.raises(KeyError, match="alone"):
            Benchmark(*classifier, metrics=[FailingAlone()]).run([Occlusion(*classifier)], texts[:1])

    def test_a_metric_made_with_one_explainer_is_of_its_method_alone(self, classifier, texts):
        one, other = Occlusion(*classifier), Saliency(*classifier)
        table = Benchmark(*classifier, metrics=[MaxSensitivity(one, 1)], baselines=()).run([one, other], texts[:1])
        assert list(table.cells["Occlusion"]) == ["MaxSensitivity"]
        assert table.cells["Saliency"] == {}


def test_one_text_is_said_to_have_no_interval(classifier, texts):
    table = Benchmark(*classifier, metrics=["Deletion"], baselines=("random",)).run([Occlusion(*classifier)], texts[:1])
    assert "[no interval]" in table.to_markdown(intervals=True)
    with pytest.warns(EstimateWarning, match="Deletion was scored on one sample"):
        assert all(map(math.isnan, table.margin("Deletion", "Occlusion")))
    few = Benchmark(*classifier, metrics=["Deletion"], baselines=()).run([Occlusion(*classifier)], texts[:3])
    assert "(n = 3)" in few.to_markdown(intervals=True)


def test_the_names_of_the_first_edition_are_taken(classifier):
    assert Benchmark(*classifier, random_draws=3).n_random == 3
    assert SensitivityN(*classifier, sizes=4).n_sizes == 4
    with pytest.raises(OptionError, match="`random_draws`: is the old name of `n_random`"):
        Benchmark(*classifier, random_draws=3, n_random=3)
    with pytest.warns(DeprecationWarning, match="`Old.copies` is `masks` now"):

        class Old(GameMetric):
            higher_is_better = True
            measures = ("probability",)

            def copies(self, row):
                return row.orders[:1] == 0

            def of(self, row, answer):
                return CaseResult(float(answer.whole["probability"] - answer.copies["probability"][0]))

    with pytest.warns(DeprecationWarning, match="`Finding` is `CaseResult` now"):
        from interpreto.metrics.attributions.base import Finding
    assert Finding is CaseResult
    assert float(Old(*classifier).run(Occlusion(*classifier)("A gorgeous, moving film."))) > 0


@pytest.mark.slow
def test_on_held_out_sentences_methods_beat_chance():
    """200 sentences that the embedded classifier was not trained on."""
    model, tokenizer = demo.load_classifier()
    found = [sentence.text for sentence in demo.load_sentences(split="held-out")]
    held_out = found[:: len(found) // 200][:200]  # of all domains
    assert len(held_out) == 200
    methods = [KernelShap(model, tokenizer), Occlusion(model, tokenizer), IntegratedGradients(model, tokenizer)]
    table = Benchmark(model, tokenizer, metrics=["ABPC"]).run(methods, held_out)
    for name in ("KernelShap", "Occlusion", "IntegratedGradients"):
        low, _ = table.margin("ABPC", name)
        assert low > 0.1


def test_control_characters_of_names_and_errors_do_not_reach_a_terminal(classifier, texts):
    class Loud(Failing):
        def explain_samples(self, samples):
            raise RuntimeError("\x1b[31mred")

    methods = {"\x1b]0;title\x07": Occlusion(*classifier), "loud": Loud(*classifier)}
    with pytest.warns(FailureWarning, match="loud failed"):
        table = Benchmark(*classifier, metrics=["Sparseness"], baselines=()).run(methods, texts[:2])
    assert not {"\x1b", "\x07"} & {*str(table)}
