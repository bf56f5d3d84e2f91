"""Every task that is neither classification nor generation: its models, its inputs, and its scores by a loop.

A case's ``score`` runs the model as its documentation says, one input at a time, and shares nothing with the engine but the
ids and the places of a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from interpreto.inputs.samples import Sample
from tests import tiny_tasks
from tests.tiny import Zoo


@dataclass(frozen=True)
class TaskCase:
    """One task.

    Attributes:
        models: Families of models.
        inputs: Inputs of unequal lengths.
        score: Takes what the model returned for one row, a sample and the ids that were run to the scores ``(t,)``.
        name: The task as explanations call it.
        run: Runs a model on one sample, with other ids or embeddings.
    """

    models: Zoo
    inputs: list[Any]
    score: Callable[[Any, Sample], torch.Tensor]
    name: str
    run: Callable[..., Any] = field(default_factory=lambda: run)

    def texts(self, tokenizer: Any) -> list[Any]:
        """Return the inputs with a tokenizer's own mask token."""
        return [text.format(mask=tokenizer.mask_token) if isinstance(text, str) else text for text in self.inputs]


def run(model: Any, sample: Sample, **replaced: torch.Tensor) -> Any:
    """Return what a model returns for one sample, with other ids or embeddings."""
    inputs = {"input_ids": sample.input_ids[None]} | {name: value[None] for name, value in sample.inputs.items()}
    if "inputs_embeds" in replaced:
        del inputs["input_ids"]
    return model(**inputs | replaced, attention_mask=torch.ones(1, len(sample), dtype=torch.long))


def readout(sample: Sample) -> tuple[list[int], list[int], torch.Tensor]:
    """Return places and columns that are read of a sample, and how they add up."""
    (only,) = sample.targets.readouts
    return only.positions.tolist(), only.ids.tolist(), torch.eye(len(only.ids)) if only.weights is None else only.weights


def of_tokens(output: Any, sample: Sample) -> torch.Tensor:
    """Return the mean logit over the tokens of each target."""
    positions, columns, weights = readout(sample)
    return weights @ torch.stack([output.logits[0, i, c] for i, c in zip(positions, columns, strict=True)])


def of_filled(output: Any, sample: Sample) -> torch.Tensor:
    """Return the log-probability of each token in the place of its mask."""
    positions, columns, _ = readout(sample)
    return torch.stack([output.logits[0, i].log_softmax(-1)[c] for i, c in zip(positions, columns, strict=True)])


def of_spans(output: Any, sample: Sample) -> torch.Tensor:
    """Return log P(start) + log P(end) of each answer."""
    positions, _, _ = readout(sample)
    start, end = output.start_logits[0].log_softmax(-1), output.end_logits[0].log_softmax(-1)
    return torch.stack([start[i] + end[j] for i, j in zip(positions[::2], positions[1::2], strict=True)])


def of_classes(output: Any, sample: Sample) -> torch.Tensor:
    """Return the logit of each class."""
    return output.logits[0, sample.targets.readouts[0].ids]


def run_apart(model: Any, sample: Sample, **replaced: torch.Tensor) -> Any:
    """Return the cosine of the mean embeddings of two texts, each run by itself."""
    means = []
    for side in (1, 2):
        inside = sample.inputs["text_index"] == side
        rows = {name: value[:, inside] for name, value in ({"input_ids": sample.input_ids[None]} | replaced).items()}
        if "inputs_embeds" in replaced:
            del rows["input_ids"]
        hidden = model.encoder(**rows, attention_mask=torch.ones(1, int(inside.sum()), dtype=torch.long)).last_hidden_state
        means.append(hidden[0].mean(0))
    cosine = (means[0] @ means[1]) / (means[0].norm() * means[1].norm())
    return SimpleNamespace(logits=cosine[None, None])


CONTEXT = "Paris is the capital of France, and Rome is the capital of Italy."
TASKS = {
    "token_classification": TaskCase(
        tiny_tasks.TAGGERS,
        ["The old man walks", "Paris is the capital of France, and Rome is not.", "Call 555"],
        of_tokens,
        "token classification",
    ),
    "fill_mask": TaskCase(
        tiny_tasks.MASKED_LMS,
        ["The old {mask} walks", "{mask} is the capital of {mask}, and Rome is not.", "Call {mask}"],
        of_filled,
        "masked language modeling",
    ),
    "question_answering": TaskCase(
        tiny_tasks.QUESTION_ANSWERERS,
        [("Where?", "The old man walks"), ("What is Rome?", CONTEXT), ("Who?", "She said")],
        of_spans,
        "question answering",
    ),
    "next_sentence": TaskCase(
        tiny_tasks.NEXT_SENTENCE,
        [("The old man walks", "He is sad."), ("Call", "555"), ("The music is beautiful", "and the pictures are bright")],
        of_classes,
        "next sentence prediction",
    ),
    "similarity": TaskCase(
        tiny_tasks.SIMILARITIES,
        [("The old man walks", "He is sad."), ("Call", "555"), ("The music is beautiful", "and the pictures are bright")],
        of_classes,
        "similarity",
        run_apart,
    ),
}
