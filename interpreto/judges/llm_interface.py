"""Interfaces to language models by the names of the reference library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from interpreto.choices import Choice
from interpreto.errors import OptionError
from interpreto.judges.base import Chat, Judge
from interpreto.judges.endpoint import EndpointJudge
from interpreto.judges.function import CallableJudge
from interpreto.validation import check_count, shown

OPENAI = "https://api.openai.com/v1"


class Role(Choice):
    """Who says a message of a prompt."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class LLMInterface(ABC):
    """Base of interfaces to a language model: a prompt of roles and texts in, a text out.

    Every labeler takes one in place of a `Judge`.
    """

    @abstractmethod
    def generate(self, prompt: list[tuple[Role, str]]) -> str | None:
        """Return the answer to a prompt; None where there is none."""


class OpenAILLM(LLMInterface):
    """Ask OpenAI's service, or a server that answers like it.

    Args:
        api_key: Its key; None: the environment variable ``OPENAI_API_KEY``.
        model: Name of the model.
        num_try: Most tries of a request.
        url: Address of the service.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, api_key: str | None = None, model: str = "gpt-4.1-nano", num_try: int = 5, *, url: str = OPENAI) -> None:
        retries = check_count(num_try, "num_try") - 1
        self.judge = EndpointJudge(url, model, api_key=api_key, retries=retries)

    def generate(self, prompt: list[tuple[Role, str]]) -> str | None:
        """Return the answer to a prompt; None where it is empty."""
        return self.judge.generate([from_roles(prompt)], max_new_tokens=256)[0].text


def from_roles(prompt: Sequence[tuple[Any, str]]) -> Chat:
    """Return a prompt of roles and texts as a chat, without empty messages.

    Examples:
        >>> from_roles([(Role.SYSTEM, "Be brief."), (Role.USER, "Hello"), (Role.ASSISTANT, "")])
        [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'Hello'}]
    """
    return [{"role": str(getattr(role, "value", role)), "content": text} for role, text in prompt if text]


def read_judge(judge: Any) -> Judge:
    """Return a judge: one, an interface of the reference library, or a function from a chat to a text.

    Raises:
        OptionError: it is none of them.
    """
    if isinstance(judge, Judge):
        return judge
    if isinstance(judge, OpenAILLM):
        return judge.judge
    ask: Any = getattr(judge, "generate", None)
    if callable(ask):
        name = str(getattr(judge, "model", type(judge).__name__))
        read: Any = lambda chat: ask([(Role(m["role"]), m["content"]) for m in chat])  # noqa: E731  # may return what is no text
        return CallableJudge(read, name=name)
    if callable(judge):
        function: Any = judge
        return CallableJudge(function)
    raise OptionError(
        f"`judge`: got {shown(judge)}; pass a LocalJudge, an EndpointJudge, or a function from a chat to a text "
        "(interpreto.judges)."
    )
