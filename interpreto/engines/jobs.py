"""Jobs: what an engine runs, whatever is computed of a shard; and what its workers send back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from interpreto.errors import EndpointError, EngineError, FileError, InterpretoError, InterpretoWarning, OptionError

REFUSED = (400, 413, 422)  # statuses of a server that are about the text


@runtime_checkable
class Range(Protocol):
    """A range of inputs with a number."""

    @property
    def number(self) -> int:
        """Return its place among the ranges."""
        ...

    @property
    def start(self) -> int:
        """Return the number of its first input."""
        ...

    @property
    def stop(self) -> int:
        """Return the number after that of its last input."""
        ...


@runtime_checkable
class Task(Protocol):
    """A shard to compute; it is sent to another process."""

    @property
    def shard(self) -> Range:
        """Return the range of inputs."""
        ...


Compute = Callable[[Any, Callable[[int], object]], Any]
"""Computes the shard of a task, and calls a function with numbers of inputs that are done, now and then.

It returns an entry, which has the ``start`` and ``stop`` of the shard."""


@runtime_checkable
class Job(Protocol):
    """Computation of shards, in a form that can be sent to another process."""

    def build(self, device: str | None) -> Compute:
        """Return the function that computes a shard, with its model on a device; None: where it is."""
        ...


def not_sent(error: Exception) -> OptionError:
    """Return the error of a job that cannot be sent to another process."""
    return OptionError(
        f"`workers`: what they compute cannot be sent to another process ({error}); name the folder of the model, as in "
        "interpreto.datasets.ExplainerSpec(method, folder) or ModelWithSplitPoints(folder, ...), and pass functions that a "
        "module defines, or `workers=1`."
    )


def is_of_the_machine(error: Exception) -> bool:
    """Return True for errors that are not about a text: files, servers that cannot be reached, a GPU in a bad state."""
    if isinstance(error, EndpointError):
        return error.status not in REFUSED
    return isinstance(error, FileError) or breaks_the_device(error)


def breaks_the_device(error: Exception) -> bool:
    """Return True for errors after which a process can use its GPU no longer."""
    memory = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return not memory and (type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error))


class WarningsOnce:
    """Context manager that collects interpreto's warnings, each text once, for another process to give them."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._caught: list[warnings.WarningMessage] = []
        self._context: Any = None

    def __enter__(self) -> WarningsOnce:
        self._context = warnings.catch_warnings(record=True)
        self._caught = self._context.__enter__()
        warnings.simplefilter("always", InterpretoWarning)
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)  # type: ignore[arg-type]

    def new(self) -> list[tuple[type[Warning], str]]:
        """Return the warnings that were given since the last call."""
        found = []
        for warning in self._caught:
            message = str(warning.message)
            if issubclass(warning.category, InterpretoWarning) and message not in self._seen:
                self._seen.add(message)
                found.append((warning.category, message))
        self._caught.clear()
        return found


def portable(error: BaseException) -> Exception:
    """Return an error that can be sent to another process."""
    if isinstance(error, InterpretoError):
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "interpreto.errors")
        return kind(str(error))
    return EngineError(f"{type(error).__name__}: {error}")
