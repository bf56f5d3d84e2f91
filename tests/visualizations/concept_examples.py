"""Views of concepts made by hand, so that pages, figures and terminals are tested without a model."""

from __future__ import annotations

import torch

from interpreto.concepts.views import About, GlobalConcepts, LocalConcepts, Passage

EFFECTS = torch.tensor([[[0.5, -0.25, 0.0], [-0.1, 1.0, 0.0]], [[-0.5, 0.25, 0.1], [0.1, -1.0, 0.2]]])
ACTIVATIONS = torch.tensor([[2.0, 0.0, 1.0], [0.5, 4.0, 0.0]])


def about(**facts: str) -> About:
    known: dict = {
        "explainer": "NMFConcepts",
        "split_point": "bert.encoder.layer.1",
        "granularity": "word",
        "method": "gradient_x_concept",
        "unit": "logit",
        "scale": "sum over words of |effect|",
        "output": "class",
    }
    return About(**(known | facts))


def passage(words: list[str], values: list[float]) -> Passage:
    """Words between spaces."""
    starts = [sum(len(word) + 1 for word in words[:i]) for i in range(len(words))]
    spans = tuple((start, start + len(word)) for start, word in zip(starts, words, strict=True))
    return Passage(" ".join(words), tuple(words), spans, torch.tensor(values))


def local(
    words: tuple[str, str] = ("lovely", "film"),
    outputs: tuple[str, str] = ("negative", "positive"),
    label: str = "joy",
    **facts: str,
) -> LocalConcepts:
    """Two words, two outputs and three concepts, of which the second matters most and the third has no label."""
    one = passage(list(words), [0.0, 0.0])
    return LocalConcepts(
        about=about(**facts),
        text=one.text,
        elements=one.elements,
        spans=one.spans,
        outputs=outputs,
        scores=torch.tensor([-1.5, 2.5]),
        score_unit="logit",
        activations=ACTIVATIONS,
        effects=EFFECTS,
        labels={0: ((label, 2.0), ("happy", 1.5)), 1: (("film", 4.0),), 2: ()},
        shown=(1, 0, 2),
    )


def dataset(
    words: tuple[str, str] = ("lovely", "film"),
    outputs: tuple[str, str] = ("negative", "positive"),
    label: str = "joy",
    **facts: str,
) -> GlobalConcepts:
    """Two outputs and three concepts: the first acts in one direction, the second in both alike."""
    top = {
        0: (passage(list(words), [2.0, 0.5]), passage(["dull", words[1]], [1.0, -1.0])),
        1: (passage(["dull", words[1]], [0.0, 4.0]),),
        2: (),
    }
    return GlobalConcepts(
        about=about(**({"scale": "mean over 7 texts of the sum over words of |effect|"} | facts)),
        outputs=outputs,
        importances=torch.tensor([[0.5, 1.0, 0.1], [0.8, 0.6, 0.2]]),
        effects=torch.tensor([[-0.5, 0.25, 0.1], [0.8, 0.0, -0.1]]),
        counts=(7, 7),
        labels={0: ((label, 2.0),), 1: (("film", 4.0),), 2: ()},
        top_inputs=top,
        shown=(1, 0, 2),
        texts=7,
    )
