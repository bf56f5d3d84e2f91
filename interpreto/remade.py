"""Objects that another process, or a copy, makes again with the arguments that they were made with."""

from __future__ import annotations

from typing import Any, TypeVar

Kind = TypeVar("Kind", bound="Remade")


class Remade:
    """Base of objects whose state follows from the arguments of their constructor, so that pickles hold these alone."""

    made_with: tuple[tuple[Any, ...], dict[str, Any]]
    """The arguments that the object was made with, as they were passed."""

    def __new__(cls: type[Kind], *args: Any, **kwargs: Any) -> Kind:
        """Keep the arguments."""
        made = object.__new__(cls)
        object.__setattr__(made, "made_with", (args, kwargs))  # also of a frozen dataclass
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickles and copies are made of."""
        return _made, (type(self), *self.made_with)


def _made(kind: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return an object as it was pickled."""
    return kind(*args, **kwargs)
