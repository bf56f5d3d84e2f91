"""Generation: every number equals its definition, for every family of language models."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from interpreto import (
    At2,
    ContextCite,
    Contrast,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    Occlusion,
    ReAGent,
    Rise,
    Saliency,
    SmoothGrad,
    Sobol,
)
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Readout, Sample, Targets
from interpreto.inputs.units import Units
from tests import problems, tiny
from tests.contracts.zoo import CLIPPED, METHODS, SAMPLED, SCORES_OF_THEIR_OWN, covers
from tests.reference import Reference

FAMILIES = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}
PROMPTS = ["The film was", "A dull story", "No end"]
TARGETS = [" so good", " fun", " at all"]
pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")


def assert_rows(found, wanted, bound=1e-4):
    assert torch.equal(found.isnan(), wanted.isnan())
    scale = max(1.0, float(wanted.nan_to_num().abs().max()))
    assert float((found - wanted).nan_to_num().abs().max()) <= bound * scale


@pytest.mark.parametrize("family", FAMILIES)
def test_occlusion_integrated_gradients_and_shapley_values_are_those_of_the_reference(family):
    model, tokenizer = FAMILIES[family]()
    reference = Reference(model, tokenizer)
    for output in Occlusion(model, tokenizer, replacement="mean")(PROMPTS, TARGETS):
        assert_rows(output.attributions, reference.occlusion(output.sample))
    steps = {"n_perturbations": 4, "baseline": "mean"}
    for output in IntegratedGradients(model, tokenizer, **steps)(PROMPTS[:2], TARGETS[:2]):
        assert_rows(output.attributions, reference.integrated_gradients(output.sample, 4), 2e-4)
    shap = KernelShap(model, tokenizer, replacement="mean", n_perturbations=64)
    for output in shap(PROMPTS[1:], TARGETS[1:]):
        assert output.sample.players <= 6
        assert_rows(output.attributions, reference.shapley(output.sample))


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_models_own_log_probabilities(family):
    model, tokenizer = FAMILIES[family]()
    for output in Occlusion(model, tokenizer)(PROMPTS, TARGETS):
        ids, sample = output.sample.input_ids[None], output.sample
        with torch.no_grad():
            if sample.source:
                written = ids[:, sample.source :]
                logits = model(input_ids=ids[:, : sample.source], decoder_input_ids=written).logits[0]
            else:
                logits = model(input_ids=ids).logits[0]
        t = len(output.targets)
        wanted = logits[-t - 1 : -1].log_softmax(-1)[torch.arange(t), output.targets]
        torch.testing.assert_close(output.base_scores, wanted, rtol=1e-5, atol=2e-5)
        assert ids[0, -t:].tolist() == output.targets.tolist()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "mamba", "t5", "bart"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_rows_are_causal(method, family):
    if not covers(method, family):
        return  # refused, as the contracts assert
    model, tokenizer = FAMILIES[family]()
    output = method(model, tokenizer, **{**METHODS[method], "granularity": "token"})(PROMPTS[0], TARGETS[0])[0]
    t, g = output.attributions.shape
    if method in (ContextCite, At2):  # the answer is one score, and only what precedes it is explained
        assert t == 1 and not output.attributions.isnan().any() and max(b for _, b in output.spans) <= len(PROMPTS[0])
        return
    begins = g - t  # the prompt's units come first
    for row in range(t):
        assert not output.attributions[row, : begins + row].isnan().any()
        assert output.attributions[row, begins + row :].isnan().all()
    if method in SAMPLED and output.standard_error is not None:
        assert torch.equal(output.standard_error.isnan(), output.attributions.isnan())


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_explained_by_the_prompt_alone(method):
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    explainer = method(model, tokenizer, **METHODS[method])
    output = explainer(PROMPTS[0], TARGETS[0], attribute_targets=False)[0]
    assert output.elements == ["The", "film", "was"] and "".join(output.target_labels).strip() == TARGETS[0].strip()
    assert not output.attributions.isnan().any()
    with_targets = explainer(PROMPTS[0], TARGETS[0])[0]
    torch.testing.assert_close(output.base_scores, with_targets.base_scores)
    if method in (Occlusion, Saliency, InputXGradient):
        torch.testing.assert_close(output.attributions, with_targets.attributions[:, :3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sequence_is_the_sum_of_its_rows(family):
    model, tokenizer = FAMILIES[family]()
    for method, options in {
        Occlusion: {},
        IntegratedGradients: {"n_perturbations": 3},
        KernelShap: {"n_perturbations": 64},
    }.items():
        explainer = method(model, tokenizer, **options)
        rows = explainer(PROMPTS[0], TARGETS[0])[0]
        summed, whole = rows.sequence(), explainer(PROMPTS[0], TARGETS[0], aggregate="sequence")[0]
        assert summed.target_labels == whole.target_labels == ["so good"]
        assert summed.target_spans == whole.target_spans and summed.targets.tolist() == whole.targets.tolist() == [-1]
        scale = float(whole.attributions.nan_to_num().abs().max())
        torch.testing.assert_close(summed.attributions, whole.attributions, rtol=1e-4, atol=1e-4 * scale, equal_nan=True)
        torch.testing.assert_close(summed.base_scores, whole.base_scores, rtol=1e-5, atol=1e-5)


def test_a_batch_takes_one_backward_pass_for_all_its_scores():
    """Of the sequence, of one text's tokens, and of texts with unequally many tokens alike."""
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    passes = []
    grad = torch.autograd.grad
    targets = [" so good", " fun", " so very good and dull"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", lambda *a, **o: passes.append(1) or grad(*a, **o))
        explainer = Saliency(model, tokenizer)
        explainer(PROMPTS[0], targets[0], aggregate="sequence")
        assert len(passes) == 1
        explainer(PROMPTS[0], targets[0])
        assert len(passes) == 1 + 2  # the second one measures once whether scores can share a pass
        outputs = explainer([PROMPTS[0]] * 3, targets)
        assert len({len(output.targets) for output in outputs}) == 3 and explainer.model.forward.batches_gradients
        assert len(passes) == 1 + 2 + 1
    for target, output in zip(targets, outputs, strict=True):
        alone = Saliency(model, tokenizer)(PROMPTS[0], target)[0]
        torch.testing.assert_close(output.attributions, alone.attributions, rtol=1e-4, atol=1e-6, equal_nan=True)


def test_units_of_the_target_sum_their_tokens():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    explainer = Occlusion(model, tokenizer)
    rows = explainer(PROMPTS[0], " at all, she")[0]
    units = explainer(PROMPTS[0], " at all, she", aggregate="unit")[0]
    assert units.target_labels == ["at", "all", ",", "she"]
    text = units.text
    assert [text[a:b] for a, b in units.target_spans] == units.target_labels
    start = 0
    for row, label in enumerate(units.target_labels):
        end, seen = start, ""
        while seen.strip() != label:
            seen += rows.target_labels[end]
            end += 1
        torch.testing.assert_close(units.base_scores[row], rows.base_scores[start:end].sum())
        torch.testing.assert_close(units.attributions[row, :3], rows.attributions[start:end, :3].sum(0), rtol=1e-4, atol=1e-5)
        start = end


def test_magnitudes_of_rows_are_not_summed():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    with pytest.raises(OptionError, match=r"Saliency returns magnitudes.*aggregate=\"sequence\""):
        Saliency(model, tokenizer)(PROMPTS[0], TARGETS[0])[0].sequence()
    with pytest.raises(OptionError, match="no sequence; only those of a generation are"):
        Occlusion(*tiny.CLASSIFIERS["bert"]())("A film")[0].sequence()


class Tokens(problems.GameTokenizer):
    """Ids for words."""

    bos_token_id = eos_token_id = None


class AdditiveLM(torch.nn.Module):
    """Logits after token i are the sum of what tokens 0..i contribute."""

    def __init__(self, vocabulary, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = torch.nn.Embedding(vocabulary, 6)
        self.head = torch.nn.Linear(6, vocabulary, bias=False)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, generator=generator)

    def get_input_embeddings(self):
        return self.embedding

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, attention_mask):
        hidden = (self.embedding(input_ids) * attention_mask[..., None]).cumsum(1)
        return SimpleNamespace(logits=self.head(hidden))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Occlusion, {}),
        (Lime, {"n_perturbations": 100}),
        (KernelShap, {"n_perturbations": 80}),
        (KernelShap, {"n_perturbations": 2**12}),
        (KernelShap, {"n_perturbations": 30}),
        (IntegratedGradients, {"baseline": "mean"}),
    ],
)
def test_on_an_additive_model_every_row_is_the_tokens_own_contributions(method, options):
    size = 14
    model, tokenizer = AdditiveLM(size + 1), Tokens(size)
    prompt, target = torch.arange(7), torch.arange(7, 12)
    replaced = {} if method is IntegratedGradients else {"replacement": "mean"}
    explainer = method(model, tokenizer, granularity="token", inference_mode="logits", task="generation", **options, **replaced)
    output = explainer(prompt, target)[0]
    mean = model.embedding.weight.mean(0)
    with torch.no_grad():
        wanted = (model.head.weight[target] @ (model.embedding(torch.arange(12)) - mean).T).tril(6)
    seen = ~output.attributions.isnan()
    assert torch.equal(seen, torch.ones(5, 12).tril(6).bool())
    torch.testing.assert_close(output.attributions[seen], wanted[seen], rtol=1e-4, atol=1e-4)


def test_coalitions_drawn_for_all_units_serve_scores_that_see_fewer():
    """On random games, the error over the first m of u units is that of a sample drawn for m units alone."""
    u, errors = 20, {8: [], 14: []}
    for seed in range(6):
        for m, own in errors.items():
            value, phi = problems.random_game(m, seed)
            units = Units(torch.arange(u), ("x",) * u, ((0, 1),) * u)
            targets = Targets((Readout(torch.tensor([0, 0]), torch.tensor([m - 1, u - 1])),), ("a", "b"), (None, None))
            sample = Sample("", torch.arange(u), units, {}, targets)
            assert sample.reach.tolist() == [m, u]
            explainer = KernelShap(problems.Game(value, m), problems.GameTokenizer(m), n_perturbations=200)
            mask = explainer.perturbator(sample, torch.Generator().manual_seed(seed))
            scores = torch.from_numpy(value(1 - mask.mask[:, :m].double().numpy()))[:, None].expand(-1, 2)
            estimate = explainer.aggregator.aggregate(scores.float(), mask)
            found = estimate.values[0, :m]
            torch.testing.assert_close(found.sum(), scores[0, 0] - scores[1, 0], rtol=1e-5, atol=1e-5)
            assert estimate.values[0, m:].isnan().all() and not estimate.values[1].isnan().any()
            own.append(float((found - torch.from_numpy(phi)).norm() / torch.from_numpy(phi).norm()))
    assert sum(errors[8]) / 6 < 0.06 and sum(errors[14]) / 6 < 0.12


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("family", ["llama", "t5", "bart", "mamba"])
def test_a_contrast_is_the_difference_of_two_scores(method, family):
    if not covers(method, family):
        return  # refused, as the contracts assert
    model, tokenizer = FAMILIES[family]()
    explainer = method(model, tokenizer, **METHODS[method])
    for a, b in ((" fun", " dull"), (" so good", " so very dull"), (" so good", " so")):
        there, back = explainer(PROMPTS[0], Contrast(a, b))[0], explainer(PROMPTS[0], Contrast(b, a))[0]
        assert there.elements == ["The", "film", "was"] and there.attributions.shape == (1, 3)
        assert there.target_labels == [f"{a.strip()} − {b.strip()}"]
        sign = -1 if there.signed or method is Rise else 1  # mean scores change their sign with the score
        scale = max(1.0, float(there.attributions.abs().max()))
        if method not in (*CLIPPED, ReAGent, At2):  # shares of one, and attention, which knows no sign
            atol = (1e-3 if method is ContextCite else 1e-4) * scale  # which units a lasso keeps
            torch.testing.assert_close(there.attributions, sign * back.attributions, rtol=1e-3, atol=atol)
        rtol = 1e-3 if method is ContextCite else 1e-4
        torch.testing.assert_close(there.base_scores, -back.base_scores, rtol=rtol, atol=1e-4)
        each = [explainer(PROMPTS[0], text, aggregate="sequence", attribute_targets=False)[0] for text in (a, b)]
        torch.testing.assert_close(there.base_scores, each[0].base_scores - each[1].base_scores, rtol=rtol, atol=1e-4)
        if there.signed and method not in (GradientShap, *SCORES_OF_THEIR_OWN):  # linear in the score, from the same copies
            wanted = each[0].attributions - each[1].attributions
            torch.testing.assert_close(there.attributions, wanted, rtol=1e-3, atol=2e-4 * scale)


def test_a_contrast_of_classes_is_the_difference_of_two_scores():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    for method, options in METHODS.items():
        explainer = method(model, tokenizer, **options)
        output = explainer("The film was not good", [Contrast(2, 0), 1])[0]
        assert output.targets.tolist() == [-1, -1] and output.target_labels[0] == f"{tiny.LABELS[2]} − {tiny.LABELS[0]}"
        each = explainer("The film was not good", [2, 0, 1])[0]
        torch.testing.assert_close(output.base_scores[0], each.base_scores[0] - each.base_scores[1], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output.attributions[1], each.attributions[2], rtol=1e-4, atol=1e-5)
        if output.signed and method not in SCORES_OF_THEIR_OWN:
            wanted = each.attributions[0] - each.attributions[1]
            scale = max(1.0, float(wanted.abs().max()))
            torch.testing.assert_close(output.attributions[0], wanted, rtol=1e-3, atol=1e-4 * scale)


def test_no_copies_are_run_for_units_that_no_score_sees():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    rows = []
    model.register_forward_pre_hook(lambda _m, _a, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True)
    explainer = KernelShap(model, tokenizer, n_perturbations=8, batch_size=64)
    explainer("The film was", torch.tensor([300]))
    rows.clear()  # what is measured once per model has been measured
    output = explainer("The film was", torch.tensor([300]))[0]
    assert len(output.elements) == 4 and output.sample.players == 3
    assert sum(rows) == 2**3


@pytest.mark.parametrize("replacement", ["mean", "zero", "drop", "attention", 9])
def test_every_replacement_keeps_rows_causal_and_efficient(replacement):
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    output = KernelShap(model, tokenizer, replacement=replacement, n_perturbations=200)(PROMPTS[0], TARGETS[0])[0]
    total = output.attributions.double().nansum(1) + output.reference_scores
    torch.testing.assert_close(total.float(), output.base_scores, rtol=1e-4, atol=1e-4)
    one = Occlusion(model, tokenizer, replacement=replacement, batch_size=1)(PROMPTS, TARGETS)
    for a, b in zip(one, Occlusion(model, tokenizer, replacement=replacement)(PROMPTS, TARGETS), strict=True):
        torch.testing.assert_close(a.attributions, b.attributions, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_dropping_and_hiding_read_what_the_kept_tokens_predict():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    ids = tokenizer("The film was")["input_ids"]
    target = tokenizer.convert_tokens_to_ids("▁good")
    output = Occlusion(model, tokenizer, granularity="token", replacement="drop")("The film was", torch.tensor([target]))[0]
    for unit in range(len(output.elements) - 1):
        kept = [i for column, i in enumerate(ids) if int(output.sample.units.index[column]) != unit]
        with torch.no_grad():
            score = model(torch.tensor([kept])).logits[0, -1].log_softmax(-1)[target]
        torch.testing.assert_close(output.base_scores[0] - output.attributions[0, unit], score, rtol=1e-4, atol=1e-5)
    with pytest.raises(OptionError, match="leave nothing before the target"):
        KernelShap(*tiny.CAUSAL_LMS["gpt2"](), replacement="attention")("The film", " was")


def test_sobol_indices_of_a_row_are_those_of_its_own_players():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    many = {"n_token_perturbations": 256, "sobol_indices_order": "total"}
    whole = Sobol(model, tokenizer, **many)(PROMPTS[0], TARGETS[0])[0]
    alone = Sobol(model, tokenizer, **many)(PROMPTS[0], TARGETS[0], attribute_targets=False)[0]
    torch.testing.assert_close(whole.attributions[0, :3], alone.attributions[0], rtol=0, atol=0.15)


def test_noise_methods_take_the_rows_of_a_batch_together():
    model, tokenizer = tiny.CAUSAL_LMS["qwen3"]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = SmoothGrad(model, tokenizer, n_perturbations=4)(PROMPTS, TARGETS)
    for prompt, target, output in zip(PROMPTS, TARGETS, together, strict=True):
        alone = SmoothGrad(model, tokenizer, n_perturbations=4, batch_size=1)(prompt, target)[0]
        torch.testing.assert_close(output.attributions, alone.attributions, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_variants_are_padded_to_all_units():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    sample = Occlusion(model, tokenizer)("The film was", torch.tensor([300]))[0].sample
    variants = Occlusion(model, tokenizer).perturbator(sample, torch.Generator())
    assert isinstance(variants, MaskVariants) and variants.mask.shape == (4, 4) and not variants.mask[:, 3].any()
