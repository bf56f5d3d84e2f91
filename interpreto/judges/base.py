"""Judges: what writes labels of concepts and decides whether texts fit them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.judges.qualification import YES_NO, Qualification, fits_question, qualify
from interpreto.judges.reading import named_choice
from interpreto.validation import check_count, shown

Chat = Sequence[Mapping[str, str]]
"""Messages, each with a ``role`` and a ``content``."""
Prompt = str | Chat
"""A question to a judge: a text, or the messages of a chat."""


@dataclass(frozen=True)
class Answer:
    """Reply of a judge to one prompt.

    Attributes:
        text: Its text; None where there is none.
        failure: Why there is none.
        tokens: Tokens read and written, where they are known.
    """

    text: str | None
    failure: str | None = None
    tokens: int = 0


@dataclass
class Usage:
    """Count of prompts and replies of a judge so far.

    Attributes:
        calls: Prompts that were sent; those that a cache knew are not.
        cached: Prompts that a cache knew.
        failures: Prompts without an answer.
        tokens: Tokens read and written, where they are known.
        seconds: Time spent waiting for answers.
    """

    calls: int = 0
    cached: int = 0
    failures: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Judge(ABC):
    """Base of judges: a model, a server or a function that answers prompts.

    A subclass yields replies as they come (`stream`); one that knows the probabilities of replies yields them too
    (`stream_choices`), and one that tells whether texts fit labels otherwise than by a question has its own `stream_fits`. A
    prompt without an answer is counted (`usage`), and never dropped.

    Args:
        name: How labels and scores call the judge.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.usage = Usage()
        self._qualification: Qualification | None = None

    @abstractmethod
    def identity(self) -> str:
        """Return what the answers depend on besides the prompt: caches of judges that differ in it share nothing."""

    @abstractmethod
    def stream(self, prompts: Sequence[Chat], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        """Yield the place of each prompt with its answer, in the order in which they come."""

    def stream_choices(self, prompts: Sequence[Chat], choices: Sequence[str]) -> Iterator[tuple[int, list[float] | None]]:
        """Yield the place of each prompt with the log-probability of each choice, None where the answer is none of them.

        By default the judge writes: the choice that it names has log-probability 0, the others −∞.
        """
        for place, answer in self.stream(prompts, 8):
            found = None if answer.text is None else named_choice(answer.text, choices)
            yield place, None if found is None else [0.0 if i == found else -torch.inf for i in range(len(choices))]

    def stream_fits(self, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[int, float | None]]:
        """Yield the place of each pair of a label and a text with the log-odds that they fit, None where there is no answer.

        By default the judge is asked, and the odds are those of "yes" and "no".
        """
        prompts = [as_chat(fits_question(label, text)) for label, text in pairs]
        for place, values in self.stream_choices(prompts, YES_NO):
            yield place, None if values is None else values[0] - values[1]

    @final
    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int = 64) -> list[Answer]:
        """Return an answer to each prompt.

        Args:
            prompts: Texts, or chats as lists of ``{"role": …, "content": …}``.
            max_new_tokens: Most tokens of an answer.

        Raises:
            EndpointError: a server cannot be reached, or refuses everything.
            JudgeError: the judge's budget is spent.
            OptionError: a prompt is none.
        """
        check_count(max_new_tokens, "max_new_tokens")
        found: list[Answer] = [Answer(None, "not asked")] * len(prompts)
        start = time.monotonic()
        try:
            for place, answer in self.stream([as_chat(p) for p in prompts], max_new_tokens):
                found[place] = answer
                self.usage.failures += answer.text is None
        finally:
            self.usage.seconds += time.monotonic() - start
        return found

    @final
    def choose(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> Float[Tensor, "p k"]:
        """Return the log-probability of each choice as the answer to each prompt.

        Args:
            prompts: Texts, or chats.
            choices: Answers to choose from: ``["yes", "no"]``.

        Returns:
            Log-probabilities ``(p, k)``, not normalized over the choices; of judges that only write, 0 for the choice that
            they name and −∞ for the others. NaN where there is no answer, or none of the choices.

        Raises:
            EndpointError, JudgeError: as in `generate`.
            OptionError: there are fewer than two choices, or a prompt is none.
        """
        if len(choices) < 2 or len(set(choices)) < len(choices) or not all(isinstance(c, str) and c.strip() for c in choices):
            raise OptionError(f"`choices`: got {shown(choices)}; pass two or more different texts.")
        found = torch.full((len(prompts), len(choices)), torch.nan)
        start = time.monotonic()
        try:
            for place, values in self.stream_choices([as_chat(p) for p in prompts], choices):
                self.usage.failures += values is None
                if values is not None:
                    found[place] = torch.tensor(values)
        finally:
            self.usage.seconds += time.monotonic() - start
        return found

    @final
    def fits(self, pairs: Sequence[tuple[str, str]]) -> Float[Tensor, " p"]:
        """Return the log-odds that each text fits its label.

        Args:
            pairs: Labels and texts.

        Returns:
            Log-odds ``(p,)``; NaN where there is no answer. Of judges that only write, ∞ or −∞.

        Raises:
            EndpointError, JudgeError: as in `generate`.
        """
        found = torch.full((len(pairs),), torch.nan)
        start = time.monotonic()
        try:
            for place, value in self.stream_fits(list(pairs)):
                self.usage.failures += value is None
                found[place] = torch.nan if value is None else value
        finally:
            self.usage.seconds += time.monotonic() - start
        return found

    @final
    def qualify(self) -> Qualification:
        """Return how well the judge answers cases whose truth is known; they are asked once per judge.

        Sentences are judged by the label that is true for a part of them, and by another label: see `Qualification`.
        """
        if self._qualification is None:
            self._qualification = qualify(self)
        return self._qualification

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def as_chat(prompt: Any) -> Chat:
    """Return a prompt as a chat: a text is one message of the user.

    Raises:
        OptionError: it is neither.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    usable = isinstance(prompt, Sequence) and len(prompt) > 0
    if usable and all(isinstance(m, Mapping) and {"role", "content"} <= m.keys() for m in prompt):
        return [{"role": str(m["role"]), "content": str(m["content"])} for m in prompt]
    raise OptionError(f"`prompts`: got {shown(prompt)}; pass texts, or lists of messages with a role and a content.")
