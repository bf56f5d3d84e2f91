"""Metrics of activations, codes and dictionaries: closed forms, parity, streaming, and others' defects."""

import sys

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance
from sklearn.metrics import explained_variance_score, r2_score
from torch import nn

from interpreto.concepts import DictionaryLearningExplainer, NeuronsAsConcepts, PCAConcepts
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.metrics.concepts import (
    FID,
    MSE,
    Collinearity,
    CosineReconstruction,
    DeadFraction,
    ExplainedVariance,
    FrechetDistance,
    Hoyer,
    NormalizedMSE,
    ReconstructionError,
    ReconstructionSpaces,
    RowDistance,
    Sparsity,
    SparsityRatio,
    Stability,
)

OF_ROWS = (MSE, CosineReconstruction, NormalizedMSE, ExplainedVariance, FID, FrechetDistance)
OF_ROWS += (ReconstructionError, Sparsity, SparsityRatio, Hoyer, DeadFraction)


class Told(nn.Module):
    """Decodes to whatever a test says."""

    def __init__(self, decode, encode=lambda rows: rows, nb_concepts=2):
        super().__init__()
        self.nb_concepts, self.encode, self.decode = nb_concepts, encode, decode

    def fit(self, rows):
        pass


def told(rows, decode, encode=lambda rows: rows):
    return DictionaryLearningExplainer(None, Told(decode, encode, encode(rows).shape[1])).fit(rows)


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=generator)
    return torch.randn(300, 12, generator=generator) @ mixing + 3 * torch.randn(12, generator=generator)


@pytest.fixture(scope="module")
def pca(rows):
    return PCAConcepts(None, nb_concepts=4).fit(rows)


def both(explainer, rows):
    codes = explainer.encode_activations(rows)
    return codes, explainer.decode_concepts(codes)


def test_a_perfect_reconstruction_has_the_best_score_of_every_metric(rows):
    neurons = NeuronsAsConcepts(None, nb_concepts=12)
    for metric, best in ((MSE, 0), (NormalizedMSE, 0), (FID, 0), (ReconstructionError, 0)):
        assert metric(neurons).compute(rows) == best
    assert FrechetDistance(neurons).compute(rows) == pytest.approx(0, abs=1e-9)
    assert ExplainedVariance(neurons).compute(rows) == 1
    assert CosineReconstruction(neurons).compute(rows) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("metric", OF_ROWS)
@pytest.mark.parametrize("batch_size", [1, 7, 300])
def test_the_result_does_not_depend_on_the_batch(metric, batch_size, rows, pca):
    whole, streamed = metric(pca).run(rows), metric(pca, batch_size=batch_size).run(rows)
    assert float(streamed) == pytest.approx(float(whole), rel=1e-5, abs=1e-9)
    assert (streamed.n_valid, streamed.n_skipped) == (300, 0)


class Stream:
    """An activation source that never gives all its rows at once."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, tuple(rows.shape), rows.dtype

    def batches(self, size, generator=None):
        return iter(self.rows.split(min(size, 17)))

    def read(self):
        raise AssertionError("a metric reads a source a batch at a time")


@pytest.mark.parametrize("metric", OF_ROWS)
def test_a_source_is_streamed_and_gives_the_same(metric, rows, pca):
    assert metric(pca).compute(Stream(rows)) == pytest.approx(metric(pca).compute(rows), rel=1e-5, abs=1e-9)


def test_activations_of_a_layer_may_come_in_a_dictionary(rows, pca):
    assert MSE(pca).compute({"layer": rows}) == MSE(pca).compute(rows)


def test_mse_is_a_mean_square_and_does_not_grow_with_the_rows(rows, pca):
    _, decoded = both(pca, rows)
    expected = np.mean(
        [(float(a) - float(b)) ** 2 for r, d in zip(rows, decoded, strict=True) for a, b in zip(r, d, strict=True)]
    )
    assert MSE(pca).compute(rows) == pytest.approx(expected, rel=1e-6)
    assert MSE(pca).compute(torch.cat([rows, rows])) == pytest.approx(expected, rel=1e-6)


def test_explained_variance_is_that_of_scikit_learn_and_one_minus_the_normalized_error(rows):
    explainer = told(rows, lambda codes: 0.9 * codes + 1)
    result, (_, decoded) = ExplainedVariance(explainer).run(rows), both(explainer, rows)
    assert result.score == pytest.approx(r2_score(rows, decoded, multioutput="variance_weighted"), rel=1e-5)
    assert torch.allclose(
        result.details["per_dimension"], torch.from_numpy(r2_score(rows, decoded, multioutput="raw_values")).double(), rtol=1e-4
    )
    without = explained_variance_score(rows, decoded, multioutput="variance_weighted")
    assert result.details["without_offset"] == pytest.approx(without, rel=1e-5)
    assert without == pytest.approx(0.99, abs=1e-3) and result.score < without - 0.01
    assert NormalizedMSE(explainer).compute(rows) == pytest.approx(1 - result.score, rel=1e-6)


def test_explained_variance_by_hand():
    rows, decoded = torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    explainer = told(rows, lambda codes: codes + (decoded - rows if len(codes) == 2 else 0))
    assert ExplainedVariance(explainer).compute(rows) == pytest.approx(0.8)


def test_the_mean_row_explains_nothing_however_far_the_dimensions_are_apart():
    rows = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([0.0, 100.0, -300.0])
    mean = rows.double().mean(0)
    explainer = told(rows.double(), mean.expand_as)
    assert ExplainedVariance(explainer).compute(rows.double()) == pytest.approx(0, abs=1e-9)


def test_equal_rows_have_no_variance_to_explain():
    rows = torch.ones(5, 2)
    assert np.isnan(ExplainedVariance(told(rows, lambda codes: codes)).compute(rows))


def test_fid_is_the_mean_wasserstein_distance_of_scipy(rows, pca):
    _, decoded = both(pca, rows)
    expected = np.mean([wasserstein_distance(rows[:, j].numpy(), decoded[:, j].numpy()) for j in range(12)])
    assert FID(pca).compute(rows) == pytest.approx(expected, rel=1e-5)
    assert FID(pca, columns=5, batch_size=64).compute(rows) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_is_that_of_matrix_square_roots(rows, pca):
    wide, decoded = rows.double().numpy(), both(pca, rows)[1].double().numpy()
    first, second = np.cov(wide.T), np.cov(decoded.T)
    root = sqrtm(first)
    expected = np.sum((wide.mean(0) - decoded.mean(0)) ** 2) + np.trace(first + second - 2 * sqrtm(root @ second @ root).real)
    assert FrechetDistance(pca).compute(rows) == pytest.approx(expected, rel=1e-3)


def test_frechet_distance_of_a_shift_is_its_square(rows):
    explainer = told(rows.double(), lambda codes: codes + 0.5)
    assert FrechetDistance(explainer).compute(rows.double()) == pytest.approx(12 * 0.25, abs=1e-6)


def test_frechet_distance_needs_two_rows(rows, pca):
    with pytest.raises(InputError, match="got 1 row"):
        FrechetDistance(pca).run(rows[:1])


def test_cosines_leave_rows_of_zeros_out():
    rows = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0], [5.0, 0.0]])
    explainer = told(rows, lambda codes: codes * torch.tensor([1.0, 0.0]) * (codes[:, :1] < 5))
    result = CosineReconstruction(explainer).run(rows)
    assert result.per_sample[:2].tolist() == pytest.approx([1.0, 0.6]) and result.per_sample[3] == 0
    assert (result.score, result.n_valid, result.n_skipped) == (pytest.approx(1.6 / 3), 3, 1)


@pytest.mark.parametrize(("distance", "expected"), [("euclidean", 4.5), ("squared", 11.25), ("cosine", 0.2)])
def test_reconstruction_error_by_each_distance(distance, expected):
    rows = torch.tensor([[3.0, 4.0], [6.0, 8.0]])
    explainer = told(rows, lambda codes: codes * torch.tensor([0.0, 1.0]))
    assert ReconstructionError(explainer, "latent_activations", distance).compute(rows) == pytest.approx(expected)


def test_reconstruction_error_takes_a_function(rows, pca):
    own = ReconstructionError(pca, distance_function=lambda a, b: (a - b).square().mean(1))
    assert own.compute(rows) == pytest.approx(MSE(pca).compute(rows), rel=1e-5)


def test_sparsity_is_a_count_and_its_ratio_is_divided_once():
    codes = torch.zeros(1000, 32)
    codes[torch.rand(1000, 32, generator=torch.Generator().manual_seed(0)) < 0.1] = -0.5
    neurons, density = NeuronsAsConcepts(None, nb_concepts=32), float((codes != 0).double().mean())
    result = Sparsity(neurons).run(codes)
    assert result.score == pytest.approx(32 * density, rel=1e-12) and result.value_range == (0, 32)
    assert SparsityRatio(neurons).compute(codes) == pytest.approx(density, rel=1e-12)
    assert abs(result.score - 3.2) < 0.2
    assert Sparsity(neurons, epsilon=0.5).compute(codes) == 0


def test_hoyer_by_hand():
    codes = torch.tensor([[0.0, 3.0, 0.0, 0.0], [2.0, -2.0, 2.0, 2.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    result = Hoyer(NeuronsAsConcepts(None, nb_concepts=4)).run(codes)
    assert result.per_sample[:3].tolist() == pytest.approx([1, 0, 2 - 2**0.5])
    assert result.n_skipped == 1 and result.score == pytest.approx((3 - 2**0.5) / 3)


def test_codes_of_both_signs_are_not_dead():
    codes = torch.tensor([[1.0, 0.0, 0.01], [-1.0, 0.0, 0.0]])
    neurons = NeuronsAsConcepts(None, nb_concepts=3)
    result = DeadFraction(neurons, batch_size=1).run(codes)
    assert result.score == pytest.approx(1 / 3) and result.details["dead"] == [1]
    assert result.details["rates"].tolist() == [1, 0, 0.5]
    assert DeadFraction(neurons, epsilon=0.1).compute(codes) == pytest.approx(2 / 3)


def cosine(a, b):
    return (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)


def test_stability_is_the_best_assignment_of_scipy():
    generator = torch.Generator().manual_seed(0)
    three = [torch.randn(6, 10, generator=generator, dtype=torch.float64) for _ in range(3)]
    expected, maximum = [], []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        cosines = cosine(three[i].numpy(), three[j].numpy())
        expected.append(cosines[linear_sum_assignment(-cosines)].mean())
        maximum.append((cosines.max(0).mean() + cosines.max(1).mean()) / 2)
    result = Stability(*three).run()
    assert result.score == pytest.approx(np.mean(expected)) and result.per_sample.tolist() == pytest.approx(expected)
    assert Stability(*three, matching_algorithm="cosine_maximum").compute() == pytest.approx(np.mean(maximum))


def test_stability_knows_no_order_no_length_and_if_asked_no_sign(rows):
    first = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    other = first[torch.randperm(8, generator=torch.Generator().manual_seed(1))] * torch.arange(1.0, 9.0)[:, None]
    for algorithm in ("cosine_hungarian", "cosine_maximum"):
        assert Stability(first, other, matching_algorithm=algorithm).compute() == pytest.approx(1)
        assert Stability(first, -other, matching_algorithm=algorithm).compute() < 0.6
        assert Stability(first, -other, matching_algorithm=algorithm, signed=False).compute() == pytest.approx(1)
    again = PCAConcepts(None, nb_concepts=4, random_state=5).fit(rows)
    assert Stability(PCAConcepts(None, nb_concepts=4).fit(rows), again).compute() == pytest.approx(1)


def test_a_concept_without_direction_is_like_no_other():
    atoms = torch.eye(8)
    atoms[3] = 0
    assert Stability(atoms, atoms).compute() == pytest.approx(7 / 8)
    assert Collinearity(atoms).compute() == 0


def test_dictionaries_of_unequal_numbers_are_paired():
    assert Stability(torch.eye(5), torch.eye(5)[:3]).compute() == 1
    assert Stability(torch.eye(5)[:3], torch.eye(5)).compute() == 1


def test_without_scipy_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        Stability(torch.eye(2), torch.eye(2)).compute()
    assert Stability(torch.eye(2), torch.eye(2), matching_algorithm="cosine_maximum").compute() == 1


@pytest.mark.parametrize(
    ("dictionaries", "error", "message"),
    [
        ([torch.eye(2)], OptionError, "at least two"),
        ([3, 4], OptionError, r"`concept_explainers\[0\]`: got 3; pass a fitted explainer"),
        ([torch.eye(2), torch.eye(3)], InputError, r"\[2, 3\]"),
        ([torch.eye(2), torch.eye(2) * torch.nan], InputError, r"\[1\].*NaN"),
        ([torch.eye(2), torch.ones(2)], InputError, r"shape \(2,\)"),
    ],
)
def test_dictionaries_that_cannot_be_compared(dictionaries, error, message):
    with pytest.raises(error, match=message):
        Stability(*dictionaries)


def test_collinearity_by_a_loop(monkeypatch):
    atoms = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cosines = np.abs(cosine(atoms.numpy(), atoms.numpy()))
    others = [cosines[i, j] for i in range(9) for j in range(9) if i != j]
    monkeypatch.setattr("interpreto.metrics.concepts.stability.TOGETHER", 4)
    result = Collinearity(atoms).run()
    assert result.score == pytest.approx(max(others)) and result.details["mean"] == pytest.approx(np.mean(others))
    i, j = result.details["closest"]
    assert cosines[i, j] == pytest.approx(max(others)) and i < j
    assert np.isnan(Collinearity(atoms[:1]).compute())


def test_bad_inputs_say_what_to_do(rows, pca):
    with pytest.raises(ModelError, match="call `fit"):
        MSE(PCAConcepts(None, nb_concepts=2)).run(rows)
    with pytest.raises(InputError, match="got width 3"):
        Sparsity(pca).run(rows[:, :3])
    with pytest.raises(InputError, match="NaN"):
        FID(pca).run(rows * torch.nan)
    with pytest.raises(OptionError, match="`epsilon`"):
        SparsityRatio(pca, epsilon=-1.0)
    with pytest.raises(OptionError, match="`batch_size`"):
        MSE(pca, batch_size=0)
    with pytest.raises(OptionError, match="'logits'"):
        ReconstructionError(pca, distance_function="kl")
    with pytest.raises(OptionError, match="no splitter"):
        ReconstructionError(pca, "logits")


def test_the_same_objects_are_handed_on():
    import interpreto.concepts.metrics as handed
    import interpreto.metrics.concepts as home

    assert all(getattr(handed, name) is getattr(home, name) for name in handed.__all__)


def test_a_metric_is_run_called_and_computed_alike(rows, pca):
    for metric in (MSE(pca), FID(pca), Sparsity(pca), ExplainedVariance(pca)):
        assert float(metric.run(rows)) == float(metric(rows)) == metric.compute(rows) == metric.compute(latent_activations=rows)
    assert float(Collinearity(pca)()) == Collinearity(pca).compute()


def test_choices_equal_their_names_either_way(rows, pca):
    assert RowDistance.COSINE == "cosine" and ReconstructionSpaces.LOGITS == "outputs" and RowDistance.COSINE != "squared"
    assert ReconstructionError(pca, distance_function="cosine").compute(rows) == pytest.approx(
        ReconstructionError(pca, distance_function=RowDistance.COSINE).compute(rows)
    )


@pytest.mark.parametrize("enabled", [True, False])
def test_gradients_are_as_before_after_an_error_in_the_middle(rows, pca, enabled):
    """Nobody's mode of gradients is left changed, when the generator of rows is closed late too."""

    def fails(_given, _found):
        assert not torch.is_grad_enabled()
        raise ZeroDivisionError

    with torch.set_grad_enabled(enabled):
        for metric in (ReconstructionError(pca, distance_function=fails, batch_size=2),):
            with pytest.raises(ZeroDivisionError):
                metric.run(rows)
            assert torch.is_grad_enabled() is enabled
        generator = MSE(pca, batch_size=2).coded(MSE(pca).read(rows))
        next(generator)
        assert torch.is_grad_enabled() is enabled
        generator.close()
        assert torch.is_grad_enabled() is enabled
    assert torch.is_grad_enabled()
