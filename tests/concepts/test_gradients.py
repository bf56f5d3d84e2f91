"""What concepts do: gradients and attributions of outputs, on the model downstream of the split."""

import traceback
from pathlib import Path

import pytest
import torch
from torch import nn

import interpreto
from interpreto.concepts import (
    DictionaryLearningExplainer,
    ICAConcepts,
    KMeansConcepts,
    NeuronsAsConcepts,
    PCAConcepts,
)
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
from interpreto.errors import InputError, ModelError, TargetError
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES

OURS = str(Path(interpreto.__file__).parent)
FEW = SENTENCES[1:5]


def words(model, tokenizer, point=0, concepts=6):
    splitter = ModelWithSplitPoints(model, point, tokenizer=tokenizer)
    return PCAConcepts(splitter, nb_concepts=concepts).fit(splitter.get_activations(SENTENCES, activation_granularity="word"))


@pytest.fixture
def bert():
    return words(*CLASSIFIERS["bert"]())


def by_full_backpropagation(explainer, text, granularity):
    """∂logits/∂c through a hook that adds what the concepts decode to, with the whole graph of the whole model."""
    splitter = explainer.splitter
    (sample,) = splitter.samples(text, granularity)
    kept = {}

    def edit(module, args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        pooled = torch.stack([hidden[0, sample.units.index == u].mean(0) for u in range(len(sample.units))])
        kept["c"] = explainer.encode_activations(pooled)
        kept["c"].retain_grad()
        moved = explainer.decode_concepts(kept["c"]) - explainer.decode_concepts(kept["c"].detach())
        new = hidden.clone()
        new[0, sample.units.free] = hidden.detach()[0, sample.units.free] + moved[sample.units.index[sample.units.free]]
        return (new, *output[1:]) if isinstance(output, tuple) else new

    hook = splitter.model.get_submodule(explainer.split_point).register_forward_hook(edit)
    logits = splitter.model(**splitter.tokenizer(text, return_tensors="pt")).logits
    hook.remove()
    rows = [torch.autograd.grad(logit, kept["c"], retain_graph=True)[0] for logit in logits[0]]
    return torch.stack(rows), kept["c"].detach()


def assert_close(one, other, tolerance=1e-4):
    assert one.shape == other.shape
    assert (one - other).abs().max() <= tolerance * max(1e-3, float(other.abs().max()))


class Head(nn.Module):
    """A linear head on what the split point gives."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, rows):
        return rows @ self.weight.T


def test_closed_form_of_a_linear_decoder_under_a_linear_head():
    model, tokenizer = CLASSIFIERS["bert"]()
    model.classifier = Head(torch.randn(3, 32, generator=torch.Generator().manual_seed(0)))
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    rows, _ = splitter.get_activations(SENTENCES)
    explainer = PCAConcepts(splitter, nb_concepts=4).fit(rows)
    known = (model.classifier.weight @ explainer.get_dictionary().T).detach()  # (t, c)
    codes = explainer.encode_activations(rows)
    for i, found in enumerate(explainer.concept_output_gradient(SENTENCES, concepts_x_gradients=False, normalization=False)):
        assert_close(found, known[:, None])
        for method in ("gradient_x_concept", "integrated_gradients", "ablation"):  # all alike where all is linear
            (one,) = explainer.concept_output_attribution(SENTENCES[i], method=method)
            assert_close(one, (known * codes[i])[:, None])


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "deberta_v2", "modernbert", "gpt2", "llama"])
@pytest.mark.parametrize("granularity", ["token", "word", "sample"])
def test_gradients_are_those_of_full_backpropagation(name, granularity):
    explainer = words(*CLASSIFIERS[name]())
    options = {"activation_granularity": granularity, "normalization": False}
    plain = explainer.concept_output_gradient(FEW, concepts_x_gradients=False, **options)
    times = explainer.concept_output_gradient(FEW, **options)
    for text, found, product in zip(FEW, plain, times, strict=True):
        expected, codes = by_full_backpropagation(explainer, text, granularity)
        assert_close(found, expected)
        assert_close(product, expected * codes)
    explainer.splitter.model.zero_grad()


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt2-lm"])
def test_both_backends_measure_the_same_effects(family):
    model, tokenizer = CAUSAL_LMS["gpt2"]() if family == "gpt2-lm" else CLASSIFIERS[family]()
    targets = "is good" if family == "gpt2-lm" else None
    hooks, traces = (
        SplitterForGeneration(model, 0, tokenizer, backend=backend)
        if family == "gpt2-lm"
        else ModelWithSplitPoints(model, 0, tokenizer=tokenizer, backend=backend)
        for backend in ("hooks", "nnsight")
    )
    (rows,) = hooks.get_activations(SENTENCES, activation_granularity="word").values()
    by_hooks, by_traces = (PCAConcepts(splitter, nb_concepts=4).fit(rows) for splitter in (hooks, traces))
    texts, options, both = FEW[:2], {"activation_granularity": "word"}, (by_hooks, by_traces)
    pairs = [
        [each.concept_output_gradient(texts, targets, concepts_x_gradients=product, **options) for each in both]
        for product in (False, True)
    ]
    pairs += [
        [each.concept_output_attribution(texts, targets, method=method, n_steps=3, **options) for each in both]
        for method in ("gradient", "gradient_x_concept", "integrated_gradients", "ablation")
    ]
    for one, other in pairs:
        for a, b in zip(one, other, strict=True):
            assert_close(b, a)
            assert a.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_gradient_reaches_parameters_nor_concept_models(bert):
    flags = [parameter.requires_grad for parameter in bert.splitter.model.parameters()]
    for method in ("gradient", "integrated_gradients", "ablation"):
        bert.concept_output_attribution(FEW, method=method, n_steps=2)
    assert all(parameter.grad is None for parameter in bert.splitter.model.parameters())
    assert flags == [parameter.requires_grad for parameter in bert.splitter.model.parameters()]
    assert not any(found.requires_grad for found in bert.concept_output_gradient(FEW))


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "ablation"])
def test_neither_company_nor_batch_size_changes_anything(bert, method):
    options = {"method": method, "n_steps": 4, "activation_granularity": "word"}
    texts = SENTENCES if method == "gradient" else SENTENCES[:3]
    together = bert.concept_output_attribution(texts, **options)
    for i in (0, 2):
        assert_close(bert.concept_output_attribution(texts[i], **options)[0], together[i])
    for size in (1, 2):
        for one, other in zip(bert.concept_output_attribution(texts, batch_size=size, **options), together, strict=True):
            assert_close(one, other)


def test_untouched_concepts_leave_the_output_exactly_the_model_s(bert):
    """The reconstruction error is kept: six concepts do not explain 32 dimensions."""
    from interpreto.concepts.downstream import Downstream

    splitter, downstream = bert.splitter, Downstream(bert, "word")
    batch = downstream.batch(downstream.samples_with_targets(FEW, None))
    scores = batch.scores(batch.concepts[None])[0]
    for score, text in zip(scores, FEW, strict=True):
        assert_close(score, splitter.model(**splitter.tokenizer(text, return_tensors="pt")).logits[0].detach(), 1e-5)


@pytest.mark.parametrize("granularity", ["token", "word", "sample"])
def test_integrated_gradients_are_complete(bert, granularity):
    """They sum to f(activations) − f(activations without what the concepts decode to)."""
    splitter = bert.splitter
    found = bert.concept_output_attribution(FEW, method="integrated_gradients", activation_granularity=granularity, n_steps=200)
    for text, values in zip(FEW, found, strict=True):
        (sample,) = splitter.samples(text, granularity)
        with torch.no_grad():
            hidden = splitter.batch_activations([sample])
            codes = bert.encode_activations(sample.units.pool(hidden[0].T, read_mean()).T)
            gone = bert.decode_concepts(torch.zeros_like(codes)) - bert.decode_concepts(codes)
            without = hidden.clone()
            without[0, sample.units.free] += gone[sample.units.index[sample.units.free]]
            gap = splitter.outputs_from([sample], hidden)[0] - splitter.outputs_from([sample], without)[0]
        assert_close(values.sum((1, 2)), gap, 2e-3)


def read_mean():
    from interpreto.inputs.units import GranularityAggregationStrategy

    return GranularityAggregationStrategy.MEAN


def test_ablation_is_the_score_lost_without_one_concept_of_one_unit(bert):
    splitter, text = bert.splitter, SENTENCES[2]
    (found,) = bert.concept_output_attribution(text, method="ablation", activation_granularity="word")
    (sample,) = splitter.samples(text, "word")
    hidden = splitter.batch_activations([sample])
    codes = bert.encode_activations(sample.units.pool(hidden[0].T, read_mean()).T)
    base = splitter.outputs_from([sample], hidden)[0]
    for unit, concept in ((0, 0), (3, 2), (len(sample.units) - 1, 5)):
        moved = hidden.clone()
        moved[0, sample.units.index == unit] -= codes[unit, concept] * bert.get_dictionary()[concept]
        lost = base - splitter.outputs_from([sample], moved)[0]
        assert torch.allclose(found[:, unit, concept], lost, atol=1e-6)


class Gate(nn.Module):
    """Two concepts with codes 0 and 1: a row has the one or the other, by the widest gap among its first neuron's values."""

    nb_concepts = 2

    def fit(self, rows):
        values = rows[:, 0].sort().values[len(rows) // 4 : -len(rows) // 4]
        widest = int((values[1:] - values[:-1]).argmax())
        self.threshold = values[widest : widest + 2].mean()
        self.directions = torch.stack([rows.mean(0), rows[0]])

    def encode(self, rows):
        first = rows[:, :1] > self.threshold
        return torch.cat([first, ~first], 1).to(rows)

    def decode(self, codes):
        return codes @ self.directions


def test_a_concept_that_is_zero_has_no_effect_by_ablation():
    """Exactly, also beside texts of the batch that have it."""
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    rows = splitter.get_activations(SENTENCES)
    explainer = DictionaryLearningExplainer(splitter, Gate()).fit(rows)
    codes = explainer.encode_activations(rows).split([len(sample.units) for sample in splitter.samples(SENTENCES)])
    found = explainer.concept_output_attribution(SENTENCES, method="ablation")
    assert all(0 < float(code[:, 0].mean()) < 1 for code in codes[2:])
    for each, code in zip(found, codes, strict=True):
        assert (each[:, code == 0] == 0).all()
        assert each[:, code != 0].abs().max() > 1e-3


class TestNormalization:
    def test_sizes_sum_to_one_for_each_input_and_target(self, bert):
        for found in bert.concept_output_gradient(SENTENCES, activation_granularity="word"):
            assert found.abs().sum((1, 2)).allclose(torch.ones(3))

    def test_nothing_over_nothing_is_zero_and_never_nan(self):
        model, tokenizer = CLASSIFIERS["bert"]()
        nn.init.zeros_(model.classifier.weight)
        for found in words(model, tokenizer).concept_output_gradient(FEW):
            assert (found == 0).all()


class TestTargets:
    def test_of_a_classifier(self, bert):
        whole = bert.concept_output_gradient(FEW)
        forms = [0, "negative", [0, 2], ["positive", "neutral"], torch.tensor([1, 0]), [[0], [1, 2], ["neutral"], [2]]]
        picked = [[[0]] * 4, [[0]] * 4, [[0, 2]] * 4, [[2, 1]] * 4, [[1, 0]] * 4, [[0], [1, 2], [1], [2]]]
        for form, rows in zip(forms, picked, strict=True):
            for found, full, row in zip(bert.concept_output_gradient(FEW, form), whole, rows, strict=True):
                assert_close(found, full[row])
        with pytest.raises(TargetError, match="no class is called"):
            bert.concept_output_gradient(FEW, "splendid")
        with pytest.raises(TargetError, match="not in 0"):
            bert.concept_output_gradient(FEW, 7)

    def test_of_a_text_that_a_language_model_reads_its_own_tokens(self):
        explainer = words(*CAUSAL_LMS["gpt2"]())
        (found,) = explainer.concept_output_gradient(SENTENCES[3], normalization=False, concepts_x_gradients=False)
        (sample,) = explainer.splitter.samples(SENTENCES[3])
        assert found.shape == (len(sample) - 1, len(sample), 6)
        for t in range(len(found)):
            assert (found[t, t + 1 :] == 0).all()  # a token depends on those in front of it
            assert (found[t, : t + 1] != 0).any()

    @pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
    def test_of_a_text_that_follows(self, name):
        """A token's gradient is that of its log-probability where the model reads prompt and target."""
        explainer = words(*CAUSAL_LMS[name]())
        splitter = explainer.splitter
        prompts, targets = ["The film was", "Room"], [" great, and long", " 101"]
        found = explainer.concept_output_gradient(prompts, targets, normalization=False, concepts_x_gradients=False)
        for each, prompt, target in zip(found, prompts, targets, strict=True):
            start = len(splitter.tokenizer(prompt)["input_ids"])
            ids = splitter.tokenizer(prompt)["input_ids"] + splitter.tokenizer(target, add_special_tokens=False)["input_ids"]
            if name == "llama":  # its tokenizer begins every text with a space
                ids = splitter.tokenizer(prompt + target)["input_ids"]
            ids = torch.tensor(ids)
            (sample,) = splitter.samples([ids])
            free = sample.units.free
            assert each.shape == (len(ids) - start, int(free.sum()), 6)
            hidden = splitter.batch_activations([sample]).requires_grad_()
            logits = splitter.outputs_from([sample], hidden)[0].log_softmax(-1)
            for t, at in enumerate(range(start, len(ids))):
                (gradient,) = torch.autograd.grad(logits[at - 1, ids[at]], hidden, retain_graph=True)
                assert_close(each[t], gradient[0, free] @ explainer.get_dictionary().T)

    def test_of_what_a_model_writes(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=4)
        explainer = PCAConcepts(splitter, nb_concepts=5).fit(splitter.get_activations(SENTENCES[:3]))
        found = explainer.concept_output_gradient(SENTENCES[:3])
        samples = splitter.samples(SENTENCES[:3])
        texts = [tokenizer.decode(sample.input_ids[sample.prompt :]) for sample in samples]
        for each, sample, text, prompt in zip(found, samples, texts, SENTENCES, strict=False):
            assert each.shape == (len(sample) - sample.prompt, len(sample.units), 5)
            (given,) = explainer.concept_output_gradient(prompt, sample.input_ids[sample.prompt :], normalization=True)
            assert_close(given, each), text

    def test_prompt_units_alone(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=4, part="prompt")
        explainer = PCAConcepts(splitter, nb_concepts=5).fit(splitter.get_activations(SENTENCES[:3]))
        (written,) = explainer.concept_output_gradient("The film was")
        (given,) = explainer.concept_output_gradient("The film was", " great")
        length = len(tokenizer("The film was")["input_ids"])
        assert written.shape == (4, length, 5)
        assert given.shape[1] == length


@pytest.mark.parametrize("kind", [ICAConcepts, KMeansConcepts, NeuronsAsConcepts])
def test_every_kind_of_concepts(kind):
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    options = {} if kind is NeuronsAsConcepts else {"nb_concepts": 4}
    explainer = kind(splitter, **options).fit(splitter.get_activations(SENTENCES))
    for found in explainer.concept_output_gradient(FEW):
        assert found.isfinite().all()
        assert found.abs().sum() > 0


class Rounding(nn.Module):
    """No gradient passes through it either way."""

    nb_concepts = 2

    def fit(self, rows):
        self.basis = torch.eye(2, rows.shape[1])

    def encode(self, rows):
        return (rows @ self.basis.T).detach().round(decimals=1)

    def decode(self, codes):
        return codes.detach() @ self.basis


def test_without_a_gradient_ablation_still_works():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    explainer = DictionaryLearningExplainer(splitter, Rounding()).fit(splitter.get_activations(SENTENCES))
    with pytest.raises(ModelError, match="ablation"):
        explainer.concept_output_gradient(FEW)
    assert all(found.abs().sum() > 0 for found in explainer.concept_output_attribution(FEW, method="ablation"))


def test_half_precision_models():
    model, tokenizer = CLASSIFIERS["bert"]()
    explainer = words(model.bfloat16(), tokenizer)
    for found in explainer.concept_output_gradient(FEW):
        assert found.isfinite().all()
        assert found.dtype is torch.float32


def test_a_score_is_named_or_given():
    from interpreto import InferenceModes, SplitterForClassification, demo
    from interpreto.concepts import PCAConcepts

    model, tokenizer = demo.load_classifier()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    texts = ["A charming film.", "Dull.", "Not my cup of tea."]
    explainer = PCAConcepts(splitter, nb_concepts=2).fit(splitter.get_activations(texts)[0])
    named, given, logits = (
        explainer.concept_output_attribution(texts[:1], inference_mode=mode)[0]
        for mode in ("softmax", InferenceModes.SOFTMAX, None)
    )
    assert torch.equal(named, given)
    assert not torch.allclose(named, logits)


def frames_to_the_model(model, call):
    """The most frames of ours that are open when the model is called; the second call, when all is measured."""
    call()
    counts = []

    def count(_module, _arguments):
        counts.append(sum(frame.filename.startswith(OURS) for frame in traceback.extract_stack(limit=None)))

    hook = model.register_forward_pre_hook(count)
    try:
        call()
    finally:
        hook.remove()
    return max(counts)


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "ablation"])
def test_few_frames_lie_between_a_call_and_the_model(bert, method):
    assert frames_to_the_model(bert.splitter.model, lambda: bert.concept_output_gradient(FEW)) <= 11
    head = SplitterForClassification(bert.splitter.model, tokenizer=bert.splitter.tokenizer)
    of_texts = PCAConcepts(head, nb_concepts=3).fit(head.get_activations(FEW)[0])
    assert frames_to_the_model(head.model, lambda: of_texts.concept_output_gradient(FEW)) <= 11
    asked = {"method": method, "n_steps": 2}
    assert frames_to_the_model(bert.splitter.model, lambda: bert.concept_output_attribution(FEW[:1], **asked)) <= 11


class TestActivationsAsInputs:
    """The reference library's form for classifiers: activations instead of texts."""

    @pytest.mark.parametrize("method", ["gradient", "gradient_x_concept", "integrated_gradients", "ablation"])
    @pytest.mark.parametrize("targets", [None, [0, 2], [[0], [1], [2], [1]]])
    def test_they_give_what_their_texts_give(self, method, targets):
        model, tokenizer = CLASSIFIERS["bert"]()
        splitter = SplitterForClassification(model, tokenizer=tokenizer)
        rows, _ = splitter.get_activations(FEW)
        explainer = PCAConcepts(splitter, nb_concepts=3).fit(rows)
        wanted = explainer.concept_output_attribution(FEW, targets, method)
        for given in (rows, {splitter.split_points[0]: rows}):
            for found, expected in zip(explainer.concept_output_attribution(given, targets, method), wanted, strict=True):
                assert_close(found, expected, 1e-5)

    def test_other_splitters_say_what_they_need(self, bert):
        with pytest.raises(InputError, match="pass texts, or use SplitterForClassification"):
            bert.concept_output_gradient(torch.ones(2, 32))


def test_neurons_know_their_width_from_the_splitter():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    neurons = NeuronsAsConcepts(splitter)
    assert neurons.is_fitted and neurons.nb_concepts == 32
    assert torch.equal(neurons.get_dictionary(), torch.eye(32))
    fitted = NeuronsAsConcepts(splitter).fit(splitter.get_activations(SENTENCES))
    for one, other in zip(neurons.concept_output_gradient(FEW), fitted.concept_output_gradient(FEW), strict=True):
        assert torch.equal(one, other)
    assert not NeuronsAsConcepts(None).is_fitted
