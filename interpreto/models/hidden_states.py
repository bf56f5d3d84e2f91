"""The activations at a hook point, in the place of embeddings: what gradient methods explain there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.errors import InterpretoError, ModelError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.batch import Batch
from interpreto.models.embeddings import Baseline, EmbeddingSpace
from interpreto.models.forward import Forward
from interpreto.models.hook_points import HookPoint, find_hook_points, refuse_decoders
from interpreto.models.interventions import intercepted
from interpreto.models.padding import streams


def find_hook_point(model: nn.Module, at: object) -> HookPoint:
    """Return the hook point that a method's ``at`` names.

    Args:
        model: The model.
        at: A module's path, or a block's number.

    Raises:
        OptionError, ModelError: there is no such module, or it is in a decoder that reads other tokens than the text's.
    """
    if isinstance(at, (list, tuple, set)):
        raise OptionError(f"`at`: got {at!r}; pass one module's path, or one block's number.")
    try:
        (point,) = find_hook_points(model, at)
        if not getattr(model, "can_generate", bool)():
            refuse_decoders(model, [point])
    except (OptionError, ModelError) as error:
        raise _named(error) from None
    return point


def _named(error: InterpretoError) -> InterpretoError:
    """Return an error about split points as one about the option ``at``."""
    return type(error)(str(error).replace("`split_points`", "`at`"))


class HiddenStates(EmbeddingSpace):
    """Read the activations of samples at a hook point, and give the model others there.

    Names of baselines are those of embeddings: the model is run up to the hook point on a text whose units have that
    embedding. Numbers and tensors are activations.

    Args:
        forward: Runs the model.
        tokenizer: Its tokenizer.
        point: The hook point.
    """

    def __init__(self, forward: Forward, tokenizer: Any, point: HookPoint) -> None:
        super().__init__(forward, tokenizer)
        self.point = point
        own = Forward(forward.model, forward.wanted_device, outputs=forward.outputs)
        self._recorder = ActivationRecorder(forward.model, tokenizer, [point], None, "hooks", forward=own)

    def embed(self, sample: Sample) -> Float[Tensor, "l d"]:
        """Return the activations of a sample's tokens."""
        return self._read(sample, None)

    def rows(self, ids: Int[Tensor, " l"], sample: Sample) -> Float[Tensor, "l d"]:
        """Return the activations of other ids in the places of a sample's tokens."""
        return self._read(replace(sample, input_ids=ids), None)

    def baseline(self, value: Baseline, embeddings: Float[Tensor, "l d"], sample: Sample | None = None) -> Float[Tensor, "l d"]:
        """Return the baseline that an option asks for, for every token."""
        if not isinstance(value, str):
            return super().baseline(value, embeddings)
        if sample is None:
            raise OptionError(f"`baseline`: {value!r} at a hook point depends on the text; pass the sample too.")
        own = super().embed(sample)
        free = sample.units.free.to(own.device)[:, None]
        return self._read(sample, torch.where(free, self.vector(value).to(own), own))

    def _read(self, sample: Sample, embeddings: Float[Tensor, "l d"] | None) -> Float[Tensor, "l d"]:
        """Return the activations of a sample, whose embeddings may be given."""
        row, recorder = SplitInput.of(sample), self._recorder
        try:
            with torch.no_grad(), recorder.session([row]):
                recorder.layouts.of(self.point, [row])
                with nullcontext() if embeddings is None else self._embedded(sample, embeddings):
                    (hidden,), _ = recorder.hidden([row])
        except (ModelError, OptionError) as error:
            raise _named(error) from None
        if hidden.ndim != 3:
            raise ModelError(f"`at`: {self.point.name!r} gives one vector per text, and none per token; choose another module.")
        found = hidden[0, : len(row)]
        return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found.clone()

    def _embedded(self, sample: Sample, embeddings: Float[Tensor, "l d"]) -> Any:
        forward = self._recorder.forward
        batch = Batch(
            ids=sample.input_ids[None],
            lengths=torch.tensor([len(sample)]),
            visible=torch.ones(1, len(sample), dtype=torch.bool),
            extras={},
            sources=torch.tensor([sample.source]) if sample.source else None,
        )
        return forward.given(batch, embeddings[None])

    @contextmanager
    def given(self, batch: Batch, hidden: Float[Tensor, "b l d"], lengths: Int[Tensor, " b"] | None = None) -> Iterator[None]:
        """Context manager in which the model goes on from other activations at the hook point.

        Args:
            batch: The rows, which the model reads up to the hook point.
            hidden: Activations of their tokens.
            lengths: Number of tokens of each row that are given; the others keep their own. None: all.
        """
        count = batch.lengths if lengths is None else lengths
        inside = torch.arange(hidden.shape[1]) < count[:, None]
        if batch.sources is not None:
            part = streams(batch.sources, batch.lengths)[1 if self.point.stack == "decoder" else 0]
            hidden, inside = part(hidden, 0), part(inside, False)
        layout = self._recorder.layouts.known(self.point)

        def change(value: Tensor) -> Tensor:
            own = layout.read(value, len(hidden)).detach()
            new, known = (_widened(part.to(own.device), own.shape[1]) for part in (hidden, inside[..., None]))
            return layout.write(torch.where(known, new.to(own), own))

        with intercepted(self.point, change):
            yield


def _widened(value: Tensor, length: int) -> Tensor:
    """Return a tensor ``(b, l, d)`` with zeros after its tokens, up to a length."""
    return torch.nn.functional.pad(value[:, :length], (0, 0, 0, max(0, length - value.shape[1])))
