"""Explanations made by hand, so that views are tested without an engine; and texts that try to be more than text."""

from __future__ import annotations

import torch

from interpreto.attributions.output import AttributionOutput
from interpreto.inputs.samples import Readout, Sample, Targets
from interpreto.inputs.units import Units

INJECTIONS = (
    "</script><img src=x onerror=alert(1)>",
    "<script>window.hacked = 1</script>",
    "<!--<script>",
    "-->",
    "]]>",
    "<svg onload=alert(1)>",
    "\"><b onmouseover='alert(1)'>",
    "' onclick='alert(1)",
    "javascript:alert(1)",
    "${alert(1)}",
    "{{constructor.constructor('alert(1)')()}}",
    "$title $data $$script",
    "</style><style>*{display:none}",
    "</title><script>alert(1)</script>",
    "&lt;script&gt; &amp; &#60;",
    "\u202eevil\u202c \u2066isolate",
    "null\x00byte",
    "line\u2028separator\u2029paragraph",
    '\\u003cscript\\u003e \\\\ \\"',
    "%3Cscript%3E\r\n<iframe srcdoc='x'>",
)


def explanation(
    words: list[str], values: list[list[float]], labels: list[str] | None = None, **facts: object
) -> AttributionOutput:
    """Words between spaces, with a row of values for each label."""
    text, spans = "", []
    for word in words:
        text += " " if text else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    t = len(values)
    units = Units(torch.arange(len(words)), tuple(words), tuple(spans))
    labels = labels or [f"class {i}" for i in range(t)]
    targets = Targets((Readout(torch.arange(t)),), tuple(labels), (None,) * t)
    sample = Sample(text, torch.arange(len(words)), units, {}, targets)
    numbers = facts.pop("attributions", None)
    numbers = torch.tensor(values) if numbers is None else numbers
    base = torch.arange(t) + 0.5
    known: dict = {
        "model_task": "single-label classification",
        "method": "Occlusion",
        "granularity": "word",
        "granularity_aggregation_strategy": None,
        "inference_mode": "logits",
        "base_scores": base,
    }
    return AttributionOutput(numbers, sample, labels, **(known | facts))  # type: ignore[arg-type]


def generation(prompt: str, answer: list[str], values: list[list[float]] | None = None, **facts: object) -> AttributionOutput:
    """Words of a prompt, then the tokens of an answer, each of which has a row that sees what stands in front of it."""
    words = prompt.split(" ")
    u, t = len(words), len(answer)
    text, spans = prompt, []
    for token in answer:
        spans.append((len(text), len(text) + len(token)))
        text += token
    starts = [sum(len(word) + 1 for word in words[:i]) for i in range(u)]
    units = Units(
        torch.arange(u + t),
        (*words, *(token.strip() or token for token in answer)),
        (*((a, a + len(word)) for a, word in zip(starts, words, strict=True)), *spans),
    )
    numbers = torch.tensor(values) if values else torch.arange(1.0, t * (u + t) + 1).reshape(t, u + t) / 10
    numbers = numbers.masked_fill(torch.ones(t, u + t).triu(u).bool(), torch.nan)
    reading = Readout(torch.arange(t), torch.arange(u - 1, u - 1 + t))
    sample = Sample(text, torch.arange(u + t), units, {}, Targets((reading,), tuple(answer), tuple(spans)), prompt=u)
    known: dict = {
        "model_task": "generation",
        "method": "Occlusion",
        "granularity": "word",
        "granularity_aggregation_strategy": None,
        "inference_mode": "log_softmax",
        "base_scores": -torch.arange(1.0, t + 1),
    }
    return AttributionOutput(numbers, sample, list(answer), **(known | facts))  # type: ignore[arg-type]


def conversation(question: str = "Was it good?", answer: str = "Yes.") -> AttributionOutput:
    """Two messages within a template that is in no unit, and an answer of one unit and two rows."""
    parts = ["<|im_start|>system\n", "Be brief.", "<|im_end|>\n<|im_start|>user\n", question]
    parts += ["<|im_end|>\n<|im_start|>assistant\n", answer]
    ends = [len("".join(parts[: i + 1])) for i in range(len(parts))]
    spans = [(end - len(part), end) for part, end in zip(parts, ends, strict=True)]
    middle = spans[5][0] + (len(answer) + 1) // 2
    units = Units(torch.tensor([-1, 0, -1, 1, -1, 2, 2]), tuple(parts[1::2]), tuple(spans[1::2]))
    reading = Readout(torch.arange(2), torch.tensor([4, 5]))
    halves = (spans[5][0], middle), (middle, spans[5][1])
    targets = Targets((reading,), tuple("".join(parts)[a:b] for a, b in halves), halves)
    sample = Sample("".join(parts), torch.arange(7), units, {}, targets, prompt=5)
    return AttributionOutput(
        torch.tensor([[0.5, -0.25, torch.nan], [0.1, 0.2, 0.3]]),
        sample,
        list(targets.labels),
        model_task="generation",
        method="Occlusion",
        granularity="turn",
        granularity_aggregation_strategy=None,
        inference_mode="log_softmax",
        base_scores=torch.tensor([-1.0, -2.0]),
    )


def additive(u: int) -> AttributionOutput:
    """Units of 0.1, 0.2, …, which lead from 0.5 to the score with a residual of 0.25."""
    values = torch.arange(1.0, u + 1) / 10
    score = values.sum()[None] + 0.75
    parts = {"reference_scores": torch.tensor([0.5]), "residual": torch.tensor([0.25]), "base_scores": score}
    return explanation([f"w{i}" for i in range(u)], [values.tolist()], **parts)


def film(**facts: object) -> AttributionOutput:
    return explanation(
        ["A", "dull", "but", "lovely", "film"],
        [[0.1, -0.8, 0.02, 0.61234567, float("nan")], [-0.1, 0.8, 0.0, -0.4, 0.3]],
        ["positive", "negative"],
        **facts,
    )
