"""Let a language model answer prompts, or score answers that are given: what judges of labels need of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import InputError, ModelError
from interpreto.inputs.tokenizers import read_tokenizer, special_ids
from interpreto.models.batch import Batch
from interpreto.models.batching import TOKENS_A_PASS, Budget, map_batches
from interpreto.models.devices import read_device
from interpreto.models.fingerprint import digest, identity
from interpreto.models.forward import Forward
from interpreto.models.generate import write
from interpreto.models.modes import InferenceModes
from interpreto.models.rows import RowRunner, Rows, concatenated
from interpreto.models.tasks.columns import read_columns


class AnswerModel:
    """Write replies with a causal language model, or compute the log-probabilities of given ones.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer.
        batch_size: Prompts per pass; None: as many as a token budget holds.
        device: Device to run on; None: the model's own.

    Raises:
        ModelError: the model has a decoder of its own, or writes nothing.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_size: int | None = None, device: Any = None) -> None:
        self.tokenizer = read_tokenizer(tokenizer)
        self.forward = Forward(model, None if device is None else read_device(device))
        if self.forward.encodes or not getattr(self.forward.model, "can_generate", lambda: False)():
            raise ModelError(
                f"`model`: {type(self.forward.model).__name__} does not continue a text; pass a causal language model "
                "(AutoModelForCausalLM)."
            )
        kind = "cuda" if self.forward.device.type == "cuda" else "cpu"
        self.budget = Budget(batch_size, TOKENS_A_PASS[kind])
        config = self.forward.model.config
        self.longest: int | None = getattr(config, "max_position_embeddings", None)

    def identity(self) -> str:
        """Return a digest of the model's class, config and weights, and of its chat template."""
        return digest({**identity(self.forward.model), "template": getattr(self.tokenizer, "chat_template", None)})

    def read(self, prompt: str, *, special: bool) -> list[int]:
        """Return the ids of a prompt; without special tokens where the prompt already holds them."""
        return list(self.tokenizer(prompt, add_special_tokens=special)["input_ids"])

    def written(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[tuple[str, int]]:
        """Return what the model writes after each prompt, greedily, and the number of tokens that it read and wrote.

        Raises:
            InputError: a prompt leaves no room for an answer.
        """
        self._check_room(prompts, max_new_tokens)
        with self.forward.session():
            found = write(
                self.forward,
                [torch.tensor(prompt) for prompt in prompts],
                {"max_new_tokens": max_new_tokens, "do_sample": False},
                special_ids=special_ids(self.tokenizer),
                budget=self.budget,
            )
        texts = self.tokenizer.batch_decode([list(one.ids) for one in found], skip_special_tokens=True)
        return [(text, len(p) + len(one.ids)) for text, p, one in zip(texts, prompts, found, strict=True)]

    def log_probabilities(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Float[Tensor, " p"]:
        """Return log P(answer | prompt) of each pair, summed over the tokens of the answer.

        Raises:
            InputError: a prompt and its answer are longer than the model takes, or one of them is empty.
        """
        if not prompts:
            return torch.zeros(0)
        self._check_room(prompts, max(map(len, answers)))
        parts = [_rows(list(p), list(a)) for p, a in zip(prompts, answers, strict=True)]
        runner = RowRunner(self.forward, self.budget, _log_probabilities)
        width = max(map(len, answers))
        columns = torch.tensor([[*a, *[a[-1]] * (width - len(a))] for a in answers])
        inside = torch.arange(width) < torch.tensor([len(a) for a in answers])[:, None]
        used = {i for p, a in zip(prompts, answers, strict=True) for i in (*p, *a)}
        with self.forward.session(), self.forward.padding(used), torch.no_grad():
            rows = concatenated(parts)
            lengths = rows.lengths.tolist()

            def step(picked: list[int]) -> Tensor:
                batch = runner.batch(rows, picked)
                return runner.read(self.forward(batch), columns[picked])

            found = map_batches(lengths, step, self.budget, runner.may_mix(rows, lengths))
        return torch.where(inside, found.float(), 0.0).sum(1)

    def continuations(self, prompt: Sequence[int], count: int, max_new_tokens: int) -> list[tuple[int, ...]]:
        """Return the ids that the model writes after one prompt, greedily, ``count`` times in the passes of one batch.

        They differ only where each row of a batch is changed in a way of its own; see `steered`.

        Raises:
            InputError: the prompt leaves no room for an answer.
        """
        self._check_room([prompt], max_new_tokens)
        with self.forward.session():
            found = write(
                self.forward,
                [torch.tensor(list(prompt))] * count,
                {"max_new_tokens": max_new_tokens, "do_sample": False},
                special_ids=special_ids(self.tokenizer),
                budget=Budget(count, 1),
            )
        return [one.ids for one in found]

    def next_tokens(self, prompt: Sequence[int], count: int) -> Float[Tensor, "b v"]:
        """Return the log-probability of each token after one prompt, ``count`` times in one batch; see `continuations`."""
        ids = torch.tensor([list(prompt)] * count)
        lengths = torch.full((count,), len(prompt))
        batch = Batch(ids, lengths, torch.ones_like(ids).bool(), {}, positions=lengths[:, None] - 1)
        with self.forward.session(), self.forward.padding(set(prompt)), torch.no_grad():
            logits = self.forward(batch)
        return logits[:, 0].float().log_softmax(-1).cpu()

    def _check_room(self, prompts: Sequence[Sequence[int]], more: int) -> None:
        if any(not len(prompt) for prompt in prompts) or more < 1:
            raise InputError("`prompts`: one of them, or its answer, has no token.")
        longest = max((len(prompt) for prompt in prompts), default=0)
        if self.longest is not None and longest + more > self.longest:
            raise InputError(
                f"`prompts`: {longest} tokens and {more} of an answer are more than the {self.longest} that the model takes; "
                "show fewer or shorter examples."
            )


def _rows(prompt: list[int], answer: list[int]) -> Rows:
    """Return a prompt and its answer without the last token, read at the tokens before those of the answer."""
    ids = torch.tensor([[*prompt, *answer[:-1]]])
    positions = (len(prompt) - 1 + torch.arange(len(answer)))[None]
    return Rows(ids, torch.tensor([ids.shape[1]]), torch.ones_like(ids).bool(), None, {}, positions)


def _log_probabilities(logits: Tensor, ids: Tensor | None) -> Tensor:
    assert ids is not None
    return read_columns(InferenceModes.LOG_SOFTMAX, logits, ids)
