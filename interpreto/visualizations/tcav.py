"""Results of TCAV, drawn: derivatives with their intervals, over those of random vectors."""

from __future__ import annotations

from interpreto.concepts.probes.tcav import TCAVResult
from interpreto.visualizations.dots import Dot, DotRenderer

GUIDE = (
    "Each row is a concept and an output. The dot is the mean change of the output's score per step from examples without the "
    "concept to examples with it, with its 95 % interval; gray dots are those of random vectors, made from shuffled examples. "
    "A filled dot is told from these by a permutation test, corrected for the number of rows. The share of texts whose score "
    "rises is shown, and not tested."
)


def renderer(result: TCAVResult) -> DotRenderer:
    """Return the renderer of a result."""
    dots = [
        Dot(
            name=f"{name} → {target}",
            value=float(result.derivative[i, j]),
            low=float(result.interval[i, j, 0]),
            high=float(result.interval[i, j, 1]),
            chance=tuple(result.random[:, i, j].tolist()),
            filled=bool(result.significant[i, j]),
            notes=(f"p {result.adjusted[i, j]:.2g}", f"{result.sign[i, j]:.0%} of texts", f"AUC {result.auc[i]:.2f}"),
        )
        for i, name in enumerate(result.names)
        for j, target in enumerate(result.targets)
    ]
    heads = ("adjusted p-value", "share of texts whose score rises", "AUC of the vector")
    return DotRenderer("TCAV", "change of the score per step", GUIDE, heads, dots)
