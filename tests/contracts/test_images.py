"""The contracts of every method that explains images, on a small vision transformer; `Cam` on a model that it takes apart."""

from __future__ import annotations

import pytest
import torch

import interpreto
from interpreto import demo
from interpreto.attributions import AttributionOutput
from interpreto.errors import InterpretoError
from interpreto.inputs.regions import grid
from interpreto.registry import IMAGE_METHODS, METHODS, TEXT_METHODS
from tests.contracts.zoo import FEW
from tests.tiny_images import PooledImages, array, as_tensor, image_model, image_processor

pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")
OF_MODELS_WITHOUT_BIASES = ("AttnLrp", "Lrp")  # sum to the score
OF_TEXTS = ("granularity", "replacement")
IMAGES = [array(seed=seed) for seed in range(3)]
BY_NAME = {method.name: method for method in IMAGE_METHODS}
POOLED = PooledImages()
QUICK = ("Occlusion", "Saliency", "AttentionRollout", "GradCam", "Cam")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BY_NAME]


def explainer(name, **options):
    """Return a method with few perturbed inputs, on a model that it explains."""
    few = {option: value for option, value in FEW.get(name, {}).items() if option not in OF_TEXTS}
    model = (POOLED, as_tensor) if name == "Cam" else (image_model("vit"), image_processor())
    return getattr(interpreto, name)(*model, **{"granularity": grid(2), **few, **options})


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_order_change_nothing_and_files_keep_everything(name, tmp_path):
    alone = [explainer(name, batch_size=1)(image, 1)[0] for image in IMAGES]
    together = explainer(name)(IMAGES, 1)
    for one, each, again in zip(alone, together, reversed(explainer(name, batch_size=64)(IMAGES[::-1], 1)), strict=True):
        for other in (each, again):
            assert other.elements == one.elements == [f"row {i}, column {j}" for i in (1, 2) for j in (1, 2)]
            bound = 2e-5 * max(1.0, float(one.attributions.abs().max()))
            torch.testing.assert_close(other.attributions, one.attributions, rtol=0, atol=bound)
            torch.testing.assert_close(other.base_scores, one.base_scores, rtol=1e-4, atol=1e-5)
    together[0].save(tmp_path / "one.json")
    read = AttributionOutput.load(tmp_path / "one.json")
    assert torch.equal(read.attributions, together[0].attributions) and read.method == name
    assert torch.equal(read.sample.picture.regions, together[0].sample.picture.regions)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_registry_says_is_true(name):
    known, found = BY_NAME[name], explainer(name)(IMAGES[0], [0, 1])[0]
    assert found.signed is known.signed and (found.standard_error is not None) is known.sampled
    assert (found.replacement is not None) is (known.evidence == "scores")
    assert (found.residual is not None) is bool(known.sums_to)
    if known.sums_to and "limit" not in known.sums_to and name not in OF_MODELS_WITHOUT_BIASES:
        gap = found.base_scores - found.reference_scores
        bound = 1e-4 * max(1.0, float(found.attributions.abs().sum()))
        torch.testing.assert_close(found.attributions.sum(1), gap, rtol=0, atol=bound)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_model_is_changed(name):
    own = explainer(name)
    model = own.forward.model.explained
    model.train()
    try:
        before = {
            "weights": {key: value.clone() for key, value in model.state_dict().items()},
            "flags": [module.training for module in model.modules()],
            "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
            "random": torch.get_rng_state(),
        }
        own(IMAGES[0])
        assert all(torch.equal(value, before["weights"][key]) for key, value in model.state_dict().items())
        assert before["flags"] == [module.training for module in model.modules()]
        assert before["hooks"] == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
        assert torch.equal(torch.get_rng_state(), before["random"])
    finally:
        model.eval()


@pytest.mark.parametrize("method", [m for m in METHODS if m not in IMAGE_METHODS], ids=lambda m: m.name)
def test_methods_of_texts_refuse_images_by_name(method):
    with pytest.raises(InterpretoError, match="image"):
        getattr(interpreto, method.name)(image_model("vit"), image_processor())(IMAGES[0])


@pytest.mark.parametrize("method", [m for m in METHODS if m not in TEXT_METHODS], ids=lambda m: m.name)
def test_methods_of_images_refuse_texts_by_name(method):
    with pytest.raises(InterpretoError, match=f"{method.name} (reads maps|has rules for models) of images"):
        getattr(interpreto, method.name)(*demo.load_classifier())
