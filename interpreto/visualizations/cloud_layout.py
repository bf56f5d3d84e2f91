"""Layout of clouds of words: on a spiral from the middle, none over another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

WIDTH, HEIGHT = 300, 190
SMALLEST, LARGEST = 11.0, 34.0
EM = 0.62
"""Width of a character in units of the size, on the safe side; wide scripts take twice that."""
TURN, STEP = 0.35, 0.9


@dataclass(frozen=True)
class PlacedWord:
    """A word in a cloud.

    Attributes:
        text: The word.
        weight: Its weight.
        x: Middle of the word.
        y: Base line of the word.
        size: Height of its type.
    """

    text: str
    weight: float
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Cloud:
    """The words of a concept.

    Attributes:
        name: Of the concept.
        words: The largest weight first.
    """

    name: str
    words: tuple[PlacedWord, ...]


def lay_out(name: str, weights: Mapping[str, float], most: int) -> Cloud:
    """Place the words of largest weight; those for which there is no room are left out.

    The area of a word's type is proportional to its weight, within the smallest and the largest size. Equal weights are
    ordered by the alphabet, so that the cloud is the same each time.

    Examples:
        >>> [word.text for word in lay_out("a", {"dull": 1.0, "fine": 2.0}, most=5).words]
        ['fine', 'dull']
    """
    order = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:most]
    placed: list[PlacedWord] = []
    boxes: list[tuple[float, float, float, float]] = []
    for word, weight in order:
        size = max(SMALLEST, LARGEST * math.sqrt(weight / order[0][1]))
        size = min(size, 0.94 * WIDTH / (EM * max(1, _cells(word))))
        box = _room(EM * size * _cells(word), 1.15 * size, boxes)
        if box is not None:
            boxes.append(box)
            placed.append(
                PlacedWord(word, weight, round((box[0] + box[2]) / 2, 1), round(box[3] - 0.3 * size, 1), round(size, 1))
            )
    return Cloud(name, tuple(placed))


def _cells(word: str) -> int:
    return sum(2 if ord(character) > 0x2E7F else 1 for character in word)


def _room(
    width: float, height: float, boxes: list[tuple[float, float, float, float]]
) -> tuple[float, float, float, float] | None:
    """Return the first box on the spiral that overlaps no other and is inside; None where there is none."""
    for step in range(2000):
        angle = TURN * step
        x = WIDTH / 2 + STEP * angle * math.cos(angle)
        y = HEIGHT / 2 + STEP * angle * math.sin(angle) * HEIGHT / WIDTH
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        inside = box[0] >= 0 and box[1] >= 0 and box[2] <= WIDTH and box[3] <= HEIGHT
        if inside and not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in boxes):
            return box
    return None
