"""Backgrounds of units, where a medium has no color mixing of its own: terminals and static HTML."""

from __future__ import annotations

FAINT = 0.05
"""Share of the largest magnitude below which a unit gets no color."""
Color = tuple[int, int, int]
PALE: Color = (250, 246, 240)
ATTRIBUTIONS: tuple[Color, Color] = ((240, 138, 42), (92, 158, 235))
"""Full colors for and against a target."""
ACTIVATIONS: tuple[Color, Color] = ((171, 118, 204), (94, 176, 98))
"""Full colors of a concept's positive and negative activations."""


def blend(weight: float, ends: tuple[Color, Color] = ATTRIBUTIONS, *, signed: bool = True) -> Color | None:
    """Mix the background of a unit, from pale to full as the weight goes from 0 to 1 or −1.

    Args:
        weight: Share of the largest magnitude; NaN where there is no value.
        ends: The full colors of positive and negative weights.
        signed: Whether negative weights have a color.

    Returns:
        Red, green and blue; None for weights below `FAINT`.
    """
    weight = weight if signed else max(weight, 0.0)
    if not abs(weight) >= FAINT:  # also where it is NaN
        return None
    end, share = ends[0 if weight > 0 else 1], min(abs(weight), 1.0)
    red, green, blue = (round(pale + (full - pale) * share) for pale, full in zip(PALE, end, strict=True))
    return red, green, blue
