"""The embedded classifier and sentences: small, true to their model card, and what examples can rely on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

from interpreto.demo import DOMAINS, Sentence, load_classifier, load_sentences
from interpreto.errors import InputError

FOLDER = Path(str(files("interpreto.demo")))
Classifier = tuple[BertForSequenceClassification, PreTrainedTokenizerFast]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_classifier()


@torch.no_grad()
def logits(classifier: Classifier, texts: list[str]) -> torch.Tensor:
    model, tokenizer = classifier
    return model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits


def accuracy(classifier: Classifier, sentences: list[Sentence]) -> float:
    near = sorted(sentences, key=lambda s: len(s.text))
    right = 0
    for start in range(0, len(near), 100):
        part = near[start : start + 100]
        predicted = logits(classifier, [s.text for s in part]).argmax(-1)
        right += sum(int(p) == int(s.score > 0) for p, s in zip(predicted, part, strict=True))
    return right / len(sentences)


def test_folder_is_small() -> None:
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file() and f.suffix != ".pyc") < 6e6


def test_classifier_is_as_good_as_its_card_says(classifier: Classifier) -> None:
    measured = accuracy(classifier, load_sentences(split="held-out"))
    claimed = re.search(
        r"\| all \| 2,000 \| [\d.]+% \| ([\d.]+)% \| ([\d.]+)% \|", (FOLDER / "MODEL_CARD.md").read_text("utf-8")
    )
    assert claimed is not None
    ours, baseline = (float(share) / 100 for share in claimed.groups())
    assert measured >= 0.80
    assert measured == pytest.approx(ours, abs=0.002)
    assert measured > baseline + 0.005


@pytest.mark.parametrize("domain", ["movie", "product", "tweet"])
def test_every_domain_beats_its_majority_class(classifier: Classifier, domain: str) -> None:
    sentences = load_sentences(domain, "held-out")
    positive = sum(s.score > 0 for s in sentences) / len(sentences)
    assert accuracy(classifier, sentences) > max(positive, 1 - positive) + 0.05


def test_clear_sentences_are_read_rightly(classifier: Classifier) -> None:
    positive = [
        "A wonderful, funny and moving film.",
        "I love this camera, it works great!",
        "Best day ever, so happy :)",
    ]
    negative = [
        "A dull, stupid and boring film.",
        "The battery died after a week, terrible product.",
        "I hate this, so sad.",
    ]
    assert logits(classifier, positive + negative).argmax(-1).tolist() == [1, 1, 1, 0, 0, 0]


def test_a_masked_text_says_little(classifier: Classifier) -> None:
    texts = ["A wonderful film.", "[MASK] [MASK] [MASK].", "An awful film."]
    probabilities = logits(classifier, texts).softmax(-1)[:, 1]
    assert probabilities[0] > 0.9
    assert 0.3 < probabilities[1] < 0.7
    assert probabilities[2] < 0.1


def test_a_row_does_not_depend_on_its_batch(classifier: Classifier) -> None:
    texts = [s.text for s in load_sentences()[:16]]
    alone = torch.cat([logits(classifier, [text]) for text in texts])
    assert torch.allclose(logits(classifier, texts), alone, atol=1e-5)


def test_classifier_is_ready_to_explain(classifier: Classifier) -> None:
    model, tokenizer = classifier
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert tokenizer.model_max_length == model.config.max_position_embeddings
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.pad_token_id == model.config.pad_token_id
    assert logits(classifier, ["good " * 1000]).shape == (1, 2)  # truncated, not out of positions


def test_spans_point_into_the_text(classifier: Classifier) -> None:
    encoding = classifier[1]("GREAT Movie [MASK]", return_offsets_mapping=True)
    spans = ["GREAT Movie [MASK]"[start:end] for start, end in encoding["offset_mapping"]]
    assert spans == ["", "GREAT", "Movie", "[MASK]", ""]
    assert classifier[1].convert_ids_to_tokens(encoding["input_ids"]) == ["[CLS]", "great", "movie", "[MASK]", "[SEP]"]


def test_loading_is_fast_silent_and_leaves_the_random_state(capfd: pytest.CaptureFixture[str]) -> None:
    state, start = torch.get_rng_state(), time.perf_counter()
    load_classifier()
    assert time.perf_counter() - start < 1
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_transformers_reads_the_folder_to_the_same_model(classifier: Classifier) -> None:
    model = BertForSequenceClassification.from_pretrained(FOLDER / "classifier")
    weights = classifier[0].state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_sentences_are_those_that_the_docs_promise() -> None:
    sentences = load_sentences()
    assert len(sentences) >= 4000
    assert len(load_sentences(split="held-out")) == 2000
    assert {s.domain for s in sentences} == set(DOMAINS)
    assert len(load_sentences("editorial")) == 1000
    assert all(-4 <= s.score <= 4 and s.text and s.text == s.text.strip() for s in sentences)
    assert all(abs(s.score) > 0.6 and s.domain != "editorial" for s in load_sentences(split="held-out"))


def test_the_parts_make_the_whole() -> None:
    parts = [s for domain in DOMAINS for split in ("train", "held-out") for s in load_sentences(domain, split)]
    assert sorted(parts, key=repr) == sorted(load_sentences(), key=repr)


def test_no_held_out_text_is_a_train_text() -> None:
    words = {
        split: {" ".join(re.findall(r"\w+", s.text.casefold())) or s.text for s in load_sentences(split=split)}
        for split in ("train", "held-out")
    }
    assert not words["train"] & words["held-out"]


def test_unknown_domain_and_split_name_what_is_accepted() -> None:
    with pytest.raises(InputError, match=r"`domain`: got 'film'.*'movie', 'product', 'tweet', 'editorial'"):
        load_sentences("film")
    with pytest.raises(InputError, match=r"`split`: got 'test'.*'train', 'held-out'"):
        load_sentences(split="test")


def test_sentences_need_no_torch() -> None:
    code = "import json, sys, interpreto.demo as d; d.load_sentences(); print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
