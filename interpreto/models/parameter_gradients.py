"""Gradients of the loss of single texts with respect to parameters, at the model's own weights or at those of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from interpreto.errors import FileError, ModelError, OptionError
from interpreto.models.head_reader import HeadReader
from interpreto.models.logits import read_logits
from interpreto.models.session import lock_of

Checkpoint = Mapping[str, Tensor] | str | PathLike[str]
"""Weights of a model: its ``state_dict``, a file of safetensors, or a folder with ``model.safetensors``."""


def read_checkpoint(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the weights of a checkpoint by the names of their parameters.

    Raises:
        FileError: There is no such file, or it cannot be read.
    """
    if isinstance(checkpoint, Mapping):
        return dict(checkpoint)
    from safetensors.torch import load_file  # noqa: PLC0415  # with torch

    path = Path(checkpoint).expanduser()
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise FileError(f"`checkpoints`: there is no file {str(file)!r}; save checkpoints as safetensors, in one file each.")
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise FileError(f"`checkpoints`: {str(file)!r} cannot be read ({error}).") from error


@contextmanager
def weights_of(model: nn.Module, checkpoint: Checkpoint) -> Iterator[None]:
    """Context manager in which the model has the weights of a checkpoint, for this thread alone; its own are restored.

    Raises:
        ModelError: The checkpoint lacks parameters of the model, or has others.
        FileError: There is no such file, or it cannot be read.
    """
    state = read_checkpoint(checkpoint)
    with lock_of(model):
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        try:
            try:
                model.load_state_dict(state)
            except RuntimeError as error:
                raise ModelError(f"`checkpoints`: one does not fit {type(model).__name__}: {error}") from error
            yield
        finally:
            model.load_state_dict(own)


def layer_parameters(model: nn.Module, layers: Sequence[str]) -> list[nn.Parameter]:
    """Return the parameters of modules, or single ones, by their names.

    Raises:
        OptionError: The model has nothing of that name, or no parameters in it.
    """
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    found: dict[int, nn.Parameter] = {}
    for name in layers:
        if name not in modules and name not in parameters:
            raise OptionError(f"`layers`: {type(model).__name__} has no module or parameter {name!r}.")
        own = [parameters[name]] if name in parameters else list(modules[name].parameters())
        if not own:
            raise OptionError(f"`layers`: {name!r} has no parameters.")
        found |= {id(parameter): parameter for parameter in own}
    if not found:
        raise OptionError("`layers`: got none; pass names of modules or parameters, as ['classifier'].")
    return list(found.values())


def loss_gradients(
    reader: HeadReader, texts: Sequence[Any], labels: Int[Tensor, " n"], layers: Sequence[str]
) -> Iterator[Float[Tensor, " q"]]:
    """Yield the gradient of each text's cross-entropy with respect to the parameters of layers, in float32 on the CPU.

    Texts are run one by one in evaluation mode, so that no gradient depends on other texts. No parameter's own gradient is
    touched, and parameters that are frozen are differentiated all the same.
    """
    recorder = reader.recorder
    parameters = layer_parameters(recorder.model, layers)
    for row, label in zip(reader.rows(texts), labels.tolist(), strict=True):
        frozen = [parameter for parameter in parameters if not parameter.requires_grad]
        with recorder.session([row]), torch.enable_grad():
            for parameter in frozen:
                parameter.requires_grad_(True)
            try:
                logits = read_logits(recorder.model(**recorder.inputs([row]))).float()
                loss = cross_entropy(logits, torch.tensor([label], device=logits.device))
                found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            finally:
                for parameter in frozen:
                    parameter.requires_grad_(False)
        yield torch.cat([gradient.detach().flatten().float().cpu() for gradient in found])
