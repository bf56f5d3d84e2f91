"""Images with texts: which patches and which words make a similarity, by brute force, sums and files."""

from __future__ import annotations

import json
import re

import pytest
import torch

from interpreto import (
    AttentionRollout,
    AttnLrp,
    DeepLift,
    GradCam,
    GradientShap,
    IntegratedGradients,
    KernelShap,
    Lime,
    Occlusion,
    PartitionShap,
    Saliency,
    SmoothGrad,
)
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.perturbations.embeddings import spread_of
from interpreto.errors import InputError, ModelError, OptionError, TokenizerError
from interpreto.inputs.regions import grid
from interpreto.metrics import Deletion
from interpreto.models.contexts import embeddings_given
from interpreto.models.embedding_layers import embedding_layer
from interpreto.models.image_text import tokenized
from interpreto.models.pictured_models import once
from interpreto.visualizations.attributions import to_html
from tests import tiny
from tests.tiny_images import PAIRED, array, image_processor, paired

TEXT = "the film was great"
CUT = (grid(2), "word")


def similarity(family, pixels, text=TEXT, hidden=()):
    """Return the model's own score, with some words in the place of which the mean embedding stands."""
    model, processor = paired(family)
    tokens = tokenized(model, processor.tokenizer, [text], "text")
    layer = embedding_layer(model.text_model)
    embedded = layer(tokens["input_ids"]).detach().clone()
    for word in hidden:
        embedded[0, 1 + word] = layer.weight.mean(0)  # each word is one token, after the first special one
    with torch.no_grad(), embeddings_given(layer, tokens["input_ids"], embedded):
        return model(**tokens, pixel_values=pixels).logits_per_image[0, 0]


@pytest.mark.parametrize("family", PAIRED)
def test_occlusion_is_brute_force_over_patches_and_words(family):
    out = Occlusion(*paired(family), granularity=CUT)((array(), TEXT))[0]
    assert out.elements[:2] == ["row 1, column 1", "row 1, column 2"] and out.elements[4:] == TEXT.split()
    assert (out.model_task, out.target_labels) == ("similarity", ["similarity"])
    picture = out.sample.picture
    whole = similarity(family, picture.pixels[None])
    torch.testing.assert_close(out.base_scores[0], whole, rtol=1e-4, atol=1e-5)
    for unit in range(4):
        masked = torch.where(picture.regions == unit, picture.of_kind(1), picture.pixels)
        lost = whole - similarity(family, masked[None])
        torch.testing.assert_close(out.attributions[0, unit], lost, rtol=1e-3, atol=1e-5)
    for word in range(4):
        lost = whole - similarity(family, picture.pixels[None], hidden=[word])
        torch.testing.assert_close(out.attributions[0, 4 + word], lost, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", PAIRED)
@pytest.mark.parametrize("method", [KernelShap, IntegratedGradients, DeepLift])
def test_values_of_both_sides_sum_to_the_gap(family, method):
    options = {"n_perturbations": 256} if method is not DeepLift else {}
    out = method(*paired(family), granularity=CUT, **options)((array(), TEXT))[0]
    gap = out.base_scores - out.reference_scores
    everything = out.sample.picture.of_kind(1)[None]
    torch.testing.assert_close(out.reference_scores[0], similarity(family, everything, hidden=range(4)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(out.attributions.sum(1), gap, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", PAIRED)
@pytest.mark.parametrize("method", [Lime, PartitionShap, Saliency, SmoothGrad, GradientShap, AttnLrp])
def test_methods_run_on_pairs_of_unequal_lengths_as_on_each_alone(family, method):
    pairs = [(array(), TEXT), (array(seed=3), "the film was great, and the actors were old"), (array(48, 30), TEXT)]
    together = method(*paired(family))(pairs)
    for pair, own in zip(pairs, together, strict=True):
        torch.testing.assert_close(own.attributions, method(*paired(family))(pair)[0].attributions, rtol=1e-3, atol=1e-4)


def test_a_side_that_does_not_change_is_encoded_once():
    model, processor = paired("clip")
    rows = {"texts": 0, "images": 0}
    handles = [
        part.register_forward_hook(lambda _m, _i, out, name=name: rows.__setitem__(name, rows[name] + len(out.pooler_output)))
        for name, part in (("texts", model.text_model), ("images", model.vision_model))
    ]
    try:
        out = Occlusion(model, processor)((array(), TEXT))[0]
    finally:
        for handle in handles:
            handle.remove()
    assert len(out.elements) == 20 and rows["texts"] < 10 and rows["images"] < 20  # of 21 rows
    values = torch.randn(5, 3)[[0, 1, 0, 2, 0]]
    found = []
    with torch.no_grad():
        torch.testing.assert_close(once(lambda kept: found.append(len(values[kept])) or values[kept] * 2, values), values * 2)
    assert found == [3]


def test_noise_is_of_the_spread_of_each_side():
    sample = Occlusion(*paired("clip"), granularity=CUT)((array(), TEXT))[0].sample
    cells, width = sample.picture.cells, sample.picture.width
    vectors = torch.zeros(len(sample), width)
    vectors[:cells] = 3 * torch.randn(cells, width, generator=torch.Generator().manual_seed(0))
    vectors[cells:, :16] = torch.randn(len(sample) - cells, 16, generator=torch.Generator().manual_seed(1))
    found = spread_of(vectors, sample)[:, 0]
    torch.testing.assert_close(found[:cells], vectors[:cells].std().expand(cells))
    torch.testing.assert_close(found[cells:], vectors[cells:, :16].std().expand(len(sample) - cells))


def test_granularities_of_one_side_or_of_both():
    model, processor = paired("clip")
    count = lambda granularity: len(Occlusion(model, processor, granularity=granularity)((array(), "the film"))[0].elements)  # noqa: E731
    assert count("word") == 16 + 2 and count("grid") == 49 + 2
    assert count(("grid", "sentence")) == 50 and count((grid(1, 2), "word")) == 4
    with pytest.raises(OptionError, match="pass both"):
        Occlusion(model, processor, granularity=grid(2))
    with pytest.raises(OptionError, match="images first"):
        Occlusion(model, processor, granularity=("word", "grid"))
    with pytest.raises(OptionError, match="got two"):
        Occlusion(*tiny.CLASSIFIERS["bert"](), granularity=("grid", "word"))("A film.")


def test_what_cannot_be_is_refused_by_name():
    model, processor = paired("clip")
    explainer = Occlusion(model, processor)
    for wrong in (array(), "a text", [("a", "b", "c")], (array(), 3)):
        with pytest.raises(InputError, match=r"\(image, text\)|image"):
            explainer(wrong)
    with pytest.raises(InputError, match="no file"):
        explainer(("nowhere.png", TEXT))
    with pytest.raises(InputError, match="16"):
        explainer((array(), " ".join(["film"] * 20)))
    with pytest.raises(ModelError, match=r"CLIPModel reads each side .* ZeroShotClassifier"):
        AttentionRollout(model, processor)((array(), TEXT))
    with pytest.raises(ModelError, match="ZeroShotClassifier"):
        GradCam(model, processor)
    for option in ("drop", "mask", 3):
        with pytest.raises(OptionError, match="'mean', 'blur', 'zero', 'noise'"):
            Occlusion(model, processor, replacement=option)
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        Occlusion(model, image_processor())
    with pytest.raises(TokenizerError, match="reads images and texts"):
        Occlusion(model, tiny.wordpiece())


def test_files_pages_figures_and_metrics(tmp_path):
    pytest.importorskip("matplotlib")
    model, processor = paired("clip")
    out = Occlusion(model, processor, granularity=CUT)((array(), TEXT))[0]
    out.save(tmp_path / "pair.json")
    again = AttributionOutput.load(tmp_path / "pair.json")
    assert again.elements == out.elements and torch.equal(again.attributions, out.attributions)
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', to_html([out]), re.DOTALL).group(1))
    said = data[0][0]["said"]
    assert [part for part in said if part[1] is not None] == [[word, 4 + i] for i, word in enumerate(TEXT.split())]
    assert "".join(part for part, _ in said) == TEXT == out.sample.said.strip()
    figure = out.plot(backend="matplotlib")
    assert TEXT.split() in [[tick.get_text() for tick in axes.get_yticklabels()] for axes in figure.axes]
    assert "was " in str(out)
    assert Deletion(model, processor).run(again).score == Deletion(model, processor).run(out).score


def test_the_model_is_left_as_it_was():
    model, processor = paired("siglip")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = [len(module._forward_hooks) for module in model.modules()]
    Saliency(model, processor)((array(), TEXT))
    assert hooks == [len(module._forward_hooks) for module in model.modules()]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
