"""Language models behind OpenAI-compatible servers, as models whose scores can be asked."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.endpoints import KEY_VARIABLE, Endpoint
from interpreto.errors import EndpointError, EstimateWarning, OptionError
from interpreto.inputs.samples import Sample
from interpreto.models.answer_cache import AnswerCache
from interpreto.models.completions import WAYS, AnswerError, Question, Scored, Way, way_of, written
from interpreto.models.text_model import Becomes, TextModel
from interpreto.validation import check_count, shown

PATH = "completions"
UNKNOWN = frozenset({200, 400, 422, 501})
"""Statuses of a server that does not know what is asked, or tells something else; then another way is tried."""


@dataclass
class ServedUsage:
    """Count what a served model has cost so far.

    Attributes:
        requests: Requests that came back.
        cached: Questions that were in the cache.
        prompt_tokens: Tokens that the server read, as it counts them.
        completion_tokens: Tokens that it wrote.
    """

    requests: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, reply: Mapping[str, Any]) -> None:
        """Count an answer of the server."""
        self.requests += 1
        told = reply.get("usage")
        for name in ("prompt_tokens", "completion_tokens"):
            count = told.get(name) if isinstance(told, Mapping) else None
            setattr(self, name, getattr(self, name) + (count if isinstance(count, int) else 0))


class ServedModel(TextModel):
    """A language model behind an OpenAI-compatible server (``/completions``), of which log-probabilities are asked.

    Methods that mask units explain it, and metrics that mask units judge the explanations. A target is a text that follows
    the input; without one, the server writes it. Its score is its log-probability after the input with some units dropped, or
    replaced by a text. No tokenizer is needed: units are cut from the text, and the target's tokens are the server's. With a
    tokenizer, chats are written by its template.

    A key is read from the environment for each request, and is in no file, cache, message or ``repr``.

    Args:
        url: Address that ``/completions`` is appended to: ``"http://127.0.0.1:8000/v1"``.
        model: Name of the model on the server.
        scoring: How log-probabilities are asked for. ``"echo"``: the server repeats what it reads. ``"prompt_logprobs"``: as
            vLLM tells them. ``"first_token"``: from the likeliest tokens after the input, so that a target is scored by its
            first token alone; where that is not among them, by an upper bound. ``"auto"``: the first that the server can.
        likeliest: Number of likeliest tokens that ``"first_token"`` asks for.
        cache: A file in which answers are kept; None: they are not.
        key_variable: Environment variable that holds the key.
        timeout: Seconds without a byte after which a try has failed.
        retries: Tries after the first.
        concurrency: Requests that are sent at once.
        first_wait: Upper bound of the wait before the second try, in seconds; it doubles from try to try.

    Attributes:
        usage: Requests and tokens so far.

    Raises:
        OptionError: An option is out of range.

    Examples:
        >>> from interpreto import ServedModel
        >>> ServedModel("http://127.0.0.1:8000/v1", "my-model")
        ServedModel('http://127.0.0.1:8000/v1', 'my-model')
    """

    def __init__(  # the first two
        self,
        url: str,
        model: str,
        *,
        scoring: str = "auto",
        likeliest: int = 5,
        cache: Any = None,
        key_variable: str = KEY_VARIABLE,
        timeout: float = 60.0,
        retries: int = 5,
        concurrency: int = 8,
        first_wait: float = 0.5,
    ) -> None:
        if not isinstance(model, str) or not model:
            raise OptionError(f"`model`: got {shown(model)}; pass the name that the server has for the model.")
        if scoring not in ("auto", *WAYS):
            raise OptionError(f"`scoring`: got {shown(scoring)}; pass 'auto', {', '.join(map(repr, WAYS))}.")
        self.model, self.scoring, self.likeliest = model, scoring, check_count(likeliest, "likeliest")
        self.endpoint = Endpoint(
            url,
            key_variable=key_variable,
            timeout=timeout,
            retries=retries,
            concurrency=concurrency,
            first_wait=first_wait,
        )
        self.cache, self.usage = AnswerCache(cache), ServedUsage()
        self._ways: list[Way] = [] if scoring == "auto" else [way_of(scoring, likeliest)]  # the one that works
        self._tokens: dict[tuple[str, str], Scored] = {}
        super().__init__("served model", writes=True)

    def __repr__(self) -> str:
        return f"ServedModel({self.endpoint.url!r}, {self.model!r})"

    @property
    def name(self) -> str:
        """Return the model's name and address, for messages."""
        return f"the model {self.model!r} at {self.endpoint.url}"

    @property
    def config(self) -> SimpleNamespace:
        """Return an empty config: nothing is known of the model."""
        return SimpleNamespace()

    def questions(self, sample: Sample, mask: Float[Tensor, "r u"], replacement: Becomes) -> list[Question]:
        """Return the masked prompts, each with the answer and its tokens.

        Raises:
            OptionError: nothing is left before the answer.
        """
        prompt, answer = parted(sample)
        parts, unfinished = self.tokens(prompt, answer).spans, replace(sample, text=prompt)
        asked = [Question(text, answer, parts) for text in unfinished.renders(mask, replacement)]
        if any(not question.prompt for question in asked):
            raise OptionError(
                "`replacement`: 'drop' leaves nothing before the target when every unit is masked; pass a text, such as '…'."
            )
        return asked

    def width(self, questions: Sequence[Question]) -> int:
        """Return the largest number of tokens of an answer."""
        return max((len(question.parts) for question in questions), default=0)

    def answers(self, questions: Sequence[Question]) -> Float[Tensor, "b k"]:
        """Return the log-probability of each token of each question's answer."""
        found = self._scored(questions)
        if bounded := sum(scored.bounded for scored in found):
            warnings.warn(
                f"{bounded} of {len(found)} texts: the first token of the target is not among the {self.likeliest} likeliest, "
                "and is scored by an upper bound; pass a larger `likeliest`.",
                EstimateWarning,
                stacklevel=2,
            )
        out = torch.zeros(len(found), self.width(questions), dtype=torch.float64)
        for row, question, scored in zip(out, questions, found, strict=True):
            row[: len(question.parts)] = torch.tensor(scored.of(question.parts), dtype=torch.float64)
        return out

    def tokens(self, prompt: str, answer: str) -> Scored:
        """Return the tokens of an answer after a prompt, as the server cuts them, with their log-probabilities.

        Raises:
            EndpointError: The server cannot be reached, or tells no log-probabilities.
        """
        if (prompt, answer) not in self._tokens:
            question = Question(prompt, answer)
            self._tokens[prompt, answer] = self._scored([question])[0] if self._ways else self._first(question)
        return self._tokens[prompt, answer]

    def write(self, prompts: Sequence[str], options: Mapping[str, Any]) -> list[str]:
        """Return what the server writes after prompts: greedily, and at most 64 tokens, unless the options say otherwise."""
        given = {"max_tokens" if name == "max_new_tokens" else name: value for name, value in options.items()}
        asked = [{"max_tokens": 64, "temperature": 0, **given, "model": self.model, "prompt": prompt} for prompt in prompts]
        texts: dict[int, str] = {}
        for place, reply in self._replies(asked):
            texts[place] = self._understood(written, reply)
        return [texts[place] for place in range(len(prompts))]

    def _first(self, question: Question) -> Scored:
        """Return the tokens of the first answer that is asked for, by the first way that the server knows."""
        refused: list[EndpointError] = []
        for name in WAYS:
            self._ways[:] = [way_of(name, self.likeliest)]
            try:
                return self._scored([question])[0]
            except EndpointError as error:
                self._ways.clear()
                if error.status not in UNKNOWN:
                    raise
                refused.append(error)
        said = "; ".join(f"{name}: {error}" for name, error in zip(WAYS, refused, strict=True))
        raise EndpointError(f"{self.name} tells no log-probabilities in any of the ways that are known. {said}", 200)

    def _scored(self, questions: Sequence[Question]) -> list[Scored]:
        """Return what is known of questions, from memory, the cache or the server, in order."""
        way = self._ways[0]
        found: dict[Question, Scored] = {}
        for question in questions:
            known = self._tokens.get((question.prompt, question.answer))
            if known is not None and known.spans == question.parts:
                found[question] = known
        requests = {q: {**way.request(q), "model": self.model} for q in questions if q not in found}
        keys = {q: json.dumps([self.endpoint.url, way.name, request, astuple(q)]) for q, request in requests.items()}
        kept = self.cache.find(list(keys.values()))
        found |= {q: Scored(_spans(kept[key][0]), tuple(kept[key][1]), kept[key][2]) for q, key in keys.items() if key in kept}
        self.usage.cached += len(kept)
        left = [question for question in requests if question not in found]
        new: dict[Question, Scored] = {}
        try:
            for place, reply in self._replies([requests[question] for question in left]):
                new[left[place]] = self._understood(way.read, reply, left[place])
        finally:
            self.cache.keep({keys[q]: [scored.spans, scored.values, scored.bounded] for q, scored in new.items()})
        found |= new
        return [found[question] for question in questions]

    def _replies(self, requests: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the place of each request and the server's answer, as they come; then raise the first error, if any."""
        failed: list[EndpointError] = []
        for place, reply in self.endpoint.post_all(PATH, requests) if requests else ():
            if isinstance(reply, EndpointError):
                failed.append(reply)
                continue
            self.usage.add(reply)
            yield place, reply
        if failed:
            raise failed[0]

    def _understood(self, read: Callable[..., Any], *given: Any) -> Any:
        """Return what is read from an answer of the server."""
        try:
            return read(*given)
        except AnswerError as error:
            raise EndpointError(
                f"{self.name} sent an answer that cannot be read: {error}. Pass another `scoring`, one of "
                f"{', '.join(map(repr, WAYS))}, if the server knows it.",
                200,
            ) from None


def parted(sample: Sample) -> tuple[str, str]:
    """Return the text before the target of a sample, and the target."""
    assert sample.prompt is not None
    length = len(sample.input_ids) - sample.prompt  # each character of the target is a token
    return sample.text[: len(sample.text) - length], sample.text[len(sample.text) - length :]


def _spans(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(a), int(b)) for a, b in rows)
