"""A language model, split while it reads a text and what it writes after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interpreto.concepts.splitters.base import Activations, TokenSplitter, as_row, read_strategy
from interpreto.concepts.splitters.granularities import ActivationGranularity, UnitReader, read_unit, restricted
from interpreto.concepts.splitters.loading import load
from interpreto.concepts.splitters.ports import find_ports
from interpreto.concepts.splitters.reading import encodings
from interpreto.concepts.splitters.split_model import SplitModel
from interpreto.concepts.splitters.tracing import lock_of
from interpreto.continuations import Continuer
from interpreto.encoding import Encoder, Encoding
from interpreto.errors import InputError, OptionError, TaskError
from interpreto.granularity import GranularityAggregationStrategy, Units
from interpreto.inference.contexts import evaluating
from interpreto.progress import tqdm
from interpreto.samples import Sample

Part = Literal["all", "prompt", "generated"]
PARTS = ("all", "prompt", "generated")
TOGETHER = 64  # prompts that are read ahead, to be run with others of their length


class SplitterForGeneration(TokenSplitter):
    """Reads the activations of a text's tokens and of the tokens that the model writes after it.

    The model writes first; then one pass over prompt and answer together reads what each token's activations are. The
    ids that were written are read as they are: nothing is decoded and tokenized again. Special tokens, among them the
    end that the model writes, are left out but at granularity ``ALL_TOKENS``.

    Args:
        model_or_repo_id: A Hugging Face causal language model, a repository's id, or a folder.
        split_point: Paths of modules, or numbers of blocks (``-1``: the last); one or several.
        tokenizer: The model's tokenizer; None: the one beside the repository. A fast one, for texts.
        batch_size: Texts a pass; None: as many as a token budget holds, halved when the memory runs out.
        device_map: Where a repository's model goes, as in ``from_pretrained``. A model given is run where it is.
        max_new_tokens: Tokens that the model writes at most; 0: it only reads.
        part: Whose units are answered: ``"all"``, the ``"prompt"``'s, or the ``"generated"`` ones.
        generation_kwargs: Options of ``model.generate``; by default the model writes its likeliest token each time.
        random_state: Seed of each text's draws, where ``generation_kwargs`` ask for sampling.
        backend: ``"hooks"``, or ``"nnsight"`` for the same by nnsight's traces.
        truncation: Read the beginning of inputs that leave no room for ``max_new_tokens``, instead of refusing them.

    Raises:
        TaskError: the model does not write on after a text.

    Examples:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from interpreto import demo
        >>> from interpreto.concepts.splitters import SplitterForGeneration
        >>> _, tokenizer = demo.load_classifier()
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=2, n_head=2))
        >>> splitter = SplitterForGeneration(model, -1, tokenizer, max_new_tokens=4, part="generated")
        >>> {name: tuple(rows.shape) for name, rows in splitter.get_activations("A film", "all_tokens").items()}
        {'transformer.h.1': (4, 8)}
    """

    def __init__(
        self,
        model_or_repo_id: nn.Module | str | Any,
        split_point: str | int | Iterable[str | int],
        tokenizer: Any = None,
        batch_size: int | None = None,
        device_map: Any = None,
        *,
        max_new_tokens: int = 32,
        part: Part = "all",
        generation_kwargs: Mapping[str, Any] | None = None,
        random_state: int = 0,
        backend: str = "hooks",
        truncation: bool = False,
    ) -> None:
        automodel = None
        if not isinstance(model_or_repo_id, nn.Module):
            from transformers import AutoModelForCausalLM as automodel  # noqa: PLC0415, N813  # slow to import
        model, tokenizer = load(model_or_repo_id, tokenizer, automodel, device_map)
        if getattr(getattr(model, "config", None), "is_encoder_decoder", False) or not getattr(model, "can_generate", bool)():
            raise TaskError(
                f"`model_or_repo_id`: {type(model).__name__} does not write on after a text; pass a causal language model, "
                "or use ModelWithSplitPoints."
            )
        if part not in PARTS:
            raise OptionError(f"`part`: got {part!r}; pass one of {', '.join(map(repr, PARTS))}.")
        if not isinstance(max_new_tokens, int) or max_new_tokens < 0:
            raise OptionError(f"`max_new_tokens`: got {max_new_tokens!r}; pass a whole number of at least 0.")
        split = SplitModel(model, tokenizer, find_ports(model, split_point), batch_size, backend)
        # A text that goes on has no end; a chat ends where the answer begins.
        self._limit = split.encoder.max_length
        longest = self._limit if self._limit is None or not truncation else max(1, self._limit - max_new_tokens)
        super().__init__(split, Encoder(tokenizer, longest, truncation, replies=True, ends=False))
        self.max_new_tokens, self.part, self.random_state = max_new_tokens, part, random_state
        self.generation_kwargs: dict[str, Any] = {"do_sample": False, **(generation_kwargs or {})}
        for name in ("max_new_tokens", "max_length", "num_return_sequences"):
            if name in self.generation_kwargs:
                raise OptionError(f"`generation_kwargs`: {name!r} is not for it; `max_new_tokens` says how long an answer is.")
        self._continuer = Continuer(tokenizer)

    def get_activations(
        self,
        inputs: Any,
        activation_granularity: Any = ActivationGranularity.TOKEN,
        aggregation_strategy: GranularityAggregationStrategy | str = GranularityAggregationStrategy.MEAN,
        *,
        tqdm_bar: bool = False,
        dtype: torch.dtype | None = None,
    ) -> Activations:
        """Activations ``(n·g, d)`` of every unit of every input and its answer, by split point; see `ModelWithSplitPoints`.

        ``samples(inputs, activation_granularity)`` has the answers, and the units that the rows stand for. To write the
        answers once only, call it, and then `activations_of`.
        """
        strategy, total = read_strategy(aggregation_strategy), len(inputs) if isinstance(inputs, (list, tuple)) else None
        rows = (as_row(sample) for sample in self.iter_samples(inputs, activation_granularity))
        with tqdm(desc="activations", unit=" texts", total=total, disable=not tqdm_bar) as bar:
            return self._joined(list(self._split.read(rows, strategy, dtype=dtype, on_rows=bar.update)))

    def iter_samples(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        reader, position = UnitReader(self.tokenizer, read_unit(activation_granularity)), 0
        stream = encodings(self.encoder, inputs)
        while prompts := list(islice(stream, TOGETHER)):
            for prompt, answer in zip(prompts, self._answers(prompts, position), strict=True):
                yield self._sample(prompt, answer, reader, position)
                position += 1

    def _sample(self, prompt: Encoding, answer: Tensor, reader: UnitReader, position: int) -> Sample:
        start, whole = len(prompt.input_ids), prompt
        if len(answer):
            name = f"`inputs[{position}]`"
            after = self._continuer.ids(answer.tolist(), prompt.input_ids.tolist(), name, lead=())
            extras = {key: torch.nn.functional.pad(value, (0, len(answer))) for key, value in prompt.extras.items()}
            whole = Encoding(prompt.tokens.followed_by(after.tokens), torch.cat([prompt.input_ids, answer]), extras)
        units: Units = reader.units(whole, position)
        if self.part != "all":
            units = restricted(units, (0, start) if self.part == "prompt" else (start, len(whole.input_ids)))
        return Sample(whole.tokens.text, whole.input_ids, units, whole.extras, prompt=start)

    def _answers(self, prompts: Sequence[Encoding], first: int) -> list[Tensor]:
        """What the model writes after each prompt, its end included; prompts of one length share passes, without padding."""
        answers: list[Tensor] = [prompt.input_ids[:0] for prompt in prompts]
        if not self.max_new_tokens:
            return answers
        limit, longest = self._limit, max(len(prompt.input_ids) for prompt in prompts)
        if limit is not None and longest + self.max_new_tokens > limit:
            where = next(i for i, p in enumerate(prompts) if len(p.input_ids) == longest)
            raise InputError(
                f"`inputs[{first + where}]`: {longest} tokens and `max_new_tokens={self.max_new_tokens}` are more than the "
                f"{limit} that the model takes; shorten one of them, or pass `truncation=True` to read its beginning."
            )
        by_length: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            by_length.setdefault(len(prompt.input_ids), []).append(i)
        budget = self._split.budget
        for length, group in by_length.items():
            rows = budget.rows or max(1, budget.tokens // (length + self.max_new_tokens))
            rows = 1 if self.generation_kwargs["do_sample"] else rows  # each text has draws of its own
            for k in range(0, len(group), rows):
                batch = group[k : k + rows]
                written = self._generate(torch.stack([prompts[i].input_ids for i in batch]))
                for i, ids in zip(batch, written, strict=True):
                    answers[i] = self._ended(ids[length:])
        return answers

    def _generate(self, ids: Tensor) -> Tensor:
        model, device = self.model, self._split.forward.device
        options = {**self.generation_kwargs, "max_new_tokens": self.max_new_tokens}
        drawing = self.generation_kwargs["do_sample"]
        apart = torch.random.fork_rng([device] if device.type == "cuda" else []) if drawing else nullcontext()
        with lock_of(model), evaluating(model), apart:
            if drawing:
                torch.manual_seed(self.random_state)
            return self._split.forward.generate(ids, options)

    def _ended(self, ids: Tensor) -> Tensor:
        """Ids up to the first that ends a text: what follows is padding."""
        ends = [i for i, token in enumerate(ids.tolist()) if token in self._split.forward.end_ids]
        return ids[: ends[0] + 1] if ends else ids
