"""A judge that is a language model in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from interpreto.judges.base import Answer, Chat, Judge
from interpreto.models.answers import AnswerModel
from interpreto.validation import check_choice

WINDOW = 64
"""Prompts that are run together, and lost together when a run is killed."""
MODES = ("answer", "likelihood")


class LocalJudge(Judge):
    """Ask a causal language model: it writes greedily, and choices are compared by their log-probabilities.

    Small models answer to the style of a text rather than to the label: see `Judge.qualify` before trusting one. With
    ``mode="likelihood"`` the model is not asked: a text fits as far as the label makes it likelier,
    ``ln P(text | "A sentence of label:") − ln P(text | "A sentence:")``. So models judge that were not taught to answer.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer. Chats are written by its template; without one, as plain text.
        batch_size: Prompts per pass; None: as many as a token budget holds.
        device: Device to run on; None: the model's own.
        name: How labels call the judge; None: the model's name or class.
        mode: How it tells whether a text fits a label: ``"answer"``, the odds of "yes" and "no", or ``"likelihood"``.

    Raises:
        ModelError: the model does not continue texts.
        OptionError: there is no such mode.

    Examples:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from interpreto import demo
        >>> _, tokenizer = demo.load_classifier()
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_layer=1, n_head=2, n_embd=8)).eval()
        >>> judge = LocalJudge(model, tokenizer)
        >>> judge.choose(["Is snow white? Reply yes or no."], ["yes", "no"]).shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        batch_size: int | None = None,
        *,
        device: Any = None,
        name: str | None = None,
        mode: str = "answer",
    ) -> None:
        self.mode = check_choice(mode, "mode", MODES)
        self.answers = AnswerModel(model, tokenizer, batch_size, device)
        own = self.answers.forward.model
        super().__init__(name or getattr(getattr(own, "config", None), "_name_or_path", "") or type(own).__name__)
        self._identity: str | None = None

    def identity(self) -> str:
        """Return a digest of the model's weights and its chat template, and the mode where it is not ``"answer"``."""
        if self._identity is None:
            mode = "" if self.mode == "answer" else f" {self.mode}"
            self._identity = f"local {self.answers.identity()}{mode}"
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

    def stream_fits(self, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[int, float | None]]:
        """Yield the log-odds of the answers, or how much likelier each label makes its text."""
        if self.mode == "answer":
            yield from super().stream_fits(pairs)
            return
        for start in range(0, len(pairs), WINDOW):
            part = pairs[start : start + WINDOW]
            asked = [(f"A sentence of {label}:", text) for label, text in part]
            asked += [("A sentence:", text) for text in dict.fromkeys(text for _, text in part)]
            prompts = [self.answers.read(prompt, special=True) for prompt, _ in asked]
            texts = [self.answers.read(f" {text.strip()}", special=False) for _, text in asked]
            found = dict(zip(asked, self.answers.log_probabilities(prompts, texts).tolist(), strict=True))
            self.usage.calls += len(part)
            self.usage.tokens += sum(map(len, prompts)) + sum(map(len, texts))
            for i, (prompt, text) in enumerate(asked[: len(part)]):
                yield start + i, found[prompt, text] - found["A sentence:", text]

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
