"""A dashboard of concepts in a terminal."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from interpreto.concepts.dashboard import ConceptDashboard
from interpreto.visualizations.html.dashboard import facts
from interpreto.visualizations.terminal.console import Lines, one_line
from interpreto.visualizations.text_layout import format_number

LISTED = 20
NAME = 44  # cells of a name, at most


def dashboard_to_text(dashboard: ConceptDashboard, *, width: int | None = None, color: bool | None = None) -> str:
    """Return a line per concept, the most important first: name, density, largest activation, its strongest effect.

    Args:
        dashboard: What to show.
        width: Cells per line; None is the width of the terminal.
        color: Write ANSI codes; None: if standard output takes colors.
    """
    lines = Lines(width, color)
    order = dashboard.ranked()[:LISTED]
    names = [f"{dashboard.profiles[place].concept} {one_line(dashboard.profiles[place].name)}" for place in order]
    column = min(max(map(cell_len, names), default=0), NAME)
    lines.add(Text(f"{'concept':<{column}}  {'density':>8}  {'largest':>8}  strongest effect", style="bold"))
    for place, name in zip(order, names, strict=True):
        profile = dashboard.profiles[place]
        output = int(dashboard.effects[:, place].abs().argmax())
        effect = format_number(float(dashboard.effects[output, place]), sign=True)
        density = f"{100 * profile.density:.3g} %"
        what = f"{effect} on {one_line(dashboard.outputs[output])}"
        lines.add(Text(f"{set_cell_size(name, column)}  {density:>8}  {format_number(profile.peak):>8}  {what}"))
    more = len(dashboard.profiles) - len(order)
    if more > 0:
        lines.add(Text(f"+{more} more concepts", style="dim"))
    lines.add_text(Text(" · ".join(f"{one_line(value)}" for _, value in facts(dashboard)), "dim"))
    return str(lines)
