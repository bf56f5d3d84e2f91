"""The same numbers on a GPU as on the processor: methods, concepts, metrics, edits. Skipped where there is no GPU.

CI has none: run ``pytest tests/test_gpu.py`` on a machine with a CUDA device after a change of what runs on devices.
"""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

import interpreto
from interpreto import AttnLrp, KernelShap, ModelWithSplitPoints, Occlusion, Steering, demo, explain_dataset, steered
from interpreto.concepts import ConceptShap, NeuronsAsConcepts, SemiNMFConcepts, TopKSAEConcepts, VanillaSAEConcepts
from interpreto.metrics import Deletion, Insertion
from tests import tiny
from tests.concepts.dictionaries.test_dictionaries import ALL as DICTIONARIES
from tests.concepts.dictionaries.test_dictionaries import data
from tests.concepts.saes.test_saes import ALL as SAES
from tests.contracts.zoo import DRAWN, FAMILIES, GENERATORS, METHODS, covers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning"),
]
DEVICE = "cuda"
TEXTS = list(tiny.SENTENCES[1:4])
PROMPT, ANSWER = "A dull story with no end", " at all"


@pytest.fixture(autouse=True)
def _full_precision():
    """Products of float32 as they are: TF32 keeps three digits."""
    kept = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(kept)


def assert_same(here, there, bound=1e-4):
    assert here.elements == there.elements and here.target_labels == there.target_labels
    for name in ("attributions", "base_scores", "standard_error"):
        a, b = getattr(here, name), getattr(there, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert b.device.type == "cpu" and torch.equal(a.isnan(), b.isnan())
            scale = max(1.0, float(a.nan_to_num().abs().max())) * (10 if name == "standard_error" else 1)
            assert float((a - b).nan_to_num().abs().max()) <= bound * scale, name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_classification(method, family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    model = model.double()  # steep random weights amplify the rounding of float32
    here = method(model, tokenizer, **METHODS[method])(TEXTS, [0, 1, 2])
    there = method(copy.deepcopy(model).to(DEVICE), tokenizer, **METHODS[method])(TEXTS, [0, 1, 2])
    for a, b in zip(here, there, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("family", [family for family in GENERATORS if family != "mixtral"])  # its experts have no float64
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_generation(method, family):
    if not covers(method, family):
        pytest.skip("refused, on every device")
    model, tokenizer = GENERATORS[family]()
    model = model.double()
    here = method(model, tokenizer, **METHODS[method])(PROMPT, ANSWER)[0]
    there = method(copy.deepcopy(model).to(DEVICE), tokenizer, **METHODS[method])(PROMPT, ANSWER)[0]
    assert_same(here, there)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", [m for m in METHODS if m not in DRAWN], ids=lambda m: m.__name__)
def test_half_precision_is_near(method, dtype):
    model, tokenizer = demo.load_classifier()
    text = "A charming, funny film that never gets dull."
    here = method(model, tokenizer, **METHODS[method])(text, 1)[0].attributions[0]
    there = method(copy.deepcopy(model).to(DEVICE, dtype), tokenizer, **METHODS[method])(text, 1)[0].attributions[0]
    assert there.isfinite().all() and there.dtype == here.dtype
    assert torch.corrcoef(torch.stack([here, there]).double())[0, 1] > (0.9 if dtype is torch.bfloat16 else 0.98)


@pytest.mark.parametrize("place", ["cuda", "auto", 0, "0", torch.device("cuda", 0)])
def test_every_way_to_name_it(place):
    model, tokenizer = demo.load_classifier()
    wanted = Occlusion(model, tokenizer)("A charming film.")[0]
    assert_same(wanted, Occlusion(model, tokenizer, device=place)("A charming film.")[0])
    assert next(model.parameters()).device.type == "cpu"


def test_the_prefix_is_shared_and_whole_batches_run():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    explainer = Occlusion(model.double().to(DEVICE), tokenizer, batch_size=4)
    explainer(" ".join([PROMPT] * 4), ANSWER)
    assert explainer.report()["prefix"].active


@pytest.mark.parametrize(
    "name", ["Occlusion", "KernelShap", "GradCam", "IntegratedGradients", "AttnLrp", "DeepLift", "AttentionRollout"]
)
def test_images(name):
    model, processor = demo.load_image_classifier()
    image = demo.load_images(1)[0].image
    method = getattr(interpreto, name)
    options = {"n_perturbations": 128} if name == "KernelShap" else {}
    here = method(model, processor, **options)(image, 1)[0]
    assert_same(here, method(copy.deepcopy(model).to(DEVICE), processor, **options)(image, 1)[0], 1e-3)


@pytest.mark.parametrize("metric", [Deletion, Insertion])
def test_metrics(metric):
    model, tokenizer = demo.load_classifier()
    explanations = AttnLrp(model, tokenizer)(["A charming film.", "Dull and far too long."])
    here = metric(model, tokenizer).run(explanations)
    there = metric(copy.deepcopy(model).to(DEVICE), tokenizer).run(explanations)
    assert there.score == pytest.approx(here.score, abs=1e-5)


@pytest.mark.parametrize("kind", [*DICTIONARIES, *SAES], ids=lambda k: k.__name__)
def test_concept_models_fit_and_encode(kind):
    options = {"nb_epochs": 3} if kind in SAES else {}
    rows = data(positive=True)
    explainer = kind(None, 6, random_state=3, device=DEVICE).fit(rows.to(DEVICE), **options)
    codes = explainer.encode_activations(rows.to(DEVICE))
    assert codes.device.type == DEVICE and codes.isfinite().all()
    moved = explainer.to("cpu")
    torch.testing.assert_close(moved.encode_activations(rows), codes.cpu(), rtol=1e-3, atol=1e-3 * float(codes.abs().max()))


@pytest.mark.parametrize("place", [DEVICE, "cpu"])  # that of the concept model, which may be another than the model's
@pytest.mark.parametrize("model_class", [partial(SemiNMFConcepts, nb_concepts=5), partial(TopKSAEConcepts, nb_concepts=12)])
def test_concepts_from_texts_to_effects(model_class, place):
    texts = [s.text for s in demo.load_sentences(split="train")[:60]]
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model.to(DEVICE), [2], tokenizer=tokenizer)
    activations = splitter.get_activations(texts, "word")
    on_cpu = ModelWithSplitPoints(copy.deepcopy(model).cpu(), [2], tokenizer=tokenizer).get_activations(texts, "word")
    for a, b in zip(activations.values(), on_cpu.values(), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-3, atol=1e-3)
    explainer = model_class(splitter, device=place).fit(activations)
    effects = explainer.concept_output_gradient(texts[:3])
    assert all(effect.isfinite().all() for effect in effects)
    shares = ConceptShap(explainer, "probability", n_orders=3).run(texts[:5])
    assert float(shares.values.sum()) == pytest.approx(shares.full - shares.empty, abs=1e-8)


def test_stores_feed_trainings(tmp_path):
    texts = [s.text for s in demo.load_sentences(split="train")[:60]]
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model.to(DEVICE), [2], tokenizer=tokenizer)
    store = splitter.store_activations(texts, tmp_path / "store", "word")
    trained = VanillaSAEConcepts(splitter, 16, device=DEVICE).fit(store, nb_epochs=2)
    assert trained.history[-1].explained_variance == pytest.approx(
        VanillaSAEConcepts(None, 16).fit(store, nb_epochs=2).history[-1].explained_variance, abs=0.05
    )


def test_mixed_precision_trains():
    rows = torch.randn(4096, 32, generator=torch.Generator().manual_seed(0))
    plain = TopKSAEConcepts(None, 64, device=DEVICE).fit(rows, nb_epochs=5)
    mixed = TopKSAEConcepts(None, 64, device=DEVICE).fit(rows, nb_epochs=5, mixed_precision=True)
    assert mixed.history[-1].explained_variance == pytest.approx(plain.history[-1].explained_variance, abs=0.02)


def test_steering():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    steering = Steering.add(NeuronsAsConcepts(ModelWithSplitPoints(model, 0, tokenizer=tokenizer)), 3, 2.0)
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with torch.no_grad(), steered(model, steering):
        here = model(ids).logits
    model.to(DEVICE)
    with torch.no_grad(), steered(model, steering):
        torch.testing.assert_close(model(ids.to(DEVICE)).logits.cpu(), here, rtol=1e-3, atol=1e-3)


def test_data_sets(tmp_path):
    model, tokenizer = demo.load_classifier()
    texts = [s.text for s in demo.load_sentences(split="held-out")[:20]]
    here = explain_dataset(Occlusion(model, tokenizer), texts, tmp_path / "here")
    there = explain_dataset(Occlusion(copy.deepcopy(model).to(DEVICE), tokenizer), texts, tmp_path / "there")
    for a, b in zip(here, there, strict=True):
        assert_same(a, b)


def test_nothing_stays_on_the_device():
    """Explanations hold numbers of the processor: thousands of them cost no memory of the GPU."""
    model, tokenizer = demo.load_classifier()
    explainer = KernelShap(model.to(DEVICE), tokenizer, n_perturbations=200)
    explainer("A charming film.")
    before = torch.cuda.memory_allocated()
    kept = explainer([s.text for s in demo.load_sentences(split="held-out")[:20]])
    assert torch.cuda.memory_allocated() <= before + 1024 and len(kept) == 20
