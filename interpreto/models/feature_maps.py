"""Feature maps of image models: what a layer returns, laid out over the image, and the gradients of scores in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.models.attention_pass import outermost_blocks
from interpreto.models.images import MOST_EXTRA, ImageModel
from interpreto.models.logits import promoted
from interpreto.models.rows import RowRunner, plain_rows
from interpreto.models.scorer import finite, mixed
from interpreto.models.watching import parameters_frozen

Aim = Callable[[Sample, Float[Tensor, "1 k"]], tuple[Sample, Float[Tensor, "1 t"]]]
"""Takes a sample and the outputs that were read for it to the sample with its targets, and their scores."""


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """Maps of a layer for one image.

    Attributes:
        sample: With its targets.
        scores: Scores of the image.
        maps: A map per channel.
        gradients: Gradients of the scores in the maps.
        without: Scores where the layer returns zeros in place of the maps; None: they were not asked for.
    """

    sample: Sample
    scores: Float[Tensor, " t"]
    maps: Float[Tensor, "c h w"]
    gradients: Float[Tensor, "t c h w"]
    without: Float[Tensor, " t"] | None = None


class FeatureReader:
    """Reads feature maps.

    Args:
        runner: Runs an `ImageModel`.
        layer: Name of a module of the user's model, or the module; None: the last one with a map that the scores depend on.
        aim: Finds the targets of samples that have none.
        without: Read the scores without the maps too, by a pass of their own.

    Raises:
        OptionError: the model has no such layer.
    """

    def __init__(self, runner: RowRunner, layer: str | nn.Module | None, aim: Aim, *, without: bool = False) -> None:
        model = runner.forward.model
        assert isinstance(model, ImageModel)
        self.runner, self.model, self.aim, self.without = runner, model, aim, without
        self.layer = None if layer is None else find_layer(model.explained, layer)

    def read(self, sample: Sample, asked: Sample) -> FeatureMaps:
        """Return the feature maps of an image.

        Args:
            sample: The image, with its targets if it has any.
            asked: The image as it is run, which may lack targets.

        Raises:
            ModelError: there are none, or the scores do not depend on them.
        """
        with self.runner.padding([sample]):
            for layer in self._candidates(asked) if self.layer is None else [self.layer]:
                found = self._at(layer, sample, asked)
                if found is not None and bool(found.gradients.abs().sum() > 0):
                    return found
        where = "any of its layers" if self.layer is None else f"the layer {_name(self.model.explained, self.layer)!r}"
        raise ModelError(
            f"`layer`: no score of {type(self.model.explained).__name__} depends on maps over the image in {where}; pass the "
            "name of a layer that returns (batch, channels, height, width), or tokens of patches with class tokens before them."
        )

    def _at(self, layer: nn.Module, sample: Sample, asked: Sample) -> FeatureMaps | None:
        """Return the maps of a layer; None if what it returns is no map."""
        kept: list[Tensor] = []
        with parameters_frozen(self.model), torch.enable_grad(), _output_kept(layer, kept):
            aimed, scores = self._scores(sample, asked)
        if not kept or (size := grid_of(kept[-1], sample)) is None:
            return None
        output = kept[-1]
        gradients = []
        for k in range(len(scores)):
            (own,) = torch.autograd.grad(scores[k], output, retain_graph=True, allow_unused=True)
            gradients.append(torch.zeros_like(output) if own is None else own)
        without = None
        if self.without:
            with torch.no_grad(), _output_zeroed(layer):
                without = self._scores(aimed, aimed)[1].detach().cpu()
        laid = [laid_out(each.detach(), size)[0].float().cpu() for each in (output, *gradients)]
        return FeatureMaps(aimed, scores.detach().cpu(), laid[0], torch.stack(laid[1:]), without)

    def _scores(self, sample: Sample, asked: Sample) -> tuple[Sample, Float[Tensor, " t"]]:
        """Return an image with its targets, and their scores."""
        runner, readout = self.runner, self.runner.readouts(asked)[0]
        outputs = runner.read(
            runner.forward(runner.batch(plain_rows(asked, 1, readout), [0])), None if readout is None else readout.ids[None]
        )
        runner.on_pass()
        if readout is not None:
            return sample, promoted(finite(mixed(outputs, readout), sample)[0])
        sample, scores = self.aim(sample, finite(outputs, sample))
        return sample, promoted(scores[0])

    def _candidates(self, sample: Sample) -> list[nn.Module]:
        """Return layers whose output is a map: the last that returned one, then the blocks before it, the last first."""
        blocks = set(map(id, outermost_blocks(self.model.explained).values()))
        seen: list[tuple[nn.Module, bool]] = []

        def see(module: nn.Module, _inputs: Any, output: Any) -> None:
            value = first_tensor(output)
            if value is not None and grid_of(value, sample) is not None:
                seen.append((module, value.ndim == 4))

        handles = [module.register_forward_hook(see) for module in self.model.explained.modules()]
        try:
            with torch.no_grad():
                self._scores(sample, sample)
        finally:
            for handle in handles:
                handle.remove()
        if not seen:
            return []
        if seen[-1][1]:
            return [seen[-1][0]]
        found = [module for module, _ in reversed(seen) if id(module) in blocks]
        return list(dict.fromkeys([seen[-1][0], *found]))


def find_layer(model: nn.Module, layer: str | nn.Module) -> nn.Module:
    """Return a layer of a model, given itself or its name.

    Raises:
        OptionError: there is no such layer; the message lists the outermost ones.
    """
    named = dict(model.named_modules())
    if isinstance(layer, nn.Module) and any(layer is module for module in named.values()):
        return layer
    if isinstance(layer, str) and layer in named:
        return named[layer]
    some = ", ".join(repr(name) for name in list(outermost_blocks(model))[:4] or [n for n in named if n][:4])
    got = repr(layer) if isinstance(layer, str) else type(layer).__name__
    raise OptionError(
        f"`layer`: {type(model).__name__} has no layer {got}; pass the name of one of its modules, such as {some}."
    )


def _name(model: nn.Module, layer: nn.Module) -> str:
    return next((name for name, module in model.named_modules() if module is layer), type(layer).__name__)


def first_tensor(output: Any) -> Tensor | None:
    """Return the tensor that a module returned, alone or first of several."""
    value = output[0] if isinstance(output, (tuple, list)) and output else output
    return value if isinstance(value, Tensor) and value.is_floating_point() else None


def grid_of(output: Tensor, sample: Sample) -> tuple[int, int] | None:
    """Return the height and the width of the maps that a layer returned for an image; None: there are none.

    Of tokens ``(1, q, d)``: halves of the image's sides that give as many tokens as there are, but for class tokens.
    """
    assert sample.picture is not None
    h, w = sample.picture.pixels.shape[1:]
    if output.ndim == 4 and output.shape[2] * output.shape[3] > 1 and output.shape[2] <= h and output.shape[3] <= w:
        return int(output.shape[2]), int(output.shape[3])
    if output.ndim != 3:
        return None
    sides = ((h // side, w // side) for side in range(1, min(h, w)))
    fitting = [(m, n) for m, n in sides if 0 <= output.shape[1] - m * n <= min(MOST_EXTRA, m * n)]
    return min(fitting, key=lambda size: output.shape[1] - size[0] * size[1], default=None)


def laid_out(output: Tensor, size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Return what a layer returned as maps, without class tokens."""
    if output.ndim == 4:
        return output
    tokens = output[:, output.shape[1] - size[0] * size[1] :]
    return tokens.transpose(1, 2).unflatten(2, size)


@contextmanager
def _output_kept(layer: nn.Module, kept: list[Tensor]) -> Iterator[None]:
    """Context manager in which a graph begins at what a layer returns, which is kept."""

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        value = first_tensor(output)
        if value is None:
            return None
        own = value.detach().requires_grad_()
        kept.append(own)
        given = own * 1  # a layer that writes over its input would write over the leaf
        return (given, *output[1:]) if isinstance(output, (tuple, list)) else given

    with _hooked(layer, keep):
        yield


@contextmanager
def _output_zeroed(layer: nn.Module) -> Iterator[None]:
    def zero(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        value = first_tensor(output)
        if value is None:
            return None
        return (torch.zeros_like(value), *output[1:]) if isinstance(output, (tuple, list)) else torch.zeros_like(value)

    with _hooked(layer, zero):
        yield


@contextmanager
def _hooked(layer: nn.Module, hook: Any) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
