"""A model, its tokenizer and ports: runs texts in full batches, reads and edits activations on the way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from interpreto.concepts.splitters.granularities import Row
from interpreto.concepts.splitters.layouts import Layout, find_layout
from interpreto.concepts.splitters.pooling import BatchUnits, stretches
from interpreto.concepts.splitters.ports import Port, block_list
from interpreto.concepts.splitters.tracing import Edit, lock_of, tracing
from interpreto.encoding import Encoder
from interpreto.errors import ModelError, OptionError, TaskError
from interpreto.granularity import GranularityAggregationStrategy
from interpreto.inference.batching import TOKENS_A_PASS, Budget, sweep, windows
from interpreto.inference.contexts import evaluating, padding_absent
from interpreto.inference.forward import Forward, longest_input, read_logits

WINDOW = 16  # batches whose texts are sorted by length together, where batches are counted in rows
TOKEN_WINDOW = 4, 64  # fewest and most batches, where they are counted in tokens, and between these
WINDOW_BYTES = 2**29  # the activations to hold


@dataclass(frozen=True, eq=False)
class WindowActivations:
    """Activations of the units of some consecutive texts, at each port, and the model's logits if asked for."""

    activations: list[Tensor]
    logits: Tensor | None


class SplitModel:
    """Runs a model on rows and stops at ports, or goes on from there.

    Args:
        model: Left as it was after every call.
        tokenizer: Its tokenizer.
        ports: Where activations are read, all in one pass.
        batch_size: Rows a pass; None: as many as a token budget holds, halved when the memory runs out.
        backend: ``"hooks"`` or ``"nnsight"``; see `tracing`.
        truncation: Whether longer inputs are cut instead of refused.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        ports: Sequence[Port],
        batch_size: int | None,
        backend: str,
        *,
        truncation: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.ports = model, tokenizer, list(ports)
        self.forward, self.tracing = Forward(model), tracing(model, backend)
        self.encoder = Encoder(tokenizer, longest_input(model, tokenizer), truncation)
        tokens = TOKENS_A_PASS["cuda" if self.forward.device.type == "cuda" else "cpu"]
        self.budget = Budget(check_batch_size(batch_size), tokens)
        self._layouts: dict[str, Layout] = {}
        self._skipped: dict[str, list[nn.Module]] = {}
        self._pads_well: bool | None = None
        self._constants = _constants(model)
        for port in ports:
            _refuse_decoder(model, port)

    @contextmanager
    def session(self, rows: Sequence[Row]) -> Iterator[None]:
        """Within, the model is ready for these rows and this thread's alone; all is restored after."""
        used = set(torch.cat([row.input_ids for row in rows]).unique().tolist())
        with lock_of(self.model), evaluating(self.model), padding_absent(self.model, used) as self.pad_id:
            yield

    def inputs(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What the model is called with: rows padded on the right with an id that none of them contains."""
        device = self.forward.device
        ids = pad_sequence([row.input_ids for row in rows], batch_first=True, padding_value=self.pad_id)
        lengths = torch.tensor([len(row) for row in rows])
        visible = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        given: dict[str, Any] = {"input_ids": ids.to(device), "attention_mask": visible.to(device)}
        for name in {name for row in rows for name in row.extras}:
            values = [row.extras.get(name, torch.zeros_like(row.input_ids)) for row in rows]
            given[name] = pad_sequence(values, batch_first=True).to(device)
        return self._completed(given)

    def _completed(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """With the arguments that are the same for every batch."""
        given, ids = {**inputs, **self._constants}, inputs["input_ids"]
        if "decoder_input_ids" in given:
            given["decoder_input_ids"] = given["decoder_input_ids"].to(ids.device).expand(len(ids), 1)
        return given

    def of_inputs(self, port: Port, inputs: Mapping[str, Any]) -> Tensor:
        """Activations of a batch as the model is called with it, at a port whose layout is known; differentiable."""
        (value,), _ = self.tracing.read([port], self._completed(inputs), stop=True)
        return self._layouts[port.name].read(value, len(inputs["input_ids"]))

    def hidden(self, rows: Sequence[Row], with_output: bool = False) -> tuple[list[Tensor], Any]:
        """Activations ``(b, l, d)`` of a batch at every port, or ``(b, d)`` where there are no tokens."""
        with torch.no_grad():
            values, output = self.tracing.read(self.ports, self.inputs(rows), stop=not with_output)
        layouts = [self.layout(port, rows) for port in self.ports]
        return [layout.read(value, len(rows)) for layout, value in zip(layouts, values, strict=True)], output

    def layout(self, port: Port, rows: Sequence[Row]) -> Layout:
        """How a port lays a batch out."""
        if port.name not in self._layouts:
            row = max(rows, key=len)
            if len(row) < 2:  # of one token every layout looks alike
                row = Row(row.input_ids.repeat(2), row.index.repeat(2), row.u, {k: v.repeat(2) for k, v in row.extras.items()})
            with torch.no_grad():
                (value,), _ = self.tracing.read([port], self.inputs([row]), stop=True)
            self._layouts[port.name] = find_layout(value, len(row), port)
        return self._layouts[port.name]

    def sweep(self, rows: Sequence[Row], run: Callable[[list[int]], None], budget: Budget | None = None) -> None:
        """Give the numbers of all rows to ``run``, batch after batch; to be called within a session."""
        sweep([len(row) for row in rows], self.budget if budget is None else budget, self.may_mix(rows), run)

    def read(
        self,
        rows: Iterable[Row],
        strategy: GranularityAggregationStrategy,
        *,
        dtype: torch.dtype | None = None,
        with_logits: bool = False,
        on_rows: Callable[[int], object] = lambda n: None,
    ) -> Iterator[WindowActivations]:
        """Activations of all units of a stream of rows, in order, a window of batches at a time."""
        per_row = self.budget.rows is not None
        for window in windows(rows, lambda row: 1 if per_row else len(row), self._window()):
            yield self._read_window(window, strategy, dtype, with_logits, on_rows)

    def _window(self) -> int:
        """Rows, or tokens where the budget counts these, that are read together."""
        if self.budget.rows is not None:
            return WINDOW * self.budget.rows
        fewest, most = TOKEN_WINDOW
        width = getattr(getattr(self.model, "config", None), "hidden_size", 4096)
        held = WINDOW_BYTES // (4 * width * len(self.ports))
        return max(fewest * self.budget.tokens, min(most * self.budget.tokens, held))

    def _read_window(
        self,
        rows: list[Row],
        strategy: GranularityAggregationStrategy,
        dtype: torch.dtype | None,
        with_logits: bool,
        on_rows: Callable[[int], object],
    ) -> WindowActivations:
        counts = torch.tensor([row.u for row in rows])
        first = counts.cumsum(0) - counts
        activations: list[Tensor] = []
        logits: dict[int, Tensor] = {}

        def run(picked: list[int]) -> None:
            batch = [rows[i] for i in picked]
            hidden, output = self.hidden(batch, with_logits)
            units = BatchUnits.of([row.index for row in batch], [row.u for row in batch])
            places = stretches(first[picked], counts[picked])
            pooled = [self._pooled(h, units, port, strategy) for h, port in zip(hidden, self.ports, strict=True)]
            if not activations:
                activations.extend(torch.empty(int(counts.sum()), p.shape[1], dtype=dtype or p.dtype) for p in pooled)
            for whole, part in zip(activations, pooled, strict=True):
                whole[places] = part.to("cpu", whole.dtype)
            if with_logits:
                logits.update(zip(picked, _one_a_text(output), strict=True))
            on_rows(len(picked))

        with self.session(rows):
            self.sweep(rows, run)
        for whole, port in zip(activations, self.ports, strict=True):
            if len(whole) and not torch.stack(torch.aminmax(whole)).isfinite().all():
                raise ModelError(f"`model`: its activations at {port.name!r} are not finite (NaN or infinity).")
        return WindowActivations(activations, torch.stack([logits[i] for i in range(len(rows))]) if with_logits else None)

    def _pooled(self, hidden: Tensor, units: BatchUnits, port: Port, strategy: GranularityAggregationStrategy) -> Tensor:
        if self._layouts[port.name].has_tokens:
            return units.pool(hidden, strategy)
        if set(units.counts) != {1}:
            raise OptionError(
                f"`activation_granularity`: {port.name!r} has one vector a text, and none a token; use SAMPLE or CLS_TOKEN."
            )
        return hidden

    def edited(self, rows: Sequence[Row], port: Port, edit: Edit) -> Tensor:
        """Logits of a batch whose activations at a port go through ``edit``; differentiable in what ``edit`` adds."""
        with self.session(rows):
            self.check_mix(rows)
            return self._edited(rows, port, edit, ())

    def outputs_from(self, rows: Sequence[Row], port: Port, hidden: Tensor) -> Tensor:
        """Logits of a batch, the model run on from these activations; differentiable in them.

        Blocks below the port are not run where that changes nothing, which is tried out once.
        """
        with self.session(rows):
            self.check_mix(rows)
            return self._edited(rows, port, lambda _: hidden, self._unneeded(port, rows))

    def _edited(self, rows: Sequence[Row], port: Port, edit: Edit, skipped: Sequence[nn.Module]) -> Tensor:
        layout, b = self.layout(port, rows), len(rows)
        output = self.tracing.edited(port, self.inputs(rows), lambda value: layout.write(edit(layout.read(value, b))), skipped)
        return read_logits(output).float()

    def may_mix(self, rows: Sequence[Row]) -> bool:
        """Whether rows of unequal lengths may share a batch: measured once, on the shortest beside the longest.

        Models that mix padding in, or read the last position whatever the mask says (XLNet), get batches of one length.
        """
        vocabulary = getattr(getattr(self.model, "config", None), "vocab_size", None)
        spare = not isinstance(vocabulary, int) or self.pad_id < vocabulary  # else no id is left to pad with
        if spare and self._pads_well:
            return True
        short, long = min(rows, key=len), max(rows, key=len)
        if len(short) == len(long):
            return True
        if not spare:
            return False
        if self._pads_well is None:
            self._pads_well = self._unmoved_by_padding(short, long)
        return self._pads_well

    def _unmoved_by_padding(self, short: Row, long: Row) -> bool:
        readings = []
        for rows in ([short, long], [short]):
            hidden, output = self.hidden(rows, with_output=True)
            logits = getattr(output, "logits", None)
            values = [*hidden, logits] if isinstance(logits, Tensor) else hidden
            readings.append([value[0, : len(short)] if value.ndim > 2 else value[0] for value in values])
        return all(alike(together, alone) for together, alone in zip(*readings, strict=True))

    def check_mix(self, rows: Sequence[Row]) -> None:
        if not self.may_mix(rows):
            raise ModelError(
                "`inputs`: this model's outputs change with padding; pass texts of one length together, or one text."
            )

    def _unneeded(self, port: Port, rows: Sequence[Row]) -> list[nn.Module]:
        """The blocks that need not run when the activations at a port are given."""
        if port.name not in self._skipped:
            row = max(rows, key=len)
            if len(row) < 3:
                return []  # attention over so few tokens may hide what a block adds to it
            try:
                below = self._below(port, row)
                values = self.hidden_at(port, [row])
                with torch.no_grad():
                    whole = self._edited([row], port, lambda h: h, ())
                    short = self._edited([row], port, lambda _: values, below)
                self._skipped[port.name] = below if alike(short, whole) else []
            except (AttributeError, IndexError, KeyError, OptionError, RuntimeError, TypeError, ValueError):
                self._skipped[port.name] = []  # a block gives more than activations to those above it
        return self._skipped[port.name]

    def hidden_of(self, rows: Sequence[Row], port: Port) -> Tensor:
        """Activations of one batch at one port, before they are pooled."""
        with self.session(rows):
            self.check_mix(rows)
            return self.hidden_at(port, rows)

    def hidden_at(self, port: Port, rows: Sequence[Row]) -> Tensor:
        """The same, within a session."""
        with torch.no_grad():
            (value,), _ = self.tracing.read([port], self.inputs(rows), stop=True)
        return self.layout(port, rows).read(value, len(rows))

    def _below(self, port: Port, row: Row) -> list[nn.Module]:
        """The blocks that have run when the port is reached, the port's own among them."""
        done: list[nn.Module] = []
        hooks = [block.register_forward_hook(lambda module, *_: done.append(module)) for block in block_list(self.model)[1]]
        try:
            self.hidden_at(port, [row])
        finally:
            for hook in hooks:
                hook.remove()
        if port.side == "output" and port.module in set(block_list(self.model)[1]):
            done.append(port.module)  # it is left by the stop before its hook above has run, or is in already
        return list(dict.fromkeys(done))


def check_batch_size(batch_size: int | None) -> int | None:
    """A number of rows, or None."""
    if batch_size is not None and (not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1):
        raise OptionError(f"`batch_size`: got {batch_size!r}; pass a whole number of at least 1, or None.")
    return batch_size


def _one_a_text(output: Any) -> Tensor:
    logits = read_logits(output)
    if logits.ndim != 2:
        raise TaskError(
            "`include_predicted_classes`: the model answers a row of logits a token; only a classifier predicts a class a text."
        )
    return logits.float().cpu()


def alike(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are the same but for rounding."""
    if first.shape != second.shape:
        return False
    low = first.dtype in (torch.float16, torch.bfloat16) or second.dtype in (torch.float16, torch.bfloat16)
    scale = float(second.abs().max().clamp(min=1.0))
    return bool((first - second).abs().max() <= (5e-2 if low else 1e-4) * scale)


def _constants(model: nn.Module) -> Mapping[str, Any]:
    """Arguments that are the same for every batch."""
    # of the class: a tracer may have put another forward on the object
    parameters, config = inspect.signature(type(model).forward).parameters, getattr(model, "config", None)
    constants: dict[str, Any] = {}
    if "use_cache" in parameters:
        constants["use_cache"] = False  # nothing is generated here: the cache would be thrown away
    start = getattr(config, "decoder_start_token_id", None)
    generates = getattr(model, "can_generate", bool)()  # a classifier makes its decoder's inputs itself
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in parameters and generates and start is not None:
        constants["decoder_input_ids"] = torch.tensor([[start]])
    return constants


def _refuse_decoder(model: nn.Module, port: Port) -> None:
    """A decoder beside an encoder reads other tokens than the text's."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return
    decoder = getattr(model, "get_decoder", lambda: None)()
    if isinstance(decoder, nn.Module) and decoder is not model and port.module in set(decoder.modules()):
        raise ModelError(
            f"`split_points`: {port.name!r} is in the decoder of {type(model).__name__}, which reads other tokens than the "
            "text's; choose a module of its encoder."
        )
