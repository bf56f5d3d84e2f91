"""Display text of units and tokens; vocabularies and runs of words as inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from interpreto.concepts.splitters.granularities import UnitReader
from interpreto.errors import TokenizerError
from interpreto.inputs.samples import Sample
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.streaming import encodings
from interpreto.inputs.text import InputReader, TokenizedInput
from interpreto.inputs.units import Granularity

CHUNK = 4096  # tokens of a vocabulary that are decoded together
_SOMETHING = "a"


class Surface:
    """Return the text of units, also of those that a tokenizer could only name: white space and parts of characters.

    Args:
        tokenizer: Whose names they are; None: every text is what it is.

    Examples:
        >>> from interpreto import demo
        >>> Surface(demo.load_classifier()[1])("film")
        'film'
    """

    def __init__(self, tokenizer: Any = None) -> None:
        self.tokenizer = tokenizer
        self.ids: dict[str, int] = {} if tokenizer is None else tokenizer.get_vocab()
        self.special = set() if tokenizer is None else set(tokenizer.all_special_ids)
        self._seen: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        token = self.ids.get(text)
        if token is None or token in self.special:
            return text
        if text not in self._seen:
            shown = _decode(self.tokenizer, [[token]])[0]
            whole = text if "\ufffd" not in shown else "\ufffd"
            self._seen[text] = whole if shown.strip() else repr(shown or " ")
        return self._seen[text]


def vocabulary(encoder: InputReader, unit: Any) -> Iterator[tuple[str, Sample]]:
    """Yield every token of a vocabulary as an input of its own, between what the tokenizer puts around a text.

    Special tokens are left out, and so are those that are only part of a character: they have no text.
    """
    tokenizer = encoder.tokenizer
    (around,) = encodings(encoder, _SOMETHING)
    free = [i for i, frozen in enumerate(around.tokens.frozen) if not frozen]
    if not free:
        raise TokenizerError(f"`use_vocab`: the tokenizer reads {_SOMETHING!r} as special tokens only.")
    place, names = free[0], around.tokens.names
    kept = [*range(place + 1), *range(free[-1] + 1, len(names))]
    frozen = tuple(i != place for i in kept)
    reader, special = UnitReader(tokenizer, unit), set(tokenizer.all_special_ids)
    ids = sorted(set(tokenizer.get_vocab().values()) - special)
    anchor = int(around.input_ids[place])
    head = _decode(tokenizer, [[anchor]])[0]
    position = 0
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        behind = _decode(tokenizer, [[anchor, i] for i in part])  # a part of a word reads as one after another
        alone = _decode(tokenizer, [[i] for i in part])
        for i, whole, own in zip(part, behind, alone, strict=True):
            text = whole[len(head) :] if whole.startswith(head) else own
            if not text or "\ufffd" in text:
                continue
            text = text.strip() or repr(text)
            row = around.input_ids[kept].clone()
            row[place] = i
            offsets = tuple((0, 0) if special else (0, len(text)) for special in frozen)
            tokens = Tokens(text, offsets, tuple(names[k] for k in kept), frozen, ((0, len(text)),))
            encoding = TokenizedInput(tokens, row, {name: value[kept] for name, value in around.extras.items()})
            yield text, Sample(text, row, reader.units(encoding, position), encoding.extras)
            position += 1


def runs_of_words(texts: Iterable[str], sizes: tuple[int, int], min_count: int) -> list[str]:
    """Return the distinct runs of consecutive words of the texts that are frequent enough, in the order they first occur.

    A run is the text from its first word to its last; marks between words are in it, and none at its ends.

    Examples:
        >>> runs_of_words(["A good film, a film.", "good film"], (1, 2), 2)
        ['good', 'good film', 'film']
    """
    low, high = sizes
    found: Counter[str] = Counter()
    for text in texts:
        spans = [(a, b) for a, b in Granularity.WORD.split(text) if any(c.isalnum() for c in text[a:b])]
        for i in range(len(spans)):
            for size in range(low, min(high, len(spans) - i) + 1):
                found[text[spans[i][0] : spans[i + size - 1][1]]] += 1
    return [run for run, count in found.items() if count >= min_count]


def alone(encoder: InputReader, texts: Iterable[str], unit: Any) -> Iterator[tuple[str, Sample]]:
    """Yield every text as an input of its own: nothing is written after it."""
    reader = UnitReader(encoder.tokenizer, unit)
    for i, encoding in enumerate(encodings(encoder, texts)):
        yield encoding.tokens.text, Sample(encoding.tokens.text, encoding.input_ids, reader.units(encoding, i), encoding.extras)


def _decode(tokenizer: Any, rows: list[list[int]]) -> list[str]:
    return [tokenizer.decode(torch.tensor(row), skip_special_tokens=False, clean_up_tokenization_spaces=False) for row in rows]
