"""Forward passes. This is the only file that calls a model; it restores all that it changes for a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError, TaskError
from interpreto.models.contexts import (
    echo_changed,
    embeddings_given,
    embeddings_replaced,
    evaluating,
    first_of,
    moved,
    padding_absent,
    reversible,
    uncompiled,
    undisturbed,
)
from interpreto.models.kv_cache import UNFILLED, Past
from interpreto.models.padding import PaddingCheck, Part, heard_at, selected, streams
from interpreto.models.report import EngineLog
from interpreto.models.session import lock_of
from interpreto.models.wrappers import compiled_in_place, lengthens_inputs, parameters_of, unwrapped

OPTIONAL = ("attention_mask", "token_type_ids")  # inputs that are passed only to models that name them
CACHE_ARGUMENTS = ("cache", "past_key_values")  # as transformers call it since 5.24, and before
OTHER_INPUTS = ("pixel_values", "input_features", "input_values")  # of images and of speech
LIMITS = ("max_encoder_position_embeddings", "max_position_embeddings", "max_seq_len")
"""Names under which a config has the longest input: of LED, of most, of MPT."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The rows of one forward pass, padded on the right.

    Attributes:
        ids: Token ids.
        lengths: Tokens of each row.
        visible: The attention mask; of rows with a past, over the past too.
        extras: Other inputs of the model, such as ``token_type_ids``.
        positions: Tokens of each row at which logits are read; None: the model returns one row of logits per text.
        sources: Number of a row's tokens that the encoder reads, where a decoder reads the others.
        past: Keys and values of the tokens before the rows.
    """

    ids: Int[Tensor, "b l"]
    lengths: Int[Tensor, " b"]
    visible: Bool[Tensor, "b m"]
    extras: Mapping[str, Int[Tensor, "b l"]]
    positions: Int[Tensor, "b k"] | None = None
    sources: Int[Tensor, " b"] | None = None
    past: Past | None = None


class Forward:
    """Run a model on padded rows and return its logits.

    Rows are padded on the right, so that positions need no correction, with an id that no row contains, so that decoder
    classifiers find each row's last token.

    Args:
        model: Any model that takes ``input_ids`` and ``attention_mask``.
        device: Device to run it on; it is moved back after each call. None: its own.
        kept_logits: Run the head on the tokens that are read alone, where that is possible.
        outputs: Takes the tensor that a task reads from the outputs of the model; None: its logits.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device | str | None = None,
        kept_logits: bool = True,
        outputs: Callable[..., Tensor] | None = None,
    ) -> None:
        self.model: nn.Module = unwrapped(model)
        self.wanted_device = None if device is None else read_device(device)
        self.kept_logits = kept_logits and outputs is None
        self.outputs: Callable[..., Tensor] = read_logits if outputs is None else outputs
        self.padding_check = PaddingCheck()
        self.shares_prefix: bool | None = None  # whether its caches continue exactly: measured by `SharedPrefix`
        self.prefix_obstacle = ""  # why they do not
        self.makes_cache = False  # it takes the caches that it makes itself, and no other
        self.batches_gradients: bool | None = None  # whether one backward serves many targets: measured by `PointScorer`
        self._takes, self._takes_all = parameters_of(self.model)
        if (read := getattr(self.model, "main_input_name", "input_ids")) in OTHER_INPUTS:
            raise ModelError(f"`model`: {type(self.model).__name__} reads `{read}`; interpreto explains models that read text.")
        self._lengthens = lengthens_inputs(self.model)
        self.cache_argument = next((name for name in CACHE_ARGUMENTS if self.takes(name)), None)
        self.log = EngineLog()  # of the last call

    def takes(self, argument: str) -> bool:
        """Return True if the model names an argument; others would vanish unread in its ``**kwargs``."""
        return argument in self._takes

    @property
    def encodes(self) -> bool:
        """Return True if an encoder and a decoder read different tokens."""
        return bool(getattr(getattr(self.model, "config", None), "is_encoder_decoder", False)) and self.takes(
            "decoder_input_ids"
        )

    @property
    def embedding(self) -> nn.Module:
        """Return the embedding layer; of an encoder-decoder, the encoder's."""
        return self._embedding(self._part("encoder") if self.encodes else self.model)

    @property
    def decoder_embedding(self) -> nn.Module:
        """Return the embedding layer of the decoder of an encoder-decoder."""
        return self._embedding(self._part("decoder"))

    @property
    def echoes(self) -> bool:
        """Return True if the decoder reads the text again, shifted by one token, as in BART's and T5's classifiers."""
        return self.encodes and not getattr(self.model, "can_generate", bool)()

    @property
    def echo(self) -> nn.Module | None:
        """Return the layer that embeds the text again; None if its table is not the encoder's."""
        if callable(own := getattr(self.model, "get_echo_embeddings", None)):
            return own()  # type: ignore[no-any-return]  # a model of ours that holds another
        if not self.echoes:
            return None
        first, second = (_embedding_layer(self._part(stack)) for stack in ("encoder", "decoder"))
        tables = [None if layer is None else next(layer.parameters(), None) for layer in (first, second)]
        return second if tables[0] is not None and tables[0] is tables[1] else None

    def _part(self, name: str) -> nn.Module:
        inner = getattr(self.model, "base_model", self.model)  # classifiers' own had none before transformers 5
        getter: Any = getattr(self.model, f"get_{name}", None) or getattr(inner, f"get_{name}")
        return getter()

    def _embedding(self, part: nn.Module) -> nn.Module:
        layer = _embedding_layer(part)
        if layer is None:
            raise ModelError(
                f"`model`: {type(self.model).__name__} has no embedding layer (get_input_embeddings); gradients and embedding "
                "replacements need one. Explain it by a mask method with a token as `replacement`."
            )
        return layer

    @property
    def device(self) -> torch.device:
        """Return the device of the embedding layer, which the ids must be on."""
        for module in (_embedding_layer(self.model), self.model):
            if module is not None and (found := device_of(module)) is not None:
                return found
        return torch.device("cpu")

    @property
    def end_ids(self) -> set[int]:
        """Return the ids that end a generated text."""
        config = getattr(self.model, "generation_config", None) or getattr(self.model, "config", None)
        ends = getattr(config, "eos_token_id", None)
        return set() if ends is None else set(ends) if isinstance(ends, (list, tuple)) else {int(ends)}

    @contextmanager
    def session(self) -> Iterator[None]:
        """Context manager that prepares the model: locked for this thread, in evaluation mode, on the wanted device.

        All is restored after. Sessions of one model take turns between threads, and may be nested in one thread.
        """
        with ExitStack() as stack:
            stack.enter_context(lock_of(self.model))
            stack.enter_context(undisturbed(self.device.type))
            stack.enter_context(evaluating(self.model))
            stack.enter_context(reversible(self.model))
            if compiled_in_place(self.model):
                stack.enter_context(uncompiled())
            if self.wanted_device is not None and self.wanted_device != self.device:
                stack.enter_context(moved(self.model, self.wanted_device))
            yield

    @contextmanager
    def padding(self, used_ids: set[int]) -> Iterator[None]:
        """Context manager that pads rows with an id that none of them uses; the model's config is restored after."""
        with padding_absent(self.model, used_ids) as self.pad_id:
            yield

    def __call__(self, batch: Batch) -> Float[Tensor, "b ..."]:
        """Return logits: ``(b, c)`` in at least float32 without positions, else ``(b, k, v)`` as the model has them."""
        arguments = self.arguments(batch)
        if self.takes("use_cache"):
            arguments["use_cache"] = batch.past is not None
        if batch.past is not None:
            arguments |= self._past(batch.past)
        if batch.positions is None:
            return promoted(self._read(self.model(**arguments), batch))
        positions = (
            batch.positions if batch.sources is None else (batch.positions - batch.sources[:, None]).clamp(min=0)
        )  # fillers come first
        return self._logits_at(positions.to(self.device), arguments, batch)

    def _read(self, output: Any, batch: Batch) -> Tensor:
        """Return the outputs that the task reads."""
        return self.outputs(output, batch.lengths) if getattr(self.outputs, "takes_lengths", False) else self.outputs(output)

    def _past(self, past: Past) -> dict[str, Past]:
        if self.cache_argument is None:
            raise ModelError(f"`model`: {type(self.model).__name__} takes no key-value cache.")
        return {} if past is UNFILLED else {self.cache_argument: past}

    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Return the arguments of a call; an encoder and a decoder each have their own part of the rows."""
        device = self.device
        if batch.sources is None:
            extras = {name: value.to(device, non_blocking=True) for name, value in batch.extras.items()}
            given = {"input_ids": batch.ids.to(device), "attention_mask": batch.visible.to(device, torch.long), **extras}
            if not self._takes_all:  # what a tokenizer makes for all models alike need not be what this one names
                given = {name: v for name, v in given.items() if name in self._takes or name not in OPTIONAL}
            return self.hidden_in_echo(given)
        (read, seen), (written, known) = (
            (part(batch.ids, self.pad_id), part(batch.visible, 0)) for part in streams(batch.sources, batch.lengths)
        )
        return {
            "input_ids": read.to(device),
            "attention_mask": seen.to(device, torch.long),
            "decoder_input_ids": written.to(device),
            "decoder_attention_mask": known.to(device, torch.long),
        }

    def completed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments of a pass without a cache; a decoder without inputs starts with the token that the config names."""
        given = dict(arguments)
        if self.takes("use_cache"):
            given["use_cache"] = False
        if self.encodes and not self.echoes and "decoder_input_ids" not in given:
            start = getattr(getattr(self.model, "config", None), "decoder_start_token_id", None)
            if start is not None:
                ids = given["input_ids"]
                given["decoder_input_ids"] = torch.full((len(ids), 1), start, device=ids.device)
        return self.hidden_in_echo(given)

    def hidden_in_echo(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments that hide from a decoder that reads the text again the tokens that are hidden from the encoder."""
        given = dict(arguments)
        if not self.echoes or not self.takes("decoder_attention_mask") or "attention_mask" not in given:
            return given
        mask = given["attention_mask"]
        if bool((mask[:, 1:] > mask[:, :-1]).any()):  # elsewhere than at the end, where padding is
            given["decoder_attention_mask"] = torch.cat([torch.ones_like(mask[:, :1]), mask[:, :-1]], 1)
        return given

    def _logits_at(
        self, positions: Int[Tensor, "b k"], arguments: dict[str, Any], batch: Batch
    ) -> Float[Tensor, "b k v"]:
        """Return logits at some tokens: by the model's own option where these are the same in all rows, else by a hook."""
        length = arguments["decoder_input_ids" if "decoder_input_ids" in arguments else "input_ids"].shape[1]
        alike = bool((positions == positions[:1]).all())
        if alike and self.kept_logits and not self._lengthens and self.takes("logits_to_keep"):
            kept, where = positions[0].unique(return_inverse=True)
            logits = read_logits(self.model(**arguments, logits_to_keep=kept))
            if logits.ndim == 3 and logits.shape[1] == len(kept):
                self.log.use("kept_logits")
                in_order = torch.equal(where, torch.arange(len(kept), device=where.device))
                return logits if in_order else logits[:, where]  # large: copied only where it must be
            return selected_of(per_token(logits), positions, length)  # a wrapper kept the option for itself
        output_embeddings: Any = getattr(self.model, "get_output_embeddings", lambda: None)
        head = output_embeddings()
        if not self.kept_logits or head is None:
            self.log.skip("kept_logits", f"{type(self.model).__name__} has no output layer that can be hooked")
            return selected_of(per_token(self._read(self.model(**arguments), batch)), positions, length)
        with heard_at(head, positions, length) as used:
            logits = read_logits(self.model(**arguments))
        self.log.use("kept_logits") if used else self.log.skip("kept_logits", "the output layer was not called by itself")
        return logits if used else selected_of(per_token(logits), positions, length)

    def generate(self, ids: Int[Tensor, "b l"], options: Mapping[str, Any]) -> Int[Tensor, "r m"]:
        """Return the ids that the model generates after prompts of one length, the prompts included."""
        ids = ids.to(self.device)
        pad = {} if "pad_token_id" in options else {"pad_token_id": min(self.end_ids, default=0)}
        with torch.no_grad():
            write: Any = self.model.generate
            written = write(input_ids=ids, attention_mask=torch.ones_like(ids), **pad, **options)
        return (written if isinstance(written, Tensor) else written.sequences).cpu()

    def given(self, batch: Batch, embeddings: Float[Tensor, "b l d"]) -> ExitStack:
        """Context manager in which the embedding layers return ``embeddings`` for the batch; the model still reads its ids."""
        stack, echo = ExitStack(), self.echo
        for layer, ids, part, others in self._streams(batch):
            stack.enter_context(embeddings_given(layer, ids, part(embeddings, 0), others))
        if batch.sources is None and echo is not None:
            stack.enter_context(echo_changed(echo, batch.ids, embeddings[:, :-1].to))
        return stack

    def replacing(self, batch: Batch, where: Bool[Tensor, "b l"], vector: Float[Tensor, " d"]) -> ExitStack:
        """Context manager in which the embedding layers return ``vector`` at some tokens of the batch."""
        stack, echo = ExitStack(), self.echo
        for layer, ids, part, others in self._streams(batch):
            stack.enter_context(embeddings_replaced(layer, ids, part(where, False), vector, others))
        if batch.sources is None and echo is not None:
            masked = where[:, :-1, None].to(self.device)
            stack.enter_context(echo_changed(echo, batch.ids, lambda read: torch.where(masked, vector.to(read), read)))
        return stack

    def _streams(self, batch: Batch) -> list[tuple[nn.Module, Tensor, Part, list[Tensor]]]:
        """Return each embedding layer, the ids that it reads, a function that cuts a row's values to them, and other ids."""
        if batch.sources is None:
            others = list(batch.extras.values())  # XLM embeds `token_type_ids` in the same table
            return [(self.embedding, batch.ids, lambda values, _: values, others)]
        parts = streams(batch.sources, batch.lengths)
        read, written = (part(batch.ids, self.pad_id) for part in parts)
        return [(self.embedding, read, parts[0], [written]), (self.decoder_embedding, written, parts[1], [read])]

    def embed(self, ids: Int[Tensor, " l"], source: int = 0) -> Float[Tensor, "l d"]:
        """Return the embeddings ``(l, d)`` of one row; the encoder alone reads the first ``source`` tokens."""
        with torch.no_grad():
            if not self.encodes or not source:
                return promoted(first_of(self.embedding(ids[None].to(self.device)))[0])
            parts = zip((self.embedding, self.decoder_embedding), (ids[:source], ids[source:]), strict=True)
            return torch.cat([promoted(first_of(layer(part[None].to(self.device)))[0]) for layer, part in parts if len(part)])

    @property
    def vocabulary(self) -> int | None:
        """Return the size of the embedding table, which may differ from the tokenizer's; None: there is no table."""
        layer = _embedding_layer(self.model)
        size = getattr(layer, "num_embeddings", None)
        if size is None and layer is not None:
            size = next((len(p) for p in layer.parameters() if p.ndim == 2), None)
        return size

    def pads_well(self, batch: Batch) -> bool:
        """Return True if padding on the right does not change a row's logits: measured once, on the first padded row."""
        n = int(batch.lengths[0])
        extras = {name: value[:, :n] for name, value in batch.extras.items()}
        bare = replace(batch, ids=batch.ids[:, :n], visible=batch.visible[:, :n], extras=extras)
        return self.has_spare_id and self.padding_check(lambda: [(self(batch), self(bare))], self.low_precision)

    @property
    def has_spare_id(self) -> bool:
        """Return True unless the rows use the whole vocabulary, and no id is left for padding."""
        return self.vocabulary is None or self.pad_id < self.vocabulary

    @property
    def low_precision(self) -> bool:
        """Return True if the model computes in half precision."""
        parameter = next(self.model.parameters(), None)
        return parameter is not None and parameter.dtype in (torch.float16, torch.bfloat16)


def per_token(logits: Tensor) -> Float[Tensor, "b l v"]:
    """Return the logits if they have a row per token.

    Raises:
        TaskError: they have not.
    """
    if logits.ndim != 3:
        raise TaskError(
            f"`model`: returned logits of shape {tuple(logits.shape)}; a model that is read at tokens returns "
            "(batch, tokens, outputs). Load a language model with its head (AutoModelForCausalLM or AutoModelForSeq2SeqLM)."
        )
    return logits


def selected_of(logits: Float[Tensor, "b l v"], positions: Int[Tensor, "b k"], length: int) -> Float[Tensor, "b k v"]:
    """Return the logits at some tokens of rows of this length, shifted by virtual tokens before the text."""
    shift = logits.shape[1] - length
    if shift < 0:
        raise ModelError(f"`model`: returned logits of {logits.shape[1]} tokens for rows of {length}; it must return one each.")
    return selected(logits, positions + shift)


def promoted(values: Tensor) -> Tensor:
    """Return values in float32 at least, as differences of scores need the digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def device_of(module: nn.Module) -> torch.device | None:
    """Return the device of a module's parameters, or where accelerate brings them for a call; None: there are none."""
    parameter = next(module.parameters(), None)
    if parameter is None or parameter.device.type != "meta":
        return None if parameter is None else parameter.device
    hooks = [hook for part in module.modules() if (hook := getattr(part, "_hf_hook", None)) is not None]
    for hook in (each for outer in hooks for each in (outer, *getattr(outer, "hooks", ()))):  # some hold several
        if (device := getattr(hook, "execution_device", None)) is not None:
            return torch.device(device)
    return parameter.device


def read_device(value: torch.device | str) -> torch.device:
    """Return a device, given itself or its name.

    Raises:
        OptionError: there is no such device.
    """
    try:
        return torch.device(value)
    except RuntimeError as error:
        raise OptionError(f"`device`: got {value!r}; pass a torch.device or its name, such as 'cpu' or 'cuda'.") from error


def _embedding_layer(model: nn.Module) -> nn.Module | None:
    getter = getattr(model, "get_input_embeddings", None)
    try:
        layer = getter() if getter is not None else None
    except NotImplementedError:
        return None
    return layer if isinstance(layer, nn.Module) else None


def read_logits(output: Any) -> Tensor:
    """Return the logits from the outputs of a model.

    Raises:
        ModelError: there are none.
    """
    logits = output["logits"] if isinstance(output, Mapping) and "logits" in output else getattr(output, "logits", output)
    if isinstance(logits, (tuple, list)) and logits:
        logits = logits[0]
    if not isinstance(logits, Tensor):
        raise ModelError(f"`model`: answered {type(output).__name__} without logits; interpreto explains models with a head.")
    return logits


def longest_input(model: Any, tokenizer: Any) -> int | None:
    """Return the largest number of tokens that a model takes; None: there is no limit.

    The model's config and position embeddings decide. The length that a tokenizer names is advice (T5 reads longer texts),
    and is used only for a model without a config.
    """
    limits = []
    limit = getattr(tokenizer, "model_max_length", None)
    if limit and limit < 1_000_000 and getattr(model, "config", None) is None:
        limits.append(int(limit))
    modules = model.named_modules() if isinstance(model, nn.Module) else ()
    positions = [m for name, m in modules if name.endswith("position_embeddings") and isinstance(m, nn.Embedding)]
    for table in positions:  # RoBERTa keeps the first rows of its table for the padding
        limits.append(table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1))
    config = getattr(model, "config", None)
    named = (getattr(config, name, None) for name in LIMITS)
    limit = next((value for value in named if isinstance(value, int) and value > 0), None)
    relative = getattr(config, "position_biased_input", True) is False  # DeBERTa without absolute positions
    if not positions and not relative and limit is not None:
        limits.append(limit)
    return min(limits) if limits else None
