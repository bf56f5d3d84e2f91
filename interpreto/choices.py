"""Enumerations of options, whose members equal their strings."""

from __future__ import annotations

import difflib
from enum import Enum
from typing import TypeVar

from interpreto.errors import OptionError
from interpreto.validation import shown

Member = TypeVar("Member", bound=Enum)


class Choice(Enum):
    """An option with named values; a member equals its value, on either side of ``==`` and as a key of a dictionary.

    Explanations store options as strings, so that they can be saved; ``explanation.granularity == Granularity.WORD``
    holds all the same.

    Examples:
        >>> from interpreto import Granularity
        >>> Granularity.WORD == "word", "word" == Granularity.WORD, {"word": 1}[Granularity.WORD]
        (True, True, 1)
    """

    def __eq__(self, other: object) -> bool:
        return other == self.value if isinstance(other, str) else self is other

    def __hash__(self) -> int:
        return hash(self.value)


def read_member(kind: type[Member], value: object, option: str) -> Member:
    """Return a member of an enumeration, given itself, its value or its name in either case.

    Args:
        kind: The enumeration.
        value: What the user passed.
        option: Name of the option, for messages.

    Raises:
        OptionError: if there is no such member; the message lists them all.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        for member in kind:
            if value.lower().replace("-", "_") in (member.name.lower(), str(member.value).lower()):
                return member
    names = [member.name.lower() for member in kind]
    near = difflib.get_close_matches(str(value).lower(), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"`{option}`: got {shown(value)}; pass a {kind.__name__} or one of {', '.join(map(repr, names))}.{hint}")
