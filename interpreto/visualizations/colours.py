"""One diverging map for every view: blue speaks against, orange for; safe for colour-blind readers."""

from __future__ import annotations

import math

AGAINST, NEUTRAL, FOR = (33, 102, 172), (247, 247, 247), (230, 97, 1)
INK, PAPER = "#111111", "#ffffff"


def background(value: float, largest: float) -> tuple[int, int, int]:
    """Colour of a value on the scale −largest … largest; neutral for what has no value."""
    if not math.isfinite(value) or largest <= 0:
        return NEUTRAL
    share = min(1.0, abs(value) / largest)
    end = FOR if value > 0 else AGAINST
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(NEUTRAL, end, strict=True))
    return red, green, blue


def ink(colour: tuple[int, int, int]) -> str:
    """The text colour that stands out more on a background, by WCAG's contrast ratio."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if (luminance + 0.05) / 0.0557 >= 1.05 / (luminance + 0.05) else PAPER


def hexadecimal(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
