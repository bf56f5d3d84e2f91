"""Metrics of concepts that run the model: losses, curves, correlations and completeness, against loops and identities."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from interpreto import demo
from interpreto.concepts import DictionaryLearningExplainer, NeuronsAsConcepts, PCAConcepts
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
from interpreto.errors import EstimateWarning, InputError, OptionError, TargetError, TaskError
from interpreto.metrics.concepts import (
    FID,
    MSE,
    ConceptCompleteness,
    ConceptCurves,
    ConceptDeletion,
    ConceptFaithfulnessCorrelation,
    ConceptInsertion,
    ConceptScores,
    DeadFraction,
    ExplainedVariance,
    LossRecovered,
    ReconstructionError,
)
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES

TEXTS = [text for text in SENTENCES if len(text.split()) > 2][:6]


class Told(nn.Module):
    """Encodes and decodes as a test says."""

    def __init__(self, encode, decode, nb_concepts):
        super().__init__()
        self.nb_concepts, self.encode, self.decode = nb_concepts, encode, decode

    def fit(self, rows):
        pass


def told(splitter, width, decode, encode=lambda rows: rows):
    explainer = DictionaryLearningExplainer(splitter, Told(encode, decode, width))
    return explainer.fit(torch.zeros(2, width))


@pytest.fixture(scope="module")
def lm():
    model, tokenizer = CAUSAL_LMS["gpt2"]()
    return ModelWithSplitPoints(model, 0, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def classifier():
    model, tokenizer = CLASSIFIERS["bert"]()
    return SplitterForClassification(model, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def words():
    model, tokenizer = CLASSIFIERS["bert"]()
    return ModelWithSplitPoints(model, 0, tokenizer=tokenizer)


def pca(splitter, texts, c=6):
    activations = splitter.get_activations(texts)
    activations = activations[0] if isinstance(activations, tuple) else activations
    return PCAConcepts(splitter, nb_concepts=c).fit(activations)


def test_neurons_recover_all_of_the_loss_and_nothing_recovers_none(lm):
    width = lm.get_activations(TEXTS)["transformer.h.0"].shape[1]
    for loss in ("cross_entropy", "kl"):
        assert LossRecovered(NeuronsAsConcepts(lm, nb_concepts=width), loss).compute(TEXTS) == pytest.approx(1, abs=1e-5)
        nothing = told(lm, width, torch.zeros_like)
        assert LossRecovered(nothing, loss).compute(TEXTS) == pytest.approx(0, abs=1e-5)


def test_loss_recovered_is_that_of_a_loop(lm):
    explainer, model, tokenizer = pca(lm, TEXTS), lm.model, lm.tokenizer
    entropies, divergences, count = np.zeros(3), np.zeros(3), 0
    for text in TEXTS:
        ids, answers = tokenizer(text, return_tensors="pt")["input_ids"], []
        (sample,) = lm.samples(text)
        free = sample.units.free
        for change in (lambda h: h, lambda h: explainer.decode_concepts(explainer.encode_activations(h)), torch.zeros_like):

            def hook(module, args, output, change=change, free=free):
                hidden = (output[0] if isinstance(output, tuple) else output).clone()
                hidden[0, free] = change(hidden[0, free])
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            handle = model.transformer.h[0].register_forward_hook(hook)
            with torch.no_grad():
                answers.append(model(ids).logits[0, :-1].double().log_softmax(-1))
            handle.remove()
        count += len(answers[0])
        entropies += [float(-a.gather(1, ids[0, 1:, None]).sum()) for a in answers]
        divergences += [float((answers[0].exp() * (answers[0] - a)).sum()) for a in answers]
    result = LossRecovered(explainer).run(TEXTS)
    assert list(result.details["cross_entropy"].values()) == pytest.approx(list(entropies / count), rel=1e-4)
    assert list(result.details["kl"].values()) == pytest.approx(list(divergences / count), rel=1e-3, abs=1e-6)
    assert result.score == pytest.approx((entropies[2] - entropies[1]) / (entropies[2] - entropies[0]), rel=1e-3)
    assert result.details["kl_recovered"] == pytest.approx(1 - divergences[1] / divergences[2], rel=1e-3)
    assert LossRecovered(explainer, "kl").compute(TEXTS) == result.details["kl_recovered"]


def test_the_loss_does_not_depend_on_the_batch(lm):
    results = []
    for batch_size in (1, 3, None):
        splitter = ModelWithSplitPoints(lm.model, 0, tokenizer=lm.tokenizer, batch_size=batch_size)
        explainer = pca(splitter, TEXTS)
        results.append(
            [LossRecovered(explainer, ablation="mean").compute(TEXTS), ReconstructionError(explainer, "logits").compute(TEXTS)]
        )
    assert results[0] == pytest.approx(results[1], rel=1e-4)
    assert results[0] == pytest.approx(results[2], rel=1e-4)


def test_a_classifiers_loss_is_of_its_labels(words):
    explainer = pca(words, TEXTS)
    labels = torch.arange(len(TEXTS)) % 2
    with torch.no_grad():
        logits = torch.cat([words.model(**words.tokenizer(text, return_tensors="pt")).logits for text in TEXTS])
    expected = float(nn.functional.cross_entropy(logits, labels))
    details = LossRecovered(explainer).run(TEXTS, labels).details
    assert details["cross_entropy"]["original"] == pytest.approx(expected, rel=1e-4)
    assert details["kl"]["original"] == 0 < details["kl"]["reconstructed"]
    with pytest.raises(TargetError, match="`targets`"):
        LossRecovered(explainer).run(TEXTS, [0])


def test_a_text_of_one_token_has_no_next_one(lm):
    first = lm.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"][:, :1]
    result = LossRecovered(pca(lm, TEXTS)).run([TEXTS[0], first])
    assert (result.n_valid, result.n_skipped) == (1, 1)


def test_reconstruction_error_in_the_outputs_is_that_of_the_head(classifier):
    activations, _ = classifier.get_activations(TEXTS)
    explainer = pca(classifier, TEXTS, 2)
    with torch.no_grad():
        given = classifier.activations_to_outputs(activations)
        found = classifier.activations_to_outputs(explainer.decode_concepts(explainer.encode_activations(activations)))
    kl = nn.functional.kl_div(found.log_softmax(-1), given.log_softmax(-1), log_target=True, reduction="batchmean")
    for wanted in (activations, TEXTS):
        assert ReconstructionError(explainer, "logits").compute(wanted) == pytest.approx(float(kl), rel=1e-3)
        euclidean = ReconstructionError(explainer, "logits", "euclidean").compute(wanted)
        assert euclidean == pytest.approx(float((given - found).norm(dim=1).mean()), rel=1e-4)


def test_rows_of_tokens_cannot_be_run_on(words):
    with pytest.raises(OptionError, match="pass the inputs"):
        ReconstructionError(pca(words, TEXTS), "logits").run(words.get_activations(TEXTS))


def contributions(explainer, text, target):
    """What each concept adds to the gap between two logits; exact where the head is linear."""
    activations, _ = explainer.splitter.get_activations([text])
    head = explainer.splitter.model.classifier.weight.detach()
    gap = head[target] - head[[i for i in range(len(head)) if i != target]].mean(0)
    return explainer.encode_activations(activations)[0].detach() * (explainer.get_dictionary() @ gap)


@pytest.fixture(scope="module")
def binary():
    model, tokenizer = demo.load_classifier()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    texts = [sentence.text for sentence in demo.load_sentences()][:40]
    return pca(splitter, texts, 5), texts[:4]


def test_curves_are_those_of_a_loop(binary):
    explainer, texts = binary
    splitter = explainer.splitter
    importance = torch.tensor([0.3, -1.0, 2.0, torch.nan, 0.1])  # the order 2 0 4 1 3
    for text, curve in zip(texts, ConceptCurves(ConceptScores(explainer))(texts, importance), strict=True):
        activations, (target,) = splitter.get_activations([text])
        codes = explainer.encode_activations(activations)
        for k in range(6):
            for which, found in (("removed", curve.removed), ("kept", curve.kept)):
                taken = torch.zeros(5, dtype=torch.bool)
                taken[[2, 0, 4, 1, 3][:k]] = True
                mask = taken if which == "kept" else ~taken
                moved = activations + explainer.decode_concepts(codes * mask) - explainer.decode_concepts(codes)
                expected = splitter.activations_to_outputs(moved).softmax(-1)[0, target]
                assert float(found[k]) == pytest.approx(float(expected), abs=1e-5)
        assert curve.fractions.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_the_ends_of_the_curves_are_the_model_itself_and_no_concept_at_all(binary):
    explainer, texts = binary
    with torch.no_grad():
        activations, targets = explainer.splitter.get_activations(texts)
        own = explainer.splitter.activations_to_outputs(activations).softmax(-1)
    for i, curve in enumerate(ConceptCurves(ConceptScores(explainer))(texts, torch.arange(5.0))):
        assert float(curve.removed[0]) == float(curve.kept[-1]) == pytest.approx(float(own[i, targets[i]]), abs=1e-6)
        assert float(curve.removed[-1]) == float(curve.kept[0])


def test_the_right_order_is_best_and_its_reverse_worst(binary):
    explainer, texts = binary
    right = torch.stack([contributions(explainer, text, int(explainer.splitter.get_activations([text])[1])) for text in texts])
    noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    deletion, insertion = ConceptDeletion(explainer), ConceptInsertion(explainer)
    for metric, sign in ((deletion, 1), (insertion, -1)):
        best, random, worst = (sign * metric.compute(texts, values) for values in (right, noise, -right))
        assert best < random - 1e-4 and random < worst - 1e-4
    assert insertion.compute(texts, right) == pytest.approx(
        deletion.compute(texts, -right), abs=1e-6
    )  # S_k is D_(a−k) reversed
    orders = torch.tensor(list(itertools.permutations(range(5)))).float()
    every = deletion.run([texts[0]] * len(orders), orders).per_sample
    assert deletion.compute(texts[0], right[:1]) == pytest.approx(float(every.min()), abs=1e-6)


def test_one_set_of_curves_serves_both_metrics(binary):
    explainer, texts = binary
    importance = torch.randn(5, generator=torch.Generator().manual_seed(0))
    curves = ConceptCurves(ConceptScores(explainer))(texts, importance)
    for metric in (ConceptDeletion(explainer), ConceptInsertion(explainer)):
        result, loop = metric.of(curves), []
        assert result.score == metric.compute(texts, importance)
        for curve in curves:
            y = curve.removed if isinstance(metric, ConceptDeletion) else curve.kept
            loop.append(sum((y[k] + y[k + 1]) / 2 * (curve.fractions[k + 1] - curve.fractions[k]) for k in range(5)))
        assert result.per_sample.tolist() == pytest.approx([float(area) for area in loop])


def test_a_store_gives_what_its_rows_give(words, tmp_path):
    store = words.store_activations(TEXTS, tmp_path / "store", rows_per_shard=5)
    explainer = PCAConcepts(words, nb_concepts=6).fit(store)
    for metric in (MSE, FID, ExplainedVariance, DeadFraction):
        assert metric(explainer, batch_size=3).compute(store) == pytest.approx(
            metric(explainer).compute(store.read()), rel=1e-4
        )


def test_equal_importances_get_the_mean_of_an_order_and_its_reverse(binary):
    explainer, texts = binary
    deletion = ConceptDeletion(explainer)
    ways = [deletion.compute(texts, values) for values in (torch.arange(5.0), -torch.arange(5.0))]
    assert deletion.compute(texts, torch.ones(5)) == pytest.approx(np.mean(ways), abs=1e-7)


def test_only_concepts_that_are_there_are_elements(binary):
    explainer, texts = binary
    splitter, width = explainer.splitter, explainer.get_dictionary().shape[1]
    padded = told(splitter, 2 * width, lambda codes: codes[:, :width], lambda rows: torch.cat([rows, 0 * rows], 1))
    neurons = NeuronsAsConcepts(splitter, nb_concepts=width)
    importance = torch.randn(width, generator=torch.Generator().manual_seed(0))
    doubled = torch.cat([importance, importance + 100])
    first, second = ConceptDeletion(neurons, 8).run(texts, importance), ConceptDeletion(padded, 8).run(texts, doubled)
    assert first.score == pytest.approx(second.score, abs=1e-7)
    assert len(first.details["curves"][0].fractions) == 9


def test_texts_without_concepts_are_left_out_and_counted(binary):
    explainer, texts = binary
    empty = told(explainer.splitter, 128, torch.zeros_like, torch.zeros_like)
    result = ConceptInsertion(empty).run(texts, torch.ones(128))
    assert (result.n_valid, result.n_skipped) == (0, 4) and np.isnan(result.score)


def test_the_error_may_be_left_out(binary):
    explainer, texts = binary
    with torch.no_grad():
        activations, targets = explainer.splitter.get_activations(texts)
        decoded = explainer.decode_concepts(explainer.encode_activations(activations))
        own = explainer.splitter.activations_to_outputs(decoded).softmax(-1)
    curves = ConceptCurves(ConceptScores(explainer, keep_error=False))(texts, torch.arange(5.0))
    assert [float(c.removed[0]) for c in curves] == pytest.approx([float(own[i, t]) for i, t in enumerate(targets)], abs=1e-5)


def test_faithfulness_correlation_of_a_linear_head_is_one(binary):
    explainer, texts = binary
    targets = explainer.splitter.get_activations(texts)[1]
    right = torch.stack([contributions(explainer, t, int(y)) for t, y in zip(texts, targets, strict=True)])
    correlation = ConceptFaithfulnessCorrelation(explainer, fraction=0.4)
    assert correlation.compute(texts, right) > 0.8  # the softmax bends it
    assert correlation.compute(texts, -right) == pytest.approx(-correlation.compute(texts, right), abs=1e-6)
    assert correlation.run(texts, torch.ones(5)).n_skipped == 4
    state = torch.get_rng_state()
    again = ConceptFaithfulnessCorrelation(explainer, fraction=0.4).compute(texts[::-1], right.flip(0))
    assert abs(again) <= 1 and torch.equal(state, torch.get_rng_state())


def test_faithfulness_correlation_is_that_of_a_loop(binary):
    explainer, texts = binary
    importance = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.1])
    metric = ConceptFaithfulnessCorrelation(explainer, 16, 0.4, random_state=3)
    result, (text,) = metric.run(texts[:1], importance), list(metric.scores.read(texts[:1], importance, None))
    activations = explainer.splitter.get_activations(texts[:1])[0]
    codes, losses, sums = explainer.encode_activations(activations), [], []
    probability = lambda rows: float(explainer.splitter.activations_to_outputs(rows).softmax(-1)[0, text.read.ids[0]])  # noqa: E731
    for removed in metric._draw(5, text.sample):
        assert int(removed.sum()) == 2
        moved = activations + explainer.decode_concepts(codes * ~removed) - explainer.decode_concepts(codes)
        losses.append(probability(activations) - probability(moved))
        sums.append(float(importance[removed].sum()))
    assert result.score == pytest.approx(np.corrcoef(sums, losses)[0, 1], abs=1e-3)


@pytest.mark.parametrize("form", ["tokens", "words"])
def test_curves_over_tokens_sum_importances_over_units(words, form):
    explainer = pca(words, TEXTS)
    scores = ConceptScores(explainer, activation_granularity=form[:-1])
    counts = [len(sample.units) for sample in words.samples(TEXTS[:2], form[:-1])]
    by_unit = [torch.arange(6.0).expand(g, 6) / g for g in counts]
    curves = [ConceptCurves(scores)(TEXTS[:2], values) for values in (by_unit, [v[None] for v in by_unit], torch.arange(6.0))]
    with torch.no_grad():
        own = [words.model(**words.tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).max() for text in TEXTS[:2]]
    for a, b, c, p in zip(*curves, own, strict=True):
        assert torch.equal(a.removed, b.removed) and torch.allclose(a.removed, c.removed)
        assert float(a.removed[0]) == pytest.approx(float(p), abs=1e-5) and float(a.removed[-1]) != float(p)


def test_curves_of_what_a_language_model_wrote():
    model, tokenizer = CAUSAL_LMS["llama"]()
    splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=3)
    explainer = pca(splitter, TEXTS[:3])
    result = ConceptDeletion(explainer, 4).run(TEXTS[:2], torch.arange(6.0))
    for sample, curve in zip(splitter.samples(TEXTS[:2]), result.details["curves"], strict=True):
        start, ids = sample.prompt, sample.input_ids
        with torch.no_grad():
            probabilities = model(ids[None]).logits[0, start - 1 : -1].softmax(-1)
        expected = probabilities.gather(1, ids[start:, None]).mean()
        assert float(curve.removed[0]) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("importances", "targets", "error", "message"),
    [
        (torch.ones(4), None, InputError, r"importances\[0\].*c = 5"),
        (torch.ones(3, 5), None, InputError, "got 3 for 4"),
        ([torch.ones(2, 1, 5)] * 4, None, InputError, r"\(2, 1, 5\)"),
        ({0: 1.0}, None, InputError, "got dict"),
        (torch.ones(5), 9, TargetError, "has 2 outputs"),
        (torch.ones(5), [0, 1], TargetError, "got 2 for 4"),
    ],
)
def test_importances_and_targets_that_do_not_fit(binary, importances, targets, error, message):
    explainer, texts = binary
    with pytest.raises(error, match=message):
        ConceptDeletion(explainer).run(texts, importances, targets)


def test_options_that_cannot_be():
    with pytest.raises(OptionError, match="no splitter"):
        ConceptDeletion(NeuronsAsConcepts(None, nb_concepts=2))


@pytest.fixture(scope="module")
def decided():
    """A classifier, and texts of both its classes."""
    model, tokenizer = demo.load_classifier()
    texts = [sentence.text for sentence in demo.load_sentences()][:160]
    return model, tokenizer, texts


def test_neurons_are_complete_and_constants_worth_a_guess(decided):
    model, tokenizer, texts = decided
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    result = ConceptCompleteness(NeuronsAsConcepts(splitter, nb_concepts=128), width=0).run(texts)
    assert result.score == 1 and result.n_valid == 80 and result.details["model"] == 1
    activations, classes = splitter.get_activations(texts)
    constant = told(splitter, 128, lambda codes: codes + activations.mean(0), torch.zeros_like)
    result = ConceptCompleteness(constant, epochs=2).run(texts)
    shares = torch.bincount(classes[result.details["held_out"]], minlength=2) / 80
    assert any(result.score == pytest.approx((float(share) - 0.5) / 0.5) for share in shares)


def test_a_map_is_trained_where_the_decoder_is_of_no_use(decided):
    model, tokenizer, texts = decided
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    state, before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    mute = told(splitter, 128, torch.zeros_like)
    metric = ConceptCompleteness(mute, epochs=10, learning_rate=1e-2)
    result = metric.run(texts)
    assert result.details["decoder"] < 0.7 and result.score > 0.8
    assert metric.compute(texts) == result.score
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_completeness_of_tokens_replaces_special_ones_too(decided):
    model, tokenizer, texts = decided
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    mute = told(splitter, 128, torch.zeros_like)
    labels = [int(i % 2) for i in range(24)]
    result = ConceptCompleteness(mute, width=0).run(texts[:24], labels)
    assert result.details["decoder"] <= 0.75  # one and the same answer wherever the length is
    assert ConceptCompleteness(NeuronsAsConcepts(splitter, nb_concepts=128), width=0).compute(texts[:24]) == 1


def test_models_that_mix_padding_in_are_run_in_batches_of_one_length():
    model, tokenizer = CLASSIFIERS["xlnet"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    explainer = pca(splitter, TEXTS, 3)
    assert 0 <= ConceptCompleteness(explainer, epochs=1).run(TEXTS).details["chosen"] <= 1
    assert np.isfinite(
        [LossRecovered(explainer, "kl").compute(TEXTS), ConceptDeletion(explainer).compute(TEXTS, torch.ones(3))]
    ).all()


def test_completeness_is_of_classifiers(lm):
    with pytest.raises(TaskError, match="LossRecovered"):
        ConceptCompleteness(pca(lm, TEXTS)).run(TEXTS)


class TestOtherKindsOfOutputs:
    """Labels of their own have a sigmoid each, and a regression's output is what it is: no softmax is over them."""

    @staticmethod
    def of(problem_type):
        model, tokenizer = CLASSIFIERS["bert"]()
        model.config.problem_type = problem_type
        splitter = SplitterForClassification(model, tokenizer=tokenizer)
        rows = splitter.inputs_to_activations(TEXTS)
        return NeuronsAsConcepts(splitter, nb_concepts=rows.shape[1]), rows, splitter.activations_to_outputs

    @pytest.mark.parametrize(
        ("problem_type", "score"), [("multi_label_classification", torch.sigmoid), ("regression", lambda logits: logits)]
    )
    def test_curves_are_of_the_targets_own_score(self, problem_type, score):
        explainer, rows, run_on = self.of(problem_type)
        importances = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
        for target in (0, 2):
            curves = ConceptCurves(ConceptScores(explainer), 4)(TEXTS, importances, target)
            for row, importance, curve in zip(rows, importances, curves, strict=True):
                order = importance.argsort(descending=True)
                for share, removed in zip(curve.fractions, curve.removed, strict=True):
                    left = row.clone()
                    left[order[: round(float(share) * len(row))]] = 0
                    assert float(removed) == pytest.approx(float(score(run_on(left[None]))[0, target]), abs=1e-5)

    def test_ranges_say_so(self):
        explainer, rows, _ = self.of("regression")
        assert ConceptDeletion(explainer).run(TEXTS[:2], rows[0], 0).value_range == (None, None)
        explainer, rows, _ = self.of("multi_label_classification")
        assert ConceptDeletion(explainer).run(TEXTS[:2], rows[0], 0).value_range == (0.0, 1.0)

    @pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
    def test_what_compares_distributions_is_refused(self, problem_type):
        explainer, rows, _ = self.of(problem_type)
        for make in (
            lambda: LossRecovered(explainer),
            lambda: ConceptCompleteness(explainer),
            lambda: ReconstructionError(explainer, "logits", "kl"),
        ):
            with pytest.raises(TaskError, match="compares distributions over outputs"):
                make()
        assert ReconstructionError(explainer, "logits").run(rows).config["distance_function"] == "euclidean"


def test_the_draws_of_a_text_do_not_depend_on_its_company(classifier):
    explainer = pca(classifier, TEXTS)
    importance = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.1, 0.7])
    metric = ConceptFaithfulnessCorrelation(explainer, 16, 0.4)
    alone = torch.cat([metric.run([text], importance).per_sample for text in TEXTS])
    torch.testing.assert_close(metric.run(TEXTS[::-1], importance).per_sample.flip(0), alone, atol=1e-4, rtol=0)


def test_the_interval_of_completeness_is_of_completeness():
    model, tokenizer = demo.load_classifier()
    texts = [sentence.text for sentence in demo.load_sentences()[:60]]
    labels = [int(sentence.score > 0) for sentence in demo.load_sentences()[:60]]
    neurons = NeuronsAsConcepts(SplitterForClassification(model, tokenizer=tokenizer), nb_concepts=128)
    result = ConceptCompleteness(neurons, width=0).run(texts, labels)
    low, high = result.interval()
    assert 0 < result.details["model"] < 1  # so that accuracy, and what of it is above chance, are different numbers
    assert low <= float(result) <= high
    assert float(result) == pytest.approx(1.0)


def test_completeness_where_the_model_guesses_is_told_as_not_defined(decided):
    model, tokenizer, texts = decided
    explainer = NeuronsAsConcepts(SplitterForClassification(model, tokenizer=tokenizer))
    own = explainer.splitter.get_activations(texts)[1]
    metric = ConceptCompleteness(explainer, width=0)
    classes = len(explainer.splitter.model.config.id2label)
    held_out = metric.run(texts).details["held_out"]
    assert len(held_out) % classes == 0  # an accuracy of exactly chance is possible
    share = len(held_out) // classes
    labels = own.clone()
    for place, i in enumerate(held_out):
        labels[i] = own[i] if place < share else (own[i] + 1) % classes
    with pytest.warns(EstimateWarning, match="that of a guess"):
        result = metric.run(texts, labels)
    assert np.isnan(result.score) and (result.n_valid, result.n_skipped) == (0, len(held_out))
    assert result.details["model"] == result.details["guessing"] and "not defined" in result.details["reason"]


def test_old_spellings_are_aliases(binary, decided):
    explainer, texts = binary
    importance = torch.randn(5, generator=torch.Generator().manual_seed(0))
    new, old = ConceptDeletion(explainer, n_steps=3), ConceptDeletion(explainer, points=3)
    assert new.compute(texts, importance) == old.compute(texts, importance)
    curves = new.curves(texts, importance)
    assert float(new.of(curves)) == float(new.from_curves(curves))
    pair = ConceptFaithfulnessCorrelation(explainer, n_subsets=8), ConceptFaithfulnessCorrelation(explainer, subsets=8)
    assert pair[0].compute(texts, importance) == pair[1].compute(texts, importance)
    model, tokenizer, texts = decided
    explainer, texts = pca(SplitterForClassification(model, tokenizer=tokenizer), texts[:40]), texts[:40]
    own = explainer.splitter.get_activations(texts)[1]
    one = ConceptCompleteness(explainer, 4, n_epochs=1, lr=1e-2).run(texts, targets=own)
    assert one.score == ConceptCompleteness(explainer, 4, epochs=1, learning_rate=1e-2).run(texts, labels=own).score


def test_targets_by_name_and_by_numpys_numbers(binary):
    explainer, texts = binary
    importance = torch.arange(5.0)
    metric = ConceptDeletion(explainer)
    names = [explainer.splitter.model.config.id2label[i] for i in (0, 1, 1, 0)]
    wanted = metric.compute(texts, importance, [0, 1, 1, 0])
    for targets in (names, np.array([0, 1, 1, 0]), torch.tensor([0, 1, 1, 0]), [np.int64(i) for i in (0, 1, 1, 0)]):
        assert metric.compute(texts, importance, targets) == wanted
    assert metric.compute(texts, importance, np.int64(1)) == metric.compute(texts, importance, [1] * 4)
    with pytest.raises(TargetError, match="got 2 targets"):
        metric.compute(texts, importance, [[0, 1], 0, 0, 0])
