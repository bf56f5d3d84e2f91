"""The command line on images: files are explained themselves."""

from __future__ import annotations

import pytest
from PIL import Image

from interpreto import demo
from interpreto.cli import main


def test_an_image_is_explained_by_the_embedded_classifier(tmp_path, capsys):
    image = demo.load_images(1)[0]
    path = tmp_path / "digit.png"
    Image.fromarray(image.image).save(path)
    page = tmp_path / "digit.html"
    assert main(["explain", str(path), "--method", "occlusion", "--granularity", "grid", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{image.digit}  ") and "row " in out and "digit.png" in page.read_text("utf-8")


def test_a_model_of_texts_refuses_an_image(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    folder = tmp_path / "model"
    for part in demo.load_classifier():
        part.save_pretrained(folder)
    assert main(["explain", str(tmp_path / "one.png"), "--model", str(folder)]) != 0
    assert "is an image, and BertForSequenceClassification reads texts" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["GradCam", "layer-cam", "score_cam"])
def test_methods_of_images_are_found_by_any_spelling(tmp_path, capsys, method):
    path = tmp_path / "digit.png"
    Image.fromarray(demo.load_images(1)[0].image).save(path)
    assert main(["explain", str(path), "--method", method]) == 0
    assert "row " in capsys.readouterr().out
    assert main(["explain", "A text.", "--method", method]) != 0
    assert "reads maps of images" in capsys.readouterr().err
    assert main(["methods", method]) == 0
    out = capsys.readouterr().out
    assert "feature maps" in out and "layer" in out and "explain image.png --method" in out
