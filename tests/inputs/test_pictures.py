"""Pictures: cells of pixels with ids that name their content."""

from __future__ import annotations

import gc
import pickle

import numpy as np
import pytest
import torch

from interpreto import AttributionOutput, Occlusion
from interpreto.errors import InputError, OptionError
from interpreto.inputs.pictures import REPLACEMENTS, Picture, blurred, of_kind, parts_of, picture_of
from interpreto.inputs.regions import ImageGranularity, grid, patches, regions_of, superpixels
from interpreto.inputs.superpixels import slic
from tests.tiny_images import PooledImages, array, as_tensor

PIXELS = as_tensor(array(12, 10))


def picture(regions=None, pixels=PIXELS):
    return Picture(pixels, grid(3, 2)(np.zeros((12, 10, 3))) if regions is None else regions)


IRREGULAR = np.where(np.add.outer(np.arange(12), np.arange(10)) < 8, 4, np.where(np.arange(10) < 7, 9, -1))


@pytest.mark.parametrize("regions", [None, IRREGULAR, np.arange(120).reshape(12, 10)])
def test_cells_hold_every_pixel_once(regions):
    own = picture(regions)
    cells = own.to_cells(PIXELS)
    assert cells.shape == (own.cells, own.width)
    torch.testing.assert_close(own.to_pixels(cells[None])[0], PIXELS)
    torch.testing.assert_close(cells.sum(), PIXELS.sum())


def test_regions_are_numbered_by_their_first_pixel_and_negative_ones_are_in_none():
    own = picture(IRREGULAR)
    assert own.units == 2 and own.cells == 3 and own.index.tolist() == [0, 1, -1]
    assert own.names == ("segment 1", "segment 2")
    assert int(own.regions[0, 0]) == 0 and int(own.regions[-1, -1]) == -1
    spread = own.spread(torch.tensor([1.0, 2.0]))
    assert float(spread[0, 0]) == 1 and float(spread[11, 0]) == 2 and spread[11, 9].isnan()


def test_lattices_have_rows_and_columns_as_names():
    assert picture().names[:3] == ("row 1, column 1", "row 1, column 2", "row 2, column 1")
    assert picture(np.zeros((12, 10), dtype=int)).names == ("row 1, column 1",)


def test_an_id_names_picture_kind_and_cell():
    own = picture()
    numbers, kinds, places = parts_of(of_kind(own.ids, "blur"))
    assert numbers.tolist() == [own.number] * 6 and kinds.tolist() == [2] * 6 and places.tolist() == list(range(6))
    assert picture_of(own.number).equals(own)


def test_equal_pictures_share_ids_and_others_do_not():
    first, second = picture(), picture()
    assert first.number == second.number
    del first
    gc.collect()
    assert picture_of(second.number).equals(second)
    assert picture(IRREGULAR).number != second.number and picture(pixels=PIXELS + 1).number != second.number


def test_a_picture_is_gone_when_nothing_holds_it():
    own = picture(pixels=PIXELS + 7)
    number = own.number
    del own
    gc.collect()
    with pytest.raises(InputError, match="gone"):
        picture_of(number)


def test_a_picture_survives_pickling():
    own = pickle.loads(pickle.dumps(picture(IRREGULAR)))
    assert own.equals(picture(IRREGULAR)) and own.number == picture(IRREGULAR).number


def test_replacements_have_the_image_that_they_promise():
    own = picture()
    mean, blur, zero, noise = (own.of_kind(REPLACEMENTS.index(name)) for name in ("mean", "blur", "zero", "noise"))
    torch.testing.assert_close(mean, PIXELS.mean((1, 2), keepdim=True).expand_as(PIXELS))
    assert float(zero.abs().max()) == 0
    assert torch.equal(noise, own.of_kind(4)) and not torch.equal(noise, picture(pixels=PIXELS + 1).of_kind(4) - 1)
    torch.testing.assert_close(blurred(torch.ones(3, 9, 7)), torch.ones(3, 9, 7))
    assert float(blur.std()) < float(PIXELS.std())


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (30, 4)])
def test_cuts_cover_odd_sizes(shape):
    image = np.zeros((*shape, 3), np.uint8)
    assert len(np.unique(patches(4)(image))) == -(-shape[0] // 4) * -(-shape[1] // 4)
    assert grid(1)(image).max() == 0
    for name in ImageGranularity:
        if name is not ImageGranularity.GRID:
            assert regions_of(name, None)(image).shape == shape
    with pytest.raises(OptionError, match="grid of 31 × 31"):
        grid(31)(image)


def test_slic_finds_connected_segments_of_one_color():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:] = 255, 0, 0
    found = slic(image, 16, 10.0)
    for label in np.unique(found):
        assert len(np.unique(image[found == label], axis=0)) == 1
    assert 8 <= len(np.unique(found)) <= 32
    assert (found == superpixels(16)(image)).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda image: image[..., 0] / 2, "float64"),
        (lambda image: np.zeros((3, 3), int), r"\(3, 3\)"),
        (lambda image: np.full(image.shape[:2], -1), "no region"),
    ],
)
def test_wrong_maps_of_a_function_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        Occlusion(PooledImages(), as_tensor, granularity=wrong)(array(12, 10))


def test_explanations_of_images_are_saved_and_loaded(tmp_path):
    explainer = Occlusion(PooledImages(), as_tensor, granularity="grid")
    out = explainer(array(21, 14))[0]
    out.save(tmp_path / "one.safetensors")
    expected = out.attributions.clone()
    sample = out.sample
    number = sample.picture.number
    del out, sample
    gc.collect()
    loaded = AttributionOutput.load(tmp_path / "one.safetensors")
    assert loaded.sample.picture.number == number and loaded.granularity == "grid"
    again = explainer.explain_samples([loaded.sample])[0]
    torch.testing.assert_close(again.attributions, expected)
