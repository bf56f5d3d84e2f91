"""Every metric of attributions on images: closed forms of a linear model, and a small vision transformer."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

from interpreto import Consensus, GradCam, InputXGradient, KernelShap, Occlusion, Saliency, metrics
from interpreto.errors import InputError
from interpreto.inputs.regions import grid, patches
from interpreto.metrics import AUPRC, IOUF1, Benchmark, TokenF1, TokenIoU
from interpreto.metrics import attributions as known
from interpreto.metrics.benchmark import WITHOUT_RATIONALES
from tests.tiny_images import LinearImages, array, as_tensor, image_model, image_processor

CUT = grid(3, 2)
IMAGE = array(12, 10)
LINEAR = LinearImages((3, 12, 10), classes=3)
PLACED = tuple(
    name for name in known.__all__ if not inspect.isabstract(kind := getattr(known, name)) and kind.needs == "rationales"
)
OUTPUT = Occlusion(LINEAR, as_tensor, granularity=CUT)(IMAGE, 0)[0]


def made(name, explainer, model, processor):
    """Return a metric of an explainer, or of its model."""
    kind = getattr(metrics, name)
    return kind(explainer) if kind.needs == "explainer" else kind(model, processor) if kind.needs == "model" else kind()


def logits_of_masks():
    """Return the classes' logits with the most important units masked, from none to all, by pixels."""
    regions, pixels = torch.from_numpy(CUT(IMAGE)), as_tensor(IMAGE)
    mean, order = pixels.mean((1, 2), keepdim=True).expand_as(pixels), OUTPUT.attributions[0].argsort(descending=True)
    rows = [torch.where(torch.isin(regions, order[:k]), mean, pixels) for k in range(7)]
    with torch.no_grad():
        return LINEAR(torch.stack(rows)).double()


CURVE = logits_of_masks().softmax(1)[:, 0]
AREA = float(torch.trapezoid(CURVE)) / 6
EXACT = {
    "Deletion": AREA,
    "MoRF": AREA,
    "Completeness": 0.0,
    "Infidelity": 0.0,
    "SensitivityN": 1.0,
    "FaithfulnessCorrelation": 1.0,
    "LeaveOneOutCorrelation": 1.0,
    "SurrogateFidelity": 1.0,
}
"""Values that follow for a linear model, whose attributions by Occlusion are exactly what each unit adds."""


@pytest.mark.parametrize("name", EXACT)
def test_a_linear_model_has_closed_forms(name):
    explainer = KernelShap(LINEAR, as_tensor, granularity=CUT)  # on 6 units exact, and complete
    found = float(made(name, explainer, LINEAR, as_tensor).run(explainer(IMAGE, 0)))
    assert found == pytest.approx(EXACT[name], abs=1e-4)


def test_insertion_of_a_linear_model_is_the_curve_of_what_is_kept():
    regions, pixels = torch.from_numpy(CUT(IMAGE)), as_tensor(IMAGE)
    mean, order = pixels.mean((1, 2), keepdim=True).expand_as(pixels), OUTPUT.attributions[0].argsort(descending=True)
    rows = [torch.where(torch.isin(regions, order[:k]), pixels, mean) for k in range(7)]
    with torch.no_grad():
        curve = LINEAR(torch.stack(rows)).double().softmax(1)[:, 0]
    for name in ("Insertion", "LeRF"):
        found = float(getattr(metrics, name)(LINEAR, as_tensor).run(OUTPUT))
        assert found == pytest.approx(float(torch.trapezoid(curve)) / 6, abs=1e-5)
    gap = float(made("ABPC", None, LINEAR, as_tensor).run(OUTPUT))
    assert gap == pytest.approx(float(torch.trapezoid(curve)) / 6 - AREA, abs=1e-5)


@pytest.mark.parametrize("name", ["MaxSensitivity", "AverageSensitivity"])
def test_the_gradient_of_a_linear_model_does_not_move(name):
    explainer = Saliency(LINEAR, as_tensor, granularity=CUT)
    assert float(made(name, explainer, LINEAR, as_tensor).run(explainer([IMAGE, array(12, 10, 1)], 0))) < 1e-6
    moves = InputXGradient(LINEAR, as_tensor, granularity=CUT)
    assert float(made(name, moves, LINEAR, as_tensor).run(moves(IMAGE, 0))) > 1e-3


def test_random_weights_and_another_class_change_what_depends_on_them():
    explainer = Occlusion(LINEAR, as_tensor, granularity=CUT)
    found = made("ModelParameterRandomization", explainer, LINEAR, as_tensor).run(explainer(IMAGE, 0))
    assert found.details["unchanged"] == pytest.approx(1) and float(found) < 1
    assert float(made("RandomLogit", explainer, LINEAR, as_tensor).run(explainer(IMAGE, 0))) < 1


@pytest.mark.slow
def test_every_metric_runs_on_a_vision_transformer_and_no_image_depends_on_the_others():
    model, processor = image_model("vit"), image_processor()
    explainer = KernelShap(model, processor, granularity=grid(2), n_perturbations=16)
    together = explainer([array(), array(seed=1)])
    assert set(WITHOUT_RATIONALES) | set(PLACED) == {n for n in known.__all__ if not inspect.isabstract(getattr(known, n))}
    for name in WITHOUT_RATIONALES:
        result = made(name, explainer, model, processor).run(together)
        low, high = result.value_range
        assert result.n_valid == (1 if name.startswith("Soft") else 2) and math.isfinite(result.score), name  # no drop in one
        assert (low is None or result.score >= low - 1e-6) and (high is None or result.score <= high + 1e-6), name
        alone = made(name, explainer, model, processor).run(together[0])
        if name != "MonotonicityCorrelation":  # which draws from all inputs of a call
            assert alone.score == pytest.approx(float(result.per_sample[0]), abs=1e-4, nan_ok=True), name


def test_places_mark_the_units_that_they_mostly_cover():
    box, flags = (0, 0, 4, 6), [1, 0, 0, 0, 0, 0]  # units of 4 × 5 pixels: all of the first, a fifth of the second
    assert OUTPUT.attributions.shape == (1, 6)
    for metric in (TokenF1, TokenIoU, AUPRC):
        assert float(metric([box]).run(OUTPUT)) == float(metric([flags]).run(OUTPUT))
    mask = torch.zeros(12, 10).bool()
    mask[:4, :6] = True
    assert float(AUPRC([mask]).run(OUTPUT)) == float(AUPRC([flags]).run(OUTPUT))


@pytest.mark.parametrize("name", PLACED)
def test_metrics_of_places_refuse_what_is_none_and_words_by_name(name):
    with pytest.raises(InputError, match="IOUF1 counts runs of words" if name == "IOUF1" else r"top, left, bottom, right"):
        getattr(metrics, name)([[(0, 3)]]).run(OUTPUT)


def test_runs_of_words_are_refused():
    with pytest.raises(InputError, match="images have none"):
        IOUF1([[1, 0, 0, 0, 0, 0]]).run(OUTPUT)


@pytest.mark.slow
def test_a_benchmark_compares_methods_on_images():
    model, processor = image_model("vit"), image_processor()
    methods = [kind(model, processor, granularity=grid(2)) for kind in (Occlusion, InputXGradient, GradCam)]
    table = Benchmark(model, processor, metrics=["Deletion", "Insertion", "MaxSensitivity"], n_random=1).run(
        methods, [array(), array(seed=1)]
    )
    assert table.names == ["Occlusion", "InputXGradient", "GradCam", "random", "reversed Occlusion"]
    alone = made("Deletion", None, model, processor).run(methods[2]([array(), array(seed=1)]))
    assert table["GradCam", "Deletion"].score == pytest.approx(alone.score, abs=1e-5)


def test_consensus_over_models_of_one_size_is_the_mean_of_their_shares():
    processor, images = image_processor(), [array(), array(seed=1)]
    explainers = [Occlusion(image_model(name), processor, granularity=grid(2)) for name in ("vit", "resnet", "convnext")]
    found = Consensus(explainers)(iter(images), 1)
    for i, image in enumerate(images):
        rows = torch.stack([explainer(image, 1)[0].attributions[0].double() for explainer in explainers])
        shares = rows / rows.abs().sum(1, keepdim=True)
        torch.testing.assert_close(found[i].attributions[0].double(), shares.mean(0), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found[i].standard_error[0].double(), shares.std(0) / 3**0.5, rtol=1e-4, atol=1e-6)


def test_consensus_matches_units_of_other_sizes_by_their_pixels():
    class Halves(torch.nn.Module):
        """Twice as many pixels per side, summed with the weights of the smaller image."""

        def forward(self, x):
            return LINEAR(torch.nn.functional.avg_pool2d(x, 2))

    large = lambda image: as_tensor(image).repeat_interleave(2, 1).repeat_interleave(2, 2)  # noqa: E731
    same = Consensus([Occlusion(LINEAR, as_tensor, granularity=CUT), Occlusion(Halves(), large, granularity=CUT)])(IMAGE, 0)[0]
    shares = OUTPUT.attributions / OUTPUT.attributions.abs().sum()
    torch.testing.assert_close(same.attributions, shares, rtol=1e-4, atol=1e-5)
    fine = Consensus([Occlusion(LINEAR, as_tensor, granularity=CUT), Occlusion(Halves(), large, granularity=grid(6, 2))])(
        IMAGE, 0
    )
    torch.testing.assert_close(fine[0].attributions, shares, rtol=1e-4, atol=1e-5)  # halves of a unit sum to it


def test_consensus_refuses_other_parts_of_an_image():
    left, right = (lambda image: as_tensor(image)[:, :, :10]), (lambda image: as_tensor(image)[:, :, 10:])
    explainers = [Occlusion(LINEAR, crop, granularity=patches(4)) for crop in (left, right)]
    with pytest.raises(InputError, match="see different parts of the image"):
        Consensus(explainers)(array(12, 20, seed=3), 0)
