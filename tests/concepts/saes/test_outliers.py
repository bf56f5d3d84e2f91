"""Attention sinks: few rows that hold most of the variance neither ruin a training nor hide in its numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from interpreto.concepts import (
    BatchTopKSAEConcepts,
    JumpReLUSAEConcepts,
    MpSAEConcepts,
    TopKSAEConcepts,
    VanillaSAEConcepts,
)
from interpreto.concepts.activations import Activations
from interpreto.concepts.outliers import measure_spread
from interpreto.concepts.saes.trainer import _distinct_directions
from interpreto.errors import OutlierWarning
from interpreto.metrics.concepts import ExplainedVariance


def some_rows(n: int = 2000, d: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, d // 2, generator=generator) @ torch.randn(d // 2, d, generator=generator)
    return rows / rows.norm(dim=1).median() * 8 + 0.3 * torch.randn(n, d, generator=generator)


def with_sinks(rows: Tensor, every: int = 20, size: float = 1280.0) -> tuple[Tensor, Tensor]:
    """Rows of which a few are in one direction and very long, and which those are."""
    generator = torch.Generator().manual_seed(1)
    rows, sinks = rows.clone(), torch.arange(len(rows)) % every == 0
    direction = torch.nn.functional.normalize(torch.randn(rows.shape[1], generator=generator), dim=0)
    lengths = size * (1 + 0.05 * torch.randn(int(sinks.sum()), 1, generator=generator))
    rows[sinks] += lengths * direction
    return rows, sinks


def explained(explainer, rows: Tensor) -> float:
    return float(ExplainedVariance(explainer).run(rows))


@pytest.mark.parametrize(
    "kind", [VanillaSAEConcepts, TopKSAEConcepts, BatchTopKSAEConcepts, JumpReLUSAEConcepts, MpSAEConcepts]
)
def test_ordinary_rows_are_explained_as_well_as_without_the_sinks(kind):
    rows, sinks = with_sinks(some_rows())
    options = {"nb_epochs": 20, "batch_size": 128}
    with pytest.warns(OutlierWarning, match=r"100 of 2000 activations hold 99.\d% of the variance"):
        explainer = kind(None, 64).fit(rows, **options)
    alone = kind(None, 64).fit(rows[~sinks], **options)
    assert explained(explainer, rows) > 0.95
    assert explained(explainer, rows[~sinks]) > explained(alone, rows[~sinks]) - 0.1
    last = explainer.history[-1]
    assert last.explained_variance == pytest.approx(explained(explainer, rows), abs=0.02)
    assert last.ordinary_explained_variance == pytest.approx(explained(explainer, rows[~sinks]), abs=0.05)


def test_center_and_scale_are_those_of_ordinary_rows():
    rows, sinks = with_sinks(some_rows())
    spread = measure_spread(Activations(rows, torch.device("cpu")))
    ordinary = rows[~sinks].double()
    assert spread.outliers == 100 and torch.equal(spread.ordinary(rows), ~sinks)
    torch.testing.assert_close(spread.center, ordinary.mean(0))
    assert spread.scale == pytest.approx(float((ordinary - ordinary.mean(0)).square().sum(1).mean().sqrt()))
    wide = rows.double()
    assert spread.variance == pytest.approx(float((wide - wide.mean(0)).square().sum(1).mean()))
    distances = (wide - spread.center).square().sum(1)
    assert spread.share == pytest.approx(float(distances[sinks].sum() / distances.sum()))


@pytest.mark.parametrize("every", [2, 5])
def test_rows_that_are_many_are_no_outliers(every):
    rows, _ = with_sinks(some_rows(), every=every)
    spread = measure_spread(Activations(rows, torch.device("cpu")))
    assert spread.outliers == 0 and math.isinf(spread.cut) and bool(spread.ordinary(rows).all())
    torch.testing.assert_close(spread.center, rows.double().mean(0))


def test_without_outliers_both_explained_variances_are_one_number():
    explainer = TopKSAEConcepts(None, 32, k=4).fit(some_rows(), nb_epochs=2)
    for record in explainer.history:
        assert record.ordinary_explained_variance == pytest.approx(record.explained_variance, abs=1e-6)


def test_revived_directions_are_distinct():
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(60, 16, generator=generator)
    residual[:20] = torch.randn(1, 16, generator=generator) * torch.arange(1, 21)[:, None]  # twenty times one direction
    drawn = _distinct_directions(residual, torch.ones(60), 50, torch.Generator().manual_seed(0))
    assert len(set(drawn.tolist())) == len(drawn)
    directions = torch.nn.functional.normalize(residual[drawn], dim=1)
    assert float((directions @ directions.T).fill_diagonal_(0).max()) <= 0.9
    assert int((drawn < 20).sum()) == 1
    assert len(_distinct_directions(torch.zeros(5, 3), torch.ones(5), 4, torch.Generator())) == 0


def test_the_metric_reports_ordinary_rows():
    rows, sinks = with_sinks(some_rows())
    with pytest.warns(OutlierWarning):
        explainer = TopKSAEConcepts(None, 64).fit(rows, nb_epochs=3)
    result = ExplainedVariance(explainer).run(rows)
    left = (rows - explainer.decode_concepts(explainer.encode_activations(rows))).double()[~sinks].square().sum()
    scatter = (rows.double()[~sinks] - rows.double()[~sinks].mean(0)).square().sum()
    assert result.details["ordinary_rows"] == pytest.approx(float(1 - left / scatter))
    assert result.details["outliers"] == 100
