"""Dictionaries: each against its reference, or against what defines it."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from interpreto.concepts import (
    AgglomerativeConcepts,
    Cockatiel,
    ConvexNMFConcepts,
    DictionaryLearningConcepts,
    DictionaryLearningExplainer,
    ICAConcepts,
    KMeansConcepts,
    NeuronsAsConcepts,
    NMFConcepts,
    PCAConcepts,
    SemiNMFConcepts,
    SparsePCAConcepts,
    SVDConcepts,
)
from interpreto.concepts.activations import read_activations
from interpreto.concepts.adapters.overcomplete import load_overcomplete
from interpreto.concepts.solvers.coordinate_descent import Penalty
from interpreto.concepts.solvers.least_squares import encode
from interpreto.errors import EstimateWarning, InputError, InterpretoError, ModelError, OptionError
from tests.concepts.activations import demo_activations

ALL = (
    NMFConcepts,
    Cockatiel,
    SemiNMFConcepts,
    ConvexNMFConcepts,
    PCAConcepts,
    ICAConcepts,
    SVDConcepts,
    KMeansConcepts,
    AgglomerativeConcepts,
    SparsePCAConcepts,
    DictionaryLearningConcepts,
)
NON_NEGATIVE = (NMFConcepts, Cockatiel)


def data(n: int = 300, d: int = 12, seed: int = 0, positive: bool = False) -> Tensor:
    """Sparse mixtures of a few directions, and noise."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(n, 6, generator=generator) * (torch.rand(n, 6, generator=generator) < 0.4)
    rows = codes @ torch.randn(6, d, generator=generator) + 0.05 * torch.randn(n, d, generator=generator)
    return rows.abs() if positive else rows + torch.randn(d, generator=generator)


def fitted(method: type, rows: Tensor | None = None, **options: object) -> DictionaryLearningExplainer:
    rows = data(positive=method in NON_NEGATIVE) if rows is None else rows
    return method(None, nb_concepts=options.pop("nb_concepts", 5), **options).fit(rows)


def error(explainer: DictionaryLearningExplainer, rows: Tensor) -> float:
    with torch.no_grad():
        return float((rows - explainer.decode_concepts(explainer.encode_activations(rows))).norm() / rows.norm())


# What all of them hold


@pytest.mark.parametrize("method", ALL)
def test_encoding_is_deterministic_and_by_row(method):
    rows = data(positive=method in NON_NEGATIVE)
    explainer = fitted(method, rows)
    codes = explainer.encode_activations(rows)
    assert torch.equal(codes, explainer.encode_activations(rows))
    assert codes.shape == (300, 5) and explainer.get_dictionary().shape == (5, 12)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(explainer.encode_activations(rows[order]), codes[order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(explainer.encode_activations(rows[:1]), codes[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ALL)
def test_fitting_is_deterministic_and_leaves_the_global_generators_alone(method):
    rows = data(positive=method in NON_NEGATIVE)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first, second = fitted(method, rows), fitted(method, rows.clone())
    assert torch.equal(first.get_dictionary(), second.get_dictionary())
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


@pytest.mark.parametrize("method", [method for method in ALL if method is not AgglomerativeConcepts])  # whose codes are 0 or 1
def test_gradients_of_encode_and_decode_are_right(method):
    rows = data(positive=method in NON_NEGATIVE).double()
    explainer = fitted(method, rows)
    assert explainer.has_differentiable_concept_encoder and explainer.has_differentiable_concept_decoder
    few = rows[:3].clone().requires_grad_()
    direction = torch.randn(3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((explainer.encode_activations(few) * direction).sum(), few)
    step = 1e-5 * torch.randn(3, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        ends = [(explainer.encode_activations(few + sign * step) * direction).sum() for sign in (1, -1)]
    assert float(ends[0] - ends[1]) / 2 == pytest.approx(float((gradient * step).sum()), rel=2e-2, abs=1e-10)
    codes = explainer.encode_activations(rows[:3]).requires_grad_()
    torch.autograd.gradcheck(explainer.decode_concepts, codes)


@pytest.mark.parametrize("method", ALL)
def test_decoding_is_linear_in_the_dictionary(method):
    explainer = fitted(method)
    codes = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    offset = explainer.decode_concepts(torch.zeros(1, 5))
    torch.testing.assert_close(explainer.decode_concepts(codes), codes @ explainer.get_dictionary() + offset)


@pytest.mark.parametrize("method", ALL)
def test_low_precision_activations_are_taken(method):
    rows = data(positive=method in NON_NEGATIVE)
    low = rows.bfloat16()
    explainer = fitted(method, low)
    assert explainer.encode_activations(low).dtype == torch.float32
    assert error(explainer, low.float()) == pytest.approx(error(fitted(method, rows), rows), abs=0.05)


@pytest.mark.parametrize("method", ALL)
def test_refitting_is_asked_for(method):
    rows = data(positive=method in NON_NEGATIVE)
    explainer = fitted(method, rows)
    before = explainer.get_dictionary().clone()
    with pytest.raises(OptionError, match="overwrite=True"):
        explainer.fit(rows)
    explainer.fit(rows[:100] * 2, overwrite=True)
    assert not torch.equal(before, explainer.get_dictionary())


@pytest.mark.parametrize("method", ALL)
def test_a_fresh_model_takes_a_state_dict(method):
    explainer = fitted(method)
    fresh = method(None, nb_concepts=5).concept_model
    fresh.load_state_dict(explainer.concept_model.state_dict())
    assert fresh.is_fitted
    rows = data(positive=True)
    assert torch.equal(fresh.encode(rows), explainer.encode_activations(rows))
    assert torch.equal(copy.deepcopy(fresh).encode(rows), fresh.encode(rows))


# Codes in a fixed dictionary


def test_non_negative_codes_are_scipys():
    generator = torch.Generator().manual_seed(0)
    for atoms in (4, 40):  # more atoms than dimensions too
        dictionary = torch.randn(atoms, 20, generator=generator, dtype=torch.float64)
        rows = torch.randn(30, 20, generator=generator, dtype=torch.float64)
        ours = encode(rows, dictionary, tolerance=1e-10)
        theirs = torch.stack([torch.from_numpy(nnls(dictionary.T.numpy(), row.numpy())[0]) for row in rows])
        torch.testing.assert_close(ours @ dictionary, theirs @ dictionary, atol=1e-6, rtol=1e-6)
        if atoms == 4:
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_nearly_collinear_atoms_reach_the_optimum():
    generator = torch.Generator().manual_seed(0)
    dictionary = 1 + 0.05 * torch.rand(20, 30, generator=generator)
    rows = torch.rand(50, 20, generator=generator) @ dictionary
    assert float((encode(rows, dictionary) @ dictionary - rows).norm() / rows.norm()) < 1e-3


def test_codes_scale_with_the_rows():
    generator = torch.Generator().manual_seed(0)
    dictionary, rows = torch.rand(8, 12, generator=generator), torch.randn(40, 12, generator=generator)
    codes = encode(rows, dictionary)
    for scale in (2.0**-13, 2.0**10):
        torch.testing.assert_close(encode(rows * scale, dictionary), codes * scale)


def test_an_atom_of_zeros_gets_no_code():
    dictionary = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert encode(torch.tensor([[2.0, 1.0]]), dictionary).tolist() == [[2.0, 0.0]]


def test_sparse_codes_are_the_soft_threshold_in_an_orthonormal_dictionary():
    basis = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0))).Q
    rows = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
    projections = rows @ basis.T
    expected = projections.sign() * (projections.abs() - 0.3).clamp_min(0)
    torch.testing.assert_close(encode(rows, basis, Penalty(0.3, signed=True)), expected, atol=1e-5, rtol=1e-5)


def test_many_gradients_at_once_are_those_one_by_one():
    dictionary = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    rows = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
    codes = encode(rows, dictionary)
    each = torch.eye(4)[:, None].expand(4, 3, 4)
    (together,) = torch.autograd.grad(codes, rows, each, is_grads_batched=True, retain_graph=True)
    alone = torch.stack([torch.autograd.grad(codes, rows, one, retain_graph=True)[0] for one in each])
    torch.testing.assert_close(together, alone)


# Against scikit-learn


def test_pca_is_scikit_learns():
    from sklearn.decomposition import PCA

    rows = data() + 50
    theirs = PCA(5, svd_solver="full").fit(rows.double().numpy())
    ours = fitted(PCAConcepts, rows.double())
    torch.testing.assert_close(ours.get_dictionary(), torch.from_numpy(theirs.components_), atol=1e-6, rtol=1e-6)
    codes = torch.from_numpy(theirs.transform(rows.double().numpy()))
    torch.testing.assert_close(ours.encode_activations(rows.double()), codes, atol=1e-6, rtol=1e-6)


def test_svd_is_scikit_learns():
    from sklearn.decomposition import TruncatedSVD

    rows = data().double()
    theirs = TruncatedSVD(5, algorithm="arpack", random_state=0).fit(rows.numpy())
    ours = fitted(SVDConcepts, rows)
    torch.testing.assert_close(ours.get_dictionary(), torch.from_numpy(theirs.components_.copy()), atol=1e-6, rtol=1e-6)
    assert float(ours.decode_concepts(torch.zeros(1, 5, dtype=torch.float64)).abs().max()) == 0


def test_ica_is_scikit_learns_with_its_mean():
    from sklearn.decomposition import FastICA

    rows = torch.rand(500, 12, generator=torch.Generator().manual_seed(0)) @ torch.linalg.qr(data(12)).Q + 3
    options = {"whiten": "unit-variance", "whiten_solver": "eigh", "max_iter": 1000, "tol": 1e-3, "random_state": 0}
    theirs = FastICA(12, **options).fit(rows.double().numpy())
    ours = fitted(ICAConcepts, rows, nb_concepts=12)
    codes = torch.from_numpy(theirs.transform(rows.double().numpy())).float()
    torch.testing.assert_close(ours.encode_activations(rows), codes, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(ours.decode_concepts(codes), rows, atol=1e-3, rtol=1e-3)  # of full rank: nothing is lost


def test_ica_says_when_it_did_not_converge():
    with pytest.warns(EstimateWarning, match="max_iter"):
        ICAConcepts(None, nb_concepts=5, max_iter=1, tolerance=1e-9).fit(data())


def test_kmeans_has_scikit_learns_centres_and_its_cluster_has_the_largest_code():
    from sklearn.cluster import KMeans

    rows = data() + 20
    centered = rows - rows.mean(0)
    theirs = KMeans(5, n_init=3, random_state=0).fit(centered.numpy())
    soft, hard = fitted(KMeansConcepts, rows), fitted(KMeansConcepts, rows, temperature=0.0)
    labels = torch.from_numpy(theirs.labels_).long()
    for explainer in (soft, hard):
        assert torch.equal(explainer.encode_activations(rows).argmax(1), labels)
        torch.testing.assert_close(explainer.get_dictionary() - rows.mean(0), torch.from_numpy(theirs.cluster_centers_))
    torch.testing.assert_close(hard.decode_concepts(hard.encode_activations(rows)), hard.get_dictionary()[labels])
    assert not hard.has_differentiable_concept_encoder
    assert error(soft, rows) <= error(hard, rows) * 1.01
    torch.testing.assert_close(soft.encode_activations(rows).sum(1), torch.ones(300))


def test_sparse_pca_is_scikit_learns():
    from sklearn.decomposition import MiniBatchSparsePCA

    rows = data().double()
    standard = (rows - rows.mean(0)) / (rows - rows.mean(0)).square().mean().sqrt()
    theirs = MiniBatchSparsePCA(5, max_iter=20, batch_size=256, random_state=0).fit(standard.numpy())
    ours = fitted(SparsePCAConcepts, rows)
    codes = torch.from_numpy(theirs.transform(standard.numpy()))
    torch.testing.assert_close(ours.encode_activations(rows), codes, atol=1e-8, rtol=1e-6)
    back = torch.from_numpy(theirs.inverse_transform(codes.numpy())) * (rows - rows.mean(0)).square().mean().sqrt() + rows.mean(
        0
    )
    torch.testing.assert_close(ours.decode_concepts(codes), back, atol=1e-8, rtol=1e-6)


def test_dictionary_learning_is_scikit_learns():
    from sklearn.decomposition import sparse_encode

    rows = data().double()
    explainer = fitted(DictionaryLearningConcepts, rows, nb_concepts=16)
    scale = (rows - rows.mean(0)).square().mean().sqrt()
    standard, atoms = (rows - rows.mean(0)) / scale, explainer.get_dictionary() / scale
    theirs = torch.from_numpy(sparse_encode(standard.numpy(), atoms.numpy(), algorithm="lasso_lars", alpha=1.0))
    ours = explainer.encode_activations(rows)

    def objective(codes: Tensor) -> Tensor:
        return (standard - codes @ atoms).square().sum(1) / 2 + codes.abs().sum(1)

    torch.testing.assert_close(objective(ours), objective(theirs), atol=1e-4, rtol=1e-4)
    assert 0.2 < float((ours == 0).double().mean()) < 1


# The non-negative ones


@pytest.mark.parametrize("concepts", [6, 20])
def test_nmf_is_within_a_hundredth_of_scikit_learns_error(concepts):
    from sklearn.decomposition import NMF

    rows = demo_activations()[:1000].relu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = NMF(concepts, solver="cd", init="nndsvda", max_iter=400).fit(rows.numpy())
    reconstruction = torch.from_numpy(theirs.transform(rows.numpy()) @ theirs.components_)
    ours = fitted(NMFConcepts, rows, nb_concepts=concepts)
    assert error(ours, rows) <= 1.01 * float((rows - reconstruction).norm() / rows.norm())
    torch.testing.assert_close(ours.get_dictionary().norm(dim=1), torch.ones(concepts))


@pytest.mark.parametrize("method", [NMFConcepts, SemiNMFConcepts, ConvexNMFConcepts])
@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_no_scale_is_special(method, scale):
    rows = data(positive=True)
    assert error(fitted(method, rows * scale), rows * scale) == pytest.approx(error(fitted(method, rows), rows), rel=1e-3)


def test_nmf_finds_the_parts_that_made_the_data():
    generator = torch.Generator().manual_seed(0)
    parts = torch.eye(4).repeat_interleave(3, dim=1)
    rows = torch.rand(200, 4, generator=generator) @ parts
    found = fitted(NMFConcepts, rows, nb_concepts=4, tolerance=1e-9).get_dictionary()
    closeness = found @ (parts / parts.norm(dim=1, keepdim=True)).T
    assert bool((closeness.amax(1) > 0.999).all()) and closeness.argmax(1).unique().numel() == 4


def test_nmf_takes_more_concepts_than_dimensions():
    rows = data(n=60, positive=True)
    assert error(fitted(NMFConcepts, rows, nb_concepts=20, max_iter=50), rows) < 0.05


def test_nmf_refuses_negative_activations_unless_told():
    rows = data()
    for method in NON_NEGATIVE:
        with pytest.raises(InputError, match=r"negative.*force_relu=True"):
            method(None, nb_concepts=3).fit(rows)
        explainer = method(None, nb_concepts=3, force_relu=True).fit(rows)
        assert torch.equal(explainer.encode_activations(rows), explainer.encode_activations(rows.relu()))
    with pytest.raises(InputError, match="negative"):
        fitted(NMFConcepts).encode_activations(rows)


def test_semi_nmf_is_at_or_below_overcompletes_error_with_real_zeros():
    rows = demo_activations()[:1500]
    theirs = DictionaryLearningExplainer(None, load_overcomplete("optimization").SemiNMF, nb_concepts=8).fit(rows)
    ours = fitted(SemiNMFConcepts, rows, nb_concepts=8)
    assert error(ours, rows) <= error(theirs, rows)
    codes = ours.encode_activations(rows)
    assert bool((codes >= 0).all()) and bool((codes == 0).any())
    assert not bool((theirs.encode_activations(rows) == 0).any())


def test_codes_of_nearly_collinear_atoms_do_not_depend_on_the_other_rows():
    """In float32 the Gram matrix would round away what tells them apart, differently in each shape of batch."""
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(1, 64, generator=generator) + 1e-3 * torch.randn(12, 64, generator=generator)
    rows = torch.randn(1, 64, generator=generator) + torch.rand(60, 12, generator=generator) @ atoms
    together = encode(rows, atoms)
    assert torch.equal(torch.cat([encode(row[None], atoms) for row in rows]), together)


def test_convex_nmf_never_goes_up_and_lies_among_the_rows():
    for seed in range(4):  # of mixed signs
        rows = data(seed=seed)
        explainer = fitted(ConvexNMFConcepts, rows)
        errors = torch.tensor(explainer.concept_model.errors)
        assert bool((errors[1:] <= errors[:-1] * (1 + 1e-5)).all()) and len(errors) > 10
        weights = explainer.concept_model.weights
        assert bool((weights >= 0).all())
        torch.testing.assert_close(weights.sum(1), torch.ones(5))
        torch.testing.assert_close(explainer.get_dictionary(), weights @ rows[explainer.concept_model.candidates])
        assert error(explainer, rows) < error(fitted(KMeansConcepts, rows, temperature=0.0), rows)


@pytest.mark.parametrize("n", [1, 7, 400])
def test_convex_nmf_encodes_any_number_of_rows(n):
    explainer = fitted(ConvexNMFConcepts)
    dictionary = explainer.get_dictionary().clone()
    assert explainer.encode_activations(data(n=n, seed=3)).shape == (n, 5)
    assert torch.equal(dictionary, explainer.get_dictionary())


# Sources of activations


class Store:
    """An activation store in memory."""

    def __init__(self, rows: Tensor) -> None:
        self.data, self.shape, self.dtype, self.reads = rows, tuple(rows.shape), rows.dtype, 0

    def batches(self, size, generator=None):
        order = torch.arange(len(self.data)) if generator is None else torch.randperm(len(self.data), generator=generator)
        for rows in order.split(size):
            yield self.data[rows]

    def read(self):
        self.reads += 1
        return self.data


@pytest.mark.parametrize("method", ALL)
def test_a_store_or_a_dictionary_is_taken_as_a_tensor(method):
    rows = data(positive=method in NON_NEGATIVE)
    expected = fitted(method, rows).get_dictionary()
    store = Store(rows)
    assert torch.equal(fitted(method, store).get_dictionary(), expected)
    assert torch.equal(fitted(method, {"layer.1": rows}).get_dictionary(), expected)
    if method in (PCAConcepts, SVDConcepts):
        assert store.reads == 0  # a batch at a time


class Splitter:
    split_points = ("layer.1", "layer.2")


def test_split_points():
    rows = {"layer.1": data(), "layer.2": data(seed=1)}
    with pytest.raises(OptionError, match=r"'layer.1', 'layer.2'"):
        PCAConcepts(Splitter())
    with pytest.raises(OptionError, match=r"got 'layer.3'"):
        PCAConcepts(Splitter(), split_point="layer.3")
    explainer = PCAConcepts(Splitter(), 5, "layer.2").fit(rows)
    assert torch.equal(explainer.get_dictionary(), fitted(PCAConcepts, rows["layer.2"]).get_dictionary())
    assert torch.equal(explainer.encode_activations(rows), explainer.encode_activations(rows["layer.2"]))
    with pytest.raises(InputError, match=r"none of the split point 'layer.2'"):
        PCAConcepts(Splitter(), 5, "layer.2").fit({"layer.1": data()})
    store = Store(rows["layer.1"])
    store.config = SimpleNamespace(split_point="layer.1")
    with pytest.raises(InputError, match=r"read at 'layer.1'.*of 'layer.2'"):
        PCAConcepts(Splitter(), 5, "layer.2").fit(store)
    with pytest.raises(InputError, match=r"say which one"):
        PCAConcepts(None, 5).fit(rows)


# Neurons


def test_neurons_are_the_activations():
    rows = data()
    explainer = NeuronsAsConcepts(None)
    with pytest.raises(ModelError, match="not fitted"):
        explainer.encode_activations(rows)
    explainer.fit(rows).fit(rows)
    assert explainer.nb_concepts == 12 and torch.equal(explainer.encode_activations(rows), rows)
    assert torch.equal(explainer.decode_concepts(rows), rows) and torch.equal(explainer.get_dictionary(), torch.eye(12))
    with pytest.raises(OptionError, match="width 3"):
        explainer.fit(rows[:, :3])


# Foreign models


@pytest.mark.parametrize("name", ["NMF", "SemiNMF", "SkPCA", "SkICA"])
def test_overcompletes_models_are_taken_as_they_are_but_deterministic(name):
    rows = torch.rand(300, 12, generator=torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    kind = getattr(load_overcomplete("optimization"), name)
    for model in (kind, f"overcomplete.optimization.{name}"):
        explainer = DictionaryLearningExplainer(None, model, nb_concepts=4).fit(rows)
        codes = explainer.encode_activations(rows)
        assert codes.shape == (300, 4) and torch.equal(codes, explainer.encode_activations(rows))
    assert torch.equal(before[0], torch.random.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
    assert explainer.has_differentiable_concept_decoder != name.startswith("Sk")


def test_an_instance_is_used_itself():
    model = load_overcomplete("optimization").NMF(nb_concepts=3)
    explainer = DictionaryLearningExplainer(None, model).fit(data(positive=True))
    assert explainer.nb_concepts == 3 and explainer.concept_model.model is model
    assert torch.equal(explainer.get_dictionary(), model.get_dictionary())


def test_overcomplete_is_loaded_without_its_top_level_which_still_answers():
    code = """
import sys
from interpreto.concepts.adapters.overcomplete import load_overcomplete
sae = load_overcomplete("sae")
print("torchvision" in sys.modules, "timm" in sys.modules, "matplotlib" in sys.modules)
import overcomplete
from overcomplete.sae import TopKSAE
print(TopKSAE is sae.TopKSAE, overcomplete.sae is sae, hasattr(overcomplete, "__wrapped__"))
try:
    print(overcomplete.visualization)
except ImportError as error:
    print("its own error")
"""
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[:2] == ["False False False", "True True False"] and len(lines) == 3


@pytest.mark.parametrize("missing", ["overcomplete", "sklearn"])
def test_a_missing_package_says_what_to_type(missing, monkeypatch):
    import interpreto.concepts.adapters.overcomplete as home

    if missing == "overcomplete":
        for name in [name for name in sys.modules if name.split(".")[0] == "overcomplete"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(home, "find_spec", lambda _name: None)
        with pytest.raises(ImportError, match=r'pip install "overcomplete>=0.3,<0.4".*--no-deps "overcomplete>=0.3,<0.4"'):
            DictionaryLearningExplainer(None, "overcomplete.optimization.NMF")
    else:
        monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
        with pytest.raises(ImportError, match=r"scikit-learn is missing.*pip install scikit-learn"):
            fitted(KMeansConcepts)


# Bad input


def nan_rows() -> Tensor:
    rows = data()
    rows[[3, 7], 2] = torch.nan
    return rows


BAD = {
    "nan": (lambda: fitted(PCAConcepts, nan_rows()), r"2 of 300 rows hold NaN.*row 3"),
    "nan in a store": (lambda: fitted(SVDConcepts, Store(nan_rows())), r"2 of 300 rows"),
    "tuple": (lambda: read_activations((data(), torch.zeros(3)), None, torch.device("cpu")), r"pass the first"),
    "list": (lambda: read_activations([data()], None, torch.device("cpu")), r"got list"),
    "three axes": (lambda: fitted(PCAConcepts, data()[None]), r"\(1, 300, 12\).*\(n, d\)"),
    "no rows": (lambda: fitted(PCAConcepts, data()[:0]), r"\(0, 12\)"),
    "integers": (lambda: fitted(PCAConcepts, torch.ones(3, 2).long()), r"int64.*floats"),
    "zeros": (lambda: fitted(NMFConcepts, torch.zeros(9, 3)), r"all are zero"),
    "wrong width": (lambda: fitted(PCAConcepts).encode_activations(torch.ones(2, 5)), r"got width 5.*learned on 12"),
    "wrong concepts": (lambda: fitted(PCAConcepts).decode_concepts(torch.ones(2, 12)), r"\(2, 12\).*\(n, 5\)"),
    "unfitted encode": (lambda: PCAConcepts(None).encode_activations(data()), r"PCAConcepts is not fitted; call `fit"),
    "unfitted decode": (lambda: NMFConcepts(None).decode_concepts(torch.ones(2, 20)), r"not fitted"),
    "unfitted dictionary": (lambda: KMeansConcepts(None).get_dictionary(), r"not fitted"),
    "too many components": (lambda: fitted(PCAConcepts, nb_concepts=13), r"got 13.*at most 12"),
    "too many clusters": (lambda: fitted(KMeansConcepts, data(n=4)), r"got 5.*at most 4"),
    "more parts than rows": (lambda: fitted(NMFConcepts, data(n=4).abs()), r"got 5.*at most 4"),
    "no concepts": (lambda: NMFConcepts(None, nb_concepts=0), r"`nb_concepts`: got 0"),
    "seed": (lambda: NMFConcepts(None, random_state=-1), r"`random_state`: got -1"),
    "device": (lambda: NMFConcepts(None, device="gpu0"), r"`device`: got 'gpu0'"),
    "temperature": (lambda: KMeansConcepts(None, temperature=-1.0), r"`temperature`: got -1.0"),
    "no such class": (lambda: DictionaryLearningExplainer(None, "overcomplete.sae.Nothing"), r"no class 'Nothing'.*TopKSAE"),
    "no such package": (lambda: DictionaryLearningExplainer(None, "sklearn.PCA"), r"got 'sklearn.PCA'"),
    "no concept model": (lambda: DictionaryLearningExplainer(None, object()), r"no fit, encode, decode"),
    "an SAE": (lambda: DictionaryLearningExplainer(None, "overcomplete.sae.TopKSAE"), r"pass it to SAEExplainer"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(case):
    call, message = BAD[case]
    with pytest.raises(InterpretoError, match=message):
        call()


def test_interpret_names_what_does_it():
    with pytest.raises(NotImplementedError, match=r"TopKInputs\(concept_explainer="):
        fitted(PCAConcepts).interpret(inputs=["text"])


def test_a_store_cannot_be_encoded_whole():
    with pytest.raises(InputError, match="a batch at a time"):
        fitted(PCAConcepts).encode_activations({"only": Store(data())})


def test_semi_nmf_starts_from_some_of_many_rows():
    generator = torch.Generator().manual_seed(0)
    codes, atoms = torch.rand(2000, 4, generator=generator), torch.randn(4, 12, generator=generator)
    rows = codes @ atoms + 0.01 * torch.randn(2000, 12, generator=generator)
    explainer = fitted(SemiNMFConcepts, rows, nb_concepts=4)
    left = rows - explainer.decode_concepts(explainer.encode_activations(rows))
    assert left.norm() / rows.norm() < 0.03

    nearly_all_equal = torch.cat([rows[:1].expand(3000, -1), rows[:6]])
    explainer = fitted(SemiNMFConcepts, nearly_all_equal, nb_concepts=4)
    left = nearly_all_equal - explainer.decode_concepts(explainer.encode_activations(nearly_all_equal))
    assert left.norm() / nearly_all_equal.norm() < 0.03
