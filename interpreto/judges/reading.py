"""Read what judges write: choices, labels, lists of numbers; whatever stands around them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

LONGEST = 200
"""Characters of a label that are kept."""
_FENCE = re.compile(r"^```\w*\s*|\s*```$")
_LEAD = re.compile(r"^(?:label|concept|answer|explanation|theme|topic)\s*[:=]\s*", re.IGNORECASE)
_QUOTES = "\"'`*“”‘’«» \t"


def named_choice(text: str, choices: Sequence[str]) -> int | None:
    """Return the place of the choice that a text names first; None where it names none.

    Examples:
        >>> named_choice("**No**, since yes would be wrong.", ["yes", "no"])
        1
    """
    found: list[tuple[int, int, int]] = []
    for place, choice in enumerate(choices):
        match = re.search(rf"(?<!\w){re.escape(choice.strip())}(?!\w)", text, re.IGNORECASE)
        if match:
            found.append((match.start(), -len(choice), place))
    return min(found)[2] if found else None


def read_label(text: str | None) -> str | None:
    """Return the label that a judge wrote, on one line, without quotes, fences and what introduces it; None: there is none.

    JSON with a ``label`` is read as well.

    Examples:
        >>> read_label('Label: "praise of films".'), read_label("```json\\n{\\"label\\": \\"digits\\"}\\n```"), read_label("…")
        ('praise of films', 'digits', None)
    """
    if text is None:
        return None
    found = first_json(text)
    if isinstance(found, dict):
        kept = next((found[key] for key in ("label", "concept", "explanation") if isinstance(found.get(key), str)), None)
        if kept is None:
            return None
        text = kept
    assert text is not None
    lines = [line.strip() for line in _FENCE.sub("", text.strip()).splitlines() if line.strip()]
    if not lines:
        return None
    label = _LEAD.sub("", lines[0].strip(_QUOTES)).strip(_QUOTES).rstrip(".").strip(_QUOTES)
    return " ".join(label.split())[:LONGEST] if any(c.isalnum() for c in label) else None


def read_numbers(text: str | None, count: int) -> list[float] | None:
    """Return a list of so many numbers, as JSON or as text; None where there are more or fewer.

    Examples:
        >>> read_numbers("Sure: [0, 10, 3]", 3), read_numbers("[1, 2]", 3)
        ([0.0, 10.0, 3.0], None)
    """
    if text is None:
        return None
    found = first_json(text)
    if isinstance(found, list):
        usable = len(found) == count and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in found)
        return [float(v) for v in found] if usable else None
    numbers = re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])", text)
    return [float(number) for number in numbers] if len(numbers) == count else None


def first_json(text: str) -> Any:
    """Return the first object or list of JSON in a text; None where there is none.

    Examples:
        >>> first_json('Here it is: {"label": "digits"} Done.')
        {'label': 'digits'}
    """
    decoder = json.JSONDecoder()
    for match in re.finditer(r"[\[{]", text):
        try:
            return decoder.raw_decode(text, match.start())[0]
        except (ValueError, RecursionError):
            continue
    return None
