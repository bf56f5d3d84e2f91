"""Explains real sentences with the embedded classifier by three methods, in the terminal and as a page."""

from __future__ import annotations

from interpreto import IntegratedGradients, KernelShap, Occlusion, demo
from interpreto.visualizations.attributions import to_html
from interpreto.visualizations.terminal.attributions import to_text

TEXTS = (
    "A gorgeous, moving film with terrific actors.",
    "The screen broke after two days and customer service was useless.",
    "The first hour is slow, but the ending is one of the best I have seen.",
)
PAGE = "explanation.html"


def main() -> None:
    model, tokenizer = demo.load_classifier()
    explainers = (
        IntegratedGradients(model, tokenizer, baseline="mask"),
        KernelShap(model, tokenizer),
        Occlusion(model, tokenizer),
    )
    explanations = [explanation for explainer in explainers for explanation in explainer(TEXTS)]
    for explanation in explanations:
        print(to_text(explanation))
    to_html(explanations, PAGE, title="Three sentences, three methods")
    print(f"The same as a page: {PAGE}")


if __name__ == "__main__":
    main()
