"""Prompts with slots: a text and the characters of each slot, as ``spans`` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

from interpreto.errors import InputError
from interpreto.inputs.units import Span


def fill_slots(template: str, values: Mapping[str, str]) -> tuple[str, list[Span]]:
    """Fill the slots of a prompt, and return where they are.

    Args:
        template: A text with named slots in braces; ``{{`` is a brace.
        values: The text of each slot.

    Returns:
        The text, and the characters of each slot in the order of the text: the units of an explanation.

    Raises:
        InputError: The template has no slot, or one without a value.

    Examples:
        >>> from interpreto import KernelShap, demo, fill_slots
        >>> text, spans = fill_slots("{who} called it {what}.", {"who": "My friend", "what": "gorgeous"})
        >>> others = {"My friend": ["Nobody", "A critic"], "gorgeous": ["dull", "long"]}
        >>> explanation = KernelShap(*demo.load_classifier(), replacement=others)(text, "positive", spans=spans)[0]
        >>> explanation.elements
        ['My friend', 'gorgeous']
    """
    text, spans = "", []
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"`template`: {template[:60]!r} cannot be read ({error}).") from error
    for literal, name, _, _ in parts:
        text += literal
        if name is None:
            continue
        if name not in values or not values[name].strip():
            known = ", ".join(map(repr, values)) or "none"
            raise InputError(f"`template`: its slot {name!r} has no value; got {known}.")
        spans.append((len(text), len(text) + len(values[name])))
        text += values[name]
    if not spans:
        raise InputError(f"`template`: {template[:60]!r} has no slot; write one as {{name}}.")
    return text, spans
