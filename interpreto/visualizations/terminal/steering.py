"""Steerings compared, as lines for a terminal."""

from __future__ import annotations

from rich.text import Text

from interpreto.concepts.steering.comparison import SteeringComparison
from interpreto.renderable import visible
from interpreto.visualizations.steering_layout import parts
from interpreto.visualizations.terminal.console import Lines

SHOWN = 3
"""Prompts whose texts are shown."""


def to_lines(found: SteeringComparison, width: int | None = None, color: bool | None = None) -> str:
    """Return numbers of each steering, what is suggested, and texts in which new words are bold."""
    lines = Lines(width, color)
    wide = max(len("steering"), *(len(visible(name)) for name in found.names))
    lines.add(Text(visible(f"{found.told}: {found.effect_name}")))
    lines.add(Text(f"  {'steering'.ljust(wide)}   effect   change  beyond    nats    cost"))
    for i, name in enumerate(found.names):
        mark = "●" if i == found.suggest() else " "
        lines.add(
            Text(
                f"{mark} {visible(name).ljust(wide)} {found.mean_effect[i]:8.3f} {found.change[i]:+8.3f} "
                f"{'yes' if found.beyond[i] else 'no':>7} {found.nats[:, i].nanmean():7.2f} {found.cost[i]:+7.2f}"
            )
        )
    lines.add(Text(visible(found.verdict)))
    for i, prompt in enumerate(found.prompts[:SHOWN]):
        lines.add_blank()
        lines.add(Text(f"{' '.join(visible(prompt).split())} …"))
        for j, name in enumerate(found.names):
            lines.add_text(_told(visible(name).ljust(wide), found.texts[i][j], found.texts[i][found.unsteered]))
    return str(lines)


def _told(name: str, text: str, unsteered: str) -> Text:
    told = Text(f"  {name}  ")
    for part in parts(" ".join(text.split()), " ".join(unsteered.split())):
        told.append(part.text, style="bold rgb(230,126,34)" if part.new else "")
    return told
