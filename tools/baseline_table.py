"""Measures the baselines of path methods, on the embedded classifier and on SmolLM2, for `tools/tables.py baselines`."""

from __future__ import annotations

import statistics
from typing import Any

import interpreto
from interpreto.metrics import Benchmark

DECIDING = {
    "The capital of France is": "France",
    "The largest planet of the solar system is": "planet",
    "Water is made of hydrogen and": "Water",
    "The opposite of hot is": "hot",
    "One, two, three,": "three",
    "Monday, Tuesday,": "Tuesday",
    "The chemical symbol of gold is": "gold",
    "In winter it is cold, and in summer it is": "summer",
    "The author of Romeo and Juliet is William": "William",
    "A triangle has three": "triangle",
    "The sun rises in the": "rises",
    "Bees make honey, and cows give": "cows",
    "The Eiffel Tower stands in the city of": "Eiffel",
    "Two plus two is": "plus",
    "The first president of the United States was George": "George",
    "My dog barks, and my cat": "cat",
    "She opened the door with her": "opened",
    "The president of the country gave a speech to the": "speech",
    "In Japan, people speak": "Japan",
    "The doctor told the patient to take the": "doctor",
}
CLASSIFIER = [
    *(("IntegratedGradients", baseline) for baseline in ("zero", "mean", "pad", "unk", "mask")),
    *(("GradientShap", baseline) for baseline in ("zero", "mask")),
]
LANGUAGE_MODEL = ("mean", "pad", "zero", "unk")


def baselines(classifier: Any, texts: list[str], language_model: Any) -> str:
    """Return the page: methods × metrics on the classifier's texts, and how often the deciding word ranks first."""
    return "\n".join([*_on_the_classifier(*classifier, texts), "", *_on_the_language_model(*language_model), ""])


def _on_the_classifier(model: Any, tokenizer: Any, texts: list[str]) -> list[str]:
    methods = {
        f"{name}, {baseline}{' (auto)' if baseline == 'mask' else ''}": getattr(interpreto, name)(
            model, tokenizer, baseline=baseline
        )
        for name, baseline in CLASSIFIER
    }
    methods |= {name: getattr(interpreto, name)(model, tokenizer) for name in ("KernelShap", "Occlusion")}
    table = Benchmark(model, tokenizer, metrics=["ABPC", "Insertion", "Deletion"]).run(methods, texts)
    return [
        f"{len(texts)} held-out sentences of the embedded classifier, which has a mask token; logits of the prediction, words,",
        "95 % bootstrap intervals over the texts. Masked words become the mask token, from which the metric may favor that",
        "baseline.",
        "",
        table.to_markdown(intervals=True),
    ]


def _on_the_language_model(model: Any, tokenizer: Any) -> list[str]:
    methods: dict[str, Any] = {
        f"IntegratedGradients, {baseline}{' (auto)' if baseline == 'unk' else ''}": interpreto.IntegratedGradients(
            model, tokenizer, baseline=baseline
        )
        for baseline in LANGUAGE_MODEL
    }
    methods["InputXGradient"] = interpreto.InputXGradient(model, tokenizer)
    methods["Occlusion"] = interpreto.Occlusion(model, tokenizer)
    methods["KernelShap, 128 coalitions"] = interpreto.KernelShap(model, tokenizer, n_perturbations=128)
    first = methods["Occlusion"](list(DECIDING), generation_kwargs={"max_new_tokens": 1})
    samples = [output.sample for output in first]
    explained = {name: method.explain_samples(samples) for name, method in methods.items()}
    table = Benchmark(model, tokenizer, metrics=["ABPC"]).run(explained)
    abpc = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in table.to_markdown(intervals=True).splitlines()[2:]}
    lines = [
        f"SmolLM2-135M-Instruct, which has no mask token: {len(samples)} prompts as bare texts, such as",
        '"The capital of France is", each with the first token that the model writes and the word that decides it ("France").',
        "Counted is how often that word is among the first two, and how often the first; the residual is the median, as a",
        "share of the score gap.",
        "",
        '| method | first two | first | "France" among the first two | residual | ABPC ↑ |',
        "| --- | ---: | ---: | :---: | ---: | ---: |",
    ]
    for name, outputs in explained.items():
        ranks = [_rank(output, word) for output, word in zip(outputs, DECIDING.values(), strict=True)]
        shares = [_residual(output) for output in outputs]
        known = [share for share in shares if share is not None]
        residual = f"{100 * statistics.median(known):.0f} %" if known else "–"
        france = "yes" if ranks[0] < 2 else "no"
        counts = f"{sum(rank < 2 for rank in ranks)} | {sum(rank < 1 for rank in ranks)}"
        lines.append(f"| {name} | {counts} | {france} | {residual} | {abpc[name]} |")
    return [*lines, f"| random | – | – | – | – | {abpc['random']} |"]


def _rank(output: Any, word: str) -> int:
    """Return how many units have a larger value, by amount, than the deciding word."""
    sizes = output.attributions[0].nan_to_num().abs()
    place = next(i for i, element in enumerate(output.elements) if word in element)
    return int((sizes > sizes[place]).sum())


def _residual(output: Any) -> float | None:
    """Return the residual as a share of the score gap; None for a method that states none."""
    if output.residual is None or output.reference_scores is None:
        return None
    return (output.residual / (output.base_scores - output.reference_scores)).abs()[0].item()
