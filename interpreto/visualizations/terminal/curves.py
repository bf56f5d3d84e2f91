"""Curves of metrics in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interpreto.visualizations.curve_layout import AXIS, GRID, Curve

BARS = "▁▂▃▄▅▆▇█"


def to_lines(label: str, curves: Sequence[Curve]) -> str:
    """Return a line per curve: a bar at each twentieth, between the lowest and the highest value of all curves."""
    every = np.concatenate([curve.mean for curve in curves])
    low, high = float(every.min()), float(every.max())
    width = max(len(curve.name) for curve in curves)
    lines = [f"{label}, from {low:.3f} (▁) to {high:.3f} (█), over the {AXIS}"]
    for curve in curves:
        places = (curve.mean[:: (GRID - 1) // 20] - low) / max(high - low, 1e-12) * (len(BARS) - 1)
        bars = "".join(BARS[round(place)] for place in places)
        lines.append(f"{curve.name.ljust(width)}  {bars}  area {curve.area:.3f}")
    return "\n".join(lines)
