"""Each method on each task: the numbers of a loop over the model, whatever the batch; nothing is changed; metrics run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from interpreto import InputXGradient, IntegratedGradients, KernelShap, Occlusion
from interpreto.attributions.output import AttributionOutput
from interpreto.errors import CompletenessWarning, ModelError
from interpreto.metrics import ABPC, Deletion
from interpreto.models.options import EngineOptions
from interpreto.registry import find_method
from tests.contracts.tasks import TASKS
from tests.contracts.test_hands_off import assert_untouched, snapshot
from tests.contracts.test_invariance import assert_same
from tests.contracts.zoo import METHODS
from tests.reference import Reference

pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")
FIRST = [(task, next(iter(case.models))) for task, case in TASKS.items()]
PAIRS = [
    pytest.param(task, family, marks=() if (task, family) in FIRST else pytest.mark.slow)
    for task, case in TASKS.items()
    for family in case.models
]
NODES = 5


def built(task, family):
    model, tokenizer = TASKS[task].models[family]()
    return TASKS[task], TASKS[task].texts(tokenizer), model, tokenizer


def embedded(model, sample):
    return model.get_input_embeddings()(sample.input_ids).detach()


@torch.no_grad()
def masked_score(case, model, sample, units, token_id):
    """The scores with some units masked."""
    masked = torch.isin(sample.units.index, torch.tensor(list(units), dtype=torch.long))
    return case.score(case.run(model, sample, input_ids=torch.where(masked, token_id, sample.input_ids)[None]), sample)


def close(found, wanted, size=1.0):
    """1e-5 of what the numbers are made of: tiny models with steep weights have gradients in the hundreds."""
    torch.testing.assert_close(found, wanted.to(found), rtol=1e-5, atol=1e-5 * max(size, 1.0, float(wanted.abs().max())))


def in_its_lane(method):
    """A method of each kind is tried in the fast lane."""
    fast = method.__name__ in ("KernelShap", "InputXGradient")
    return pytest.param(method, marks=() if fast else pytest.mark.slow, id=method.__name__)


@pytest.mark.parametrize(("task", "family"), PAIRS)
def test_occlusion_and_its_scores_equal_a_loop(task, family):
    case, inputs, model, tokenizer = built(task, family)
    token = tokenizer.unk_token_id
    explanations = Occlusion(model, tokenizer, replacement="unk")(inputs)
    for explanation in explanations:
        sample = explanation.sample
        whole = masked_score(case, model, sample, [], token)
        close(explanation.base_scores, whole)
        loop = [whole - masked_score(case, model, sample, [unit], token) for unit in range(len(sample.units))]
        close(explanation.attributions, torch.stack(loop, 1))
        assert explanation.model_task == case.name
        assert explanation.attributions.isfinite().all() and explanation.attributions.abs().max() > 1e-3


@pytest.mark.parametrize(("task", "family"), PAIRS)
def test_gradients_equal_autograd(task, family):
    case, inputs, model, tokenizer = built(task, family)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    once = InputXGradient(model, tokenizer)(inputs)
    paths = IntegratedGradients(model, tokenizer, baseline="zero", n_perturbations=NODES)(inputs)
    for explanation, path in zip(once, paths, strict=True):
        sample = explanation.sample
        own = embedded(model, sample)
        start = torch.where(sample.units.free[:, None], 0.0, own)

        def gradients(at, sample=sample):
            given = at.clone().requires_grad_()
            scores = case.score(case.run(model, sample, inputs_embeds=given[None]), sample)
            return torch.stack([torch.autograd.grad(score, given, retain_graph=True)[0] for score in scores])

        terms = gradients(own) * own
        size = float(terms.abs().sum(-1).max())
        close(explanation.attributions, by_unit(terms.sum(-1), sample), size)
        points = [start + (node + 1) / 2 * (own - start) for node in nodes]
        mean = sum(weight / 2 * gradients(point) for weight, point in zip(weights, points, strict=True))
        close(path.attributions, by_unit((mean * (own - start)).sum(-1), sample), size)


def by_unit(per_token, sample):
    return torch.stack([per_token[:, sample.units.index == unit].sum(1) for unit in range(len(sample.units))], 1)


@pytest.mark.parametrize(("task", "family"), FIRST)
def test_kernel_shap_equals_shapleys_formula(task, family):
    case, inputs, model, tokenizer = built(task, family)
    few = KernelShap(model, tokenizer, replacement="unk", n_perturbations=600)
    explanation = min(few(inputs), key=lambda found: len(found.elements))
    sample, n = explanation.sample, len(explanation.elements)
    assert n < 9, "all coalitions are asked for"
    worth = {
        kept: masked_score(case, model, sample, set(range(n)) - set(kept), tokenizer.unk_token_id).double()
        for size in range(n + 1)
        for kept in itertools.combinations(range(n), size)
    }
    for target in range(len(sample.targets)):
        own = {kept: float(value[target]) for kept, value in worth.items()}
        wanted = [Reference.contribution(own, range(n), unit) for unit in range(n)]
        torch.testing.assert_close(explanation.attributions[target].double(), torch.tensor(wanted).double(), rtol=0, atol=2e-4)


@pytest.mark.parametrize(("task", "family"), FIRST)
@pytest.mark.parametrize("method", [*map(in_its_lane, METHODS)])
def test_batches_company_and_padding_change_nothing(method, task, family):
    _, inputs, model, tokenizer = built(task, family)
    if task == "similarity" and find_method(method.__name__).evidence == "attention":
        with pytest.raises(ModelError, match="no attention joins them"):
            method(model, tokenizer)(inputs)  # each text of a pair has maps of its own
        return
    options = METHODS[method]
    alone = [method(model, tokenizer, batch_size=1, **options)(text)[0] for text in inputs]
    explainer = method(model, tokenizer, **options)
    for a, b in zip(alone, explainer(inputs), strict=True):
        assert_same(a, b)
    for a, b in zip(alone, reversed(explainer(inputs[::-1])), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize(("task", "family"), PAIRS)
def test_optimizations_and_lengths_change_nothing(task, family):
    _, inputs, model, tokenizer = built(task, family)
    plain = EngineOptions(one_pass=False, kept_logits=False, prefix=False, distinct=False, shared_backward=False)
    for method in (Occlusion, InputXGradient):
        together = method(model, tokenizer)(inputs)
        for text, explanation in zip(inputs, together, strict=True):
            assert_same(explanation, method(model, tokenizer, batch_size=2, shortcuts=plain)(text)[0])


@pytest.mark.parametrize(("task", "family"), FIRST)
def test_nothing_is_changed(task, family):
    _, inputs, model, tokenizer = built(task, family)
    model.train()
    next(iter(model.children())).eval()
    next(model.parameters()).requires_grad_(False)
    own = getattr(model, "encoder", model)  # of a model of similarity
    before = snapshot(own, tokenizer)
    for method in (Occlusion, IntegratedGradients):
        method(model, tokenizer)(inputs)
        assert_untouched(before, snapshot(own, tokenizer))


@pytest.mark.parametrize(("task", "family"), FIRST)
def test_metrics_read_the_explained_scores(task, family):
    _, inputs, model, tokenizer = built(task, family)
    explanations = Occlusion(model, tokenizer)(inputs)
    for metric in (Deletion, ABPC):
        for measure in ("probability", "score"):
            result = metric(model, tokenizer, measure=measure).run(explanations)
            assert np.isfinite(result.score)
    curves = Deletion(model, tokenizer, measure="score", replacement="unk").run(explanations)
    assert len(curves.per_sample) == len(inputs)


@pytest.mark.parametrize(("task", "family"), FIRST)
def test_files_keep_what_is_explained(task, family, tmp_path):
    _, inputs, model, tokenizer = built(task, family)
    explanation = Occlusion(model, tokenizer)(inputs)[0]
    explanation.save(tmp_path / "one")
    loaded = AttributionOutput.load(tmp_path / "one")
    assert loaded.target_spans == explanation.target_spans and loaded.target_labels == explanation.target_labels
    again = Occlusion(model, tokenizer).explain_samples([loaded.sample])[0]
    assert_same(explanation, again)


def test_a_warning_of_integrals_can_still_be_raised():
    _, inputs, model, tokenizer = built(*FIRST[0])
    with pytest.warns(CompletenessWarning):
        IntegratedGradients(model, tokenizer, n_perturbations=1)(inputs[0])
