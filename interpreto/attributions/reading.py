"""From inputs and targets, as users pass them, to samples: some at a time, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from numbers import Integral
from typing import Any

import torch

from interpreto.errors import InputError, TargetError
from interpreto.inputs.forms import is_single, iterated
from interpreto.inputs.pictured import after
from interpreto.inputs.regions import ImageGranularity
from interpreto.inputs.samples import Sample
from interpreto.inputs.segmentation import read_spans, segment
from interpreto.inputs.targets import Contrast
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Granularity, Span, Splitter, Units, check_of_texts
from interpreto.models.protocol import Model
from interpreto.models.served import ServedModel
from interpreto.models.tasks import GenerationRequest, Task

TOGETHER = 64  # inputs that are read at a time

Encode = Callable[..., list[TokenizedInput]]


class SampleReader:
    """Reads samples.

    Args:
        model: Runs for targets that are its own.
        task: Reads targets.
        encode: Reads inputs.
        granularity: What a unit of a text is; images have theirs from ``encode``.
    """

    def __init__(
        self, model: Model, task: Task, encode: Encode, granularity: Granularity | ImageGranularity | Splitter
    ) -> None:
        self.model, self.task, self.encode, self.granularity = model, task, encode, granularity

    def samples(
        self, inputs: Any, targets: Any, spans: Any, roles: Sequence[str] | None, request: GenerationRequest
    ) -> Iterator[Sample]:
        """Yield the samples of all inputs, in order."""
        first = 0
        for part, own, ranges, single in _parts(inputs, targets, spans):
            with torch.inference_mode(False):  # tensors that are made here enter gradients
                samples = self._read(part, own, ranges, roles, request, first=first, single=single)
            yield from samples
            first += len(samples)

    def _read(
        self,
        inputs: Any,
        targets: Any,
        spans: Any,
        roles: Sequence[str] | None,
        request: GenerationRequest,
        *,
        first: int,
        single: bool,
    ) -> list[Sample]:
        encodings = self.encode(inputs, roles, first) if first else self.encode(inputs, roles)
        ranges = read_spans(spans, len(encodings))
        found = self.task.read_targets(targets, encodings, single)
        writer: Any = self.model if isinstance(self.model, ServedModel) else getattr(self.model, "forward", None)
        if found is None and writer is not None:
            with self.model.session():
                found = self.task.own_targets(writer, encodings, request)
        return [
            self._sample(
                first + i, encoding, None if found is None else found[i], request, None if ranges is None else ranges[i]
            )
            for i, encoding in enumerate(encodings)
        ]

    def _sample(
        self, i: int, encoding: TokenizedInput, target: Any, request: GenerationRequest, spans: list[Span] | None
    ) -> Sample:
        joined = self.task.joined(encoding, target, request)
        if joined.units is not None and spans is not None:
            raise InputError("`spans`: an image has no characters; pass a function to `granularity` for units of your own.")
        units = self._units(joined, spans)
        if not len(units):
            raise InputError(
                f"`inputs[{i}]`: {encoding.tokens.text[:60]!r} has no unit to explain: all its tokens are special ones, "
                "or lie outside `spans`. Granularity.ALL_TOKENS explains special tokens too."
            )
        targets = (
            None
            if target is None
            else self.task.targets(joined, target, request, lambda tokens: segment(tokens, check_of_texts(self.granularity)))
        )
        places = {"source": joined.source, "prompt": joined.prompt, "picture": joined.picture, "offsets": joined.tokens.offsets}
        return Sample(joined.tokens.text, joined.input_ids, units, joined.extras, targets, **places)

    def _units(self, joined: TokenizedInput, spans: list[Span] | None) -> Units:
        """Return the units of an input: its own, and those that the tokens behind them are cut into."""
        own = joined.units
        if own is None:
            return segment(joined.tokens, check_of_texts(self.granularity), spans)
        if len(own.index) == len(joined.input_ids):
            return own
        return own.followed_by(segment(after(joined.tokens, len(own.index)), check_of_texts(self.granularity)))


def _parts(inputs: Any, targets: Any, spans: Any) -> Iterator[tuple[Any, Any, Any, bool]]:
    """Yield inputs, targets and spans, some at a time where they come one by one; else all together."""
    single = is_single(inputs)
    one_by_one = isinstance(inputs, Iterator) or (isinstance(inputs, (list, tuple)) and not single)
    if one_by_one:
        iterated(inputs)  # a tuple of three texts is refused before it is taken apart
    shared = targets is None or isinstance(targets, (str, Integral, Contrast)) or getattr(targets, "ndim", None) == 0
    listed = isinstance(inputs, Iterator) and isinstance(targets, Iterable) and not isinstance(targets, Mapping)
    if not one_by_one or spans is not None or not (shared or listed):
        yield inputs, targets, spans, single
        return
    each: Any = () if shared else targets
    items, own, n = iter(inputs), iter(each), 0
    while part := list(islice(items, TOGETHER)):
        n += len(part)
        yield part, targets if shared else list(islice(own, len(part))), None, False
    if not n:
        yield inputs if isinstance(inputs, (list, tuple)) else [], targets, None, False  # refused by the reader
    elif next(own, None) is not None:
        raise TargetError(f"`targets`: got more than {n}, for {n} inputs; pass one per input.")
