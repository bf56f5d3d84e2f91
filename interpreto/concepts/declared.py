"""Explainers that declare their concept model, whose options are written once, at the model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from interpreto.errors import OptionError

_SECTION = re.compile(r"^Args:\n((?:[ ]{4}.*\n?|\n)*)", re.MULTILINE)
_AFTER_ARGS = re.compile(r"^(Attributes|Raises|Examples|References):", re.MULTILINE)


def declare(explainer: Any, model_class: Callable[..., Any], defaults: Mapping[str, Any] | None = None) -> None:
    """Give an explainer's class the signature and the documentation of its concept model's options.

    ``help(NMFConcepts)`` and completion then show the options of `NMF`, and their defaults, next to those of every explainer.

    Args:
        explainer: The class. Its constructor ends in ``**options``.
        model_class: The concept model, whose constructor takes ``nb_concepts`` and the options; or a function that does.
        defaults: Other defaults of options, for this explainer.
    """
    own = defaults or {}
    common = [p for p in inspect.signature(explainer.__init__).parameters.values() if p.kind is not p.VAR_KEYWORD][1:]
    there = options_of(model_class).values()
    options = [p.replace(kind=p.KEYWORD_ONLY, default=own.get(p.name, p.default)) for p in there]
    explainer.__signature__ = inspect.Signature([*common, *options])
    text = inspect.getdoc(explainer) or ""
    if not _SECTION.search(text):
        arguments = _without(_arguments(explainer.__init__), r"\*\*\w+") + _without(_arguments(model_class), "nb_concepts")
        place = found.start() if (found := _AFTER_ARGS.search(text)) else len(text)
        explainer.__doc__ = f"{text[:place].rstrip()}\n\nArgs:\n{arguments}\n{text[place:]}"


def options_of(model_class: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a concept model's constructor but the number of concepts, by name."""
    parameters = inspect.signature(model_class).parameters
    return {name: parameter for name, parameter in parameters.items() if name != "nb_concepts"}


def check_options(explainer: str, model_class: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that the concept model does not have.

    Raises:
        OptionError: one is unknown; the message lists those that there are.
    """
    known = options_of(model_class)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name, value in options.items():
        if name not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise OptionError(f"`{name}`: got {value!r:.60}, and {explainer} has no such option; {there}.")


def _arguments(documented: Any) -> str:
    """Return the lines of a docstring's section of arguments."""
    found = _SECTION.search((inspect.getdoc(documented) or "") + "\n")
    return found[1].rstrip() + "\n" if found else ""


def _without(lines: str, name: str) -> str:
    return re.sub(rf"^    {name}:.*\n(?:[ ]{{8}}.*\n)*", "", lines, flags=re.MULTILINE)
