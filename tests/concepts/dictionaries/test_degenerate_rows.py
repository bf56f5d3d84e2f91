"""Rows of less than full rank, equal rows, few distinct rows, and extreme scales: right, or told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interpreto.concepts import ConvexNMFConcepts, ICAConcepts, KMeansConcepts, NMFConcepts, PCAConcepts, SemiNMFConcepts
from interpreto.errors import InputError, OptionError

SCALES = [1e-30, 1e-20, 1e20, 1e30]


def rows_of_rank(rank: int, n: int = 200, d: int = 10) -> Tensor:
    """Rows whose centered rank is known, with an offset."""
    generator = torch.Generator().manual_seed(0)
    sources = torch.rand(n, rank, generator=generator, dtype=torch.float64) ** 2
    return sources @ torch.randn(rank, d, generator=generator, dtype=torch.float64) + 3


def unexplained(explainer, rows: Tensor) -> float:
    left = rows.double() - explainer.decode_concepts(explainer.encode_activations(rows)).double()
    scale = float(rows.double().abs().max())
    return float((left / scale).square().sum() / ((rows.double() - rows.double().mean(0)) / scale).square().sum())


@pytest.mark.parametrize("rank", [1, 4, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ica_takes_as_many_concepts_as_the_rank_and_no_more(rank, dtype):
    rows = rows_of_rank(rank).to(dtype)
    explainer = ICAConcepts(None, rank).fit(rows)
    assert unexplained(explainer, rows) < 1e-8
    codes = explainer.encode_activations(rows).double()
    torch.testing.assert_close(codes.T.cov(correction=0).reshape(rank, rank), torch.eye(rank).double(), atol=1e-3, rtol=1e-3)
    with pytest.raises(OptionError, match=rf"got {rank + 1}, and there are at most {rank} \(the rank of the 200 centered rows"):
        ICAConcepts(None, rank + 1).fit(rows)


def test_the_rank_of_few_rows_is_one_less_than_their_number():
    rows = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    assert unexplained(ICAConcepts(None, 5).fit(rows), rows) < 1e-8
    with pytest.raises(OptionError, match="at most 5"):
        ICAConcepts(None, 6).fit(rows)


@pytest.mark.parametrize("rows", [torch.ones(20, 8), torch.rand(1, 8), torch.zeros(5, 3), torch.full((9, 4), 1e5 / 3)])
def test_ica_of_equal_rows_is_told(rows):
    with pytest.raises(InputError, match="all rows are equal"):
        ICAConcepts(None, 1).fit(rows)


@pytest.mark.filterwarnings("ignore::interpreto.errors.EstimateWarning")  # k-means says that few rows differ
@pytest.mark.parametrize("method", [NMFConcepts, SemiNMFConcepts, ConvexNMFConcepts])
@pytest.mark.parametrize("distinct", [1, 3])
def test_few_distinct_rows_are_factorized_exactly(method, distinct):
    for seed in range(3):
        rows = torch.rand(distinct, 8, generator=torch.Generator().manual_seed(seed)).repeat(20, 1)
        explainer = method(None, 5, tolerance=0.0, max_iter=1000).fit(rows)
        left = rows - explainer.decode_concepts(explainer.encode_activations(rows))
        assert float(left.norm() / rows.norm()) < (1e-3 if method is SemiNMFConcepts else 2e-2)


@pytest.mark.parametrize("scale", SCALES)
def test_k_means_of_any_scale_has_the_same_codes(scale):
    rows = torch.rand(60, 8, generator=torch.Generator().manual_seed(0)).double()
    expected = KMeansConcepts(None, 5).fit(rows.float()).encode_activations(rows.float())
    scaled = (rows * scale).float()
    codes = KMeansConcepts(None, 5).fit(scaled).encode_activations(scaled)
    torch.testing.assert_close(codes, expected, atol=1e-4, rtol=0)
    inputs = scaled[:3].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(KMeansConcepts(None, 5).fit(scaled).encode_activations(inputs)[:, 0].sum(), inputs)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", [NMFConcepts, SemiNMFConcepts, ConvexNMFConcepts, ICAConcepts, PCAConcepts])
def test_reconstructions_scale_with_the_rows(method, scale):
    rows = torch.rand(80, 8, generator=torch.Generator().manual_seed(0)).double() + 0.1
    scaled = (rows * scale).float()
    at_one = method(None, 4).fit(rows.float())
    explainer = method(None, 4).fit(scaled)
    assert bool(explainer.encode_activations(scaled).isfinite().all())
    assert unexplained(explainer, scaled) == pytest.approx(unexplained(at_one, rows.float()), rel=1e-2)


def test_an_interrupted_fit_leaves_the_model_as_it_was(monkeypatch):
    rows = torch.rand(80, 8, generator=torch.Generator().manual_seed(0))
    explainer = KMeansConcepts(None, 4).fit(rows)
    before = explainer.encode_activations(rows)
    model = type(explainer.concept_model)

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model, "learned", interrupted)  # when the deviation has been stored already
        with pytest.raises(KeyboardInterrupt):
            explainer.fit(5 * rows[:40], overwrite=True, restarts=1)
        fresh = KMeansConcepts(None, 4)
        with pytest.raises(KeyboardInterrupt):
            fresh.fit(rows)
    assert torch.equal(explainer.encode_activations(rows), before)
    assert explainer.concept_model_options.get("restarts") != 1
    assert not fresh.is_fitted and fresh.concept_model.deviation.numel() == 0


@pytest.mark.parametrize("method", [PCAConcepts, NMFConcepts, KMeansConcepts])
def test_a_fit_in_inference_mode_lets_gradients_pass_afterwards(method):
    rows = torch.rand(60, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        explainer = method(None, 3).fit(rows * 1.0)
    inputs = rows[:2].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(explainer.decode_concepts(explainer.encode_activations(inputs)).sum(), inputs)
    expected = rows[:2].clone().requires_grad_()
    plain = method(None, 3).fit(rows)
    (wanted,) = torch.autograd.grad(plain.decode_concepts(plain.encode_activations(expected)).sum(), expected)
    torch.testing.assert_close(gradient, wanted)
