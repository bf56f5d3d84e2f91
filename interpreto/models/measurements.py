"""Properties of a model that its class does not tell, each measured once per model, on the first input that it matters for."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.models.batch import Batch
from interpreto.models.domains import AnyReplacement
from interpreto.models.forward import Forward
from interpreto.models.padding import agree
from interpreto.models.wrappers import model_name

FEW = 8  # decoder tokens that are enough to tell whether a model looks ahead

_passed: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


def check_model(
    forward: Forward, samples: Iterable[Sample], replacement: AnyReplacement | None, at_embeddings: bool = True
) -> None:
    """Raise where the model is not what explaining these samples takes for granted.

    Args:
        forward: The model, ready to be run and to be padded.
        samples: What is explained.
        replacement: What masked units become; None: embeddings are moved.
        at_embeddings: Embeddings are moved; False: activations at a hook point are.

    Raises:
        ModelError, OptionError: as the checks below.
    """
    for sample in samples:
        if sample.targets is not None and any(r.causal and r.positions is not None for r in sample.targets.readouts):
            check_causal(forward, sample)
        if replacement is not None and replacement.name == "attention":
            check_hides(forward, sample)
        own_table = (
            forward.echoes and forward.embeddings.echo is None
        )  # of a decoder, in which gradients leave the text as it is
        if (at_embeddings and not own_table) if replacement is None else replacement.vector is not None:
            check_embeds(forward, sample, "gradients" if replacement is None else f"`replacement={replacement.name!r}`")


def check_causal(forward: Forward, sample: Sample) -> None:
    """Raise unless the logits before the last token stay as they are without it.

    Raises:
        ModelError: for language models that read what follows (XLNet, a BERT that is no decoder).
    """
    end = min(len(sample), sample.source + FEW) if sample.picture is None else len(sample)  # cells are not cut
    if _has_passed(forward, "causal") or end - sample.source < 2:
        return
    if sample.picture is not None and sample.prompt in (None, end):
        return  # of some models (PaliGemma), only what is written is read from left to right
    positions = torch.arange(max(sample.source, end - FEW), end - 1)
    with torch.no_grad():
        whole, begun = (forward(_row(_twice(sample, stop, positions), 0)) for stop in (end, end - 1))
    if not _same(forward, whole, begun):
        raise ModelError(
            f"`model`: {_name(forward)} reads the tokens that follow, as its logits move with a later one: they do not "
            "predict the next token. Load it as a causal language model (config.is_decoder=True), or explain another one."
        )
    _pass(forward, "causal")


def check_hides(forward: Forward, sample: Sample) -> None:
    """Raise unless a token that attention must not see can change without any effect: for ``replacement="attention"``.

    Raises:
        OptionError: for models that read no attention mask (FNet, RWKV), or read past it (recurrent layers).
    """
    if not forward.takes("attention_mask"):
        raise OptionError(
            f"`replacement`: 'attention' hides nothing from {_name(forward)}, which takes no attention mask; use 'drop', "
            "'mean' or a token."
        )
    place = _hideable(sample)
    if _has_passed(forward, "hides") or place is None:
        return
    batch = _twice(sample, len(sample), _last(sample))
    batch.visible[:, place] = False
    batch.ids[1, place] = _other_id(forward, sample, place)
    if not _alike(forward, batch):
        raise OptionError(
            f"`replacement`: 'attention' does not hide tokens from {_name(forward)}: its outputs move with a hidden token. "
            "Use 'drop', 'mean' or a token."
        )
    _pass(forward, "hides")


def check_embeds(forward: Forward, sample: Sample, needed_by: str) -> None:
    """Raise unless ids can change without any effect where all embeddings are given.

    Args:
        forward: The model, ready to be run and to be padded.
        sample: Any input with two different tokens in its units.
        needed_by: What moves embeddings, for the error.

    Raises:
        ModelError: for models that look ids up a second time (Gemma 3n's embeddings per layer).
    """
    if _has_passed(forward, "embeds") or not bool((free := _changeable(forward, sample)).any()):
        return
    batch = _twice(sample, len(sample), _last(sample))
    batch.ids[1, free] = batch.ids[1, free].roll(1)
    if not _alike(forward, batch, forward.embeddings.embed(sample.input_ids, sample.source)[None]):
        raise ModelError(
            f"`model`: {_name(forward)} looks token ids up a second time, next to its embedding layer, so {needed_by} would "
            "leave the tokens readable. Use a mask method with a token (an id, 'mask', 'pad', 'unk'), 'drop' or 'attention' "
            "as `replacement`."
        )
    _pass(forward, "embeds")


def _twice(sample: Sample, end: int, positions: Int[Tensor, " k"] | None) -> Batch:
    """Return the first tokens of a sample as two equal rows, of which the second may be changed."""
    ids = sample.input_ids[:end].repeat(2, 1)
    return Batch(
        ids=ids,
        lengths=torch.full((2,), end),
        visible=torch.ones_like(ids).bool(),
        extras={name: value[:end].expand(2, *value[:end].shape) for name, value in sample.inputs.items()},
        positions=None if positions is None else positions.expand(2, -1),
        sources=torch.full((2,), sample.source) if sample.source else None,
    )


def _alike(forward: Forward, batch: Batch, embeddings: Float[Tensor, "1 l d"] | None = None) -> bool:
    """Return True if the model returns the same for both rows, up to rounding; each is run by itself."""
    found = []
    for row in (_row(batch, i) for i in range(2)):
        with torch.no_grad(), nullcontext() if embeddings is None else forward.given(row, embeddings):
            found.append(forward(row))
    return _same(forward, found[0], found[1])


def _same(forward: Forward, first: Tensor, second: Tensor) -> bool:
    """Return True if outputs agree where they are finite; classes may be shut off, and what is NaN is refused later."""
    return agree(first.nan_to_num(0.0, 0.0, 0.0), second.nan_to_num(0.0, 0.0, 0.0), forward.low_precision)


def _row(batch: Batch, i: int) -> Batch:
    return replace(
        batch,
        ids=batch.ids[i : i + 1],
        lengths=batch.lengths[i : i + 1],
        visible=batch.visible[i : i + 1],
        extras={name: value[i : i + 1] for name, value in batch.extras.items()},
        positions=None if batch.positions is None else batch.positions[i : i + 1],
        sources=None if batch.sources is None else batch.sources[i : i + 1],
    )


def _last(sample: Sample) -> Int[Tensor, " 1"] | None:
    """Return the last position, where outputs are read per token; None where there is one row of outputs per text."""
    per_token = sample.targets is not None and any(readout.positions is not None for readout in sample.targets.readouts)
    return torch.tensor([len(sample) - 1]) if per_token else None


def _hideable(sample: Sample) -> int | None:
    """Return a token of a unit that is neither the first nor the last of its stack."""
    end = sample.source or len(sample)
    places = [i for i in sample.units.free.nonzero()[:, 0].tolist() if 0 < i < end - 1]
    return places[0] if places else None


def _changeable(forward: Forward, sample: Sample) -> Bool[Tensor, " l"]:
    """Return the tokens of units; none if they are all alike, and a change of places would change nothing.

    Special tokens stay: some classifiers (BART) look for the end of the text by its id.
    """
    free = sample.units.free & (torch.arange(len(sample)) < (sample.source or len(sample)))
    free &= ~torch.isin(sample.input_ids, torch.tensor(sorted(_special(forward))))
    return free if len(sample.input_ids[free].unique()) > 1 else torch.zeros_like(free)


def _other_id(forward: Forward, sample: Sample, place: int) -> int:
    """Return an ordinary id, another one than the token's at ``place``: of the sample, where it has one."""
    own, avoided = int(sample.input_ids[place]), {forward.pad_id, *_special(forward)}
    near = (i for i in (*sample.input_ids.tolist(), *range(own - 1, -1, -1), own + 1) if i != own and i not in avoided)
    return next(near, own + 1)


def _special(forward: Forward) -> set[int]:
    config = getattr(forward.model, "config", None)
    named = (getattr(config, f"{name}_token_id", None) for name in ("bos", "eos", "cls", "sep", "pad"))
    return forward.end_ids | {value for value in named if isinstance(value, int)}


def _name(forward: Forward) -> str:
    return model_name(forward.model)


def _has_passed(forward: Forward, name: str) -> bool:
    return name in _passed.get(forward.model, ())


def _pass(forward: Forward, name: str) -> None:
    _passed.setdefault(forward.model, set()).add(name)
