"""A judge that is a language model in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from interpreto.judges.base import Answer, Chat, Judge
from interpreto.models.answers import AnswerModel

WINDOW = 64
"""Prompts that are run together, and lost together when a run is killed."""


class LocalJudge(Judge):
    """Ask a causal language model: it writes greedily, and choices are compared by their log-probabilities.

    Small models answer to the style of a text rather than to the label: see `Judge.qualify` before trusting one.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer. Chats are written by its template; without one, as plain text.
        batch_size: Prompts per pass; None: as many as a token budget holds.
        device: Device to run on; None: the model's own.
        name: How labels call the judge; None: the model's name or class.

    Raises:
        ModelError: the model does not continue texts.

    Examples:
        >>> judge = LocalJudge(model, tokenizer)  # doctest: +SKIP
        >>> judge.choose(["Is snow white? Reply yes or no."], ["yes", "no"]).shape  # doctest: +SKIP
        torch.Size([1, 2])
    """

    def __init__(
        self, model: Any, tokenizer: Any, batch_size: int | None = None, *, device: Any = None, name: str | None = None
    ) -> None:
        self.answers = AnswerModel(model, tokenizer, batch_size, device)
        own = self.answers.forward.model
        super().__init__(name or getattr(getattr(own, "config", None), "_name_or_path", "") or type(own).__name__)
        self._identity: str | None = None

    def identity(self) -> str:
        """Return a digest of the model's weights and its chat template."""
        if self._identity is None:
            self._identity = f"local {self.answers.identity()}"
        return self._identity

    def stream(self, prompts: Sequence[Chat], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        """Yield answers, `WINDOW` prompts at a time."""
        for start in range(0, len(prompts), WINDOW):
            part = [self._ids(prompt) for prompt in prompts[start : start + WINDOW]]
            for i, (text, tokens) in enumerate(self.answers.written(part, max_new_tokens)):
                self.usage.calls, self.usage.tokens = self.usage.calls + 1, self.usage.tokens + tokens
                empty = None if text.strip() else "an empty answer"
                yield start + i, Answer(None if empty else text, empty, tokens)

    def stream_choices(self, prompts: Sequence[Chat], choices: Sequence[str]) -> Iterator[tuple[int, list[float] | None]]:
        """Yield the log-probabilities of the choices, `WINDOW` prompts at a time."""
        lead = "" if self._template else " "
        answers = [self.answers.read(lead + choice.strip(), special=False) for choice in choices]
        for start in range(0, len(prompts), WINDOW):
            part = [self._ids(prompt) for prompt in prompts[start : start + WINDOW]]
            pairs = [(ids, answer) for ids in part for answer in answers]
            found = self.answers.log_probabilities([ids for ids, _ in pairs], [answer for _, answer in pairs])
            for i, values in enumerate(found.reshape(len(part), len(answers)).tolist()):
                self.usage.calls += 1
                self.usage.tokens += sum(len(part[i]) + len(answer) for answer in answers)
                yield start + i, values

    @property
    def _template(self) -> bool:
        return bool(getattr(self.answers.tokenizer, "chat_template", None))

    def _ids(self, prompt: Chat) -> list[int]:
        """Return the ids of a chat, as the template writes it, or as plain text."""
        if not self._template:
            return self.answers.read("\n\n".join(message["content"].strip() for message in prompt), special=True)
        tokenizer: Any = self.answers.tokenizer
        try:
            text = tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
        except Exception:  # templates without a role of the system raise their own errors
            merged = [{"role": "user", "content": "\n\n".join(message["content"] for message in prompt)}]
            text = tokenizer.apply_chat_template(merged, tokenize=False, add_generation_prompt=True)
        return self.answers.read(str(text), special=False)
