"""A circuit and its curve, drawn for print with matplotlib."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from interpreto.concepts.circuits.circuit import OUTPUT, Circuit
from interpreto.visualizations.circuit_layout import is_bare, placed, short
from interpreto.visualizations.colors import ATTRIBUTIONS, PALE
from interpreto.visualizations.figures.drawing import Panel, arrange, short_name, titled

_ENDS = (ATTRIBUTIONS[1], PALE, ATTRIBUTIONS[0])
COLORS = LinearSegmentedColormap.from_list("circuit", [tuple(part / 255 for part in end) for end in _ENDS])
FOR, AGAINST = (tuple(part / 255 for part in end) for end in ATTRIBUTIONS)


def draw_circuit(circuit: Circuit) -> Figure:
    """Return two panels: the graph, the first layer at the bottom, and the curve over the number of nodes."""
    where = placed(circuit)
    graph = Panel(3.0 + 0.95 * where.width, 2.0 + 0.55 * len(where.names), _graph(circuit))
    return arrange([[graph, Panel(4.6, 3.2, _curve(circuit))]])


def _graph(circuit: Circuit) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        where = placed(circuit)
        top = len(where.names), (where.width - 1) / 2
        heaviest = max((abs(edge.weight) for edge in circuit.edges), default=1.0)
        for edge in circuit.edges:
            y1, x1 = where.rows[edge.source], where.columns[edge.source]
            y2, x2 = top if edge.target == OUTPUT else (where.rows[edge.target], where.columns[edge.target])
            color, style = (AGAINST, "dashed") if edge.weight < 0 else (FOR, "solid")
            axes.plot([x1, x2], [y1, y2], color=color, ls=style, lw=0.5 + 3 * abs(edge.weight) / heaviest, alpha=0.6, zorder=1)
        largest = max((abs(node.effect) for node in circuit.nodes), default=1.0)
        for i, node in enumerate(circuit.nodes):
            box = {"boxstyle": "round", "facecolor": COLORS(0.5 + node.effect / largest / 2), "edgecolor": "#909090"}
            name = short_name(short(node.name, circuit.places[node.place]), 14)
            text = axes.text(
                where.columns[i], where.rows[i], name, ha="center", va="center", fontsize="x-small", bbox=box, zorder=2
            )
            text.set_fontstyle("italic" if is_bare(node) else "normal")
        axes.text(top[1], top[0], short_name(circuit.metric, 50), ha="center", va="center", fontsize="small", zorder=2)
        axes.set_xlim(-0.7, where.width - 0.3)
        axes.set_ylim(-0.7, top[0] + 0.5)
        named = [(row, short_name(name, 24)) for row, name in enumerate(where.names) if name]
        axes.set_yticks([row for row, _ in named], [name for _, name in named], fontsize="x-small")
        axes.set_xticks(where.tokens, [short_name(token, 12) for token in circuit.tokens], fontsize="x-small")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        scores = "" if circuit.replacement_score is None else f", replacement score {circuit.replacement_score:.2f}"
        titled(axes, short_name(circuit.texts[0], 50), f"{len(circuit.nodes)} of {circuit.candidates} parts{scores}")

    return draw


def _curve(circuit: Circuit) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        sizes = [str(point.size) for point in circuit.curve]
        axes.plot(sizes, [point.faithfulness for point in circuit.curve], color=FOR, label="faithfulness")
        axes.plot(sizes, [point.completeness for point in circuit.curve], color=AGAINST, ls="dashed", label="completeness")
        for level in (0, 1):
            axes.axhline(level, color="#c0c0c0", lw=0.6, zorder=0)
        axes.set_xlabel("nodes", fontsize="small")
        axes.tick_params(labelsize="x-small")
        axes.legend(fontsize="x-small", frameon=False)
        titled(axes, "what the circuit keeps", f"ablation: {circuit.ablation}")

    return draw
