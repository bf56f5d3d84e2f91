"""Let a model write: the only place where text is generated, in batches that the token budget holds."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.models.batching import Budget, map_batches
from interpreto.models.forward import Forward

LONGEST = 64  # tokens that are written where the caller says nothing about length
LONGEST_OPEN = 1024  # where the caller says when to stop, but not by a length
LENGTHS = {"max_new_tokens", "max_length"}
STOPS = {"max_time", "stop_strings", "stopping_criteria"}  # batches would be judged together by them
STATEFUL = {"logits_processor", "assistant_model", "constraints"}  # may keep a state of their own per call


@dataclass(frozen=True)
class Written:
    """A text that a model generated after one prompt.

    Attributes:
        lead: Tokens that a decoder of its own begins with, before the text.
        ids: Tokens of the text.
        end: The token that ended it, or nothing.
    """

    lead: tuple[int, ...]
    ids: tuple[int, ...]
    end: tuple[int, ...]


def write(
    forward: Forward,
    prompts: Sequence[Tensor],
    options: Mapping[str, Any],
    *,
    special_ids: Collection[int],
    budget: Budget,
    random_state: int | None = 0,
    longest: int | None = None,
) -> list[Written]:
    """Return what the model writes after each prompt; to be called within a session.

    Prompts of one length share passes, without padding, as many as the budget holds; fewer when the memory runs out. Where
    texts are drawn, or the caller says when to stop, each prompt has passes of its own, so that no text depends on the
    others.

    Args:
        forward: The model.
        prompts: Token ids.
        options: Options of ``model.generate``; they win over every default. The model writes its likeliest token each time,
            and at most 64 tokens, unless they say otherwise.
        special_ids: Ids of special tokens.
        budget: What a pass may hold, what is written included.
        random_state: Seed of each text's draws; None: they differ at each call.
        longest: Most tokens that the model takes; None: as many as one likes.
    """
    asked, ends = _completed(options), _ends(options, forward)
    drawn = _asked(asked, "do_sample", False)
    alone = drawn or bool((STOPS | STATEFUL) & asked.keys())
    lengths = [len(prompt) + _most(asked, forward, len(prompt), longest) for prompt in prompts]

    def step(picked: list[int]) -> list[Written]:
        ids = torch.stack([prompts[i] for i in picked])
        with drawing(random_state) if drawn else nullcontext(), torch.no_grad():
            rows = forward.generate(
                ids, {**asked, **_bound(asked, forward, ids.shape[1], longest), **_padding(asked, ends)}
            ).tolist()
        if len(rows) != len(picked):
            raise OptionError(
                f"`generation_kwargs`: the model wrote {len(rows)} texts for {len(picked)} inputs; one each can be read "
                "(num_return_sequences=1)."
            )
        return [_read(row, ids.shape[1], forward.encodes, special_ids, ends) for row in rows]

    return map_batches(lengths, step, Budget(1, budget.tokens) if alone else budget, mixed=False) or []


def _read(row: list[int], prompt: int, encodes: bool, special_ids: Collection[int], ends: Collection[int]) -> Written:
    """Return what was written, up to the first token that ends a text: what follows is padding."""
    start = prompt
    if encodes:  # the row is the decoder's own: what it begins with, then the text
        begins = range(1, len(row))
        start = next((k for k in begins if row[k] not in special_ids or row[k] in ends), len(row))
    end = next((k for k in range(start, len(row)) if row[k] in ends), len(row))
    return Written(tuple(row[:start]) if encodes else (), tuple(row[start:end]), tuple(row[end : end + 1]))


def _completed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's options, with ours where the caller says nothing."""
    asked = dict(options)
    if asked.get("generation_config") is not None:
        asked["generation_config"] = copy.deepcopy(asked["generation_config"])  # `generate` writes into it
        return asked
    asked.setdefault("do_sample", False)
    if not LENGTHS & asked.keys():
        asked["max_new_tokens"] = None if STOPS & asked.keys() else LONGEST
    return asked


def _bound(options: Mapping[str, Any], forward: Forward, prompt: int, longest: int | None) -> dict[str, Any]:
    """Return how much may be written where the caller says when to stop, but not by a length: what the model takes."""
    if "max_new_tokens" not in options or options["max_new_tokens"] is not None:
        return {}
    return {"max_new_tokens": _most(options, forward, prompt, longest)}


def _asked(options: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return an option of the call, or of the config that the call brings."""
    if options.get(name) is not None:
        return options[name]
    found = getattr(options.get("generation_config"), name, None)
    return default if found is None else found


def _ends(options: Mapping[str, Any], forward: Forward) -> set[int]:
    """Return the ids that end a text in this call."""
    asked = _asked(options, "eos_token_id", None)
    if asked is None:
        return forward.end_ids
    return {int(i) for i in torch.as_tensor(asked).flatten().tolist()}


def _padding(options: Mapping[str, Any], ends: Collection[int]) -> dict[str, Any]:
    """Return what fills up texts that end before others of their batch: it follows an end, so any id will do."""
    return {} if _asked(options, "pad_token_id", None) is not None else {"pad_token_id": min(ends, default=0)}


def _most(options: Mapping[str, Any], forward: Forward, prompt: int, longest: int | None) -> int:
    """Return how many tokens may be written after a prompt."""
    if "max_new_tokens" in options and options["max_new_tokens"] is None:
        room = LONGEST_OPEN if longest is None else longest - (1 if forward.encodes else prompt)
        return max(1, min(LONGEST_OPEN, room))
    new = _asked(options, "max_new_tokens", None)
    if new is not None:
        return max(0, int(new))
    whole = int(_asked(options, "max_length", prompt + LONGEST))
    return max(0, whole if forward.encodes else whole - prompt)


@contextmanager
def drawing(seed: int | None) -> Iterator[None]:
    """Context manager that seeds torch's global generators, the only ones that generation draws from, and restores them."""
    with torch.random.fork_rng():
        torch.seed() if seed is None else torch.manual_seed(seed)
        yield
