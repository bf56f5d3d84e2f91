"""Chats: messages as the tokenizer's template writes them, and where it puts each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpreto.errors import InputError, OptionError
from interpreto.inputs.boundaries import Span
from interpreto.validation import shown

Message = Mapping[str, Any]


@dataclass(frozen=True)
class RenderedChat:
    """A chat as one text.

    Attributes:
        text: What the template writes.
        spans: Characters of each text of the messages, in order; messages without text have none.
        roles: The role of the message that each span belongs to.
    """

    text: str
    spans: tuple[Span, ...]
    roles: tuple[str, ...]

    def of_roles(self, roles: Sequence[str] | str, messages: Sequence[Message], name: str) -> list[Span]:
        """Return the spans of the messages with some roles.

        Raises:
            OptionError: if no message has one of the roles.
        """
        wanted = (roles,) if isinstance(roles, str) else tuple(roles)
        found = {message["role"] for message in messages}
        if missing := [role for role in wanted if role not in found]:
            raise OptionError(f"`roles`: no message of {name} has the role {missing[0]!r}; there are {sorted(found)}.")
        return [span for span, role in zip(self.spans, self.roles, strict=True) if role in wanted]


def is_chat(item: object) -> bool:
    """Return whether an item is a chat: a list of messages, each with a role."""
    return isinstance(item, (list, tuple)) and bool(item) and all(isinstance(m, Mapping) and "role" in m for m in item)


def render(
    tokenizer: Any, messages: Sequence[Message], name: str, replies: bool = False, pictured: bool = False
) -> RenderedChat:
    """Write a chat through the tokenizer's template.

    Contents may be texts or lists of text parts, whichever the template reads; messages may have none (a tool call, an
    empty system message). Where a reply follows, the template opens it, unless the last message is the assistant's: that
    is the beginning of the reply.

    Args:
        tokenizer: A tokenizer with a chat template.
        messages: The chat.
        name: How messages of errors call it.
        replies: A reply of the model follows.
        pictured: Parts of messages may be images, which the template writes placeholders for.

    Raises:
        InputError: if there is no text in any message, or the template rewrites the messages.
    """
    texts = [_texts(message, name, pictured) for message in messages]
    if not any(text.strip() for own in texts for text in own):
        raise InputError(f"{name}: no message has text in 'content' ({shown([dict(m) for m in messages])}).")
    begun = replies and messages[-1]["role"] == "assistant" and any(text.strip() for text in texts[-1])

    def write(form: Callable[[Message, list[str]], Any], contents: list[list[str]]) -> str:
        filled = [{**m, "content": form(m, own)} if own else m for m, own in zip(messages, contents, strict=True)]
        return tokenizer.apply_chat_template(
            filled, tokenize=False, add_generation_prompt=replies and not begun, continue_final_message=begun
        )

    roles = tuple(m["role"] for m, own in zip(messages, texts, strict=True) for text in own if text.strip())
    marked, refusal = _marked(texts), None
    for form in (_as_given,) if pictured else (_as_given, _as_text, _as_parts):
        try:
            text, frame = write(form, texts), write(form, marked)
        except Exception as error:
            refusal = refusal or error
            continue
        printed = [] if pictured else [form(m, own) for m, own in zip(messages, marked, strict=True) if own]
        if any(isinstance(content, list) and str(content) in frame for content in printed):
            continue  # the template reads texts, and prints a list of parts as Python would
        if (spans := _places(text, frame, [t for own in texts for t in own if t.strip()])) is not None:
            return RenderedChat(text, tuple(spans), roles)
    if refusal is not None:
        raise InputError(f"{name}: the chat template refuses the messages ({shown(str(refusal))}).") from refusal
    raise InputError(f"{name}: the chat template rewrites the messages; render the chat yourself and pass it as a text.")


def is_image_part(part: object) -> bool:
    """Return True for a part of a message that is an image."""
    return isinstance(part, Mapping) and str(part.get("type")).startswith("image")


def _texts(message: Message, name: str, pictured: bool = False) -> list[str]:
    """Return the texts of a message's content: one, or one per part; of an image an empty one."""
    content = message.get("content")
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if isinstance(content, (list, tuple)) and all(isinstance(part, (str, Mapping)) for part in content):
        found = [
            "" if pictured and is_image_part(part) else part if isinstance(part, str) else part.get("text") for part in content
        ]
        if all(isinstance(text, str) for text in found):
            return [str(text) for text in found]
        kinds = sorted({str(p.get("type")) for p in content if isinstance(p, Mapping) and not isinstance(p.get("text"), str)})
        raise InputError(f"{name}: the parts {kinds} of a message hold no text; only texts are explained.")
    raise InputError(f"{name}: the message {shown(dict(message))} has no text in 'content'; pass a text or a list of parts.")


def _as_given(message: Message, texts: list[str]) -> Any:
    """Return a content of the form that the message had."""
    if isinstance(message["content"], str):
        return texts[0]
    parts = zip(message["content"], texts, strict=True)
    return [text if isinstance(part, str) else part if is_image_part(part) else {**part, "text": text} for part, text in parts]


def _as_text(_message: Message, texts: list[str]) -> str:
    return "".join(texts)


def _as_parts(_message: Message, texts: list[str]) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def _marked(texts: list[list[str]]) -> list[list[str]]:
    """Return a mark in place of each text that is not blank: private-use characters, which templates leave alone."""
    count = iter(range(sum(map(len, texts))))
    return [[f"\ue000{next(count)}\ue001" if text.strip() else text for text in own] for own in texts]


def _places(text: str, frame: str, contents: list[str]) -> list[Span] | None:
    """Return where the contents are, given the rendered text with marks in their places; None if they were rewritten."""
    pieces = frame.split("\ue000")
    if len(pieces) != len(contents) + 1 or any("\ue001" not in piece for piece in pieces[1:]):
        return None
    between = [pieces[0], *(piece.partition("\ue001")[2] for piece in pieces[1:])]
    for form in (contents, [content.strip() for content in contents]):  # some templates trim the messages
        spans, position = [], 0
        for before, content in zip(between, form, strict=False):
            position += len(before)
            spans.append((position, position + len(content)))
            position += len(content)
        if text == "".join(part for pair in zip(between, [*form, ""], strict=True) for part in pair):
            return spans
    return None
