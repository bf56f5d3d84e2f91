"""Old spellings of arguments, accepted next to the present ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from interpreto.errors import OptionError

P = ParamSpec("P")
R = TypeVar("R")


def aliases(**present: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Accept other spellings of a function's keyword arguments.

    Args:
        **present: Present name of the argument, by its other spelling.

    Returns:
        A decorator. An argument that is passed under both names is an `OptionError`.

    Examples:
        >>> @aliases(points="n_steps")
        ... def curve(n_steps: int = 32) -> int:
        ...     return n_steps
        >>> curve(points=8), curve(n_steps=8), curve()
        (8, 8, 32)
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def renamed(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in present.keys() & kwargs.keys():
                if present[old] in kwargs:
                    raise OptionError(f"`{old}`: another spelling of `{present[old]}`, which is given too; pass one of them.")
                kwargs[present[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renamed

    return decorated
