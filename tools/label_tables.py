"""Measures keyword labels: how well they predict concepts of the embedded classifier in texts that they were not made from."""

from __future__ import annotations

from typing import Any

from interpreto import ModelWithSplitPoints, demo
from interpreto.concepts import KeywordLabels, NeuronsAsConcepts, SemiNMFConcepts, TopKSAEConcepts

TRAIN, TEXTS = 1600, 2000
SEEDS = (0, 1, 2)
LAYERS = (0, 1, 2)


def labels_table() -> str:
    """Return a table of held-out AUCs of keyword labels, next to their controls, by kind of concept and layer."""
    sentences = demo.load_sentences()
    train = [one.text for one in sentences if one.split == "train"][:TRAIN]
    texts = [one.text for one in sentences if one.split == "held-out"][:TEXTS]
    model, tokenizer = demo.load_classifier()
    lines = [
        f"Concepts of the words of {len(train)} sentences of the embedded classifier; keyword labels (8 words) are made from",
        f"one half of {len(texts)} other sentences and scored on the other half. Means over concepts and {len(SEEDS)} splits;",
        "the last column is the share of labels whose interval over the shuffled label lies above 0.",
        "",
        "| concepts | after block | scored | AUC | lower quartile | shuffled label | another's label | better than shuffled |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for layer in LAYERS:
        splitter = ModelWithSplitPoints(model, [layer], tokenizer=tokenizer)
        activations = splitter.get_activations(train, "word")
        found: dict[str, Any] = {
            "48 of a top-k sparse autoencoder": TopKSAEConcepts(splitter, nb_concepts=48).fit(activations),
            "20 of SemiNMF": SemiNMFConcepts(splitter, nb_concepts=20).fit(activations),
            "48 neurons": NeuronsAsConcepts(splitter),
        }
        for name, explainer in found.items():
            lines.append(_row(name, layer, explainer, texts))
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def _row(name: str, layer: int, explainer: Any, texts: list[str]) -> str:
    wanted = list(range(min(48, explainer.nb_concepts)))
    scores = []
    for seed in SEEDS:
        labels = KeywordLabels(explainer, random_state=seed).interpret(texts, concepts_indices=wanted)
        scores += [label.score for label in labels.values() if label.score is not None]
    values = sorted(score.value for score in scores)
    mean, shuffled, other = (
        sum(getattr(score, kind) for score in scores) / len(scores) for kind in ("value", "shuffled", "other")
    )
    better = sum(score.beats_controls for score in scores) / len(scores)
    cells = [name, layer, f"{len(scores)} of {len(wanted) * len(SEEDS)}", f"**{mean:.2f}**", f"{values[len(values) // 4]:.2f}"]
    cells += [f"{shuffled:.2f}", f"{other:.2f}", f"{100 * better:.0f} %"]
    return "| " + " | ".join(map(str, cells)) + " |"
