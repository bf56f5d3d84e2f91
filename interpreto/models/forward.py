"""Forward passes. This is the only file that calls a model; it restores all that it changes for a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.inputs.samples import Sample
from interpreto.models.batch import Batch
from interpreto.models.contexts import evaluating, moved, padding_absent, reversible, uncompiled, undisturbed
from interpreto.models.devices import read_device
from interpreto.models.embedding_layers import EmbeddingLayers, device_of_inputs
from interpreto.models.kv_cache import UNFILLED, Past
from interpreto.models.logits import per_token, promoted, read_logits, selected_of
from interpreto.models.padding import PaddingCheck, heard_at, streams
from interpreto.models.report import EngineLog
from interpreto.models.session import lock_of
from interpreto.models.wrappers import compiled_in_place, lengthens_inputs, parameters_of, unwrapped

OPTIONAL = ("attention_mask", "token_type_ids")  # inputs that are passed only to models that name them
CACHE_ARGUMENTS = ("cache", "past_key_values")  # as transformers call it since 5.24, and before
OTHER_INPUTS = ("pixel_values", "input_features", "input_values")  # of images and of speech


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
        device: torch.device | str | int | None = None,
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
        self.embeddings = EmbeddingLayers(self.model, self.encodes, self.echoes)
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
    def echoes(self) -> bool:
        """Return True if the decoder reads the text again, shifted by one token, as in BART's and T5's classifiers."""
        return self.encodes and not getattr(self.model, "can_generate", bool)()

    @property
    def device(self) -> torch.device:
        """Return the device of the embedding layer, which the ids must be on."""
        return device_of_inputs(self.model)

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
            modules = list(self.model.modules())
            stack.enter_context(evaluating(self.model, modules))
            stack.enter_context(reversible(self.model, modules))
            if compiled_in_place(modules):
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

    def _logits_at(self, positions: Int[Tensor, "b k"], arguments: dict[str, Any], batch: Batch) -> Float[Tensor, "b k v"]:
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
        return self.embeddings.given(batch, embeddings, self.pad_id)

    def replacing(self, batch: Batch, where: Bool[Tensor, "b l"], vector: Float[Tensor, " d"]) -> ExitStack:
        """Context manager in which the embedding layers return ``vector`` at some tokens of the batch."""
        return self.embeddings.replacing(batch, where, vector, self.pad_id)

    def attending(self, batch: Batch) -> int:
        """Return how many tokens of a row attend to each other: one per id, or those that a model makes of an image."""
        measured: Any = getattr(self.model, "tokens_of", None)
        return batch.ids.shape[1] if measured is None else measured(batch.ids)

    def placed(self, sample: Sample, rows: Float[Tensor, "t q"]) -> Float[Tensor, "t l"]:
        """Return values of the tokens that attend, at the ids of a sample; those that were not run have 0."""
        if sample.picture is not None:
            of_cells: Any = self.model.of_cells
            return of_cells(sample.picture, rows)
        return torch.nn.functional.pad(rows, (0, max(0, len(sample) - rows.shape[1])))[:, : len(sample)]

    def pads_well(self, batch: Batch) -> bool:
        """Return True if padding on the right does not change a row's logits: measured once, on the first padded row."""
        if getattr(self.model, "fixed_length", False):
            return False
        n = int(batch.lengths[0])
        extras = {name: value[:, :n] for name, value in batch.extras.items()}
        bare = replace(batch, ids=batch.ids[:, :n], visible=batch.visible[:, :n], extras=extras)
        return self.has_spare_id and self.padding_check(lambda: [(self(batch), self(bare))], self.low_precision)

    @property
    def has_spare_id(self) -> bool:
        """Return True unless the rows use the whole vocabulary, and no id is left for padding."""
        size = self.embeddings.vocabulary
        return size is None or self.pad_id < size

    @property
    def low_precision(self) -> bool:
        """Return True if the model computes in half precision."""
        parameter = next(self.model.parameters(), None)
        return parameter is not None and parameter.dtype in (torch.float16, torch.bfloat16)
