"""Inputs of every form as a stream of encodings; texts are tokenized many at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any

from interpreto.errors import InputError
from interpreto.inputs.forms import ACCEPTED, is_single, iterated
from interpreto.inputs.text import TokenizedInput

CHUNK = 256  # texts that are tokenized together


def encodings(encoder: Any, inputs: Any) -> Iterator[TokenizedInput]:
    """Yield encodings of one input, of a list or any other iterable of inputs, read as it goes."""
    if is_single(inputs):
        yield from encoder(inputs)
        return
    items, start = iter(iterated(inputs)), 0
    while chunk := list(islice(items, CHUNK)):
        yield from _chunk(encoder, chunk, start)
        start += len(chunk)
    if not start:
        raise InputError(f"`inputs`: there is nothing in it; pass {ACCEPTED}, or an iterable of these.")


def _chunk(encoder: Any, items: Sequence[Any], start: int) -> Iterator[TokenizedInput]:
    position = start
    for plain, group in groupby(items, key=lambda item: isinstance(item, str) and bool(item.strip())):
        part = list(group)
        if plain and len(part) > 1 and encoder.takes_many:
            yield from encoder.together(part, position)
        else:
            for i, item in enumerate(part):
                yield from _alone(encoder, item, position + i)
        position += len(part)


def _alone(encoder: Any, item: Any, position: int) -> list[TokenizedInput]:
    try:
        return encoder([item])
    except InputError as error:
        raise InputError(str(error).replace("`inputs[0]`", f"`inputs[{position}]`")) from error
