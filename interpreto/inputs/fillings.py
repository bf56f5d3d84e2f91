"""Places to be filled in a text (mask tokens), and the words that users name for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from interpreto.errors import InputError, TargetError, TokenizerError
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.targets import Contrast, as_lists
from interpreto.inputs.text import TokenizedInput, around
from interpreto.validation import shown

FILLINGS = (
    "None (the likeliest token of each mask), a word or a token id, a Contrast of two, or a list of these: several for a text "
    "with one mask, else one for each mask; for several inputs, one of these for each"
)
Filling = str | int | Contrast


class Fillings:
    """Find masks in inputs, and the tokens of the words that users fill in.

    Args:
        tokenizer: The model's tokenizer, with a mask token.

    Raises:
        TokenizerError: it has none.
    """

    def __init__(self, tokenizer: Any) -> None:
        if getattr(tokenizer, "mask_token_id", None) is None:
            raise TokenizerError("`tokenizer`: it has no mask token, and a masked language model predicts masked tokens.")
        self.tokenizer = tokenizer

    def masks_of(self, encoding: TokenizedInput) -> list[int]:
        """Return the numbers of the mask tokens of an input.

        Raises:
            InputError: it has none.
        """
        found = (encoding.input_ids == self.tokenizer.mask_token_id).nonzero()[:, 0].tolist()
        if not found:
            raise InputError(
                f"`inputs`: {encoding.tokens.text[:60]!r} has no mask token ({self.tokenizer.mask_token!r}) to be filled; put "
                "it where the model shall predict."
            )
        return found

    def token_of(self, word: str | int, tokens: Tokens, mask: int, name: str) -> int:
        """Return the token of a word that is filled in.

        Args:
            word: A word, a piece as the vocabulary spells it, or an id.
            tokens: Tokens of the text.
            mask: Number of the mask that the word fills.
            name: The argument, for messages.

        Raises:
            TargetError: if the vocabulary has no such token, or the word is several.
        """
        if isinstance(word, int):
            if not 0 <= word < len(self.tokenizer):
                raise TargetError(f"{name}: token id {word} is not in 0..{len(self.tokenizer) - 1}.")
            return word
        start, end = tokens.offsets[mask]
        spaced = tokens.text[start:end][:1].isspace() or tokens.text[:start][-1:].isspace() or not start
        options = [f" {word}", word] if spaced else [word, f" {word}"]
        pieces = [self._pieces(option) for option in options]
        found = next((ids[0] for ids in pieces if len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id), None)
        if found is None:
            found = self.tokenizer.get_vocab().get(word)
        if found is None:
            names = ", ".join(map(repr, self.tokenizer.convert_ids_to_tokens(pieces[0])))
            raise TargetError(f"{name}: {word!r} is no token ({names}); a mask is filled by one token.")
        return found

    def _pieces(self, text: str) -> list[int]:
        ids = list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        bare = [i for i in ids if self.tokenizer.convert_ids_to_tokens(i) != "▁"]  # a space that some vocabularies keep apart
        return bare or ids

    def label(self, token: int) -> str:
        """Return what a token reads like."""
        return self.tokenizer.decode([token]).strip() or str(self.tokenizer.convert_ids_to_tokens(token))


def read_fillings(targets: object, masks: Sequence[Sequence[int]], single: bool) -> list[list[tuple[int, Filling]]] | None:
    """Return the fillings of each input: numbers of masks, and what each is filled with.

    Args:
        targets: What the user passed; None is nothing.
        masks: Mask tokens of each input.
        single: The input was not in a list.

    Raises:
        TargetError: if a target is none, or their number is not that of the masks.
    """
    if targets is None:
        return None
    found = as_lists(targets, "targets", FILLINGS)
    if not isinstance(found, list):
        rows: list[Any] = [found] * len(masks)
    elif single and len(masks) == 1:
        rows = [found]
    elif len(found) != len(masks):
        raise TargetError(f"`targets`: got {len(found)} for {len(masks)} inputs; pass one for each, or None.")
    else:
        rows = found
    return [_row(row, own, f"`targets[{i}]`") for i, (row, own) in enumerate(zip(rows, masks, strict=True))]


def _row(row: Any, masks: Sequence[int], name: str) -> list[tuple[int, Filling]]:
    items = row if isinstance(row, list) else [row]
    if len(masks) == 1 and not any(isinstance(item, list) for item in items):
        items = [items]
    if len(items) != len(masks):
        raise TargetError(f"{name}: got {len(items)} for a text with {len(masks)} masks; pass one for each, in order.")
    pairs = [(mask, word) for mask, words in zip(masks, items, strict=True) for word in _words(words)]
    for _, word in pairs:
        if not isinstance(word, (str, int, Contrast)):
            raise TargetError(f"{name}: got {shown(word)}; pass {FILLINGS}.")
    if not pairs:
        raise TargetError(f"{name}: names no word; pass {FILLINGS}.")
    return pairs


def _words(item: Any) -> list[Any]:
    return item if isinstance(item, list) else [item]


def held_out(tokens: Tokens, positions: Sequence[int]) -> Tokens:
    """Return the tokens where some are in no unit at any granularity, and no unit extends over one of them."""
    held = [i in positions for i in range(len(tokens.names))]
    spans = [tokens.offsets[i] for i in positions]
    before = tokens.fixed or (False,) * len(held)
    found = tokens.without([a or b for a, b in zip(held, before, strict=True)])
    return replace(found, segments=tuple(around(spans, tokens.segments)))
