"""The point game and its area: against boxes and masks, with known values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from interpreto import Occlusion, demo
from interpreto.errors import InputError
from interpreto.inputs.regions import grid
from interpreto.metrics import PointGame, PointGameAUC
from tests.tiny_images import PooledImages, array, as_tensor

OUTPUT = Occlusion(PooledImages(), as_tensor, granularity=grid(3, 2))(array(12, 10), 0)[0]
BOX = 0, 0, 4, 5  # the first of six units


def valued(*values):
    return replace(OUTPUT, attributions=torch.tensor([values], dtype=torch.float32))


def score(metric, output, place=BOX):
    return float(metric([place]).run(output))


def test_a_hit_is_one_and_a_miss_zero():
    assert score(PointGame, valued(5, 1, 1, 1, 1, 1)) == 1
    assert score(PointGame, valued(1, 5, 1, 1, 1, 1)) == 0
    assert score(PointGame, valued(-1, -5, -2, -3, -4, -2)) == 1  # the largest, not the largest magnitude


def test_a_constant_gets_the_share_of_the_area_and_half():
    flat = valued(*[2] * 6)
    assert score(PointGame, flat) == pytest.approx(20 / 120)
    assert score(PointGameAUC, flat) == pytest.approx(0.5)


def test_a_unit_at_the_edge_counts_by_its_share():
    assert score(PointGame, valued(5, 1, 1, 1, 1, 1), (0, 0, 2, 5)) == pytest.approx(0.5)


def test_the_area_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    drawn = np.random.default_rng(0)
    for _ in range(5):
        output, mask = valued(*drawn.integers(0, 4, 6).tolist()), drawn.random((12, 10)) < 0.3
        pixels = OUTPUT.sample.picture.spread(output.attributions[0]).numpy()
        assert score(PointGameAUC, output, mask) == pytest.approx(metrics.roc_auc_score(mask.ravel(), pixels.ravel()))


def test_boxes_lists_of_boxes_and_masks_agree():
    mask = np.zeros((12, 10), bool)
    mask[:4, :5] = True
    output = valued(1, 2, 3, 4, 5, 6)
    for place in (mask, torch.from_numpy(mask), mask.astype(int), [BOX], [(0, 0, 2, 5), (2, 0, 4, 5)], np.array(BOX)):
        assert score(PointGameAUC, output, place) == score(PointGameAUC, output)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ((0, 0, 13, 5), "<= 12"),
        ((3, 0, 3, 5), "top < bottom"),
        ((0, 0, 1), "got"),
        (np.ones((3, 4, 4)), "mask"),
        ("box", "got"),
    ],
)
def test_other_places_are_refused(place, said):
    with pytest.raises(InputError, match=said):
        score(PointGame, OUTPUT, place)


TEXT = Occlusion(*demo.load_classifier())("A gorgeous, moving film.", "positive")[0]  # A gorgeous , moving film .


@pytest.mark.parametrize(("values", "hit"), [((0, 5, 0, 0, 0, 0), 1), ((0, 5, 0, 5, 0, 0), 0.5), ((0, -9, 0, 5, 0, 0), 0)])
@pytest.mark.parametrize("place", [[(2, 10)], [(4, 6)], (0, 1, 0, 0, 0, 0)])
def test_units_of_texts_hit_a_range(values, hit, place):
    assert score(PointGame, replace(TEXT, attributions=torch.tensor([values]).float()), place) == hit


def test_the_area_over_units_of_texts_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    values, marked = [0.5, 3.0, -1.0, 0.5, 2.0, 0.0], [0, 1, 0, 1, 1, 0]
    output = replace(TEXT, attributions=torch.tensor([values]))
    assert score(PointGameAUC, output, marked) == pytest.approx(metrics.roc_auc_score(marked, values))
    assert score(PointGameAUC, replace(output, attributions=torch.ones(1, 6)), marked) == 0.5


def test_texts_and_images_are_evaluated_together():
    found = PointGame([BOX, [(2, 10)]]).run([valued(5, 1, 1, 1, 1, 1), TEXT])
    assert found.per_sample[0] == 1 and found.n_valid == 2


def test_other_ranges_and_numbers_are_refused():
    with pytest.raises(InputError, match=r"`places\[0\]`: \(0, 99\) is not a range"):
        PointGame([[(0, 99)]]).run(TEXT)
    with pytest.raises(InputError, match="2 for 1"):
        PointGame([BOX, BOX]).run(OUTPUT)


def test_an_object_everywhere_is_skipped():
    result = PointGame([np.ones((12, 10), bool)]).run(OUTPUT)
    assert result.n_skipped == 1
