"""Where a model is: the devices of modules, and their names."""

from __future__ import annotations

import torch
from torch import nn

from interpreto.errors import OptionError


def device_of(module: nn.Module) -> torch.device | None:
    """Return the device of a module's parameters, or where accelerate brings them for a call; None: there are none."""
    parameter = next(module.parameters(), None)
    if parameter is None or parameter.device.type != "meta":
        return None if parameter is None else parameter.device
    hooks = [hook for part in module.modules() if (hook := getattr(part, "_hf_hook", None)) is not None]
    for hook in (each for outer in hooks for each in (outer, *getattr(outer, "hooks", ()))):  # some hold several
        if (device := getattr(hook, "execution_device", None)) is not None:
            return torch.device(device)
    return parameter.device


def read_device(value: torch.device | str) -> torch.device:
    """Return a device, given itself or its name.

    Raises:
        OptionError: there is no such device.
    """
    try:
        return torch.device(value)
    except RuntimeError as error:
        raise OptionError(f"`device`: got {value!r}; pass a torch.device or its name, such as 'cpu' or 'cuda'.") from error
