"""Directions of the hidden states as the head of a model reads them, found by running it, whatever its parts are called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.hook_points import HookPoint
from interpreto.models.interventions import frozen
from interpreto.models.layers import Layers

PROBES, LARGE, SOURCE = 12, 1e3, 3  # random hidden states, their size, and the tokens of an encoder where there is one
TOLERANCE, LOW_TOLERANCE = 2e-3, 5e-2
CHUNK = 256  # unit vectors that the head reads at once


@dataclass(frozen=True, eq=False)
class Readout:
    """The linear part of what lies between the last block and the logits: a gain per dimension, then the head.

    A normalization divides by the size of the hidden state, which no direction has; so scores of directions are in logits
    per unit of the *normalized* hidden state.

    Attributes:
        gain: Of the final normalization ``(d,)``; ones where there is none.
        offset: What the normalization adds ``(d,)``.
        centers: It subtracts the mean of each row, as layer normalization does.
        head: Turns what it reads into logits.
        layers: The model.
    """

    gain: Float[Tensor, " d"]
    offset: Float[Tensor, " d"]
    centers: bool
    head: nn.Module
    layers: Layers

    @torch.no_grad()
    def scores(self, directions: Float[Tensor, "c d"]) -> Float[Tensor, "c v"]:
        """Compute what one unit of each direction adds to each logit, on the CPU in float32.

        Raises:
            ModelError: the directions are not as wide as the hidden states.
        """
        if directions.ndim != 2 or directions.shape[1] != len(self.gain):
            raise ModelError(
                f"`directions`: got shape {tuple(directions.shape)}, and the hidden states of this model have {len(self.gain)} "
                "dimensions; only directions of the residual stream can be read by the head."
            )
        with self._running() as read:
            zero = read(torch.zeros(1, len(self.gain)))
            return torch.cat([(read(self.seen(part)) - zero).float().cpu() for part in directions.split(CHUNK)])

    def seen(self, directions: Float[Tensor, "c d"]) -> Float[Tensor, "c d"]:
        """Return directions as the head is given them: centered where the normalization centers, times its gain."""
        given = directions.detach().float().cpu()
        return (given - given.mean(1, keepdim=True) if self.centers else given) * self.gain

    @torch.no_grad()
    def norms(self) -> Float[Tensor, " v"]:
        """Compute the length of each output's row of the head times the gain, after the mean row is subtracted."""
        squares: Tensor | float = 0.0
        with self._running() as read:
            zero = read(torch.zeros(1, len(self.gain)))
            for part in self.seen(torch.eye(len(self.gain))).split(CHUNK):
                rows = (read(part) - zero).float()
                squares = squares + (rows - rows.mean(1, keepdim=True)).square().sum(0)
        assert isinstance(squares, Tensor)
        return squares.sqrt().cpu()

    @torch.no_grad()
    def scaled(self, row: SplitInput, stream: Float[Tensor, "l d"]) -> tuple[Float[Tensor, " l"], Float[Tensor, "l d"]]:
        """Return by what the normalization multiplies each hidden state after the last block, and what the head is given.

        Args:
            row: A text.
            stream: Its hidden states.
        """
        given = at_head(self.layers, self.head, stream, row)
        assert given is not None
        own, change = self.seen(stream), given.float() - self.offset
        return (change * own).sum(1) / own.square().sum(1).clamp(min=1e-30), given.float()

    @torch.no_grad()
    def logits(self, given: Float[Tensor, "l d"]) -> Float[Tensor, "l v"]:
        """Return the logits of what the head is given, before anything that the model does to them (soft caps, scales)."""
        with self._running() as read:
            return read(given).float().cpu()

    @torch.no_grad()
    def rows(self, ids: Int[Tensor, " l"]) -> Float[Tensor, "l d"]:
        """Return the weights by which the head reads these outputs, by differentiating it."""
        with self._running() as read, torch.enable_grad():
            zero = torch.zeros(len(ids), len(self.gain), requires_grad=True)
            (found,) = torch.autograd.grad(read(zero).gather(1, ids.to(self._device)[:, None]).sum(), zero)
        return found.float().cpu()

    @cached_property
    def head_bias(self) -> Float[Tensor, " v"]:
        """Return the logits of zero."""
        return self.logits(torch.zeros(1, len(self.gain)))[0]

    @property
    def _device(self) -> torch.device:
        return next(self.head.parameters()).device

    @contextmanager
    def _running(self) -> Iterator[Any]:
        """Context manager that yields the head as a function of rows on the CPU."""
        like = next(self.head.parameters())
        dtype = like.dtype if like.is_floating_point() else torch.float32
        with self.layers.recorder.forward.session(), frozen(self.head):
            yield lambda rows: self.head(rows.to(like.device, dtype))


def find_readout(layers: Layers) -> Readout:
    """Return how the head reads the hidden states, from what it is given for random ones.

    Raises:
        ModelError: the model has no output layer of its own, or something else than a normalization comes before it.
    """
    model = layers.recorder.model
    head: Any = getattr(model, "get_output_embeddings", lambda: None)()
    name = type(model).__name__
    if not isinstance(head, nn.Module):
        raise ModelError(
            f"`model`: {name} has no output layer over a vocabulary, so that directions cannot be read in it; use TokenChange, "
            "which runs the model."
        )
    d, dtype = _width(layers), next(model.parameters()).dtype
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(PROBES, d, generator=generator)
    unit = plain - plain.mean(1, keepdim=True)
    unit = unit / unit.square().mean(1, keepdim=True).sqrt()
    trial = 3.0 * torch.randn(PROBES, d, generator=generator) + 1.0
    given = at_head(layers, head, torch.cat([LARGE * unit, -LARGE * unit, LARGE * trial]))
    if given is None or given.shape[1] != d:
        raise _other(name)
    more, less, seen = given.float().split(PROBES)
    offset = ((more + less) / 2).mean(0)
    gain = ((more - less) / 2 * unit).sum(0) / unit.square().sum(0)
    tolerance = TOLERANCE if dtype in (torch.float32, torch.float64) else LOW_TOLERANCE
    for centers, scales in ((False, True), (True, True), (False, False)):
        rows = trial - trial.mean(1, keepdim=True) if centers else trial
        size = rows.square().mean(1, keepdim=True).sqrt() if scales else 1.0
        error = (gain * rows / size + offset - seen).abs().max()
        if float(error) <= tolerance * float(seen.abs().max()):
            return Readout(gain if scales else gain / LARGE, offset, centers, head, layers)
    raise _other(name)


def final_norm_gain(model: nn.Module, tokenizer: Any) -> Float[Tensor, " d"]:
    """Return the gain of the normalization between the last block and the head ``(d,)``; ones where there is none.

    It is found by running the model on random hidden states, not by the names of modules: Gemma's gain of ``1 + weight`` and
    the factor of T5's tied embeddings are in it.

    Raises:
        ModelError: something else than a normalization lies there, as in BERT's head.
    """
    return find_readout(Layers(model, tokenizer)).gain


def _other(name: str) -> ModelError:
    return ModelError(
        f"`model`: between the last block and the output layer of {name} lies more than a normalization, so that a direction "
        "has no fixed reading there; use TokenChange, which runs the model."
    )


def _width(layers: Layers) -> int:
    row = _filler(layers, 3)
    with layers.recorder.session([row]):
        return layers.recorder.hidden_at(layers.last, [row]).shape[-1]


@torch.no_grad()
def at_head(
    layers: Layers, head: nn.Module, hidden: Float[Tensor, "n d"], row: SplitInput | None = None
) -> Float[Tensor, "n e"] | None:
    """Return what the head is given for hidden states after the last block; None where it is not given one per token.

    Args:
        layers: The model.
        head: Its output layer.
        hidden: One for each token.
        row: The text that they are of; None: some text, for a head that reads each token by itself.
    """
    row = _filler(layers, len(hidden)) if row is None else row
    point = HookPoint("output layer (input)", head, "input", layers.last.stack)
    model = next(layers.recorder.model.parameters())
    whole = torch.zeros(1, len(row), hidden.shape[1])
    whole[0, row.source :] = hidden
    _, (found,) = layers.recorder.run_on([row], layers.last, whole.to(model.device, model.dtype), [point])
    return found[0, row.source :].cpu() if found.ndim == 3 else None


def _filler(layers: Layers, length: int) -> SplitInput:
    """Return a row of a number of tokens; of an encoder-decoder, of its decoder."""
    source = SOURCE if layers.last.stack == "decoder" else 0
    ids = torch.zeros(length + source, dtype=torch.long)
    return SplitInput(ids, torch.full_like(ids, -1), 0, {}, source)
