"""An exception in the middle of a metric leaves the process and the model as they were."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import interpreto
from interpreto import ModelWithSplitPoints, Occlusion, demo
from interpreto.concepts import PCAConcepts
from interpreto.metrics import Deletion, GameMetric, MaxSensitivity, ModelParameterRandomization, Sparsity

MODES = ("no_grad", "enable_grad", "inference_mode", "set_grad_enabled")
PACKAGE = Path(interpreto.__file__).parent


def sets_grad_mode(with_: ast.With) -> bool:
    return any(
        isinstance(item.context_expr, ast.Call) and ast.unparse(item.context_expr.func).split(".")[-1] in MODES
        for item in with_.items
    )


def yields(node: ast.AST) -> bool:
    return any(isinstance(inner, (ast.Yield, ast.YieldFrom)) for inner in ast.walk(node))


def test_no_generator_holds_a_grad_mode_while_its_reader_works():
    """A generator that yields within ``no_grad`` turns autograd off for whoever reads it, and for good if he raises."""
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.With) and sets_grad_mode(node) and yields(node)
    ]
    assert not found


class Stops(GameMetric):
    higher_is_better = True
    measures = ("probability",)

    def masks(self, case):
        return case.orders[:1] == 0

    def score(self, case, scores):
        raise ZeroDivisionError


class StopsWhileExplaining(Occlusion):
    """Fails the third time."""

    calls = 0

    def explain_samples(self, samples):
        self.calls += 1
        if self.calls > 2:
            raise ZeroDivisionError
        return super().explain_samples(samples)


class StopsInTheModel:
    """A forward hook that fails at the second pass."""

    calls = 0

    def __call__(self, *_arguments):
        self.calls += 1
        if self.calls > 1:
            raise ZeroDivisionError


def state_of(model):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
    return hooks, [m.training for m in model.modules()], vars(model.config).copy(), modes, torch.get_rng_state(), weights


def same(a, b):
    return a[:4] == b[:4] and torch.equal(a[4], b[4]) and all(torch.equal(a[5][name], b[5][name]) for name in a[5])


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("metric", ["score", "model", "sensitivity", "randomization"])
def test_a_metric_of_attributions_that_stops(metric, grad):
    model, tokenizer = demo.load_classifier()
    model.train()
    outputs = Occlusion(model, tokenizer)(["A gorgeous, moving film.", "The story is dull."])
    stops = StopsWhileExplaining(model, tokenizer)
    made = {
        "score": lambda: Stops(model, tokenizer).run(outputs),
        "model": lambda: Deletion(model, tokenizer, 2).run(outputs),
        "sensitivity": lambda: MaxSensitivity(stops, 3).run(["A gorgeous, moving film."]),
        "randomization": lambda: ModelParameterRandomization(stops).run(["A gorgeous, moving film."]),
    }
    handle = model.register_forward_hook(StopsInTheModel()) if metric == "model" else None
    try:
        with torch.set_grad_enabled(grad):
            before = state_of(model)
            with pytest.raises(ZeroDivisionError):
                made[metric]()
            assert same(before, state_of(model))
    finally:
        if handle is not None:
            handle.remove()


def test_a_metric_of_concepts_that_stops():
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
    activations = splitter.get_activations(["A gorgeous, moving film.", "The story is dull and far too long."])
    explainer = PCAConcepts(splitter, nb_concepts=2).fit(activations)
    metric = Sparsity(explainer)

    def stops():
        for _coded in metric.coded(metric.read(activations)):
            assert torch.is_grad_enabled()
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            stops()
        assert torch.is_grad_enabled()
