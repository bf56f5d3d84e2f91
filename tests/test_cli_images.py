"""The command line on images: files are explained themselves."""

from __future__ import annotations

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
