"""Split a language model that reads a text and what it generates after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interpreto.aliases import aliases
from interpreto.concepts.splitters.base import TokenSplitter, counted, of_each, read_strategy
from interpreto.concepts.splitters.granularities import ActivationGranularity, UnitReader, read_unit
from interpreto.concepts.splitters.results import Activations
from interpreto.errors import InputError, OptionError, TaskError
from interpreto.inputs.continuations import Continuation
from interpreto.inputs.samples import Sample
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.streaming import encodings
from interpreto.inputs.text import InputReader, TokenizedInput
from interpreto.inputs.units import GranularityAggregationStrategy, Span
from interpreto.models.activations import ActivationRecorder
from interpreto.models.generate import Written, write
from interpreto.models.hook_points import STACKS, HookPoint, Stack, find_hook_points
from interpreto.models.loading import AnyLanguageModel, load_for_splitter
from interpreto.models.tasks import Generation, GenerationRequest, resolve_task
from interpreto.progress import progress_bar
from interpreto.validation import check_count

Part = Literal["all", "prompt", "generated"]
PARTS = ("all", "prompt", "generated")
NOTHING = Tokens("", (), (), (), ())
TOGETHER = 64  # prompts that are read ahead, to be run together with others of the same length


class SplitterForGeneration(TokenSplitter):
    """Read the activations of a text's tokens and, on request, of the tokens that the model generates after it.

    With ``max_new_tokens`` the model generates first; then one pass over the prompt and the generated ids, which are not
    decoded and tokenized again, reads the activations of all. Special tokens, the generated end token among them, are in no
    unit unless the granularity is ``ALL_TOKENS``.

    Of an encoder-decoder (T5, BART), a split point in the encoder has the activations of the text, one in the decoder those
    of the generated text. Activations of an edit, or of ``hidden``, at tokens of the other stack are ignored.

    Args:
        model_or_repo_id: A Hugging Face language model, causal or encoder-decoder; a repository's id, or a folder.
        split_point: One or several paths of modules, or numbers of a causal model's blocks (``-1``: the last). Those of an
            encoder-decoder must be in one of its two stacks.
        tokenizer: The model's tokenizer, a fast one for texts; None: the repository's.
        batch_size: Texts per pass; None: as many as a token budget holds, halved when the memory runs out.
        device_map: Devices of a repository's model, as in ``from_pretrained``. A model object stays on its own device.
        max_new_tokens: Largest number of tokens generated after each text; 0: none.
        part: The tokens whose units are returned: ``"all"`` that the split point reads, the ``"prompt"``, or the
            ``"generated"`` ones.
        generation_kwargs: Options of ``model.generate``; greedy by default.
        random_state: Seed of each text, where ``generation_kwargs`` ask for sampling.
        backend: ``"hooks"`` or ``"nnsight"``.
        truncation: Read the beginning of inputs that leave no room for ``max_new_tokens``, instead of refusing them.

    Raises:
        TaskError: the model does not generate.
        OptionError: split points, or a split point and ``part``, belong to different stacks.

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

    @aliases(split_points="split_point")
    def __init__(
        self,
        model_or_repo_id: nn.Module | str | Any,
        split_point: str | int | Iterable[str | int],
        tokenizer: Any = None,
        batch_size: int | None = None,
        device_map: Any = None,
        *,
        max_new_tokens: int = 0,
        part: Part = "all",
        generation_kwargs: Mapping[str, Any] | None = None,
        random_state: int = 0,
        backend: str = "hooks",
        truncation: bool = False,
    ) -> None:
        automodel = None if isinstance(model_or_repo_id, nn.Module) else AnyLanguageModel
        model, tokenizer = load_for_splitter(model_or_repo_id, tokenizer, automodel, device_map)
        task = resolve_task(model, tokenizer, None, None)
        if not isinstance(task, Generation):
            raise TaskError(
                f"`model_or_repo_id`: {type(model).__name__} does not write; pass a language model, or use "
                "ModelWithSplitPoints."
            )
        if part not in PARTS:
            raise OptionError(f"`part`: got {part!r}; pass one of {', '.join(map(repr, PARTS))}.")
        check_count(max_new_tokens, "max_new_tokens", 0)
        points = find_hook_points(model, split_point)
        self._task, self._stack = task, _one_stack(points, part) if task.encodes else None
        if part == "generated" and not max_new_tokens:
            raise OptionError("`part`: got 'generated', and the model writes nothing; pass `max_new_tokens` too.")
        recorder = ActivationRecorder(model, tokenizer, points, batch_size, backend)
        self._limit = longest = recorder.reader.max_length
        if longest is not None and truncation and not task.encodes:
            longest = max(1, longest - max_new_tokens)
        # A text that goes on has no end; a chat ends where the answer begins.
        super().__init__(recorder, InputReader(tokenizer, longest, truncation, replies=True, ends=task.encodes))
        self.max_new_tokens, self.part, self.random_state = max_new_tokens, part, random_state
        self.generation_kwargs: dict[str, Any] = {"do_sample": False, **(generation_kwargs or {})}
        for name in ("max_new_tokens", "max_length", "num_return_sequences"):
            if name in self.generation_kwargs:
                raise OptionError(f"`generation_kwargs`: {name!r} is not for it; `max_new_tokens` says how long an answer is.")

    def get_activations(
        self,
        inputs: Any,
        activation_granularity: Any = ActivationGranularity.TOKEN,
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        *,
        tqdm_bar: bool | None = None,
        dtype: torch.dtype | None = None,
        flatten_activations: bool = True,
        include_special_tokens: bool = False,
    ) -> Activations | dict[str, list[Tensor]]:
        """Return the activations of all units of the inputs and the generated texts, by split point.

        ``samples(inputs, activation_granularity)`` returns the generated texts and the units of the rows. To generate only
        once, call it, and then `activations_of`.

        Args:
            inputs: Texts, chats, tensors of ids, dicts or `BatchEncoding`, or any iterable of these.
            activation_granularity: Unit of a row: an `ActivationGranularity`, its name, any `Granularity`, or a function
                from a text to character ranges.
            aggregation_strategy: Pooling of the activations of a unit's tokens; None: the mean.
            tqdm_bar: Show the number of texts; None: after two seconds, in terminals and notebooks.
            dtype: Dtype of the activations; None: the model's.
            flatten_activations: One tensor of all inputs' units. False: a list with one ``(g, d)`` per input.
            include_special_tokens: Another spelling of granularity ``ALL_TOKENS``.

        Returns:
            Activations ``(n·g, d)`` by split point, on the CPU.
        """
        if include_special_tokens and read_unit(activation_granularity) is ActivationGranularity.TOKEN:
            activation_granularity = ActivationGranularity.ALL_TOKENS
        counts: list[int] = []
        strategy, total = read_strategy(aggregation_strategy), len(inputs) if isinstance(inputs, (list, tuple)) else None
        rows = (counted(SplitInput.of(sample), counts) for sample in self.iter_read(inputs, activation_granularity))
        with progress_bar(desc="activations", unit=" texts", total=total, shown=tqdm_bar) as bar:
            activations = self._joined(list(self._recorder.read(rows, strategy, dtype=dtype, on_rows=bar.update)))
        return activations if flatten_activations else of_each(activations, counts)

    def iter_samples(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        return self._iter_samples(inputs, activation_granularity, write=True)

    def iter_read(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        """Yield samples as `iter_samples` does, with generated tokens only where the activations depend on these."""
        write = self._stack == "decoder" or (self._stack is None and self.part != "prompt")
        return self._iter_samples(inputs, activation_granularity, write=write)

    def _iter_samples(self, inputs: Any, activation_granularity: Any, *, write: bool) -> Iterator[Sample]:
        reader, position = UnitReader(self.tokenizer, read_unit(activation_granularity)), 0
        stream = encodings(self.reader, inputs)
        while prompts := list(islice(stream, TOGETHER)):
            for prompt, answer in zip(prompts, self._answers(prompts, position, write), strict=True):
                whole = self._task.joined(prompt, answer, GenerationRequest())
                units = reader.units(whole, position, self.part_of(whole))
                yield Sample(whole.tokens.text, whole.input_ids, units, whole.extras, None, whole.source, whole.prompt)
                position += 1

    def part_of(self, whole: TokenizedInput) -> Span | None:
        """Return the range of tokens of prompt and generated text that are cut into units; None: all."""
        length = len(whole.input_ids)
        if self._stack is not None:
            return (0, whole.source) if self._stack == "encoder" else (whole.source, length)
        assert whole.prompt is not None
        return {"all": None, "prompt": (0, whole.prompt), "generated": (whole.prompt, length)}[self.part]

    def _answers(self, prompts: Sequence[TokenizedInput], first: int, writes: bool) -> list[Continuation]:
        """Return the generated text of each prompt, its end token included."""
        lead = self._task.continuer.lead()
        answers = [Continuation(prompt.input_ids[:0], NOTHING, lead) for prompt in prompts]
        if not self.max_new_tokens or not writes:
            return answers
        self._check_room(prompts, first)
        with self._recorder.forward.session():
            written = write(
                self._recorder.forward,
                [prompt.input_ids for prompt in prompts],
                {**self.generation_kwargs, "max_new_tokens": self.max_new_tokens},
                special_ids=self._task.continuer.special_ids,
                budget=self._recorder.budget,
                random_state=self.random_state,
            )
        return [self._answer(*of) for of in zip(range(first, first + len(prompts)), prompts, written, strict=True)]

    def _answer(self, i: int, prompt: TokenizedInput, written: Written) -> Continuation:
        """Return a generated text, its end token included."""
        ids = [*written.ids, *written.end]
        if not ids:
            return Continuation(prompt.input_ids[:0], NOTHING, written.lead)
        return self._task.continuer.ids(ids, prompt.input_ids.tolist(), f"`inputs[{i}]`", written.lead)

    def _check_room(self, prompts: Sequence[TokenizedInput], first: int) -> None:
        """Refuse generated texts that are longer than the model can read.

        Raises:
            InputError: a prompt leaves too little room.
            OptionError: the decoder takes fewer tokens.
        """
        limit, more = self._limit, self.max_new_tokens
        if limit is None:
            return
        if self._task.encodes:
            if (begin := len(self._task.continuer.lead())) + more > limit:
                raise OptionError(f"`max_new_tokens`: got {more}, and the decoder takes {limit - begin} at most.")
            return
        longest = max(len(prompt.input_ids) for prompt in prompts)
        if longest + more > limit:
            where = next(i for i, p in enumerate(prompts) if len(p.input_ids) == longest)
            raise InputError(
                f"`inputs[{first + where}]`: {longest} tokens and `max_new_tokens={more}` are more than the "
                f"{limit} that the model takes; shorten one of them, or pass `truncation=True` to read its beginning."
            )


def _one_stack(points: Sequence[HookPoint], part: Part) -> Stack:
    """Return the stack of an encoder-decoder that holds all split points.

    Raises:
        OptionError: both stacks hold some, or the other stack reads ``part``.
    """
    stacks: list[Stack] = ["encoder" if point.stack == "encoder" else "decoder" for point in points]  # a head reads the decoder
    if len(set(stacks)) > 1:
        names = [next(point.name for point, own in zip(points, stacks, strict=True) if own == stack) for stack in STACKS]
        raise OptionError(
            f"`split_point`: {names[0]!r} reads the text and {names[1]!r} the answer, so their units are not the same; make a "
            "splitter for each."
        )
    if part == ("generated" if stacks[0] == "encoder" else "prompt"):
        what = "the text" if stacks[0] == "encoder" else "the answer"
        raise OptionError(f"`part`: got {part!r}, and {points[0].name!r} reads {what}; choose a module of the other stack.")
    return stacks[0]
