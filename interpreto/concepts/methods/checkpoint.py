"""The state of a training, in one safetensors file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interpreto.concepts.methods.autoencoder import Autoencoder
from interpreto.concepts.model import restore, state_of
from interpreto.errors import FileError, OptionError

if TYPE_CHECKING:
    from interpreto.concepts.methods.training import Progress

FORMAT = "interpreto training 1"


def write_checkpoint(
    path: Path, facts: dict[str, Any], model: Autoencoder, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the whole state; a file that was there is replaced only once the new one is complete."""
    from safetensors.torch import save_file  # noqa: PLC0415

    tensors = {f"model.{name}": tensor for name, tensor in state_of(model).items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"optimizer.{name}.{key}": value for key, value in optimizer.state[parameter].items()}
    tensors |= {"sums": progress.sums, "fired": progress.fired}
    header = {"format": FORMAT, "facts": facts, "step": progress.step, "history": [asdict(r) for r in progress.history]}
    partial = path.with_name(path.name + ".partial")
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, partial, metadata={"interpreto": json.dumps(header)})
    os.replace(partial, path)


def read_checkpoint(
    path: Path, facts: dict[str, Any], model: Autoencoder, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Bring model, optimizer and progress to where the file says that they stood.

    Raises:
        FileError: the file holds something else.
        OptionError: it is of another training.
    """
    from interpreto.concepts.methods.training import TrainingRecord  # noqa: PLC0415  (it imports this file)
    from interpreto.concepts.saving import read_file  # noqa: PLC0415

    tensors, header = read_file(path, FORMAT, "a training's checkpoint")
    known = header.get("facts", {})
    for name in {*facts, *known}:
        if facts.get(name) != known.get(name):
            raise OptionError(
                f"`checkpoint`: {str(path)!r} is of a training with {name}={known.get(name)!r}, and this one has "
                f"{facts.get(name)!r}; train as that one, or pass another file."
            )
    try:
        device = progress.sums.device
        restore(model, {k.removeprefix("model."): v.to(device) for k, v in tensors.items() if k.startswith("model.")})
        for name, parameter in model.named_parameters():
            start = f"optimizer.{name}."
            state = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            optimizer.state[parameter] = {k: v if k == "step" else v.to(device) for k, v in state.items()}
        progress.sums, progress.fired = tensors["sums"].to(device), tensors["fired"].to(device)
        progress.step = int(header["step"])
        progress.history.extend(TrainingRecord(**record) for record in header["history"])
    except (KeyError, TypeError) as error:
        raise FileError(f"`path`: {str(path)!r} holds an incomplete checkpoint ({error}).") from error
