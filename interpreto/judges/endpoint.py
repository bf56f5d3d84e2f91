"""A judge behind an OpenAI-compatible server."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from interpreto.endpoints import KEY_VARIABLE, Endpoint, Secret
from interpreto.errors import EndpointError, OptionError
from interpreto.judges.base import Answer, Chat, Judge
from interpreto.judges.reading import named_choice
from interpreto.validation import shown

PATH = "chat/completions"
ALTERNATIVES = 20
"""Tokens of a first answer whose probabilities are asked for."""
UNSUPPORTED = (400, 422, 501)
"""Statuses of a server that does not know the option for probabilities."""


class EndpointJudge(Judge):
    """Ask a model behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, or a service.

    Requests are sent several at a time and repeated as `interpreto.endpoints.Endpoint` describes. Choices are compared by
    the probabilities of the first token where the server offers them, else by what the model writes.

    Args:
        url: Address of the server: ``"http://127.0.0.1:8000/v1"``.
        model: Name of the model there.
        api_key: Key of the server; None: the environment variable, where it is set. It is never written.
        key_variable: Name of the environment variable.
        timeout: Seconds without a byte after which a try has failed.
        retries: Tries after the first.
        concurrency: Requests that are sent at once.
        options: Further fields of every request, in place of ours: ``{"seed": 0}``; a field that is None is left out.
        first_wait: Upper bound of the first wait between tries, in seconds.

    Raises:
        OptionError: an option is out of range.

    Examples:
        >>> EndpointJudge("http://127.0.0.1:8000/v1", "small-model")
        EndpointJudge('small-model')
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | Secret | None = None,
        key_variable: str = KEY_VARIABLE,
        timeout: float = 60.0,
        retries: int = 5,
        concurrency: int = 8,
        options: Mapping[str, Any] | None = None,
        first_wait: float = 0.5,
    ) -> None:
        if not isinstance(model, str) or not model:
            raise OptionError(f"`model`: got {shown(model)}; pass the name of a model of the server.")
        super().__init__(model)
        self.endpoint = Endpoint(url, api_key, key_variable, timeout, retries, concurrency, first_wait)
        self.options = {"temperature": 0, **(options or {})}
        self._offers_probabilities = True

    def identity(self) -> str:
        """Return the address, the model's name there, and the options."""
        return f"endpoint {self.endpoint.url} {self.name} {json.dumps(self.options, sort_keys=True, default=repr)}"

    def stream(self, prompts: Sequence[Chat], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        """Yield replies as they come."""
        for place, found in self._sent(prompts, {"max_tokens": max_new_tokens}):
            yield place, Answer(None, str(found)) if isinstance(found, EndpointError) else _answer(found)

    def stream_choices(self, prompts: Sequence[Chat], choices: Sequence[str]) -> Iterator[tuple[int, list[float] | None]]:
        """Yield log-probabilities of the choices' first tokens, or what the model writes."""
        left = list(range(len(prompts)))
        if self._offers_probabilities:
            wanted = {"max_tokens": 4, "logprobs": True, "top_logprobs": ALTERNATIVES}
            left = []
            for place, found in self._sent(prompts, wanted):
                if isinstance(found, EndpointError) and found.status in UNSUPPORTED:
                    left.append(place)
                else:
                    yield place, None if isinstance(found, EndpointError) else _choice(found, choices)
            self._offers_probabilities = len(left) < len(prompts) or not prompts
        if left:
            for place, values in super().stream_choices([prompts[i] for i in left], choices):
                yield left[place], values

    def _sent(self, prompts: Sequence[Chat], fields: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any] | EndpointError]]:
        """Send a request for each prompt and yield what comes back."""
        given = {**fields, **self.options}
        kept = {name: value for name, value in given.items() if value is not None}
        payloads = [{"model": self.name, "messages": list(prompt), **kept} for prompt in prompts]
        for place, found in self.endpoint.post_all(PATH, payloads):
            self.usage.calls += 1
            if not isinstance(found, EndpointError):
                self.usage.tokens += _tokens(found)
            yield place, found


def _answer(found: Mapping[str, Any]) -> Answer:
    """Return the text of a completion."""
    text = _text(found)
    if text is None or not text.strip():
        return Answer(None, "an empty answer" if text is not None else "an answer without a text", _tokens(found))
    return Answer(text, None, _tokens(found))


def _text(found: Mapping[str, Any]) -> str | None:
    try:
        text = found["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return text if isinstance(text, str) else None


def _tokens(found: Mapping[str, Any]) -> int:
    """Return the tokens that a server counted, or 0."""
    usage = found.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, Mapping) else []
    return sum(count for count in counts if isinstance(count, int) and not isinstance(count, bool))


def _choice(found: Mapping[str, Any], choices: Sequence[str]) -> list[float] | None:
    """Return log-probabilities of choices by the first token that begins one; by the text where there are none.

    A choice that is not among the listed tokens has at most the probability of the least of them, which it gets.
    """
    for listed in _listed(found):
        sums = [[value for token, value in listed if _begins(token, choice, choices)] for choice in choices]
        if any(sums):
            least = min(value for _, value in listed)
            return [math.log(sum(math.exp(value) for value in own)) if own else least for own in sums]
    text = _text(found)
    named = None if text is None else named_choice(text, choices)
    return None if named is None else [0.0 if i == named else -math.inf for i in range(len(choices))]


def _begins(token: str, choice: str, choices: Sequence[str]) -> bool:
    """Return True if a token is the beginning of one choice, and of no other."""
    plain = token.strip().casefold()
    owners = [other for other in choices if plain and other.strip().casefold().startswith(plain)]
    return owners == [choice]


def _listed(found: Mapping[str, Any]) -> list[list[tuple[str, float]]]:
    """Return the tokens of each place with their log-probabilities; nothing where the server sends none, or something else."""
    try:
        places = found["choices"][0]["logprobs"]["content"]
        return [
            [(str(one["token"]), min(0.0, float(one["logprob"]))) for one in place["top_logprobs"]]
            for place in places
            if place["top_logprobs"]
        ]
    except (KeyError, IndexError, TypeError, ValueError):
        return []
