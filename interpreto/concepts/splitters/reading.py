"""Inputs of every form as a stream of encodings; texts are tokenized many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import torch

from interpreto.encoding import ACCEPTED, Encoder, Encoding, _backend_settings_kept, is_single
from interpreto.errors import InputError
from interpreto.granularity import Tokens

CHUNK = 256  # texts that are tokenized together


def encodings(encoder: Encoder, inputs: Any) -> Iterator[Encoding]:
    """Encodings of one input, of a list or any other iterable of inputs, read as it goes."""
    if is_single(inputs):
        yield from encoder(inputs)
        return
    if not isinstance(inputs, Iterable) or isinstance(inputs, (bytes, bytearray)):
        raise InputError(f"`inputs`: got {type(inputs).__name__}; pass {ACCEPTED}, or an iterable of these.")
    items, start = iter(inputs), 0
    while chunk := list(islice(items, CHUNK)):
        yield from _chunk(encoder, chunk, start)
        start += len(chunk)
    if not start:
        raise InputError(f"`inputs`: there is nothing in it; pass {ACCEPTED}, or an iterable of these.")


def _chunk(encoder: Encoder, items: Sequence[Any], start: int) -> Iterator[Encoding]:
    position = start
    for plain, group in groupby(items, key=lambda item: isinstance(item, str) and bool(item.strip())):
        part = list(group)
        many = plain and len(part) > 1 and encoder.tokenizer.is_fast and encoder.ends
        together = _texts(encoder, part) if many else [None] * len(part)
        for item, encoding in zip(part, together, strict=True):
            if encoding is None or (encoder.max_length is not None and len(encoding.input_ids) > encoder.max_length):
                yield from _alone(encoder, item, position)
            else:
                yield encoding
            position += 1


def _alone(encoder: Encoder, item: Any, position: int) -> list[Encoding]:
    try:
        return encoder([item])
    except InputError as error:
        raise InputError(str(error).replace("`inputs[0]`", f"`inputs[{position}]`")) from error


def _texts(encoder: Encoder, texts: list[str]) -> list[Encoding]:
    """What the encoder makes of plain texts, by one call of the tokenizer."""
    tokenizer, cut = encoder.tokenizer, encoder.truncation and encoder.max_length is not None
    with _backend_settings_kept(tokenizer):
        batch = tokenizer(
            texts,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            truncation=cut,
            max_length=encoder.max_length if cut else None,
            verbose=False,
        )
    types = batch.get("token_type_ids")
    found = []
    for i, text in enumerate(texts):
        ids = batch["input_ids"][i]
        offsets = tuple(batch["offset_mapping"][i])
        frozen = tuple(map(bool, batch["special_tokens_mask"][i]))
        names = tuple(map(str, tokenizer.convert_ids_to_tokens(ids)))
        extras = {} if types is None else {"token_type_ids": torch.tensor(types[i], dtype=torch.long)}
        tokens = Tokens(text, offsets, names, frozen, ((0, len(text)),))
        found.append(Encoding(tokens, torch.tensor(ids, dtype=torch.long), extras))
    return found
