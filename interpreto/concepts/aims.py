"""Which outputs concepts are explained for: inputs and targets as samples with an aim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.splitters.generation import SplitterForGeneration
from interpreto.concepts.splitters.granularities import UnitReader, read_unit
from interpreto.errors import InputError, TargetError, TaskError
from interpreto.inputs.samples import Readout, Sample, Targets
from interpreto.inputs.streaming import encodings
from interpreto.inputs.targets import Contrast
from interpreto.inputs.text import InputReader, is_single
from interpreto.models.forward import longest_input
from interpreto.models.modes import read_mode
from interpreto.models.tasks import Classification, Generation, GenerationRequest, Task, resolve_task

REQUEST = GenerationRequest()  # a score for each token of a generation, whose own tokens explain those behind them


def task_of(splitter: ModelSplitter, inference_mode: Any) -> Task:
    """What the outputs of a split model mean.

    Raises:
        TaskError: it is an encoder-decoder that writes, and the splitter does not see what.
    """
    model, tokenizer = splitter.model, splitter.tokenizer
    mode = None if inference_mode is None else read_mode(inference_mode)
    task = resolve_task(model, tokenizer, mode, None, longest_input(model, tokenizer))
    if isinstance(task, Generation) and task.encodes and not isinstance(splitter, SplitterForGeneration):
        raise TaskError(
            f"`splitter`: what {type(model).__name__} writes is read by a decoder of its own, which {type(splitter).__name__} "
            "does not run; use SplitterForGeneration."
        )
    return task


def aimed_samples(splitter: ModelSplitter, task: Task, inputs: Any, targets: Any, granularity: Any) -> list[Sample]:
    """Inputs with their units and what is explained of them.

    Of a classifier: samples whose aim is None where every output is explained. ``targets`` are then ids or names that all
    inputs share, or a list of such lists, one for each input. Of a language model: what follows each input, a text or ids;
    None: what the splitter's model writes, else each token of the text from the second on.
    """
    if isinstance(task, Generation):
        return _of_generation(splitter, task, inputs, targets, granularity)
    assert isinstance(task, Classification)
    if targets is None:
        return splitter.samples(inputs, granularity)
    inputs = inputs if is_single(inputs) or not isinstance(inputs, Iterable) else list(inputs)
    read, samples = list(encodings(splitter.encoder, inputs)), splitter.samples(inputs, granularity)
    rows = [targets] * len(read) if _shared(targets) else list(_listed(targets))
    aims = task.read_targets([list(_listed(row)) for row in rows], read, False)
    assert aims is not None
    return [sample.with_targets(own) for sample, own in zip(samples, aims, strict=True)]


def _shared(targets: Any) -> bool:
    """Whether targets are those of every input."""
    if isinstance(targets, (Integral, str, Contrast)):
        return True
    if isinstance(targets, (Tensor, np.ndarray)):
        return targets.ndim < 2
    if not isinstance(targets, Sequence):
        raise TargetError(f"`targets`: got {type(targets).__name__}; pass ids or names, or a list of these for each input.")
    return all(isinstance(item, (Integral, str, Contrast)) or getattr(item, "ndim", 1) == 0 for item in targets)


def _listed(targets: Any) -> Sequence[Any]:
    if isinstance(targets, (Tensor, np.ndarray)):
        return targets.tolist() if targets.ndim < 2 else list(targets)
    return [targets] if isinstance(targets, (Integral, str, Contrast)) else list(targets)


def _of_generation(splitter: ModelSplitter, task: Generation, inputs: Any, targets: Any, granularity: Any) -> list[Sample]:
    if targets is None:
        return [_realised(i, sample) for i, sample in enumerate(splitter.samples(inputs, granularity))]
    unit = read_unit(splitter.default_granularity if granularity is None else granularity)
    reader, encoder = UnitReader(splitter.tokenizer, unit), splitter.encoder
    writes = splitter if isinstance(splitter, SplitterForGeneration) else None
    if writes is None:
        encoder = InputReader(splitter.tokenizer, encoder.max_length, encoder.truncation, replies=True, ends=False)
    prompts = list(encodings(encoder, inputs))
    read = task.read_targets(targets, prompts, is_single(inputs))
    assert read is not None
    samples = []
    for i, (prompt, target) in enumerate(zip(prompts, read, strict=True)):
        whole = task.joined(prompt, target, REQUEST)
        own = task.targets(whole, target, REQUEST, lambda tokens: reader.units(whole, i))  # noqa: B023  # not called for tokens
        if any(readout.suffix is not None for readout in own.readouts):
            raise TargetError("`targets`: concepts are explained for texts, not for a contrast of two; subtract the results.")
        units = reader.units(whole, i, None if writes is None else writes.part_of(whole))
        samples.append(Sample(whole.tokens.text, whole.input_ids, units, whole.extras, own, whole.source, whole.prompt))
    return samples


def _realised(position: int, sample: Sample) -> Sample:
    """A sample explained for the tokens that follow its prompt; without a prompt, for its own, but the first."""
    ids = sample.input_ids
    if sample.source and sample.prompt == len(ids):
        raise InputError(f"`inputs[{position}]`: the model writes nothing after {sample.text[:60]!r}; pass `targets`.")
    start = 1 if sample.prompt is None or sample.prompt >= len(ids) else max(1, sample.prompt)
    if start >= len(ids):
        raise InputError(f"`inputs[{position}]`: {sample.text[:60]!r} has one token, and none that follows it; pass `targets`.")
    at = torch.arange(start - 1, len(ids) - 1)
    labels = tuple(map(str, ids[start:].tolist()))
    return sample.with_targets(Targets((Readout(ids[start:], at),), labels, (None,) * len(labels)))
