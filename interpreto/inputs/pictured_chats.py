"""Chats about an image: what the processor of a model of images and texts makes of a prompt, as cells and tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interpreto.errors import InputError, OptionError, TokenizerError
from interpreto.inputs.boundaries import Span
from interpreto.inputs.chat import Message, RenderedChat, is_chat, is_image_part, render
from interpreto.inputs.decoding import decoded, token_names
from interpreto.inputs.forms import is_illustrated, is_pictured, iterated
from interpreto.inputs.image_feeds import ImageFeeds
from interpreto.inputs.image_files import opened
from interpreto.inputs.images import of_picture
from interpreto.inputs.pictured import joined, read_both
from interpreto.inputs.regions import ImageGranularity, RegionMap, patches, regions_of
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.text import TokenizedInput, around, outside
from interpreto.inputs.tokenizers import special_ids
from interpreto.validation import shown

ACCEPTED = "(text, image) or (chat, image), an image being one of PIL, an array or a path, or a list of these"
PROMPT = "prompt_length"
"""Name of what each token is told of its prompt: how many tokens of text it has."""
PER_TOKEN = ("token_type_ids", "mm_token_type_ids")
"""Inputs that processors make for each token."""
OF_TRAINING = ("labels",)
"""Names of inputs that processors make for training alone."""


class ImageChatProcessor:
    """The processor of a model that answers texts about an image; takes the tokenizer's place.

    Args:
        processor: A processor of transformers, with an image processor and a tokenizer.
        image_ids: Ids of the tokens that are placeholders of an image.
        width: Numbers that a token has as the model reads it.

    Attributes:
        tokenizer: The tokenizer of texts.
        mask_token_id: None, as units of images have no tokens; so are the others of its kind.
    """

    mask_token_id = unk_token_id = pad_token_id = None

    def __init__(self, processor: Any, image_ids: Sequence[int], width: int) -> None:
        self.processor, self.tokenizer = processor, processor.tokenizer
        self.image_ids, self.width = frozenset(image_ids), width

    @property
    def placeholder(self) -> str:
        """Return what represents an image in a prompt."""
        own = getattr(self.processor, "image_token", None) or getattr(self.tokenizer, "image_token", None)
        return str(own or self.tokenizer.convert_ids_to_tokens([min(self.image_ids)])[0])

    @property
    def template(self) -> Any:
        """Return what writes chats: the processor or its tokenizer; None: neither has a template."""
        return next((part for part in (self.processor, self.tokenizer) if getattr(part, "chat_template", None)), None)

    def __call__(self, text: str, image: Any, *, bare: bool = False) -> dict[str, Tensor]:
        """Return what the model is given of a text with an image in the place of the placeholder.

        Raises:
            InputError: the processor refuses them, or makes no ``pixel_values``.
        """
        options = {"add_special_tokens": False} if bare else {}
        try:
            found = self.processor(text=[text], images=[image], return_tensors="pt", **options)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise InputError(f"`inputs`: {type(self.processor).__name__} refuses {shown(text)} ({error!s:.160}).") from error
        if not isinstance(found.get("pixel_values"), Tensor):
            raise InputError(
                f"`inputs`: {type(self.processor).__name__} makes no `pixel_values` ({shown(sorted(found))}); explained are "
                "models that are given an image so."
            )
        return {key: value for key, value in found.items() if isinstance(value, Tensor) and key not in OF_TRAINING}

    def of_image(self, image: Any) -> dict[str, Tensor]:
        """Return what the model is given of an image alone."""
        given = self(self.placeholder, image)
        tokens = given["input_ids"].shape
        return {key: value for key, value in given.items() if key not in (*PER_TOKEN, "input_ids") and value.shape != tokens}


@dataclass(frozen=True)
class Prompt:
    """A text with the placeholder of an image.

    Attributes:
        text: As the template writes it.
        spans: Its free parts.
        chat: The chat that it was; None: it was a text.
        written: A template wrote it, with the special tokens in it.
    """

    text: str
    spans: tuple[Span, ...]
    chat: RenderedChat | None = None
    written: bool = False


class ImageChatReader:
    """Read texts and chats about one image each.

    A text is the user's message where the processor has a template, unless it holds the placeholder of the image: then it is
    taken as it is. Placeholders are in no unit, as what they hold is the image.

    Args:
        processor: Makes pixels and tokens.
        granularity: Size of the units: of one side, where the other keeps its default, or a pair of both.
        max_length: Most tokens of text that the model takes; None: there is no limit.

    Attributes:
        granularity: As it is recorded: units of both kinds have no name of their own.
        text_granularity: Of the texts.
    """

    takes_many = False
    granularity = None

    def __init__(self, processor: ImageChatProcessor, granularity: Any, max_length: int | None) -> None:
        of_images, self.text_granularity = read_both(granularity)
        self._processor, self._max_length = processor, max_length
        self.special_ids = special_ids(processor.tokenizer)
        self._feeds = ImageFeeds(
            processor.of_image, _eighths if of_images is ImageGranularity.PATCH else regions_of(of_images, None)
        )

    def __call__(self, inputs: Any, roles: Sequence[str] | None = None, first: int = 0) -> list[TokenizedInput]:
        """Return the prompts of one input, or of a list of inputs.

        Raises:
            InputError: an input is no text or chat with one image.
        """
        if is_illustrated(inputs) or is_pictured(inputs) or is_chat(inputs):
            return [self._read(inputs, "`inputs`", roles)]
        if isinstance(inputs, str) or hasattr(inputs, "__fspath__"):
            raise InputError(
                f"`inputs`: got {shown(inputs)} alone; pass {ACCEPTED}. A text without an image is explained with the "
                "tokenizer in the processor's place."
            )
        found = [self._read(item, f"`inputs[{i}]`", roles) for i, item in enumerate(iterated(inputs), first)]
        if not found:
            raise InputError(f"`inputs`: got nothing to explain ({shown(inputs)}); pass {ACCEPTED}.")
        return found

    def _read(self, item: Any, name: str, roles: Sequence[str] | None) -> TokenizedInput:
        words, image = taken_apart(item, name)
        if roles is not None and isinstance(words, str):
            raise OptionError(f"`roles`: got {shown(roles)}, but {name} is no chat; its tokens have no role.")
        file = str(getattr(image, "filename", "") or (image if isinstance(image, (str, os.PathLike)) else "")).replace(
            "\\", "/"
        )
        image = opened(image, name)
        prompt = self._prompt(words, name)
        begins = getattr(self._processor.tokenizer, "bos_token", None)
        bare = prompt.written and bool(begins) and prompt.text.startswith(str(begins))
        given = self._processor(prompt.text, image, bare=bare)
        tokens, ids, kept = self._tokens(prompt, given["input_ids"][0].cpu(), name)
        if roles is not None and prompt.chat is not None and not isinstance(words, str):
            free = prompt.chat.of_roles(roles, words, name)
            shift = dict(zip(prompt.spans, tokens.segments, strict=False))
            held = outside(tokens.offsets, [shift[span] for span in free if span in shift])
            tokens = tokens.without([a or b for a, b in zip(held, tokens.fixed, strict=True)])
        if self._max_length is not None and len(ids) > self._max_length:
            raise InputError(f"{name}: {len(ids)} tokens, and the model takes {self._max_length}; shorten the text.")
        extras = {key: given[key][0, :kept].cpu().long() for key in PER_TOKEN if key in given}
        extras[PROMPT] = torch.full_like(ids, len(ids))
        picture = self._feeds.picture(image, name, file.rsplit("/", 1)[-1], self._processor.width)
        return joined(of_picture(picture, name), TokenizedInput(tokens, ids, extras))

    # --- Prompts

    def _prompt(self, words: str | Sequence[Message], name: str) -> Prompt:
        """Return the prompt, with one placeholder."""
        place, template = self._processor.placeholder, self._processor.template
        if isinstance(words, str):
            if not words.strip():
                raise InputError(f"{name}: the text is empty ({words!r}); there is nothing to explain.")
            if place in words:
                return self._whole(words, place, name)
            if template is None:
                return self._whole(place + words, place, name)
            words = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}]
        if template is None:
            raise TokenizerError(
                f"{name}: got a chat, but {type(self._processor.processor).__name__} has no chat template; pass a text."
            )
        messages = illustrated(words, name)
        chat = render(template, messages, name, replies=True, pictured=True)
        if chat.text.count(place) != 1:
            raise InputError(
                f"{name}: the chat template writes {chat.text.count(place)} placeholders {place!r} of one image "
                f"({shown(chat.text)}); write the prompt yourself, with one, and pass it as a text."
            )
        return Prompt(chat.text, chat.spans, chat, written=True)

    def _whole(self, text: str, place: str, name: str) -> Prompt:
        if text.count(place) != 1:
            raise InputError(
                f"{name}: the text has {text.count(place)} placeholders {place!r}, and there is one image; write one."
            )
        at = text.index(place)
        parts = [(0, at), (at + len(place), len(text))]
        return Prompt(text, tuple((a, b) for a, b in parts if text[a:b].strip()))

    # --- Tokens

    def _tokens(self, prompt: Prompt, ids: Int[Tensor, " l"], name: str) -> tuple[Tokens, Int[Tensor, " k"], int]:
        """Return the tokens of a prompt, in whose text the image is one placeholder, with their ids and number."""
        tokenizer, holders = self._processor.tokenizer, torch.tensor(sorted(self._processor.image_ids))
        if not prompt.text.endswith(str(tokenizer.eos_token)) and len(ids) and int(ids[-1]) == tokenizer.eos_token_id:
            ids = ids[:-1]  # the answer follows
        places = torch.isin(ids, holders).nonzero()[:, 0]
        if not len(places):
            raise InputError(
                f"{name}: {type(self._processor.processor).__name__} puts none of the model's placeholders "
                f"({shown(tokenizer.convert_ids_to_tokens(holders.tolist()))}) into {shown(prompt.text)}; pass the processor "
                "that belongs to the model."
            )
        first, last = int(places[0]), int(places[-1])
        short = [*ids[: first + 1].tolist(), *ids[last + 1 :].tolist()]
        text, offsets = decoded(tokenizer, short)
        behind = offsets[first][1]
        offsets = [*offsets[: first + 1], *[(behind, behind)] * (last - first), *offsets[first + 1 :]]
        spans = self._found(prompt, text, offsets[first], name)
        fixed = [first <= i <= last for i in range(len(ids))]
        special = [i in self.special_ids for i in ids.tolist()]
        frozen = [out or own for out, own in zip(outside(offsets, spans), special, strict=True)]
        inside = [span for span, own in zip(offsets, special, strict=True) if own and span[0] < span[1]]
        segments = tuple(around(inside, spans)) if prompt.chat is None else tuple(spans)
        names = token_names(tokenizer, ids.tolist())
        return Tokens(text, tuple(offsets), names, tuple(frozen), segments, tuple(fixed)), ids, len(ids)

    def _found(self, prompt: Prompt, text: str, placeholder: Span, name: str) -> list[Span]:
        """Return where the free parts of a prompt are in the text of its tokens."""
        at = prompt.text.index(self._processor.placeholder)
        parts = prompt.text[:at], prompt.text[at + len(self._processor.placeholder) :]
        places = text.rfind(parts[0].lstrip(), 0, placeholder[0] + 1), text.rfind(parts[1].lstrip(), placeholder[1])
        if min(places) < 0:
            raise InputError(
                f"{name}: the processor writes {shown(text)} in place of {shown(prompt.text)}; write the prompt yourself, as "
                "it does, and pass it as a text."
            )
        starts = 0, at + len(self._processor.placeholder)
        shifts = [places[k] - (len(parts[k]) - len(parts[k].lstrip())) - starts[k] for k in range(2)]
        found = []
        for a, b in prompt.spans:
            k = int(a >= starts[1])
            found.append((max(0, a + shifts[k]), b + shifts[k]))
        return found


def taken_apart(item: Any, name: str) -> tuple[str | Sequence[Message], Any]:
    """Return the words and the image of an input.

    Raises:
        InputError: it is no text or chat with one image.
    """
    if is_chat(item):
        images = [part for message in item for part in _parts(message) if is_image_part(part)]
        if len(images) != 1:
            raise InputError(f"{name}: got a chat with {len(images)} images; pass {ACCEPTED}, with one image.")
        return item, _held(images[0], name)
    if is_pictured(item):
        image, words = item
        if isinstance(image, str) and not os.path.isfile(image) and os.path.isfile(words):
            image, words = words, image
        return words, image
    if is_illustrated(item):
        first, second = item
        return (first, second) if isinstance(first, str) or is_chat(first) else (second, first)
    raise InputError(f"{name}: got {shown(item)}; pass {ACCEPTED}.")


def illustrated(messages: Sequence[Message], name: str) -> list[Message]:
    """Return messages with a part for the image: their own, or one before the first text of the user.

    Raises:
        InputError: there are several, or no message of the user.
    """
    images = [part for message in messages for part in _parts(message) if is_image_part(part)]
    if len(images) > 1:
        raise InputError(f"{name}: the chat has {len(images)} images; one is explained: put them next to each other in one.")
    if images:
        return [{**m, "content": [_plain(part) for part in _parts(m)]} if _parts(m) else m for m in messages]
    place = next((i for i, message in enumerate(messages) if message["role"] == "user"), None)
    if place is None:
        raise InputError(
            f"{name}: no message is the user's, and the image belongs to one ({shown([dict(m) for m in messages])})."
        )
    content = messages[place].get("content")
    texts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
    changed = {**messages[place], "content": [{"type": "image"}, *texts]}
    return [*messages[:place], changed, *messages[place + 1 :]]


def _plain(part: Any) -> Any:
    """Return a part as templates read it, without the image itself."""
    return {"type": "image"} if is_image_part(part) else {"type": "text", "text": part} if isinstance(part, str) else part


def _parts(message: Message) -> list[Any]:
    content = message.get("content")
    return list(content) if isinstance(content, (list, tuple)) else []


def _held(part: Mapping[str, Any], name: str) -> Any:
    """Return the image of a part of a message."""
    for key in ("image", "path"):
        if (found := part.get(key)) is not None and not str(found).startswith(("http://", "https://")):
            return found
    raise InputError(f"{name}: the part {shown(dict(part))} holds no image; pass it as {{'type': 'image', 'image': image}}.")


def _eighths(image: Any) -> RegionMap:
    """Return squares whose side is an eighth of the shorter one."""
    return patches(max(1, min(image.shape[:2]) // 8))(image)
