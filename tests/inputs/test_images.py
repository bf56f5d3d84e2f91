"""Images of every form, and the troubles that public reports of image explainers tell of: right, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from interpreto import (
    AttentionRollout,
    DeepLift,
    DeepLiftShap,
    Granularity,
    IntegratedGradients,
    KernelShap,
    Occlusion,
    Saliency,
    demo,
)
from interpreto.errors import InputError, InterpretoError, ModelError, OptionError, TokenizerError
from interpreto.inputs.image_files import opened
from interpreto.inputs.pictures import Picture
from interpreto.inputs.regions import grid
from interpreto.metrics import Deletion
from tests.tiny_images import COMMON, SIDE, PooledImages, array, as_tensor, image_model, image_processor

Image = pytest.importorskip("PIL.Image")


def explainer(**options):
    return Occlusion(image_model("vit"), image_processor(), granularity=grid(2), **options)


def values(inputs, **options):
    return torch.stack([out.attributions[0] for out in explainer(**options)(inputs, 0)])


REFERENCE = Image.fromarray(array())


def test_all_forms_of_one_image_have_the_same_values(tmp_path):
    path = tmp_path / "image.png"
    REFERENCE.save(path)
    pixels = image_processor()(images=REFERENCE, return_tensors="pt")["pixel_values"]
    raw = array()
    expected = values(REFERENCE)
    forms = [path, str(path), raw, raw.transpose(2, 0, 1), torch.from_numpy(raw), raw / 255.0, raw.astype(np.float32)]
    forms += [pixels, pixels[0], {"pixel_values": pixels}, [REFERENCE], (REFERENCE,), np.array(raw, dtype=object).astype(int)]
    for form in forms:
        torch.testing.assert_close(values(form), expected, rtol=1e-4, atol=1e-6)


def test_batches_and_lists_have_the_values_of_each_image():
    images = [Image.fromarray(array(seed=seed)) for seed in range(3)]
    pixels = torch.cat([image_processor()(images=image, return_tensors="pt")["pixel_values"] for image in images])
    expected = torch.cat([values(image) for image in images])
    for form in (
        images,
        pixels,
        list(pixels),
        {"pixel_values": pixels},
        iter(images),
        np.stack([array(seed=s) for s in range(3)]),
    ):
        torch.testing.assert_close(values(form), expected, rtol=1e-4, atol=1e-6)


def test_a_column_of_datasets_is_read():
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict(
        {"image": [REFERENCE, REFERENCE]}, features=datasets.Features({"image": datasets.Image()})
    )
    torch.testing.assert_close(values(table["image"]), values(REFERENCE).expand(2, -1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (33, 31), (200, 9)])
def test_odd_and_oblong_sizes(size):
    out = explainer()(array(*size))[0]
    assert out.attributions.shape == (1, 4) and out.sample.picture.shown.shape == (SIDE, SIDE, 3)


def test_grayscale_is_gray_in_all_channels():
    gray = REFERENCE.convert("L")
    colors = Image.merge("RGB", [gray] * 3)
    torch.testing.assert_close(values(gray), values(colors))
    torch.testing.assert_close(values(np.array(gray)), values(colors))
    torch.testing.assert_close(values(np.array(gray)[..., None]), values(colors))


def test_transparent_parts_are_white_whatever_color_hides_there():
    alpha = Image.new("L", REFERENCE.size, 255)
    alpha.paste(0, (0, 0, 20, 20))
    hidden = REFERENCE.copy()
    hidden.putalpha(alpha)
    white = REFERENCE.copy()
    white.paste((255, 255, 255), (0, 0, 20, 20))
    torch.testing.assert_close(values(hidden), values(white))
    torch.testing.assert_close(values(np.array(hidden)), values(white))


def test_palettes_and_print_colors_are_converted():
    palette = REFERENCE.convert("P", palette=Image.Palette.ADAPTIVE)
    torch.testing.assert_close(values(palette), values(palette.convert("RGB")))
    assert values(REFERENCE.convert("CMYK")).isfinite().all()
    assert values(REFERENCE.convert("1")).isfinite().all()


def test_sixteen_bits_are_scaled_and_not_cut_off():
    gray = np.array(REFERENCE.convert("L"))
    deep = gray.astype(np.uint16) * 257
    torch.testing.assert_close(values(Image.fromarray(deep)), values(gray))
    torch.testing.assert_close(values(deep), values(gray))


def test_photographs_are_turned_as_their_camera_says(tmp_path):
    turned = REFERENCE.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    turned.save(tmp_path / "photo.png", exif=exif)
    torch.testing.assert_close(values(tmp_path / "photo.png"), values(REFERENCE))


def test_units_lie_on_what_a_cropping_processor_leaves():
    module = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    crops = module.CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": SIDE, "width": SIDE})
    out = Occlusion(image_model("vit"), crops)(array(60, 120))[0]
    shown = out.sample.picture.shown
    pixels = crops(images=array(60, 120), return_tensors="pt")["pixel_values"][0]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (crops.image_mean, crops.image_std))
    torch.testing.assert_close(shown.permute(2, 0, 1).float() / 255, pixels * std + mean, atol=3e-3, rtol=0)


def test_other_sizes_than_the_model_reads_are_refused_or_read():
    plain = Occlusion(PooledImages(), as_tensor, granularity="grid")
    assert plain(array(9, 23))[0].attributions.shape == (1, 49)
    with pytest.raises(InputError, match=r"does not read images of shape \(3, 20, 24\)"):
        explainer()(torch.rand(3, 20, 24))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_nearly_the_same_values(dtype):
    import copy

    model = copy.deepcopy(image_model("vit")).to(dtype)
    out = Occlusion(model, image_processor(), granularity=grid(2))(REFERENCE, 0)[0]
    assert out.attributions.dtype is torch.float32
    torch.testing.assert_close(out.attributions[0], values(REFERENCE)[0], rtol=0.1, atol=2e-2)
    assert Saliency(model, image_processor())(REFERENCE)[0].attributions.isfinite().all()


def test_models_without_a_class_token_have_attention_per_patch():
    config = transformers.IJepaConfig(**COMMON)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.IJepaForImageClassification(config).eval()
    found = AttentionRollout(model, image_processor())(REFERENCE)[0].attributions
    assert found.shape == (1, 16)
    torch.testing.assert_close(found.sum(1), torch.ones(1))  # no token keeps a share but those of patches


def test_a_head_that_attends_to_patches_by_itself_is_refused_by_attention_methods_alone():
    vision = {key: value for key, value in COMMON.items() if key != "num_labels"}
    config = transformers.SiglipConfig(vision_config=transformers.SiglipVisionConfig(**vision).to_dict(), num_labels=3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.SiglipForImageClassification(config).eval()
    assert KernelShap(model, image_processor(), granularity=grid(2))(REFERENCE)[0].attributions.shape == (1, 4)


def test_a_gray_model_reads_gray():
    class Gray(torch.nn.Module):
        def forward(self, x):
            assert x.shape[1] == 1
            return x.mean((2, 3)).repeat(1, 2)

    to_gray = lambda image: as_tensor(image.convert("L"))  # noqa: E731
    assert Occlusion(Gray(), to_gray, granularity=grid(2))(REFERENCE)[0].attributions.shape == (1, 4)


def test_inputs_that_require_gradients_are_not_touched():
    pixels = torch.rand(1, 3, SIDE, SIDE, requires_grad=True)
    Saliency(image_model("vit"), image_processor())(pixels)
    assert pixels.grad is None


def test_constant_images_have_attributions_of_zero():
    out = KernelShap(image_model("vit"), image_processor(), granularity=grid(2))(np.full((SIDE, SIDE, 3), 128, np.uint8))[0]
    assert float(out.attributions.abs().max()) < 1e-5


def test_one_row_at_a_time_changes_nothing():
    torch.testing.assert_close(values(REFERENCE, batch_size=1), values(REFERENCE), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("no such file.png", "no file"),
        (np.zeros((3, 5, 3)), "first or last"),
        (np.zeros((5, 5, 7)), r"\(5, 5, 7\)"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((5, 5, 3), -2.0), "from -2"),
        (torch.zeros(2, 3), r"\(2, 3\)"),
        (torch.zeros(1, SIDE, SIDE), "1 channels"),
        (torch.full((3, SIDE, SIDE), torch.nan), "not finite"),
        (torch.zeros(3, SIDE, SIDE).long(), "int64"),
        ({"pixels": 1}, "pixel_values"),
        ([], "nothing to explain"),
        (3, "int"),
        ([3], "got 3"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
    ],
)
def test_other_inputs_are_refused_by_name(wrong, said):
    with pytest.raises(InterpretoError, match=said):
        explainer()(wrong)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "image.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read as an image"):
        explainer()(tmp_path / "image.png")


def test_moving_images_are_refused(tmp_path):
    frames = [Image.fromarray(array(seed=seed)) for seed in range(2)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "two.gif") as two, pytest.raises(InputError, match="2 frames"):
        opened(two, "`inputs`")


@pytest.mark.parametrize("option", [{"granularity": "sentence"}, {"granularity": Granularity.TOKEN}, {"replacement": "mask"}])
def test_options_of_texts_are_refused(option):
    with pytest.raises(OptionError, match="image"):
        Occlusion(image_model("vit"), image_processor(), **option)(REFERENCE)


def test_options_of_images_are_refused_for_texts():
    with pytest.raises(OptionError, match="'patch', which images have"):
        Occlusion(*demo.load_classifier(), granularity="patch")
    with pytest.raises(OptionError, match="baseline"):
        IntegratedGradients(*demo.load_classifier(), baseline="blur")
    with pytest.raises(OptionError, match="replacement"):
        Occlusion(*demo.load_classifier(), replacement="blur")


def test_a_tokenizer_of_an_image_model_is_refused():
    with pytest.raises(TokenizerError, match="reads images"):
        Occlusion(image_model("vit"), demo.load_classifier()[1])


def test_without_a_processor_pixel_values_alone_are_read():
    alone = Occlusion(image_model("vit"), granularity=grid(2))
    assert alone(torch.rand(2, 3, SIDE, SIDE))[1].attributions.shape == (1, 4)
    with pytest.raises(TokenizerError, match="no processor"):
        alone(REFERENCE)


def test_methods_that_need_other_words_are_refused():
    with pytest.raises(OptionError, match="background"):
        DeepLiftShap(image_model("vit"), image_processor())(REFERENCE)
    background = torch.rand(3, *image_processor()(images=REFERENCE, return_tensors="pt")["pixel_values"].shape[1:])
    pictures = torch.stack(
        [DeepLift(image_model("vit"), image_processor(), baseline=b)(REFERENCE, 0)[0].attributions[0] for b in background]
    )
    assert pictures.isfinite().all()


def test_models_without_a_head_are_refused_by_name():
    model = transformers.ViTModel(image_model("vit").config)
    with pytest.raises(ModelError, match="ViTModel returns no row of logits"):
        Occlusion(model, image_processor())(REFERENCE)


def test_spans_and_roles_are_refused():
    with pytest.raises(InputError, match="no characters"):
        explainer()(REFERENCE, spans=[(0, 3)])
    with pytest.raises(OptionError, match="roles"):
        explainer()(REFERENCE, roles=["user"])


def test_metrics_tell_images_of_one_size_apart():
    images = [array(seed=seed) for seed in range(2)]
    out = explainer()(images)
    both = Deletion(image_model("vit"), image_processor()).run(out).per_sample
    alone = [Deletion(image_model("vit"), image_processor()).run(each).score for each in out]
    torch.testing.assert_close(both, torch.tensor(alone, dtype=both.dtype), rtol=1e-4, atol=1e-6)
    assert alone[0] != alone[1]


def test_an_explainer_of_a_folder_finds_the_processor(tmp_path):
    image_model("vit").save_pretrained(tmp_path)
    image_processor().save_pretrained(tmp_path)
    out = Occlusion(str(tmp_path), granularity=grid(2))(REFERENCE, 0)[0]
    torch.testing.assert_close(out.attributions[0], values(REFERENCE)[0], rtol=1e-4, atol=1e-6)


class Answers(torch.nn.Module):
    """A classifier as torchvision has them: it returns logits alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = PooledImages()

    def forward(self, x):
        return self.inner(x).logits


@pytest.mark.parametrize(
    "pair", [(0.5, 0.25), ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)), (np.array([0.5]), torch.tensor([0.2, 0.3, 0.4]))]
)
def test_a_module_takes_a_mean_and_a_deviation_in_the_place_of_a_function(pair):
    mean, std = (torch.as_tensor(part).float().reshape(-1, 1, 1) for part in pair)
    found = Occlusion(Answers(), pair, granularity="grid")(array(), [0, 1])[0]
    wanted = Occlusion(Answers(), lambda image: (as_tensor(image) - mean) / std, granularity="grid")(array(), [0, 1])[0]
    torch.testing.assert_close(found.attributions, wanted.attributions)
    assert (found.sample.picture.shown.numpy() == array()).all()  # the colors of the image itself


@pytest.mark.parametrize("pair", [(0.5, 0.0), ("a", "b"), ((0.5, 0.5), (0.2, 0.2, 0.2)), (0.5, 0.5, 0.5), {"mean": 0.5}])
def test_what_is_no_mean_and_deviation_is_refused_by_name(pair):
    with pytest.raises(TokenizerError, match=r"mean and the|got tuple|got dict"):
        Occlusion(Answers(), pair)(array())


@pytest.mark.parametrize("replacement", ["mean", "blur", "zero", "noise"])
def test_pixels_that_are_drawn_at_once_are_those_of_the_table_of_cells(replacement):
    picture = explainer()(REFERENCE)[0].sample.picture
    kinds = torch.randint(0, 2, (5, picture.cells), generator=torch.Generator().manual_seed(0))
    kind = ["own", "mean", "blur", "zero", "noise"].index(replacement)
    rows = torch.where(kinds[..., None] == 1, picture.table(kind, torch.device("cpu")), picture.table(0, torch.device("cpu")))
    assert torch.equal(picture.drawn(kinds * kind, torch.device("cpu")), picture.to_pixels(rows))


def test_masks_are_drawn_at_once_and_moved_cells_are_not(monkeypatch):
    drawn, looked = [], []
    for kept, kind, name in ((drawn, Picture, "drawn"), (looked, Picture, "to_pixels")):
        original = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda *given, kept=kept, original=original: kept.append(1) or original(*given))
    explainer()(REFERENCE)
    assert drawn and not looked
    drawn.clear()
    Saliency(image_model("vit"), image_processor(), granularity=grid(2))(REFERENCE)
    assert looked
