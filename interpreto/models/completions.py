"""Log-probabilities of an answer's tokens, as servers of completions tell them: three ways, one form."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpreto.inputs.boundaries import Span


class AnswerError(Exception):
    """An answer of a server does not hold what was asked for."""


@dataclass(frozen=True)
class Question:
    """An answer that is to be scored.

    Attributes:
        prompt: Text before it.
        answer: The answer.
        parts: Characters of each part of the answer whose log-probability is wanted; empty: the tokens are not known yet.
    """

    prompt: str
    answer: str
    parts: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Scored:
    """Tokens of an answer.

    Attributes:
        spans: Characters of each token in the answer.
        values: Log-probability of each, in nats.
        bounded: The values are upper bounds, as the server did not tell the true ones.
    """

    spans: tuple[Span, ...]
    values: tuple[float, ...]
    bounded: bool = False

    def of(self, parts: Sequence[Span]) -> list[float]:
        """Return the log-probability of each part: of the tokens that begin in it (before the first: in the first)."""
        sums = [0.0] * len(parts)
        for (start, _), value in zip(self.spans, self.values, strict=True):
            owner = max((i for i, (begin, _) in enumerate(parts) if begin <= start), default=0)
            sums[owner] += value
        return sums


class Way(ABC):
    """A way to ask a server for the log-probabilities of an answer.

    Attributes:
        name: The option's value for it.
    """

    name: str

    @abstractmethod
    def request(self, question: Question) -> dict[str, Any]:
        """Return what is asked, besides the model's name."""

    @abstractmethod
    def read(self, reply: Mapping[str, Any], question: Question) -> Scored:
        """Return what the server told.

        Raises:
            AnswerError: it is not what was asked for.
        """


class Echo(Way):
    """The server writes the prompt and the answer again, with the log-probability of each token (``echo``)."""

    name = "echo"

    def request(self, question: Question) -> dict[str, Any]:
        return {"prompt": question.prompt + question.answer, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}

    def read(self, reply: Mapping[str, Any], question: Question) -> Scored:
        told = _choice(reply).get("logprobs")
        if not isinstance(told, Mapping):
            raise AnswerError("it has no `logprobs`")
        tokens, values = told.get("tokens"), told.get("token_logprobs")
        offsets = told.get("text_offset")
        if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
            raise AnswerError("its `tokens` and `token_logprobs` are no two lists of one length")
        spans = located([str(token) for token in tokens], question.prompt + question.answer, offsets)
        return _of_answer(spans, values, question)


class PromptLogprobs(Way):
    """The server tells the log-probability of each token of what it reads (``prompt_logprobs``, as vLLM does)."""

    name = "prompt_logprobs"

    def request(self, question: Question) -> dict[str, Any]:
        return {"prompt": question.prompt + question.answer, "max_tokens": 1, "prompt_logprobs": 1, "temperature": 0}

    def read(self, reply: Mapping[str, Any], question: Question) -> Scored:
        told = _choice(reply).get("prompt_logprobs", reply.get("prompt_logprobs"))
        if not isinstance(told, list) or not told:
            raise AnswerError("it has no `prompt_logprobs`")
        tokens, values = [], []
        for entry in told:
            if entry is None:  # the first token has none, and is not named
                continue
            if not isinstance(entry, Mapping) or not entry:
                raise AnswerError("its `prompt_logprobs` hold something else than tokens")
            own = next(iter(entry.values()))  # the token itself; what would have been likelier comes after it
            if not isinstance(own, Mapping) or not isinstance(own.get("decoded_token"), str):
                raise AnswerError("its `prompt_logprobs` name no `decoded_token`")
            tokens.append(own["decoded_token"])
            values.append(own.get("logprob"))
        return _of_answer(located(tokens, question.prompt + question.answer, None), values, question)


class FirstToken(Way):
    """The server tells the likeliest tokens after the prompt; the answer is scored by its first token alone.

    Args:
        likeliest: Number of tokens that are asked for.
    """

    name = "first_token"

    def __init__(self, likeliest: int = 5) -> None:
        self.likeliest = likeliest

    def request(self, question: Question) -> dict[str, Any]:
        return {"prompt": question.prompt, "max_tokens": 1, "logprobs": self.likeliest, "temperature": 0}

    def read(self, reply: Mapping[str, Any], question: Question) -> Scored:
        told = _choice(reply).get("logprobs")
        top = told.get("top_logprobs") if isinstance(told, Mapping) else None
        if not isinstance(top, list) or not top or not isinstance(top[0], Mapping) or not top[0]:
            raise AnswerError("it has no `top_logprobs`")
        likely = {str(token): _number(value) for token, value in top[0].items()}
        answer = question.answer if not question.parts else question.answer[: question.parts[0][1]]
        fitting = [token for token in likely if token and (answer == token if question.parts else answer.startswith(token))]
        if fitting:
            token = max(fitting, key=len)
            return Scored(((0, len(token)),), (likely[token],))
        if not question.parts:
            raise AnswerError(f"none of its {len(likely)} likeliest tokens begins the answer")
        rest = -math.expm1(min(math.log(sum(map(math.exp, likely.values()))), -1e-12))
        return Scored(((0, len(answer)),), (min(*likely.values(), math.log(max(rest, 1e-30)), 0.0),), bounded=True)


WAYS = ("echo", "prompt_logprobs", "first_token")


def way_of(name: str, likeliest: int) -> Way:
    """Return a way by its name."""
    return {"echo": Echo, "prompt_logprobs": PromptLogprobs}[name]() if name != "first_token" else FirstToken(likeliest)


def located(tokens: Sequence[str], text: str, offsets: Any) -> list[Span]:
    """Return the characters of tokens in a text.

    The tokens may begin before the text (with a token that begins texts), go on after it, or lack its beginning. Where a
    token is a part of a character, so that tokens do not spell the text, the server's offsets are used.

    Raises:
        AnswerError: the tokens are not those of the text.
    """
    whole = "".join(tokens)
    if (shift := whole.find(text)) >= 0:
        start = -shift
    elif whole and text.endswith(whole):
        start = len(text) - len(whole)
    elif isinstance(offsets, list) and len(offsets) == len(tokens) and all(isinstance(offset, int) for offset in offsets):
        ends = [*offsets[1:], max(len(text), offsets[-1] if offsets else 0)]
        return list(zip(offsets, ends, strict=True))
    else:
        raise AnswerError(f"its tokens spell {whole[-60:]!r} and not what was asked")
    spans = []
    for token in tokens:
        spans.append((start, start + len(token)))
        start += len(token)
    return spans


def _of_answer(spans: Sequence[Span], values: Sequence[Any], question: Question) -> Scored:
    """Return the tokens that end in the answer: one that begins in the prompt belongs to the answer's beginning."""
    first, last = len(question.prompt), len(question.prompt) + len(question.answer)
    kept = [(span, value) for span, value in zip(spans, values, strict=True) if span[1] > first and span[0] < last]
    if not kept:
        raise AnswerError("it has no token of the answer")
    own = tuple((max(a - first, 0), min(b, last) - first) for (a, b), _ in kept)
    return Scored(own, tuple(_number(value) for _, value in kept))


def _choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise AnswerError("it has no `choices`")
    return choices[0]


def written(reply: Mapping[str, Any]) -> str:
    """Return the text that a server wrote.

    Raises:
        AnswerError: there is none.
    """
    text = _choice(reply).get("text")
    if not isinstance(text, str):
        raise AnswerError("it has no `text`")
    return text


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value > 1e-3:
        raise AnswerError(f"{value!r} is no log-probability")
    return min(float(value), 0.0)
