"""A model, its tokenizer and ports: runs texts in full batches, reads and edits activations on the way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from interpreto.concepts.splitters.granularities import SplitInput
from interpreto.errors import ModelError, OptionError, TaskError
from interpreto.inputs.pooling import BatchUnits, stretches
from interpreto.inputs.text import InputReader
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.batching import TOKENS_A_PASS, Budget, sweep, windows
from interpreto.models.contexts import evaluating
from interpreto.models.forward import Batch, Forward, longest_input, read_logits
from interpreto.models.hook_points import HookPoint, block_list
from interpreto.models.interventions import Edit, tracing
from interpreto.models.layouts import Layout, find_layout
from interpreto.models.padding import put_back, taken
from interpreto.models.session import lock_of
from interpreto.validation import check_batch_size

WINDOW = 16  # batches whose texts are sorted by length together, where batches are counted in rows
TOKEN_WINDOW = 4, 64  # fewest and most batches, where they are counted in tokens, and between these
WINDOW_BYTES = 2**29  # the activations to hold


@dataclass(frozen=True, eq=False)
class WindowActivations:
    """Activations of the units of some consecutive texts, at each port, and the model's logits if asked for."""

    activations: list[Tensor]
    logits: Tensor | None


class ActivationRecorder:
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
        ports: Sequence[HookPoint],
        batch_size: int | None,
        backend: str,
        *,
        truncation: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.ports = model, tokenizer, list(ports)
        self.forward, self.tracing = Forward(model), tracing(model, backend)
        self.encoder = InputReader(tokenizer, longest_input(model, tokenizer), truncation)
        tokens = TOKENS_A_PASS["cuda" if self.forward.device.type == "cuda" else "cpu"]
        self.budget = Budget(check_batch_size(batch_size), tokens)
        self._layouts: dict[str, Layout] = {}
        self._skipped: dict[str, list[nn.Module]] = {}
        self._pads_well: bool | None = None
        self._constants, self._start = _constants(model), _start_of(model)

    @contextmanager
    def session(self, rows: Sequence[SplitInput]) -> Iterator[None]:
        """Within, the model is ready for these rows and this thread's alone; all is restored after."""
        used = set(torch.cat([row.input_ids for row in rows]).unique().tolist())
        with lock_of(self.model), evaluating(self.model), self.forward.padding(used):
            yield

    def inputs(self, rows: Sequence[SplitInput]) -> dict[str, Any]:
        """What the model is called with: rows padded on the right with an id that none of them contains."""
        ids = pad_sequence([row.input_ids for row in rows], batch_first=True, padding_value=self.forward.pad_id)
        lengths, sources = torch.tensor([len(row) for row in rows]), torch.tensor([row.source for row in rows])
        visible = torch.arange(ids.shape[1]) < lengths[:, None]
        extras = {}
        for name in {name for row in rows for name in row.extras}:
            values = [row.extras.get(name, torch.zeros_like(row.input_ids)) for row in rows]
            extras[name] = pad_sequence(values, batch_first=True)
        batch = Batch(ids, lengths, visible, extras, sources=sources if rows[0].source else None)
        return self._completed(self.forward.arguments(batch))

    def _completed(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """With the arguments that are the same for every batch."""
        given, ids = {**inputs, **self._constants}, inputs["input_ids"]
        if self._start is not None and "decoder_input_ids" not in given:  # the decoder has to begin with something
            given["decoder_input_ids"] = torch.full((len(ids), 1), self._start, device=ids.device)
        return self.forward.hidden_in_echo(given)

    def of_inputs(self, port: HookPoint, inputs: Mapping[str, Any]) -> Tensor:
        """Activations of a batch as the model is called with it, at a port whose layout is known; differentiable.

        Raises:
            ModelError: a decoder beside an encoder is asked, which is given nothing to read.
        """
        _check_written(port)
        (value,), _ = self.tracing.read([port], self._completed(inputs), stop=True)
        return self._layouts[port.name].read(value, len(inputs["input_ids"]))

    def hidden(self, rows: Sequence[SplitInput], with_output: bool = False) -> tuple[list[Tensor], Any]:
        """Activations ``(b, l, d)`` of a batch at every port, or ``(b, d)`` where there are no tokens.

        Of an encoder-decoder those of one stack, each at its token's place in the row; zero at the other's tokens.
        """
        with torch.no_grad():
            values, output = self.tracing.read(self.ports, self.inputs(rows), stop=not with_output)
        return [self._in_place(port, value, rows) for port, value in zip(self.ports, values, strict=True)], output

    def _in_place(self, port: HookPoint, value: Tensor, rows: Sequence[SplitInput]) -> Tensor:
        """What a port gives, as activations of whole rows."""
        hidden = self.layout(port, rows).read(value, len(rows))
        start, end = _stretch(port, rows)
        return hidden if hidden.ndim == 2 or not rows[0].source else put_back(start, end, max(map(len, rows)))(hidden, 0.0)

    def _handed_back(self, port: HookPoint, hidden: Tensor, rows: Sequence[SplitInput]) -> Tensor:
        """Activations of whole rows, as the port gives them."""
        if hidden.ndim == 3 and rows[0].source:
            hidden = taken(*_stretch(port, rows))(hidden, 0.0)
        return self.layout(port, rows).write(hidden)

    def layout(self, port: HookPoint, rows: Sequence[SplitInput]) -> Layout:
        """How a port lays a batch out."""
        if port.name not in self._layouts:
            row = _told_apart(max(rows, key=len))
            start, end = _stretch(port, [row])
            with torch.no_grad():
                (value,), _ = self.tracing.read([port], self.inputs([row]), stop=True)
            self._layouts[port.name] = find_layout(value, int(end - start), port)
        return self._layouts[port.name]

    def sweep(self, rows: Sequence[SplitInput], run: Callable[[list[int]], None], budget: Budget | None = None) -> None:
        """Give the numbers of all rows to ``run``, batch after batch; to be called within a session."""
        sweep([len(row) for row in rows], self.budget if budget is None else budget, self.may_mix(rows), run)

    def read(
        self,
        rows: Iterable[SplitInput],
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
        rows: list[SplitInput],
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

    def _pooled(self, hidden: Tensor, units: BatchUnits, port: HookPoint, strategy: GranularityAggregationStrategy) -> Tensor:
        if self._layouts[port.name].has_tokens:
            return units.pool(hidden, strategy)
        if set(units.counts) != {1}:
            raise OptionError(
                f"`activation_granularity`: {port.name!r} has one vector a text, and none a token; use SAMPLE or CLS_TOKEN."
            )
        return hidden

    def edited(self, rows: Sequence[SplitInput], port: HookPoint, edit: Edit) -> Tensor:
        """Logits of a batch whose activations at a port go through ``edit``; differentiable in what ``edit`` adds."""
        with self.session(rows):
            self.check_mix(rows)
            return self._edited(rows, port, edit, ())

    def outputs_from(self, rows: Sequence[SplitInput], port: HookPoint, hidden: Tensor) -> Tensor:
        """Logits of a batch, the model run on from these activations; differentiable in them.

        Blocks below the port are not run where that changes nothing, which is tried out once.
        """
        with self.session(rows):
            self.check_mix(rows)
            skipped, change = self._unneeded(port, rows), self._change(rows, port, lambda _: hidden)
            return read_logits(self.tracing.edited(port, self.inputs(rows), change, skipped)).float()

    def _edited(self, rows: Sequence[SplitInput], port: HookPoint, edit: Edit, skipped: Sequence[nn.Module]) -> Tensor:
        return read_logits(self.tracing.edited(port, self.inputs(rows), self._change(rows, port, edit), skipped)).float()

    def _change(self, rows: Sequence[SplitInput], port: HookPoint, edit: Edit) -> Edit:
        """Return what an edit of whole rows does to the tensor at a hook point."""
        self.layout(port, rows)  # before anything is edited
        return lambda value: self._handed_back(port, edit(self._in_place(port, value, rows)), rows)

    def may_mix(self, rows: Sequence[SplitInput]) -> bool:
        """Whether rows of unequal lengths may share a batch: measured once, on the shortest beside the longest.

        Models that mix padding in, or read the last position whatever the mask says (XLNet), get batches of one length.
        """
        vocabulary = getattr(getattr(self.model, "config", None), "vocab_size", None)
        spare = not isinstance(vocabulary, int) or self.forward.pad_id < vocabulary  # else no id is left to pad with
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

    def _unmoved_by_padding(self, short: SplitInput, long: SplitInput) -> bool:
        readouts = []
        for rows in ([short, long], [short]):
            hidden, output = self.hidden(rows, with_output=True)
            logits = getattr(output, "logits", None)
            read = [value[0, : len(short)] if value.ndim > 2 else value[0] for value in hidden]
            if isinstance(logits, Tensor):
                read.append(logits[0, : len(short) - short.source] if logits.ndim > 2 else logits[0])
            readouts.append(read)
        return all(alike(together, alone) for together, alone in zip(*readouts, strict=True))

    def check_mix(self, rows: Sequence[SplitInput]) -> None:
        if not self.may_mix(rows):
            raise ModelError(
                "`inputs`: this model's outputs change with padding; pass texts of one length together, or one text."
            )

    def _unneeded(self, port: HookPoint, rows: Sequence[SplitInput]) -> list[nn.Module]:
        """The blocks that need not run when the activations at a port are given."""
        if port.name not in self._skipped:
            row = max(rows, key=len)
            start, end = _stretch(port, [row])
            if int(end - start) < 3:
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

    def hidden_of(self, rows: Sequence[SplitInput], port: HookPoint) -> Tensor:
        """Activations of one batch at one port, before they are pooled."""
        with self.session(rows):
            self.check_mix(rows)
            return self.hidden_at(port, rows)

    def hidden_at(self, port: HookPoint, rows: Sequence[SplitInput]) -> Tensor:
        """The same, within a session."""
        with torch.no_grad():
            (value,), _ = self.tracing.read([port], self.inputs(rows), stop=True)
        return self._in_place(port, value, rows)

    def _below(self, port: HookPoint, row: SplitInput) -> list[nn.Module]:
        """The blocks of its stack that have run when the port is reached, the port's own among them."""
        done: list[nn.Module] = []
        stack = self.model if port.stack is None else getattr(self.model, f"get_{port.stack}")()
        blocks = block_list(stack)[1]
        hooks = [block.register_forward_hook(lambda module, *_: done.append(module)) for block in blocks]
        try:
            self.hidden_at(port, [row])
        finally:
            for hook in hooks:
                hook.remove()
        if port.side == "output" and port.module in set(blocks):
            done.append(port.module)  # it is left by the stop before its hook above has run, or is in already
        return list(dict.fromkeys(done))


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
    # nothing is generated here: the cache would be thrown away
    return {"use_cache": False} if "use_cache" in inspect.signature(type(model).forward).parameters else {}


def _start_of(model: nn.Module) -> int | None:
    """What the decoder of an encoder-decoder begins with; None where there is none, or where the model sees to it itself."""
    config, parameters = getattr(model, "config", None), inspect.signature(type(model).forward).parameters
    generates = getattr(model, "can_generate", bool)()  # a classifier makes its decoder's inputs itself
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in parameters and generates:
        return getattr(config, "decoder_start_token_id", None)
    return None


def _stretch(port: HookPoint, rows: Sequence[SplitInput]) -> tuple[Int[Tensor, " b"], Int[Tensor, " b"]]:
    """Where the tokens begin and end, in each row, that a port's stack reads.

    Raises:
        ModelError: its decoder is given nothing to read.
    """
    lengths, sources = torch.tensor([len(row) for row in rows]), torch.tensor([row.source for row in rows])
    if not rows[0].source:
        _check_written(port)
        return torch.zeros_like(lengths), lengths
    return (torch.zeros_like(lengths), sources) if port.stack == "encoder" else (sources, lengths)


def _check_written(port: HookPoint) -> None:
    if port.stack == "decoder":
        raise ModelError(
            f"`split_points`: {port.name!r} is in a decoder, and these inputs are read by the encoder alone; choose a module "
            "of the encoder."
        )


def _told_apart(row: SplitInput) -> SplitInput:
    """A row, or a part of it, that shows where a port has its tokens: with several, and of two stacks unequally many."""
    if row.source:
        ids = torch.cat([row.input_ids[: row.source].repeat(2)[:2], row.input_ids[row.source :].repeat(3)[:3]])
        return SplitInput(ids, torch.full_like(ids, -1), 0, {}, 2)
    if len(row) > 1:
        return row
    return SplitInput(row.input_ids.repeat(2), row.index.repeat(2), row.u, {k: v.repeat(2) for k, v in row.extras.items()})
