"""Read the files of this folder: the classifier, its tokenizer and the sentences."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from interpreto.errors import InputError

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

DOMAINS = ("movie", "product", "tweet", "editorial")
SPLITS = ("train", "held-out")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence that at least twenty people rated (Hutto & Gilbert, 2014)."""

    text: str
    domain: str
    """One of ``DOMAINS``."""
    score: float
    """Mean rating, from -4 (extremely negative) to 4 (extremely positive)."""
    split: str
    """``train``: the classifier was trained on it. ``held-out``: it was not."""


def load_classifier() -> tuple[BertForSequenceClassification, PreTrainedTokenizerFast]:
    """Load the embedded sentiment classifier, in float32 and evaluation mode, and its tokenizer.

    A BERT of 3 layers and 128 dimensions with the labels ``negative`` (0) and ``positive`` (1). Random words were replaced
    by ``[MASK]`` in training, so that a masked word carries no information. Nothing is downloaded, and torch's random state
    is left as it was. ``MODEL_CARD.md`` in this folder has its accuracy and its training.

    Returns:
        The model and the tokenizer.

    >>> model, tokenizer = load_classifier()
    >>> logits = model(**tokenizer("A charming, funny film.", return_tensors="pt")).logits
    >>> model.config.id2label[int(logits.argmax())]
    'positive'
    """
    # Imported here, so that the sentences can be read without loading torch.
    import torch  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast  # noqa: PLC0415

    with as_file(files("interpreto.demo") / "classifier") as folder:
        # Not from_pretrained: it draws a progress bar on stderr.
        with torch.random.fork_rng(devices=[]):
            model = BertForSequenceClassification(BertConfig.from_json_file(folder / "config.json"))
        model.load_state_dict(load_file(folder / "model.safetensors"))  # copies float16 into the float32 parameters
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return model.eval(), tokenizer


def load_sentences(domain: str | None = None, split: str | None = None) -> list[Sentence]:
    """Load the embedded sentences, in a fixed shuffled order, so that a slice is a sample.

    Args:
        domain: Keep one of ``movie``, ``product``, ``tweet`` and ``editorial``; None keeps all.
        split: Keep one of ``train`` and ``held-out``; None keeps both. Editorials are all ``train``.

    Returns:
        Sentences with their ratings.

    Raises:
        InputError: ``domain`` or ``split`` is none of these.

    >>> load_sentences("tweet", "held-out")[0].domain
    'tweet'
    """
    _check("domain", domain, DOMAINS)
    _check("split", split, SPLITS)
    sentences = _read()
    return [s for s in sentences if domain in (None, s.domain) and split in (None, s.split)]


def _check(name: str, value: str | None, accepted: Sequence[str]) -> None:
    if value is not None and value not in accepted:
        raise InputError(f"`{name}`: got {value!r}; pass one of {', '.join(map(repr, accepted))}, or None for all.")


def _read() -> list[Sentence]:
    packed = (files("interpreto.demo") / "sentences.tsv.gz").read_bytes()
    rows = (line.split("\t") for line in gzip.decompress(packed).decode("utf-8").splitlines())
    return [Sentence(text, domain, float(score), split) for domain, split, score, text in rows]
