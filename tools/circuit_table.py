"""Patching and circuits on SmolLM2: which layers, heads and feed-forward layers find the name that is not repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from interpreto import Contrast, ModelWithSplitPoints
from interpreto.concepts import ActivationPatching, Circuit, PatchingOutput, find_circuit
from interpreto.statistics import spearman

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
LAYERS = range(2, 30, 3)
SIZE, PARTS, GOAL = 50, 12, 0.8
ABLATIONS = {"position": "mean at the same token", "corrupt": "value in the counterpart"}

PAGE = """Twenty pairs of sentences such as *{clean}*, in which the name that was not repeated follows, and the same with the
other name repeated: *{corrupt}*. The metric is the logit of the first name less that of the second one, for
SmolLM2-135M-Instruct.

{patching}

{circuits}

`python tools/tables.py circuits` computes it again.
"""

PATCHING = """### Where the answer is

The metric is {clean_score:.2f} on average on the clean sentences, above 0 on {right} of {count}, and {corrupt_score:.2f} on the
others. Share of that gap which comes back when the hidden states of one token after one layer are taken from the clean sentence
(exact patching, mean over the pairs). Tokens before the repeated name are the same in both sentences, and so are their states.

{grid}

Attribution patching, one gradient in place of {cells} passes for a pair, ranks these cells with a Spearman correlation of
{agreement:.2f} with exact patching (mean over pairs; least {least:.2f})."""

CIRCUITS = """### How few parts keep it

The {candidates} heads and feed-forward layers, each at all tokens. Parts outside the circuit are replaced by their mean over
the forty sentences at the same token, or by their value in the counterpart. Faithfulness is the share of the metric that the
circuit alone keeps; completeness, the share that the rest loses without it. Parts are ranked by one gradient.

{curve}

{verdict} Faithfulness does not grow with every part: the ranking is of parts alone in the whole model, and small circuits lack
what later parts of them need. Without the first few parts the rest keeps nothing: completeness is near 1 from {few} parts on.

The largest parts (what the metric loses without the part, in logits, to first order, with means at the same token):

{parts}"""


def table(model: Any, tokenizer: Any) -> str:
    """Return the page."""
    clean, corrupt, _ = pairs()
    return PAGE.format(
        clean=clean[0], corrupt=corrupt[0], patching=patching(model, tokenizer), circuits=circuits(model, tokenizer)
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


def patching(model: Any, tokenizer: Any) -> str:
    """Return what patching some layers finds, and how well attribution agrees."""
    clean, corrupt, metrics = pairs()
    layers = ModelWithSplitPoints(model, LAYERS, tokenizer=tokenizer)
    exact = ActivationPatching(layers, metrics, directions="denoise")(clean, corrupt)
    fast = ActivationPatching(layers, metrics, "attribution", directions="denoise", check=0)(clean, corrupt)
    agreement, cells = [], 0
    for one, other in zip(exact, fast, strict=True):
        changed = one.changes["denoise"] != 0
        cells = max(cells, int(changed.sum()))
        agreement.append(float(spearman(one.changes["denoise"][changed], other.changes["denoise"][changed])))
    return PATCHING.format(
        clean_score=sum(output.clean_score for output in exact) / len(exact),
        corrupt_score=sum(output.corrupt_score for output in exact) / len(exact),
        right=sum(output.clean_score > 0 for output in exact),
        count=len(exact),
        grid=grid_of(exact),
        cells=cells,
        agreement=sum(agreement) / len(agreement),
        least=min(agreement),
    )


def grid_of(outputs: Sequence[PatchingOutput]) -> str:
    """Return the mean effects, a row per layer, of the tokens at which anything changes."""
    effects = torch.stack([output.effects("denoise") for output in outputs]).mean(0)
    tokens = effects.abs().amax(0).nonzero()[:, 0].tolist()
    first = tokens[0]
    names = ["the repeated name" if t == first else f"*{outputs[0].tokens[t].strip()}*" for t in tokens]
    lines = ["| after block | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(tokens)]
    for row in reversed(range(len(effects))):
        lines.append(f"| {LAYERS[row]} | " + " | ".join(f"{float(effects[row, t]):.2f}" for t in tokens) + " |")
    return "\n".join(lines)


def circuits(model: Any, tokenizer: Any) -> str:
    """Return the curves of circuits, by each ablation."""
    clean, corrupt, metrics = pairs()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    found = {
        ablation: find_circuit(splitter, clean, metrics, corrupt=corrupt, ablation=ablation, max_nodes=SIZE, edges=0)
        for ablation in ABLATIONS
    }
    first = found["position"]
    few = next(p.size for p in first.curve if p.completeness > 0.95)
    return CIRCUITS.format(
        candidates=first.candidates, curve=curve_of(found), verdict=verdict_of(found), few=few, parts=parts_of(first)
    )


def curve_of(circuits: dict[str, Circuit]) -> str:
    """Return faithfulness and completeness over the number of nodes."""
    heads = " | ".join(f"{ABLATIONS[name]}: faithfulness | completeness" for name in circuits)
    lines = [f"| parts | {heads} |", "| ---: |" + " ---: | ---: |" * len(circuits)]
    found = [{point.size: point for point in circuit.curve} for circuit in circuits.values()]
    for size in sorted(set(found[0]) & set(found[1])):
        cells = " | ".join(f"{own[size].faithfulness:.2f} | {own[size].completeness:.2f}" for own in found)
        lines.append(f"| {size} | {cells} |")
    return "\n".join(lines)


def verdict_of(circuits: dict[str, Circuit]) -> str:
    """Return what the curves say about the goal."""
    said = []
    for name, circuit in circuits.items():
        enough = next((p.size for p in circuit.curve if p.size <= SIZE and p.faithfulness >= GOAL), None)
        reached = f"reached with {enough} parts" if enough else f"not reached with {SIZE} parts"
        said.append(f"With the {ABLATIONS[name]}, a faithfulness of {GOAL} is {reached}.")
    return " ".join(said)


def parts_of(circuit: Circuit) -> str:
    """Return the largest parts."""
    lines = ["| part | effect |", "| --- | ---: |"]
    lines += [f"| {node.name} | {node.effect:+.2f} |" for node in circuit.nodes[:PARTS]]
    return "\n".join(lines)
