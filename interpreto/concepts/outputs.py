"""Outputs that concepts are explained for, or scored on: targets of the user, and predictions of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.splitters.generation import SplitterForGeneration
from interpreto.concepts.splitters.granularities import UnitReader, read_unit
from interpreto.errors import InputError, TargetError, TaskError
from interpreto.inputs.forms import is_single
from interpreto.inputs.samples import Readout, Sample, Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.streaming import encodings
from interpreto.inputs.targets import read_continuations
from interpreto.inputs.text import InputReader, TokenizedInput
from interpreto.models.lengths import longest_input
from interpreto.models.modes import read_mode
from interpreto.models.tasks import Classification, Generation, GenerationRequest, Task, resolve_task

REQUEST = GenerationRequest()  # a score for each token of a generation, whose own tokens explain those after them

NO_INPUT = TokenizedInput(Tokens("", (), (), (), ()), torch.zeros(0, dtype=torch.long), {})


def task_of(splitter: ModelSplitter, inference_mode: Any = None) -> Task:
    """Return the task of a split model. Of a classifier, ids in one dimension are targets of every input.

    Args:
        splitter: The split model.
        inference_mode: The score; see `InferenceModes`. None: the task's own.
    """
    model, tokenizer = splitter.model, splitter.tokenizer
    mode = None if inference_mode is None else read_mode(inference_mode)
    task = resolve_task(model, tokenizer, mode, None, longest_input(model, tokenizer))
    return Classification(task.mode, task.kind, task.id2label, shared=True) if isinstance(task, Classification) else task


def samples_with_targets(splitter: ModelSplitter, task: Task, inputs: Any, targets: Any, granularity: Any) -> list[Sample]:
    """Return each input as a sample with its units and its targets.

    Args:
        splitter: The split model.
        task: Its task.
        inputs: Texts and everything else that the splitter reads.
        targets: Of a classifier, ids or names that all inputs share, or a list of such lists, one for each input; None: every
            output, for which samples have no targets. Of a language model, what follows each input, a text or ids; None:
            what the splitter's model writes, else each token of the text from the second on.
        granularity: The unit of the explanation; None: the splitter's own.

    Raises:
        TaskError: it is an encoder-decoder that writes, and the splitter does not run its decoder.
        TargetError: the targets are not of these inputs.
    """
    single = is_single(inputs)
    inputs = inputs if single or not isinstance(inputs, Iterable) else list(inputs)
    if isinstance(task, Generation):
        return _of_generation(splitter, task, inputs, targets, granularity=granularity, single=single)
    return with_targets(task, splitter.samples(inputs, granularity), targets, single)


def windows_with_targets(
    splitter: ModelSplitter, task: Task, inputs: Any, targets: Any, *, granularity: Any, size: int
) -> Iterator[list[Sample]]:
    """Yield what `samples_with_targets` returns, some inputs at a time."""
    if is_single(inputs):
        yield samples_with_targets(splitter, task, inputs, targets, granularity)
        return
    items = list(inputs)
    rows: Any = None
    if targets is not None and isinstance(task, Generation):
        rows = read_continuations(targets, len(items))
    elif targets is not None:
        rows = _read(task, targets, items, False)
    for start in range(0, len(items), size):
        part = slice(start, start + size)
        if isinstance(task, Generation):
            own = None if rows is None else rows[part]
            yield _of_generation(splitter, task, items[part], own, granularity=granularity, single=False)
            continue
        samples = splitter.samples(items[part], granularity)
        yield samples if rows is None else [s.with_targets(own) for s, own in zip(samples, rows[part], strict=True)]


def with_targets(task: Task, samples: list[Sample], targets: Any, single: bool) -> list[Sample]:
    """Return samples with the targets of a classifier; as they are without targets."""
    if targets is None:
        return samples
    return [sample.with_targets(own) for sample, own in zip(samples, _read(task, targets, samples, single), strict=True)]


def _read(task: Task, targets: Any, inputs: Sequence[Any], single: bool) -> list[Targets]:
    """Return the targets of each input of a classifier; of the inputs only the number matters."""
    found = task.read_targets(targets, [NO_INPUT] * len(inputs), single)
    assert found is not None
    return found


def _of_generation(
    splitter: ModelSplitter, task: Generation, inputs: Any, targets: Any, *, granularity: Any, single: bool
) -> list[Sample]:
    writes = splitter if isinstance(splitter, SplitterForGeneration) else None
    if task.encodes and writes is None:
        raise TaskError(
            f"`splitter`: what {type(splitter.model).__name__} writes is read by a decoder of its own, which "
            f"{type(splitter).__name__} does not run; use SplitterForGeneration."
        )
    if targets is None:
        return [_realised(i, sample) for i, sample in enumerate(splitter.samples(inputs, granularity))]
    unit = read_unit(splitter.default_granularity if granularity is None else granularity)
    reader, encoder = UnitReader(splitter.tokenizer, unit), splitter.encoder
    if writes is None:
        encoder = InputReader(splitter.tokenizer, encoder.max_length, encoder.truncation, replies=True, ends=False)
    prompts = list(encodings(encoder, inputs))
    read = task.read_targets(targets, prompts, single)
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
    """Return a sample with the tokens after its prompt as targets; without a prompt, its own tokens but the first."""
    ids = sample.input_ids
    if sample.source and sample.prompt == len(ids):
        raise InputError(f"`inputs[{position}]`: the model writes nothing after {sample.text[:60]!r}; pass `targets`.")
    start = 1 if sample.prompt is None or sample.prompt >= len(ids) else max(1, sample.prompt)
    if start >= len(ids):
        raise InputError(f"`inputs[{position}]`: {sample.text[:60]!r} has one token, and none that follows it; pass `targets`.")
    at = torch.arange(start - 1, len(ids) - 1)
    labels = tuple(map(str, ids[start:].tolist()))
    return sample.with_targets(Targets((Readout(ids[start:], at),), labels, (None,) * len(labels)))


def single_targets(task: Task, targets: Any, inputs: Sequence[Any]) -> list[int | None]:
    """Return one target per input: a class, or the token after a text.

    Args:
        task: Of the model.
        targets: One for all, one for each, or None for the model's own output. Classes also by name.
        inputs: Whose targets they are; only their number matters.

    Raises:
        TargetError: an input has several targets, or there is not one for each.
    """
    if targets is None:
        return [None] * len(inputs)
    if isinstance(task, Classification):
        each = Classification(task.mode, task.kind, task.id2label)
        ids = [own.ids.tolist() for own in _read(each, targets, inputs, len(inputs) == 1)]
    else:
        rows = [targets] * len(inputs) if _is_one(targets) else list(targets)
        ids = [_ids(row) for row in read_continuations(rows, len(inputs), False)]
    for i, row in enumerate(ids):
        if len(row) != 1 or row[0] < 0:
            raise TargetError(f"`targets[{i}]`: got {len(row)} targets; pass one whole number for each input, or one for all.")
    return [row[0] for row in ids]


def _is_one(targets: Any) -> bool:
    return getattr(targets, "ndim", 1) == 0 or isinstance(targets, str) or not isinstance(targets, Iterable)


def _ids(row: Any) -> list[int]:
    if isinstance(row, list):
        return row
    raise TargetError(f"`targets`: got {row!r:.60}; pass the id of a token for each input, or one for all.")


def predicted_readout(logits: Float[Tensor, "*l v"], sample: Sample, target: int | None, generates: bool) -> Readout:
    """Return which outputs a text is scored on.

    A class: the target, or the one predicted. A language model: the target after the text's last token; without a
    target, what was generated after the prompt, or where nothing was, the token predicted after the last one. Another
    model with one row of logits per token: what it predicts at each.

    Args:
        logits: Of the text, ``(v,)`` or ``(l, v)``.
        sample: The text.
        target: Class or token of the vocabulary, if one is given.
        generates: True for a language model.
    """
    if target is not None and not 0 <= target < logits.shape[-1]:
        raise TargetError(
            f"`targets`: got {target}, and the model has {logits.shape[-1]} outputs; pass 0 to {logits.shape[-1] - 1}."
        )
    if logits.ndim == 1:
        return Readout(torch.tensor([int(logits.argmax()) if target is None else target]))
    last, start = len(sample) - 1 - sample.source, sample.prompt
    if generates and target is None and start is not None and start < len(sample):
        return Readout(sample.input_ids[start:], torch.arange(start - 1 - sample.source, last))
    if generates or target is not None:
        return Readout(torch.tensor([int(logits[last].argmax()) if target is None else target]), torch.tensor([last]))
    return Readout(logits[: last + 1].argmax(-1).cpu(), torch.arange(last + 1))


def next_token_readout(logits: Float[Tensor, "*l v"], sample: Sample, target: int | None, generates: bool) -> Readout:
    """Return which outputs a text's loss is of: a language model's next tokens; else as in `predicted_readout`."""
    if logits.ndim == 2 and generates:
        if target is not None:
            raise TargetError("`targets`: a language model's loss is of the texts' own next tokens; leave them out.")
        ids = sample.input_ids[sample.source :]
        return Readout(ids[1:], torch.arange(len(ids) - 1))
    return predicted_readout(logits, sample, target, generates)


def log_distributions(logits: Float[Tensor, "*l v"], readout: Readout) -> Float[Tensor, "k v"]:
    """Return log-probabilities of all outputs at each position that is read, in float64."""
    return _rows(logits, readout).log_softmax(-1)


def log_probabilities(logits: Float[Tensor, "*l v"], readout: Readout) -> Float[Tensor, " k"]:
    """Return log-probabilities of the outputs that are read."""
    return _columns(log_distributions(logits, readout), readout)


def probabilities(logits: Float[Tensor, "*l v"], readout: Readout, kind: str) -> Float[Tensor, " k"]:
    """Return probabilities of the outputs that are read.

    Args:
        logits: Of a text.
        readout: Which outputs are read.
        kind: ``"single-label"``: by softmax; ``"multi-label"``: by sigmoid; ``"regression"``: the outputs themselves.
    """
    if kind == "single-label":
        return log_probabilities(logits, readout).exp()
    values = _columns(_rows(logits, readout), readout)
    return values.sigmoid() if kind == "multi-label" else values


def _rows(logits: Float[Tensor, "*l v"], readout: Readout) -> Float[Tensor, "k v"]:
    rows = logits[None] if readout.positions is None else logits[readout.positions.to(logits.device)]
    return rows.double()


def _columns(rows: Float[Tensor, "k v"], readout: Readout) -> Float[Tensor, " k"]:
    return rows.gather(1, readout.ids.to(rows.device)[:, None])[:, 0]
