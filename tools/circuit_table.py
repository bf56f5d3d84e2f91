"""Patching and circuits on SmolLM2: which layers, heads and feed-forward layers find the name that is not repeated."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from interpreto import Contrast, ModelWithSplitPoints
from interpreto.concepts import ActivationPatching, Circuit, PatchingOutput, find_circuit

NAMES = (
    ("Mary", "John"),
    ("Anna", "Tom"),
    ("Paul", "Sarah"),
    ("James", "Emma"),
    ("Peter", "Laura"),
    ("Alice", "Mark"),
    ("David", "Jane"),
    ("Lucy", "Jack"),
    ("Kate", "Adam"),
    ("George", "Helen"),
)
SCENES = (("store", "book"), ("park", "letter"))
TEMPLATE = "When {a} and {b} went to the {place}, {again} gave a {thing} to"
SIZE, PARTS = 50, 10
GOAL = 0.8

PAGE = """Twenty pairs of sentences such as *{clean}*, in which the name that was not repeated follows, and the same with the
other name repeated: *{corrupt}*. The metric is the logit of the first name less that of the second one, for
SmolLM2-135M-Instruct: {clean_score:.2f} on average on the clean sentences, above 0 on {right} of 20, and {corrupt_score:.2f} on
the corrupt ones.

## Where the answer is

Share of the gap that comes back when the hidden states of one token after one layer are taken from the clean sentence
(exact patching, mean over the pairs). Tokens before the repeated name are the same in both sentences, and so are their states.

{grid}

Approximations, compared with exact patching of the 50 largest cells of each pair (Spearman's correlation, mean over pairs):
attribution {attribution:.2f}, integrated over {steps} points {integrated:.2f}.

## How few parts keep it

Heads and feed-forward layers at all tokens, {candidates} in all; those outside the circuit are replaced by their means over the
forty sentences at the same token. Faithfulness is the share of the metric that the circuit alone keeps, completeness the share
that the rest loses without it. Ranked by one gradient for all parts (attribution), and by ablating each part alone (exact):

{curve}

{verdict}

The largest parts by exact ablation (what the metric loses without it, logits):

{parts}

`python tools/tables.py circuits` computes it again; it took {seconds:.0f} s on one core.
"""


def table(model: Any, tokenizer: Any) -> str:
    """Return the page."""
    start = time.perf_counter()
    clean, corrupt, metrics = pairs()
    layers = ModelWithSplitPoints(model, range(model.config.num_hidden_layers), tokenizer=tokenizer)
    exact = ActivationPatching(layers, metrics, directions="denoise")(clean, corrupt)
    steps = 4
    attribution, integrated = (
        _agreement(ActivationPatching(layers, metrics, method, directions="denoise", n_steps=steps)(clean, corrupt))
        for method in ("attribution", "integrated")
    )
    circuits = {
        method: find_circuit(
            layers, clean, metrics, corrupt=corrupt, ablation="position", method=method, max_nodes=SIZE, edges=0
        )
        for method in ("attribution", "exact")
    }
    return PAGE.format(
        clean=clean[0],
        corrupt=corrupt[0],
        clean_score=sum(output.clean_score for output in exact) / len(exact),
        corrupt_score=sum(output.corrupt_score for output in exact) / len(exact),
        right=sum(output.clean_score > 0 for output in exact),
        grid=grid_of(exact),
        attribution=attribution,
        integrated=integrated,
        steps=steps,
        candidates=circuits["exact"].candidates,
        curve=curve_of(circuits),
        verdict=verdict_of(circuits),
        parts=parts_of(circuits["exact"]),
        seconds=time.perf_counter() - start,
    )


def pairs() -> tuple[list[str], list[str], list[Contrast]]:
    """Return clean texts, corrupt ones, and what follows each rather than what."""
    clean, corrupt, metrics = [], [], []
    for i, (one, other) in enumerate(NAMES):
        for j, (place, thing) in enumerate(SCENES):
            a, b = (one, other) if (i + j) % 2 else (other, one)
            clean.append(TEMPLATE.format(a=a, b=b, place=place, again=b, thing=thing))
            corrupt.append(TEMPLATE.format(a=a, b=b, place=place, again=a, thing=thing))
            metrics.append(Contrast(f" {a}", f" {b}"))
    return clean, corrupt, metrics


def grid_of(outputs: Sequence[PatchingOutput]) -> str:
    """Return the mean effects, a row per layer, of the tokens at which anything changes."""
    effects = torch.stack([output.effects("denoise") for output in outputs]).mean(0)
    tokens = effects.abs().amax(0).nonzero()[:, 0].tolist()
    names = [outputs[0].tokens[t].strip() for t in tokens]
    lines = ["| after layer | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(tokens)]
    for row in reversed(range(len(effects))):
        lines.append(f"| {row} | " + " | ".join(f"{float(effects[row, t]):.2f}" for t in tokens) + " |")
    return "\n".join(lines)


def curve_of(circuits: dict[str, Circuit]) -> str:
    """Return faithfulness and completeness over the number of nodes."""
    heads = " | ".join(f"{method}: faithfulness | completeness" for method in circuits)
    lines = [f"| nodes | {heads} |", "| ---: |" + " ---: | ---: |" * len(circuits)]
    found = [{point.size: point for point in circuit.curve} for circuit in circuits.values()]
    for size in sorted(set(found[0]) & set(found[1])):
        cells = " | ".join(f"{own[size].faithfulness:.2f} | {own[size].completeness:.2f}" for own in found)
        lines.append(f"| {size} | {cells} |")
    return "\n".join(lines)


def verdict_of(circuits: dict[str, Circuit]) -> str:
    """Return what the curve says about the goal."""
    said = []
    for method, circuit in circuits.items():
        enough = next((p.size for p in circuit.curve if p.size <= SIZE and p.faithfulness >= GOAL), None)
        reached = f"is reached with {enough} nodes" if enough else f"is not reached with {SIZE} nodes"
        said.append(
            f"ranked by {method}, a faithfulness of {GOAL} {reached} ({circuit.faithfulness:.2f} at {len(circuit.nodes)})"
        )
    return "; ".join(said).capitalize() + "."


def parts_of(circuit: Circuit) -> str:
    """Return the largest parts."""
    lines = ["| part | effect |", "| --- | ---: |"]
    lines += [f"| {node.name} | {node.effect:+.2f} |" for node in circuit.nodes[:PARTS]]
    return "\n".join(lines)


def _agreement(outputs: Sequence[PatchingOutput]) -> float:
    return sum(output.agreement["denoise"] for output in outputs) / len(outputs)
