"""Write and read the state of a training, in one safetensors file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from interpreto.concepts.concept_model import ForeignModel, restore, state_of
from interpreto.concepts.saes.base import Autoencoder
from interpreto.concepts.saes.record import Progress, read_history
from interpreto.errors import FileError, OptionError
from interpreto.storage import read_file, write_file

FORMAT = "interpreto training 1"
SCALED_BY = "ordinary rows"  # interpreto 0.1 scaled activations by all rows, outliers too, and wrote no such line
SAME = 1e-4  # of the typical norm of a row: how far center and scale of the same activations may be apart


def write_checkpoint(
    path: Path, facts: dict[str, Any], model: Autoencoder, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the whole state; an existing file is replaced only once the new one is complete."""
    tensors = {f"model.{name}": tensor for name, tensor in state_of(model).items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"optimizer.{name}.{key}": value for key, value in optimizer.state[parameter].items()}
    tensors |= {"sums": progress.sums, "fired": progress.fired}
    history = [asdict(record) for record in progress.history]
    header = {"facts": facts, "step": progress.step, "history": history, "scaled_by": SCALED_BY}
    write_file(path, FORMAT, tensors, header)


def read_checkpoint(
    path: Path, facts: dict[str, Any], model: Autoencoder, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Restore model, optimizer and progress from a file.

    Raises:
        FileError: the file holds something else.
        OptionError: it is of another training.
    """
    tensors, header = read_file(path, FORMAT, "a training's checkpoint", "checkpoint")
    known = header.get("facts", {})
    for name in {*facts, *known}:
        if facts.get(name) != known.get(name):
            theirs, ours = (f"{name}={those[name]!r}" if name in those else f"no {name}" for those in (known, facts))
            raise OptionError(
                f"`checkpoint`: {str(path)!r} is of a training with {theirs}, and this one has {ours}; train as that one, or "
                "pass another file."
            )
    try:
        _check_data(path, model, tensors, header.get("scaled_by"))
        device = progress.sums.device
        state = {k.removeprefix("model."): v.to(device) for k, v in tensors.items() if k.startswith("model.")}
        _check_state(model, state)
        restore(model, state)
        for name, parameter in model.named_parameters():
            start = f"optimizer.{name}."
            state = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            fused = optimizer.param_groups[0].get("fused")  # such a one counts its steps where it computes
            optimizer.state[parameter] = {k: v if k == "step" and not fused else v.to(device) for k, v in state.items()}
        progress.sums, progress.fired = tensors["sums"].to(device), tensors["fired"].to(device)
        progress.step = int(header["step"])
        progress.history.extend(read_history(header["history"]))
    except (OptionError, FileError):
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise FileError(f"`checkpoint`: {str(path)!r} holds an incomplete checkpoint ({error}).") from error


def _check_state(model: Autoencoder, state: dict[str, torch.Tensor]) -> None:
    """Raise a `ValueError` unless the tensors have the names, shapes and dtypes of the model's, and are finite.

    Foreign models may keep further tensors while they are trained, such as running means.
    """
    own = state_of(model)
    odd = {*own} - {*state} if isinstance(model, ForeignModel) else {*own} ^ {*state}
    if odd:
        raise ValueError(f"too many or too few tensors: {', '.join(sorted(odd))}")
    for name, tensor in state.items():
        if name in own and (tensor.shape != own[name].shape or tensor.dtype != own[name].dtype):
            raise ValueError(f"{name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"NaN or infinity in {name!r}")


def _check_data(path: Path, model: Autoencoder, tensors: dict[str, torch.Tensor], way: object) -> None:
    """Raise an error unless center and scale of the activations are those that the training began with.

    Args:
        path: The file.
        model: The autoencoder, prepared for the activations.
        tensors: Of the file.
        way: How the file says that activations were scaled; None: it does not.
    """
    mean, scale = (tensors[f"model.{name}"].to(model.mean) for name in ("mean", "scale"))
    far = torch.maximum((mean - model.mean).abs().max(), (scale - model.scale).abs().max())
    if not float(far) <= SAME * float(model.scale):
        if way is None:
            raise FileError(
                f"`checkpoint`: {str(path)!r} was written by interpreto 0.1, which scaled activations by all rows, outliers "
                "too; finish that training with interpreto 0.1, or pass another file to begin a new one."
            )
        raise OptionError(
            f"`checkpoint`: {str(path)!r} is of a training on other activations; pass those, or another file for these."
        )
