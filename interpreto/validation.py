"""Check the options that users pass: counts, sizes, probabilities, choices. numpy's numbers are accepted, booleans are not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from interpreto.errors import OptionError

T = TypeVar("T")
P = ParamSpec("P")

LONGEST = 60  # characters of a value that an error repeats


def shown(value: object) -> str:
    """Return the value as an error repeats it: its ``repr``, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({type(value).__name__})"


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number: Python's or numpy's, and no boolean."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number: Python's or numpy's, and no boolean."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_count(value: object, option: str, least: int = 1, most: int | None = None) -> int:
    """Return a whole number of at least ``least`` as an ``int``.

    Args:
        value: What the user passed.
        option: The name of the option, for the message.
        least: Smallest number accepted.
        most: Largest number accepted; None: there is none.

    Raises:
        OptionError: it is no whole number, or out of range.

    Examples:
        >>> import numpy as np
        >>> check_count(np.int64(3), "k")
        3
    """
    if not is_whole(value) or int(value) < least or (most is not None and int(value) > most):  # type: ignore[call-overload]  # whole
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise OptionError(f"`{option}`: got {shown(value)}; pass a whole number {bounds}.")
    return int(value)  # type: ignore[call-overload]  # whole, as checked


def check_optional_count(value: object, option: str, least: int = 1) -> int | None:
    """Return a whole number of at least ``least``, or None as it is.

    Raises:
        OptionError: it is neither.
    """
    if value is not None and (not is_whole(value) or int(value) < least):  # type: ignore[call-overload]  # whole
        raise OptionError(f"`{option}`: got {shown(value)}; pass a whole number of at least {least}, or None.")
    return None if value is None else int(value)  # type: ignore[call-overload]  # whole, as checked


def check_batch_size(value: object) -> int | None:
    """Return the number of rows that a pass may hold; None: as many as a token budget holds."""
    return check_optional_count(value, "batch_size")


def check_seed(value: object, option: str = "random_state") -> int:
    """Return a seed: a whole number from 0 to 2³² − 1, as every generator takes it.

    Raises:
        OptionError: it is something else.
    """
    return check_count(value, option, 0, 2**32 - 1)


def check_optional_seed(value: object, option: str = "random_state") -> int | None:
    """Return a seed, or None as it is: draws that differ at each call.

    Raises:
        OptionError: it is neither.
    """
    if value is not None and (not is_whole(value) or not 0 <= int(value) < 2**32):  # type: ignore[call-overload]  # whole
        raise OptionError(f"`{option}`: got {shown(value)}; pass a whole number from 0 to 2**32 - 1, or None.")
    return None if value is None else int(value)  # type: ignore[call-overload]  # whole, as checked


def check_positive(value: object, option: str) -> float:
    """Return a finite number above 0 as a ``float``.

    Raises:
        OptionError: it is something else.
    """
    if not is_number(value) or float(value) <= 0:  # type: ignore[arg-type]  # a number
        raise OptionError(f"`{option}`: got {shown(value)}; pass a number above 0.")
    return float(value)  # type: ignore[arg-type]  # a number, as checked


def check_not_negative(value: object, option: str) -> float:
    """Return a finite number of at least 0 as a ``float``.

    Raises:
        OptionError: it is something else.
    """
    if not is_number(value) or float(value) < 0:  # type: ignore[arg-type]  # a number
        raise OptionError(f"`{option}`: got {shown(value)}; pass a number of at least 0.")
    return float(value)  # type: ignore[arg-type]  # a number, as checked


def check_probability(value: object, option: str, *, zero: bool = True, one: bool = True) -> float:
    """Return a number between 0 and 1 as a ``float``.

    Args:
        value: What the user passed.
        option: The name of the option, for the message.
        zero: Accept 0 itself.
        one: Accept 1 itself.

    Raises:
        OptionError: it is something else.
    """
    inside = is_number(value) and 0 <= float(value) <= 1  # type: ignore[arg-type]  # a number
    if not inside or (value == 0 and not zero) or (value == 1 and not one):
        low, high = "0" if zero else "above 0", "1" if one else "below 1"
        raise OptionError(f"`{option}`: got {shown(value)}; pass a number from {low} to {high}.")
    return float(value)  # type: ignore[arg-type]  # a number, as checked


def check_choice(value: T, option: str, choices: Iterable[T]) -> T:
    """Return the value if it is one of the choices.

    Raises:
        OptionError: it is something else; the message lists the choices.
    """
    accepted = tuple(choices)
    if not any(type(value) is type(choice) and value == choice for choice in accepted):
        raise OptionError(f"`{option}`: got {shown(value)}; pass one of {', '.join(map(repr, accepted))}.")
    return value


def check_flag(value: object, option: str) -> bool:
    """Return a truth value.

    Raises:
        OptionError: it is something else than True or False.
    """
    if not isinstance(value, bool):
        raise OptionError(f"`{option}`: got {shown(value)}; pass True or False.")
    return value


def takes_old_names(**renamed: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that accepts options under their old names, each given as ``old="new"``.

    Raises:
        OptionError: An option is passed under both names.

    Examples:
        >>> @takes_old_names(sizes="n_sizes")
        ... def half(n_sizes: int = 8) -> int:
        ...     return n_sizes // 2
        >>> half(sizes=6)
        3
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> T:
            for old, new in renamed.items():
                if old in options and new in options:
                    raise OptionError(f"`{old}`: is the old name of `{new}`; pass one of them.")
                if old in options:
                    options[new] = options.pop(old)
            return function(*arguments, **options)

        return call  # type: ignore[return-value]  # the same options, and the old names

    return decorate
