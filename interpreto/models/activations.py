"""Record and edit activations: inputs run in full batches, and the model is read or changed at hook points on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from interpreto.errors import ModelError, OptionError, TaskError
from interpreto.inputs.image_processors import ImageProcessor
from interpreto.inputs.pooling import BatchUnits, stretches
from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.text import InputReader
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.batch import Batch
from interpreto.models.batching import TOKENS_A_PASS, Budget, map_batches, windows
from interpreto.models.forward import Forward
from interpreto.models.hook_points import HookPoint
from interpreto.models.image_places import PlacesLayouts, PlacesReader
from interpreto.models.interventions import Edit, HookTracing, Tracing, editing, watched
from interpreto.models.layouts import Layouts
from interpreto.models.lengths import longest_input
from interpreto.models.logits import read_logits
from interpreto.models.nnsight import NNsightTracing
from interpreto.models.padding import agree
from interpreto.models.stacks import blocks_below, check_written, stretch
from interpreto.validation import check_batch_size, check_choice

WINDOW = 16  # batches whose texts are sorted by length together, where batches are counted in rows
TOKEN_WINDOW = 4, 64  # fewest and most batches, where they are counted in tokens, and between these
WINDOW_BYTES = 2**29  # the activations to hold
FEWEST_TO_SKIP = 3  # tokens: attention over fewer may hide what a block adds to those above it

BACKENDS = ("hooks", "nnsight")
R = TypeVar("R", bound=Sized)


@dataclass(frozen=True, eq=False)
class WindowActivations:
    """Activations of the units of some consecutive inputs.

    Attributes:
        activations: ``(u, d)`` for each hook point, on the CPU.
        logits: ``(n, c)`` of the inputs in float32, if they were asked for.
    """

    activations: list[Tensor]
    logits: Tensor | None


def tracing(model: nn.Module, backend: str) -> Tracing:
    """Return the way to read and edit a model that a name asks for, one of `BACKENDS`."""
    return HookTracing(model) if check_choice(backend, "backend", BACKENDS) == "hooks" else NNsightTracing(model)


class ActivationRecorder:
    """Run a model on inputs and stop at hook points, or go on from there.

    Args:
        model: Left as it was after every call.
        tokenizer: Its tokenizer.
        hook_points: Where activations are read, all in one pass.
        batch_size: Rows per pass; None: as many as a token budget holds, halved when the memory runs out.
        backend: ``"hooks"`` or ``"nnsight"``.
        truncation: Longer inputs are cut instead of refused.
        forward: Runs the model; None: where it is, and its logits are its outputs.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        hook_points: Sequence[HookPoint],
        batch_size: int | None,
        backend: str,
        *,
        truncation: bool = False,
        forward: Forward | None = None,
    ) -> None:
        self.model, self.tokenizer, self.hook_points = model, tokenizer, list(hook_points)
        self.forward = Forward(model) if forward is None else forward
        self.tracing = tracing(model, backend)
        self.reader: Any
        self.layouts: Any
        if isinstance(tokenizer, ImageProcessor):
            self.reader = PlacesReader(self.forward, self.tracing, tokenizer, hook_points)
            self.layouts = PlacesLayouts(self.reader)
        else:
            self.reader = InputReader(tokenizer, longest_input(model, tokenizer), truncation)
            self.layouts = Layouts(self._value_at)
        tokens = TOKENS_A_PASS["cuda" if self.forward.device.type == "cuda" else "cpu"]
        self.budget = Budget(check_batch_size(batch_size), tokens)
        self._skipped: dict[str, list[nn.Module]] = {}

    @contextmanager
    def session(self, rows: Sequence[SplitInput]) -> Iterator[None]:
        """Context manager in which the model is ready for these rows, and this thread's alone; all is restored after."""
        used = set(torch.cat([row.input_ids for row in rows]).unique().tolist())
        with self.forward.session(), self.forward.padding(used):
            yield

    def map(self, rows: Sequence[SplitInput], step: Callable[[list[int]], Any], budget: Budget | None = None) -> Any:
        """Apply ``step`` to the numbers of all rows, batch after batch, within one session; see `map_batches`."""
        with self.session(rows):
            return map_batches([len(row) for row in rows], step, budget or self.budget, self.may_mix(rows))

    def inputs(self, rows: Sequence[SplitInput]) -> dict[str, Any]:
        """Return what the model is called with: rows padded on the right with an id that none of them contains."""
        ids = pad_sequence([row.input_ids for row in rows], batch_first=True, padding_value=self.forward.pad_id)
        lengths, sources = torch.tensor([len(row) for row in rows]), torch.tensor([row.source for row in rows])
        visible = torch.arange(ids.shape[1]) < lengths[:, None]
        extras = {}
        for name in {name for row in rows for name in row.extras}:
            values = [row.extras.get(name, torch.zeros_like(row.input_ids)) for row in rows]
            extras[name] = pad_sequence(values, batch_first=True)
        batch = Batch(ids, lengths, visible, extras, sources=sources if rows[0].source else None)
        return self.forward.completed(self.forward.arguments(batch))

    # --- Reading

    def read(
        self,
        rows: Iterable[SplitInput],
        strategy: GranularityAggregationStrategy,
        *,
        dtype: torch.dtype | None = None,
        with_logits: bool = False,
        on_rows: Callable[[int], object] = lambda n: None,
    ) -> Iterator[WindowActivations]:
        """Yield activations of all units of a stream of rows, in order, a window of batches at a time."""
        for window in self.windows(rows):
            yield self._read_window(window, strategy, dtype, with_logits, on_rows)

    def windows(self, rows: Iterable[R]) -> Iterator[list[R]]:
        """Yield rows, or samples, in groups that are run within one session."""
        per_row = self.budget.rows is not None
        return windows(rows, lambda row: 1 if per_row else len(row), self._window())

    def _window(self) -> int:
        """Return how many rows, or tokens where the budget counts these, are read together."""
        if self.budget.rows is not None:
            return WINDOW * self.budget.rows
        fewest, most = TOKEN_WINDOW
        width = getattr(getattr(self.model, "config", None), "hidden_size", 4096)
        held = WINDOW_BYTES // (4 * width * len(self.hook_points))
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

        def step(picked: list[int]) -> Tensor | None:
            batch = [rows[i] for i in picked]
            hidden, output = self.hidden(batch, with_logits)
            units = BatchUnits.of([row.index for row in batch], [row.u for row in batch])
            places = stretches(first[picked], counts[picked])
            pooled = [self._pooled(h, units, point, strategy) for h, point in zip(hidden, self.hook_points, strict=True)]
            if not activations:
                activations.extend(torch.empty(int(counts.sum()), p.shape[1], dtype=dtype or p.dtype) for p in pooled)
            for whole, part in zip(activations, pooled, strict=True):
                whole[places] = part.to("cpu", whole.dtype)
            on_rows(len(picked))
            return _logits_per_text(output) if with_logits else None

        logits = self.map(rows, step)
        for whole, point in zip(activations, self.hook_points, strict=True):
            if len(whole) and not torch.stack(torch.aminmax(whole)).isfinite().all():
                raise ModelError(f"`model`: its activations at {point.name!r} are not finite (NaN or infinity).")
        return WindowActivations(activations, logits)

    def record(self, rows: Sequence[SplitInput], gradients: bool = False) -> list[list[Tensor]]:
        """Return the activations of each row at all hook points: ``(l, d)``, or ``(d,)`` where there are no tokens.

        They are on the CPU. With ``gradients`` they are where the model is, and keep their graph.
        """

        def step(picked: list[int]) -> list[list[Tensor]]:
            batch = [rows[i] for i in picked]
            hidden, _ = self.hidden(batch, gradients=gradients)
            hidden = hidden if gradients else [h.cpu() for h in hidden]
            own = [[h[i, : len(row)] if h.ndim == 3 else h[i] for h in hidden] for i, row in enumerate(batch)]
            return own if gradients else [[h.clone() for h in row] for row in own]

        return self.map(rows, step)  # type: ignore[no-any-return]

    def _pooled(self, hidden: Tensor, units: BatchUnits, point: HookPoint, strategy: GranularityAggregationStrategy) -> Tensor:
        if hidden.ndim == 3:
            return units.pool(hidden, strategy)
        if set(units.counts) != {1}:
            raise OptionError(
                f"`activation_granularity`: {point.name!r} has one vector per text, and none per token; use SAMPLE or "
                "CLS_TOKEN."
            )
        return hidden

    def hidden(
        self, rows: Sequence[SplitInput], with_output: bool = False, gradients: bool = False
    ) -> tuple[list[Tensor], Any]:
        """Return activations ``(b, l, d)`` of a batch at every hook point, or ``(b, d)`` where there are no tokens.

        Of an encoder-decoder those of one stack, each at its token's place in the row; zero at the other's tokens. To be
        called within a session.
        """
        with torch.set_grad_enabled(gradients):
            values, output = self.tracing.read(self.hook_points, self.inputs(rows), stop=not with_output)
        return [
            self.layouts.in_place(point, value, rows) for point, value in zip(self.hook_points, values, strict=True)
        ], output

    def hidden_at(self, point: HookPoint, rows: Sequence[SplitInput]) -> Tensor:
        """Return the activations of a batch at one hook point; to be called within a session."""
        return self.layouts.in_place(point, self._value_at(point, rows), rows)

    def _value_at(self, point: HookPoint, rows: Sequence[SplitInput]) -> Tensor:
        """Return what a module gives for a batch."""
        with torch.no_grad():
            (value,), _ = self.tracing.read([point], self.inputs(rows), stop=True)
        return value

    def hidden_of(self, rows: Sequence[SplitInput], point: HookPoint) -> Tensor:
        """Return the activations of a batch at one hook point, before they are pooled."""
        with self.session(rows):
            self._check_mix(rows)
            return self.hidden_at(point, rows)

    def of_inputs(self, point: HookPoint, inputs: Mapping[str, Any]) -> Tensor:
        """Return activations of a batch as the model is called with it, at a point whose layout is known; differentiable.

        Raises:
            ModelError: a decoder next to an encoder is asked, which is given nothing to read.
        """
        check_written(point)
        (value,), _ = self.tracing.read([point], self.forward.completed(inputs), stop=True)
        return self.layouts.known(point).read(value, len(inputs["input_ids"]))

    # --- Editing

    def edited(self, rows: Sequence[SplitInput], point: HookPoint, edit: Edit) -> Tensor:
        """Return logits of a batch whose activations at a point go through ``edit``; differentiable in what ``edit`` adds."""
        with self.session(rows):
            self._check_mix(rows)
            return self._edited(rows, point, edit)

    @contextmanager
    def editing(self, point: HookPoint, edit: Edit, row: SplitInput) -> Iterator[None]:
        """Context manager in which activations ``(b, l, d)`` at a point go through ``edit`` in every pass of the model.

        Args:
            point: Where.
            edit: Takes the activations of one pass, ``(b, l, d)`` or ``(b, d)``; those of one stack of an encoder-decoder.
            row: Shows how the module lays its activations out.
        """
        with self.session([row]):
            layout = self.layouts.of(point, [row])
        if layout.shared or layout.axes == "(b l) d":
            raise ModelError(
                f"`split_point`: {point.name!r} does not give each text of a pass its own activations; choose another module."
            )
        with editing(self.model, point, lambda value: layout.write(edit(layout.read(value, len(value))))):
            yield

    def run_on(
        self, rows: Sequence[SplitInput], point: HookPoint, hidden: Tensor, to: Sequence[HookPoint] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """Return outputs of a batch run on from these activations, and those at further points; differentiable in them.

        Blocks below the point are not run where that changes nothing, which is tried once.

        Args:
            rows: The batch.
            point: Where ``hidden`` is given.
            hidden: ``(b, l, d)``, or ``(b, d)`` where there are no tokens.
            to: Points that the model reaches after ``point``.

        Returns:
            Logits ``(b, c)`` or ``(b, l, v)`` in float32, and activations at each of ``to``.

        Raises:
            OptionError: the model reaches a point of ``to`` before ``point``.
        """
        with self.session(rows):
            self._check_mix(rows)
            skipped, given = self._unneeded(point, rows), self.layouts.as_given(point, hidden, rows)
            for further in to:
                self.layouts.of(further, rows)  # before anything is edited
            begun: list[bool] = []

            def begin(_: Tensor) -> Tensor:
                begun.append(True)
                return given

            with watched(to, begun) as found:
                output = self.tracing.edited(point, self.inputs(rows), begin, skipped)
            for further in to:
                if further.name not in found:
                    raise OptionError(f"`to`: {further.name!r} is not reached after {point.name!r}; choose a module above it.")
            return self.forward.outputs(output).float(), [self.layouts.in_place(p, found[p.name], rows) for p in to]

    def _edited(self, rows: Sequence[SplitInput], point: HookPoint, edit: Edit, skipped: Sequence[nn.Module] = ()) -> Tensor:
        self.layouts.of(point, rows)  # before anything is edited

        def change(value: Tensor) -> Tensor:
            return self.layouts.as_given(point, edit(self.layouts.in_place(point, value, rows)), rows)

        return self.forward.outputs(self.tracing.edited(point, self.inputs(rows), change, skipped)).float()

    def _unneeded(self, point: HookPoint, rows: Sequence[SplitInput]) -> list[nn.Module]:
        """Return the blocks that need not run when the activations at a point are given."""
        if point.name not in self._skipped:
            row = max(rows, key=len)
            start, end = stretch(point, [row])
            if int(end - start) < FEWEST_TO_SKIP:
                self.layouts.of(point, rows)
                return []
            try:
                below = blocks_below(self.model, point, lambda: self.hidden_at(point, [row]))
                values = self.hidden_at(point, [row])
                with torch.no_grad():
                    whole = self._edited([row], point, lambda h: h)
                    short = self._edited([row], point, lambda _: values, below)
                self._skipped[point.name] = below if agree(short, whole) else []
            except (AttributeError, IndexError, KeyError, OptionError, RuntimeError, TypeError, ValueError):
                self._skipped[point.name] = []  # a block gives more than activations to those above it
        return self._skipped[point.name]

    # --- Padding

    def may_mix(self, rows: Sequence[SplitInput]) -> bool:
        """Return True if rows of unequal lengths may share a batch: measured once, on the shortest next to the longest."""
        short, long = min(rows, key=len), max(rows, key=len)
        if len(short) == len(long) or getattr(self.model, "fixed_length", False):
            return len(short) == len(long)
        return self.forward.has_spare_id and self.forward.padding_check(lambda: self._padded_and_alone(short, long))

    def _padded_and_alone(self, short: SplitInput, long: SplitInput) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what the model computes for a row next to a longer one, and for the row alone."""
        found = []
        for rows in ([short, long], [short]):
            hidden, output = self.hidden(rows, with_output=True)
            logits = getattr(output, "logits", None)
            read = [value[0, : len(short)] if value.ndim > 2 else value[0] for value in hidden]
            if isinstance(logits, Tensor):
                read.append(logits[0, : len(short) - short.source] if logits.ndim > 2 else logits[0])
            found.append(read)
        yield from zip(*found, strict=True)

    def _check_mix(self, rows: Sequence[SplitInput]) -> None:
        if not self.may_mix(rows):
            raise ModelError(
                "`inputs`: this model's outputs change with padding; pass texts of one length together, or one text."
            )


def _logits_per_text(output: Any) -> Float[Tensor, "b c"]:
    logits = read_logits(output)
    if logits.ndim != 2:
        raise TaskError(
            "`include_predicted_classes`: the model returns a row of logits per token; only a classifier predicts a class per "
            "text."
        )
    return logits.float()
