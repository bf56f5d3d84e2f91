"""Where a model is: the devices of modules, and their names."""

from __future__ import annotations

import torch
from torch import nn

from interpreto.errors import OptionError
from interpreto.validation import shown

ACCEPTED = "pass 'cpu', 'cuda', 'mps', the number of a CUDA device, a torch.device, or 'auto' for the fastest that there is"


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


def read_device(value: torch.device | str | int, option: str = "device") -> torch.device:
    """Return a device that computes, given itself, its name, or the number of one of CUDA's.

    Args:
        value: ``"auto"`` is the fastest that there is: CUDA's, Apple's, else the processor.
        option: Name of the option, for messages.

    Raises:
        OptionError: there is no such device, or nothing can be computed on it here.

    Examples:
        >>> read_device("cpu")
        device(type='cpu')
    """
    if isinstance(value, str) and value == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    if isinstance(value, bool) or not isinstance(value, (str, int, torch.device)):
        raise OptionError(f"`{option}`: got {shown(value)}; {ACCEPTED}.")
    name = f"cuda:{value}" if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else value
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"`{option}`: got {shown(value)}, which is the name of no device; {ACCEPTED}.") from error
    try:
        if device.type not in ("cpu", "meta") and device not in _working:
            torch.empty(1, device=device).cpu()  # each kind of device has its own error where it is absent
            _working.add(device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise OptionError(f"`{option}`: got {shown(value)}, and torch finds no such device here; {ACCEPTED}.") from error
    return device


_working: set[torch.device] = set()  # devices on which something was computed
