"""Probes: held out by text, next to controls."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from interpreto.concepts import CAVConcepts, NeuronsAsConcepts, ProbeConcepts, load_concepts
from interpreto.concepts.probes import LinearRegressionProbe, MeansDiffProbe, ProbeExplainer
from interpreto.concepts.probes.fits import FITS
from interpreto.concepts.probes.labeled_rows import read_labeled, read_labels
from interpreto.concepts.probes.report import area_under_curve
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification
from interpreto.errors import InputError, ModelError, OptionError
from tests.tiny import CLASSIFIERS, SENTENCES


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def planted(n=120, d=6):
    rows = normal(n, d)
    return rows, (rows[:, 0] + 0.5 * normal(n, seed=1) > 0).long()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("explainer", [ProbeConcepts, CAVConcepts])
def test_a_planted_direction_is_found(explainer, fit):
    rows, labels = planted()
    found = explainer(None, fit).fit(rows, labels)
    assert found.get_dictionary()[0].abs().argmax() == 0 and found.get_dictionary()[0, 0] > 0
    assert found.report.auc > 0.85 and found.report.selectivity > 0.2
    assert abs(found.report.control_accuracy - 0.5) < 0.15 and abs(found.report.control_auc - 0.5) < 0.15


@pytest.mark.parametrize("fit", FITS)
def test_a_step_along_the_direction_raises_the_amount_by_one(fit):
    rows, labels = planted()
    for found in (ProbeConcepts(None, fit, cv=0).fit(rows, labels), CAVConcepts(None, fit, cv=0).fit(rows, labels)):
        before, after = found.encode_activations(rows), found.encode_activations(rows + found.get_dictionary())
        assert torch.allclose(after - before, torch.ones_like(before))
        moved = found.displacement(before)(after)
        assert torch.allclose(moved, found.get_dictionary().expand_as(moved))


@pytest.mark.parametrize("fit", FITS)
def test_amounts_of_vectors_are_halves_at_the_means(fit):
    rows, labels = planted()
    found = CAVConcepts(None, fit, cv=0).fit(rows, labels)
    means = torch.stack([rows[labels == side].mean(0) for side in (0, 1)])
    assert torch.allclose(found.encode_activations(means)[:, 0], torch.tensor([-0.5, 0.5], dtype=torch.float64))


def test_no_text_is_in_two_folds():
    groups = torch.arange(60) // 4
    data = read_labeled(normal(60, 2), (groups % 3 == 0).long(), groups)
    folds = data.folds(5, torch.Generator().manual_seed(0))
    assert all(len(folds[groups == g].unique()) == 1 for g in range(15))
    assert [int((folds == fold).sum()) for fold in range(5)] == [12] * 5
    assert all(data.labels[folds == fold].mean() == 1 / 3 for fold in range(5))  # texts of the same labels evenly


def test_rows_of_a_text_are_not_held_out_from_each_other():
    """Rows of a text are almost equal, and labels are random: apart, they seem to be read; by text, they are not."""
    texts = normal(40, 30).repeat_interleave(5, 0)
    rows = texts + 0.01 * normal(200, 30, seed=1)
    labels = (normal(40, seed=2) > 0).long().repeat_interleave(5)
    groups = torch.arange(40).repeat_interleave(5)
    apart = ProbeConcepts(None, "ridge", l2=0.001, n_controls=0).fit(rows, labels).report
    by_text = ProbeConcepts(None, "ridge", l2=0.001, n_controls=0).fit(rows, labels, groups).report
    assert apart.auc > 0.95 and abs(by_text.auc - 0.5) < 0.25
    assert by_text.n_texts == 40 and apart.n_texts == 200
    assert by_text.interval[0, 0] < 0.5 < by_text.interval[0, 1]


def test_area_is_scikit_learn():
    scores, labels = normal(50, 1).round(decimals=1), (normal(50, 1, seed=1) > 0).double()
    groups = torch.arange(50)
    found = area_under_curve(scores, torch.zeros(50, dtype=torch.int64), labels, groups)[0, 0]
    assert np.isclose(found, roc_auc_score(labels[:, 0], scores[:, 0]))


def test_interval_of_the_area_is_delong():
    """Its variance by the placements of each side: var(V10) / m + var(V01) / n, but for one factor of n / (n − 1)."""
    scores, labels = normal(40), (torch.arange(40) < 15)
    above = (scores[labels][:, None] > scores[~labels]).double()
    one, other = above.mean(1), above.mean(0)
    error = (one.var(correction=0) / 15 + other.var(correction=0) / 25).mul(40 / 39).sqrt()
    found = area_under_curve(scores[:, None], torch.zeros(40, dtype=torch.int64), labels.double()[:, None], torch.arange(40))[0]
    assert torch.allclose(found[2] - found[0], 1.959964 * error)


def test_labels_of_every_form():
    table, names, exclusive = read_labels([2, 0, 5, 2])
    assert names == ("0", "2", "5") and exclusive and table.tolist()[2] == [0, 0, 1]
    assert read_labels([True, False])[0].tolist() == [[1.0], [0.0]]
    assert read_labels(torch.tensor([[0, 1], [1, 1]]), ["a", "b"])[1:] == (("a", "b"), False)
    for wrong in ([], [0.5, 1.0], [[0, 2]], [["a"], [1]]):
        with pytest.raises(InputError, match="labels"):
            read_labels(wrong)
    with pytest.raises(OptionError, match="names"):
        read_labels([0, 1], ["a", "b"])


def test_labels_and_rows_that_do_not_belong_together():
    rows = normal(6, 2)
    for labels, word in (([0, 1], "2 for 6"), ([1] * 6, "all rows"), ([0] * 6, "no rows")):
        with pytest.raises(InputError, match=word):
            ProbeConcepts(None).fit(rows, labels)
    with pytest.raises(InputError, match="labels"):
        ProbeConcepts(None).fit(rows)
    with pytest.raises(InputError, match="groups"):
        ProbeConcepts(None).fit(rows, [0, 1] * 3, groups=[0, 1])


def test_labels_of_texts_are_those_of_their_rows():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    labels = [i % 2 for i in range(len(SENTENCES))]
    apart = splitter.get_activations(SENTENCES, "word", flatten_activations=False)
    found = ProbeConcepts(splitter, "ridge", n_controls=1).fit(apart, labels)
    assert found.report.n_texts == len(SENTENCES) and found.report.n_rows > len(SENTENCES)
    rows = splitter.get_activations(SENTENCES, "word")
    groups = [i for i, part in enumerate(next(iter(apart.values()))) for _ in part]
    other = ProbeConcepts(splitter, "ridge", n_controls=1).fit(rows, [labels[i] for i in groups], groups)
    assert torch.equal(found.get_dictionary(), other.get_dictionary())


def test_a_store_knows_its_texts(tmp_path):
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    store = splitter.store_activations(SENTENCES, tmp_path, "word")
    found = ProbeConcepts(splitter, "ridge", n_controls=0).fit(store, [i % 2 for i in range(len(SENTENCES))])
    assert found.report.n_texts == len(SENTENCES) and found.report.n_rows == len(store)


def test_shuffled_labels_keep_texts_or_stay_in_them():
    groups = torch.arange(40) // 4
    of_texts = read_labeled(normal(40, 2), groups % 2, groups)
    mixed = read_labeled(normal(40, 2), torch.arange(40) % 2, groups)
    generator = torch.Generator().manual_seed(0)
    moved, inside = of_texts.shuffled(generator), mixed.shuffled(generator)
    assert moved.sum() == of_texts.labels.sum() and not torch.equal(moved, of_texts.labels)
    assert all(len(moved[groups == g].unique()) == 1 for g in range(10))
    assert not torch.equal(inside, mixed.labels) and torch.equal(mixed.of_texts(inside), mixed.of_texts(mixed.labels))


def test_classes_are_told_apart():
    centers = 5 * torch.eye(3, 4, dtype=torch.float64)
    classes = torch.arange(60) % 3
    report = ProbeConcepts(None, "centroids").fit(centers[classes] + 0.1 * normal(60, 4), classes).report
    assert report.class_accuracy == 1.0 and report.names == ("0", "1", "2")
    assert "0.667" in str(report) and list(report.to_dataframe().concept) == ["0", "1", "2"]
    assert ProbeConcepts(None, "ridge").fit(*planted()).report.class_accuracy is None


def test_saved_and_loaded(tmp_path):
    rows, labels = planted()
    for explainer in (ProbeConcepts(None, "lda", l2=0.1), CAVConcepts(None)):
        fitted = explainer.fit(rows.float(), ["yes" if y else "no" for y in labels.tolist()])
        fitted.save(tmp_path / "probe.safetensors")
        loaded = load_concepts(tmp_path / "probe.safetensors")
        assert type(loaded) is type(fitted) and loaded.names == ("no", "yes")
        assert torch.equal(loaded.encode_activations(rows.float()), fitted.encode_activations(rows.float()))
        with pytest.raises(ModelError, match="report"):
            _ = loaded.report


def test_effects_are_steps_of_the_model():
    """The gradient in a probe's amount is the model's own along its direction."""
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    rows, _ = splitter.get_activations(SENTENCES)
    probe = ProbeConcepts(splitter, "ridge", cv=0).fit(rows, [i % 2 for i in range(len(SENTENCES))])
    neurons = NeuronsAsConcepts(splitter)
    found = probe.concept_output_attribution(SENTENCES[1:4], method="gradient")
    direct = neurons.concept_output_attribution(SENTENCES[1:4], method="gradient")
    for one, other in zip(found, direct, strict=True):
        assert torch.allclose(one, other @ probe.get_dictionary().T, atol=1e-6)


def test_a_probe_does_not_reconstruct():
    probe = ProbeConcepts(None, "ridge", cv=0).fit(*planted())
    with pytest.raises(ModelError, match="does not reconstruct"):
        probe.concept_model.decode(torch.zeros(1, 1))
    with pytest.raises(OptionError, match="overwrite"):
        probe.fit(*planted())
    with pytest.raises(OptionError, match="cv"):
        ProbeConcepts(None, cv=1)
    with pytest.raises(OptionError, match="fit"):
        ProbeConcepts(None, "tree")


def test_same_seed_same_report():
    rows, labels = planted()
    one, other = (ProbeConcepts(None, random_state=3).fit(rows, labels).report for _ in range(2))
    assert str(one) == str(other) and one.l2 == other.l2


def test_names_of_the_reference_are_recipes():
    rows = torch.randn(80, 5, generator=torch.Generator().manual_seed(0)).double()
    labels = (rows[:, :1] - rows[:, 1:2] + 0.3 > 0).double()
    ones = torch.cat([rows, torch.ones(80, 1).double()], 1)
    least_squares = torch.linalg.lstsq(ones, labels).solution  # on labels of 0 and 1, as the reference fits
    found = ProbeExplainer(None, LinearRegressionProbe(), cv=0).fit(rows, labels)
    torch.testing.assert_close(found.encode_activations(rows), 2 * ones @ least_squares - 1, atol=1e-5, rtol=1e-5)
    means = ProbeExplainer(None, MeansDiffProbe(), cv=0).fit(rows, labels)
    positive, negative = rows[labels[:, 0] > 0].mean(0), rows[labels[:, 0] == 0].mean(0)
    scores = (rows - (positive + negative) / 2) @ (positive - negative)
    torch.testing.assert_close(means.encode_activations(rows)[:, 0], scores, atol=1e-5, rtol=1e-5)
    for refused in ({"normalization": print}, {"bias_calibrator": print}):
        with pytest.raises(OptionError, match=f"`{next(iter(refused))}`"):
            LinearRegressionProbe(**refused)
    with pytest.raises(OptionError, match="`concept_model`: got str"):
        ProbeExplainer(None, "ridge")
