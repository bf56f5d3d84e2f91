"""The registry says of each method what is true of it."""

from __future__ import annotations

import inspect
import re

import pytest

import interpreto
from interpreto import attributions, demo
from interpreto.registry import IMAGE_METHODS, METHODS, TEXT_METHODS, find_method
from tests import tiny_images

TEXT = "The acting is wonderful, but the story is dull."


def test_every_method_is_registered_and_public():
    names = [method.name for method in METHODS]
    assert sorted(names) == sorted(attributions.methods.__all__)
    assert all(issubclass(getattr(interpreto, name), interpreto.AttributionExplainer) for name in names)


@pytest.mark.parametrize("method", TEXT_METHODS, ids=lambda method: method.name)
def test_what_the_registry_says_is_true(method):
    model, tokenizer = demo.load_classifier()
    interpreto.Saliency(model, tokenizer)(TEXT)  # the first gradients of a model take two rows more, which measure it
    rows = []
    counting = model.register_forward_pre_hook(lambda _, args, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True)
    try:
        explainer = getattr(interpreto, method.name)(model, tokenizer)
        found = explainer(TEXT, "positive")[0]
    finally:
        counting.remove()
    assert found.signed is method.signed
    assert (found.standard_error is not None) is method.sampled
    assert (found.replacement is not None) is (method.evidence == "scores")
    assert (found.residual is not None) is bool(method.sums_to)
    most = re.sub(r"(\d) ?(?=[u(])", r"\1*", method.passes.split(";")[0]).replace("^", "**")
    u = len(found.elements)
    shared = method.evidence == "scores" or getattr(explainer.perturbator, "stays", False)
    ends = 0 if shared else 2 if method.sums_to else 1  # the scores at the input and the baseline
    assert sum(rows) <= eval(most, {"u": u, "max": max}) + ends
    assert method.url in inspect.getdoc(getattr(interpreto, method.name))


@pytest.mark.parametrize("method", [m for m in METHODS if m not in TEXT_METHODS], ids=lambda method: method.name)
def test_methods_of_images_take_the_passes_that_the_registry_says(method):
    """What else it says of methods that explain images is in tests/contracts/test_images.py."""
    rows = []
    model = tiny_images.PooledImages(width=64)
    model.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    explainer = getattr(interpreto, method.name)(model, tiny_images.as_tensor)
    explainer(tiny_images.array(), 1)  # the first gradients of a model take two rows more
    rows.clear()
    explainer(tiny_images.array(), 1)
    assert method in IMAGE_METHODS and 0 < sum(rows) <= eval(method.passes)
    assert method.url in inspect.getdoc(getattr(interpreto, method.name))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_is_found_by_both_its_names(method):
    assert find_method(method.name) is find_method(method.slug) is method


def test_an_unknown_method_is_none():
    assert find_method("kernelshap") is None
