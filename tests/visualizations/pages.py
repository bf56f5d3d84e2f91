"""One page of each kind, for tests that look at all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from PIL import Image

from interpreto import (
    BlackBox,
    Citations,
    Documents,
    Explanations,
    GenericAttention,
    GradCam,
    ModelWithSplitPoints,
    Occlusion,
    Saliency,
    attention_view,
    demo,
    report,
)
from interpreto.attributions.output import AttributionOutput
from interpreto.concepts import NeuronsAsConcepts
from interpreto.concepts.circuits.circuit import OUTPUT, Circuit, CurvePoint, Edge, Node
from interpreto.concepts.circuits.patching_output import PatchingOutput
from interpreto.concepts.lenses.output import LensOutput
from interpreto.inputs.regions import grid
from interpreto.inputs.samples import Prediction
from interpreto.metrics import Benchmark
from interpreto.training import TrainingDynamics
from interpreto.visualizations import to_html
from interpreto.visualizations.concepts import concepts_to_html
from interpreto.visualizations.curve_layout import GRID, Curve
from interpreto.visualizations.html.curves import curve_page
from interpreto.visualizations.lens import renderer
from interpreto.visualizations.patches import patches_to_html
from tests import tiny
from tests.concepts.steering.test_comparison import by_hand
from tests.tiny_chats import writer
from tests.tiny_images import PooledImages, array, as_tensor, image_model, image_processor
from tests.visualizations.concept_examples import dataset, local
from tests.visualizations.dashboard_examples import dashboard
from tests.visualizations.examples import conversation, explanation, film, generation

SENTENCE = ("The", "acting", "is", "wonderful", "but", "the", "story", "is", "rather", "dull", ".")


def additive(method: str = "KernelShap", seed: int | None = None) -> AttributionOutput:
    """Return values of a sentence that lead from 0.2 to its score, with standard errors."""
    values = torch.tensor([[0.1, 0.3, -0.02, 1.1, -0.3, 0.0, 0.05, 0.01, -0.4, -1.3, 0.02]])
    if seed is not None:
        values = values + 0.4 * torch.randn(1, len(SENTENCE), generator=torch.Generator().manual_seed(seed))
    facts = {"reference_scores": torch.tensor([0.2]), "residual": torch.tensor([1e-8]), "base_scores": 0.2 + values.sum(1)}
    return explanation(
        list(SENTENCE), values.tolist(), ["positive"], method=method, standard_error=torch.full((1, 11), 0.05), **facts
    )


def answer(**facts: object) -> AttributionOutput:
    """Return a generation of six tokens."""
    values = torch.randn(6, 14, generator=torch.Generator().manual_seed(1)).tolist()
    scores = -torch.tensor([0.05, 1.2, 0.3, 2.0, 0.7, 0.01])
    tokens = [" so", " good", " and", " a", " joy", "."]
    return generation("The film was long and rather dull but", tokens, values, **({"base_scores": scores} | facts))


def long_text(u: int = 800) -> AttributionOutput:
    """Return many small values, and three large ones at the end."""
    values = 0.2 * torch.randn(1, u, generator=torch.Generator().manual_seed(0))
    values[0, -5:-2] = torch.tensor([5.9, -4.0, 3.0])
    words = [f"{'W' if i % 12 == 0 else 'w'}ord{i}" + ("." if i % 12 == 11 else "") for i in range(u)]
    return explanation(words, torch.cat([values, -values]).tolist(), ["positive", "negative"])


def chat() -> AttributionOutput:
    """Return a conversation about code."""
    return conversation("Was it good? Run:\n```python\nprint('hi')\n```\nand tell me `x` please.", "Yes.")


def side_by_side() -> list[AttributionOutput]:
    """Return four methods for one sentence."""
    return [additive(), *(additive(name, seed) for seed, name in enumerate(("Occlusion", "IntegratedGradients", "Lime")))]


def curve() -> str:
    """Return the page of one deletion curve."""
    return curve_page("Deletion", "probability (Deletion)", [Curve("Occlusion", np.linspace(1, 0, GRID))])


def many_texts(n: int = 40) -> Explanations:
    """Return texts with predictions and labels, a quarter of them wrong."""
    words, noise = ("The", "film", "was", "not"), torch.randn(n, 6, generator=torch.Generator().manual_seed(2))
    found = []
    for i in range(n):
        strong, right = ("dull", -1.5) if i % 2 else ("wonderful", 1.2), i % 4 != 1
        values = torch.cat([0.1 * noise[i, :4], strong[1] + 0.3 * noise[i, 4:5], 0.05 * noise[i, 5:]])[None]
        one = explanation(
            [*words, strong[0], f"text{i}"],
            torch.cat([values, -values]).tolist(),
            ["positive", "negative"],
            base_scores=torch.tensor([values.sum(), -values.sum()]),
            label=("negative" if i % 2 else "positive") if right else "positive",
        )
        said = Prediction("negative" if i % 2 else "positive", 0.5 + 0.4 * abs(float(noise[i, 0].tanh())))
        found.append(replace(one, sample=replace(one.sample, prediction=said)))
    return Explanations(found)


def citations_page() -> str:
    """Return the sources of an answer of two parts."""
    documents = Documents("Who won?", {"sports": "Ann won. Ben came second.", "weather": "It rained."})
    box = BlackBox(lambda texts: [[float("Ann" in t), float("rain" in t)] for t in texts], labels=["Ann won.", "In rain."])
    return Citations(Occlusion(box, granularity="sentence")(documents, [[0, 1]])[0], documents).to_html()


def table_page() -> str:
    """Return the table of a data set."""
    return to_html(many_texts())


def importance_page() -> str:
    """Return the words of many texts."""
    return many_texts().importance(by="word", min_count=3).to_html()


@cache
def report_page() -> str:
    """Return a report on the embedded classifier."""
    model, tokenizer = demo.load_classifier()
    rated = [one for one in demo.load_sentences() if abs(one.score) > 0.5][:60]
    data = [(one.text, "positive" if one.score > 0 else "negative") for one in rated]
    return report(model, data, tokenizer, method="occlusion", n_faithfulness=10, nb_concepts=3).to_html()


@cache
def benchmark_page() -> str:
    """Return the page of a benchmark of two methods."""
    model, tokenizer = demo.load_classifier()
    benchmark = Benchmark(model, tokenizer, metrics=["Deletion", "ABPC"])
    texts = [one.text for one in demo.load_sentences("movie")[:3]]
    return benchmark.run([Occlusion(model, tokenizer), Saliency(model, tokenizer)], texts).to_html()


@cache
def attention_page() -> str:
    """Return the attention of a small classifier for one text."""
    return attention_view(GenericAttention(*tiny.CLASSIFIERS["bert"]()), "The film was not <b>good</b>.", 1).to_html()


def lens_page() -> str:
    """Return layers by tokens of a text, and of one with a single column."""
    texts = {"The film is not <b>": ["The", " film", " is", " not", " <b>"], "Dull.": ["Dull."]}
    found = []
    for seed, (text, tokens) in enumerate(texts.items()):
        logs = torch.randn(4, len(tokens), 9, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
        top = logs.topk(3)
        ids = logs[-1].argmax(-1)
        own = logs.gather(-1, ids[None, :, None].expand(4, -1, 1))
        found.append(
            LensOutput(
                text,
                tuple(tokens),
                ("embeddings", "0", "1", "2"),
                top.indices,
                top.values.exp(),
                -(logs.exp() * logs).sum(-1),
                (logs[-1:].exp() * (logs[-1:] - logs)).sum(-1),
                ids,
                own[..., 0].exp(),
                1 + (logs > own).sum(-1),
                {i: f" token{i}" for i in range(9)},
            )
        )
    return renderer(found).to_html()


def training() -> TrainingDynamics:
    """Return a record of easy, ambiguous, forgotten and never learned texts, one of them with markup."""
    dynamics = TrainingDynamics([f"text {i} <b>bold</b>" for i in range(12)], classes=["<no>", "yes"])
    generator = torch.Generator().manual_seed(0)
    for epoch in range(6):
        logits = torch.randn(12, 2, generator=generator) + torch.tensor([0.0, 2.0])
        logits[:4, 1] -= 2
        logits[11] = torch.tensor([3.0, -3.0])
        dynamics.record(epoch, range(12), logits, [1] * 12)
    return dynamics


def patching_page() -> str:
    """Return parts by tokens of a pair of texts."""
    draw = torch.Generator().manual_seed(0)
    changes = {name: torch.randn(4, 3, generator=draw) for name in ("denoise", "noise")}
    sides = "The <b>king is", "The queen is", ("The", " <b>king", " is"), ("The", " queen", " is")
    names = tuple(f"layer {i}" for i in range(4))
    return PatchingOutput(*sides, names, "' he' − ' she'", 3.0, -1.0, changes, "exact", {}, {}).to_html()


def steering_page() -> str:
    """Return the page of three strengths, with two controls."""
    return by_hand([-0.3, 0.0, 0.5, 0.9], [0.1, 0.0, 0.4, 2.0], [[0.1, 0.0, -0.1, 0.05], [-0.2, 0.0, 0.1, 0.3]]).to_html()


@cache
def images_page() -> str:
    """Return two images, one of them explained by two methods, and units that leave pixels out."""
    model, images, cut = PooledImages(), [array(24, 20), array(24, 20, seed=1)], grid(4, 3)
    found = [one for kind in (Occlusion, GradCam) for one in kind(model, as_tensor, granularity=cut)(images[0], [0, 1])]
    left = np.where(np.arange(20) < 10, np.arange(24)[:, None] // 12, -1)
    return to_html([*found, *Occlusion(model, as_tensor, granularity=lambda shown: left)(images[1])])


def circuit(tokens: bool) -> Circuit:
    """Return a circuit with numbers of its own, of parts at tokens or at all of them."""
    at = [0, 1, 1, 2] if tokens else [None] * 4
    heads = ["layer 0 head 1", "layer 0 head 1"] if tokens else ["layer 0 head 1", "layer 0 head 0"]
    names = [*heads, "layer 0 feed-forward", "layer 2 feed-forward"]
    nodes = [
        Node(name, place, t, 0.9 - 0.5 * i) for i, (name, place, t) in enumerate(zip(names, [0, 0, 1, 3], at, strict=True))
    ]
    edges = Edge(0, 3, 0.5), Edge(1, 2, -0.25), Edge(2, 3, 0.1), Edge(3, OUTPUT, 0.4)
    curve = [(0, 0.0, 0.0), (1, 0.25, 0.5), (4, 0.75, 0.8), (9, 1.0, 1.0)]
    return Circuit(
        tuple(nodes),
        edges,
        ("The <b>king is",),
        ("The", " <b>king", " is") if tokens else (),
        ("layer 0 att.o input", "layer 0 mlp", "layer 1 mlp", "layer 2 mlp"),
        "' he' − ' she'",
        3.0,
        -1.0,
        tuple(CurvePoint(*point) for point in curve),
        9,
        "corrupt",
        "attribution",
    )


def attribution_graph() -> Circuit:
    """Return a circuit of transcoders, with more concepts at one token than a row has room for."""
    nodes = [Node(f"layer 1 concept {i}", 1, 1, 1.0, 0.1, 2.0) for i in range(9)]
    nodes += [Node("embedding", 0, 0, 0.5, 0.4), Node("layer 1 error", 1, 0, -0.5, 0.1)]
    places, edges = ("embedding", "layer 1 mlp"), (Edge(9, 0, 0.5), Edge(0, OUTPUT, 0.75), Edge(10, OUTPUT, -0.5))
    facts = {"replacement_score": 0.75, "completeness_score": 0.5, "method": "influence"}
    return replace(circuit(True), nodes=tuple(nodes), edges=edges, places=places, **facts)


@cache
def image_chat_page() -> str:
    """Return what a small model says about an image, by regions and words."""
    explainer = Occlusion(*writer("qwen2_vl"), granularity=(grid(3), "word"))
    return to_html(explainer(("What is in the picture?", Image.fromarray(array(32, 32))), " A cat"))


@cache
def patches_page() -> str:
    """Return concepts of a small image model, one of them named."""
    splitter = ModelWithSplitPoints(image_model("vit"), 0, tokenizer=image_processor())
    images = [array(), array(seed=2), array(seed=3)]
    concepts = NeuronsAsConcepts(splitter).fit(splitter.get_activations(images))
    return patches_to_html(concepts, images, [0, 1, 2, 3], k=3, over=array(seed=4), names={1: "<b>edges</b>"})


PAGES: dict[str, Callable[[], str]] = {
    "class": lambda: to_html(additive()),
    "classes": lambda: to_html(film()),
    "generation": lambda: to_html(answer()),
    "magnitudes": lambda: to_html(answer(method="Saliency", signed=False)),
    "chat": lambda: to_html(chat()),
    "long": lambda: to_html(long_text()),
    "side by side": lambda: to_html(side_by_side()),
    "many": lambda: to_html([film(), answer(), chat(), *side_by_side()]),
    "curves": curve,
    "citations": citations_page,
    "dashboard": lambda: dashboard().to_html(),
    "table of texts": lambda: to_html([explanation([f"w{i}", "b"], [[0.5, -0.1]], ["pos"]) for i in range(15)]),
    "concepts, global": lambda: concepts_to_html(dataset()),
    "concepts, local": lambda: concepts_to_html(local()),
    "table": table_page,
    "importance": importance_page,
    "report": report_page,
    "benchmark": benchmark_page,
    "lens": lens_page,
    "patching": patching_page,
    "circuit": lambda: circuit(True).to_html(),
    "attribution graph": lambda: attribution_graph().to_html(),
    "attention": attention_page,
    "data map": lambda: training().to_html(),
    "label errors": lambda: training().suspected_label_errors(5).to_html(),
    "steering": steering_page,
    "images": images_page,
    "image chat": image_chat_page,
    "patches": patches_page,
}
