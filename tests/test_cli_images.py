"""The command line on images: files are explained themselves."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from interpreto import demo
from interpreto.cli import main
from tests.tiny_chats import writer
from tests.tiny_images import array, paired


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


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Return the folder of a model that compares images with texts."""
    folder = tmp_path_factory.mktemp("clip")
    model, processor = paired("clip")
    for part in (model, processor.tokenizer, processor.image_processor):
        part.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(array()).save(path)
    return str(path)


def test_labels_are_classes_in_words(clip, photo, capsys):
    few = ["--model", clip, "--method", "occlusion", "--granularity", "grid"]
    assert main(["explain", photo, *few, "--labels", "the film, the story"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(("the film  ", "the story  ")) and "row " in out
    assert main(["explain", photo, *few, "--labels", "the film", "--labels", "the story", "--target", "the story"]) == 0
    assert capsys.readouterr().out.startswith("the story  ")
    for wrong, said in (
        (["explain", photo, "--labels", "a, b"], "`--model`: pass a model that compares images with texts"),
        (["explain", "a text", "--model", clip, "--labels", "a, b"], "are classes of images"),
        (["explain", photo, *few, "--labels", "the film,"], "`--labels`: got"),
        (["explain", photo, *few], "`--labels`, or `--pair`"),
    ):
        assert main(wrong) != 0
        assert said in capsys.readouterr().err


def test_an_image_with_a_text_is_one_input(clip, photo, capsys):
    few = ["--method", "occlusion", "--granularity", "grid"]
    with pytest.MonkeyPatch.context() as patch:  # a folder of three parts names no processor of its own
        patch.setattr("interpreto.models.loading.find_whole_processor", lambda _: paired("clip")[1])
        assert main(["explain", photo, "--pair", "the film was great", "--model", clip, *few]) == 0
    out = capsys.readouterr().out
    assert out.startswith("similarity") and "was " in out and "row " in out
    assert main(["explain", photo, "--pair", "the film"]) != 0
    assert "reads no images with texts" in capsys.readouterr().err


@pytest.mark.slow
def test_a_question_about_an_image_and_a_chat(photo, tmp_path, capsys):
    folder, chat = tmp_path / "llava", tmp_path / "chat.json"
    for part in writer("llava"):
        part.save_pretrained(folder)
    few = ["--model", str(folder), "--granularity", "grid", "--target", " A cat", "--rows", "sequence", "--prompt-only"]
    assert main(["explain", photo, "--pair", "What is it?", *few]) == 0
    first = capsys.readouterr().out
    chat.write_text(json.dumps([{"role": "user", "content": "What is it?"}]))
    assert main(["explain", photo, "--messages", str(chat), *few]) == 0
    assert capsys.readouterr().out == first and "A cat" in first and "What" in first and "row " in first
    assert main(["explain", "A text alone.", *few[:2], *few[4:]]) == 0
