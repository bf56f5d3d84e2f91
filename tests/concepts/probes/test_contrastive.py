"""A concept of pairs: the mean difference exactly, what is read of texts, steering by it, and files."""

from __future__ import annotations

import math

import pytest
import torch

from interpreto import ModelWithSplitPoints, SplitterForClassification, Steering, demo, steered
from interpreto.concepts import CAVConcepts, ContrastiveConcept, load_concepts
from interpreto.errors import InputError, ModelError, OptionError
from tests import tiny

POSITIVE = ["I loved it.", "What a wonderful film!", "The acting is superb."]
NEGATIVE = ["I hated it.", "What a terrible film!", "The acting is dreadful."]


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_direction_is_the_mean_difference_and_amounts_are_halves_at_the_means():
    more, less = draws(9, 5) + 2, draws(9, 5, seed=1)
    concept = ContrastiveConcept(None).fit(more, less)
    torch.testing.assert_close(concept.get_dictionary()[0], (more - less).mean(0))
    means = torch.stack([more.mean(0), less.mean(0), (more.mean(0) + less.mean(0)) / 2])
    torch.testing.assert_close(concept.encode_activations(means)[:, 0], torch.tensor([0.5, -0.5, 0.0]), atol=1e-6, rtol=0)
    cav = CAVConcepts(None, cv=0).fit(torch.cat([more, less]), [1] * 9 + [0] * 9)  # pairs have the same center
    torch.testing.assert_close(cav.get_dictionary(), concept.get_dictionary())
    torch.testing.assert_close(cav.encode_activations(draws(4, 5, seed=2)), concept.encode_activations(draws(4, 5, seed=2)))


def test_what_a_pair_shares_drops_out():
    shared, gap = 100 * draws(40, 6), torch.tensor([0.0, 3.0, 0, 0, 0, 0])
    concept = ContrastiveConcept(None).fit(shared + gap, shared)
    torch.testing.assert_close(concept.get_dictionary()[0], gap, atol=1e-4, rtol=0)
    assert concept.agreement == 1.0


def test_agreement_is_that_with_the_other_pairs():
    differences = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert ContrastiveConcept(None).fit(differences, torch.zeros(4, 2)).agreement == 0.75
    assert math.isnan(ContrastiveConcept(None).fit(differences[:1], torch.zeros(1, 2)).agreement)
    random = [ContrastiveConcept(None).fit(draws(200, 50, seed=s), draws(200, 50, seed=s + 99)).agreement for s in range(8)]
    assert abs(sum(random) / 8 - 0.5) < 0.1  # chance


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("at", ["last", "mean"])
def test_texts_are_read_where_it_says(family, at):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    concept = ContrastiveConcept(splitter, at).fit(POSITIVE, NEGATIVE)
    block = model.model.layers[0] if family == "llama" else model.transformer.h[0]

    def row(text):
        found = {}

        def keep(_module, _args, output):
            found["x"] = output[0] if isinstance(output, tuple) else output

        hook = block.register_forward_hook(keep)
        with torch.no_grad():
            model(**tokenizer(text, return_tensors="pt"))
        hook.remove()
        rows = found["x"].reshape(-1, found["x"].shape[-1])
        return rows[-1] if at == "last" else rows[1:].mean(0)  # the first: a start token, or what has nothing before it

    wanted = torch.stack([row(a) - row(b) for a, b in zip(POSITIVE, NEGATIVE, strict=True)]).mean(0)
    torch.testing.assert_close(concept.get_dictionary()[0], wanted, atol=1e-5, rtol=1e-4)


def test_special_tokens_are_not_read():
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    rows = [splitter.get_activations(texts, "token", flatten_activations=False) for texts in (POSITIVE, NEGATIVE)]
    more, less = (list(by_point["bert.encoder.layer.1"]) for by_point in rows)
    last, mean = (ContrastiveConcept(splitter, at).fit(POSITIVE, NEGATIVE).get_dictionary()[0] for at in ("last", "mean"))
    wanted = torch.stack([a[-1] - b[-1] for a, b in zip(more, less, strict=True)]).mean(0)
    torch.testing.assert_close(last, wanted, atol=1e-5, rtol=1e-4)
    wanted = torch.stack([a.mean(0) - b.mean(0) for a, b in zip(more, less, strict=True)]).mean(0)
    torch.testing.assert_close(mean, wanted, atol=1e-5, rtol=1e-4)


def test_it_steers_a_classifier_at_what_its_head_reads(tmp_path):
    model, tokenizer = demo.load_classifier()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    concept = ContrastiveConcept(splitter, name="praise").fit(POSITIVE, NEGATIVE)
    concept.save(tmp_path / "praise.safetensors")
    loaded = load_concepts(tmp_path / "praise.safetensors", splitter)
    assert torch.equal(loaded.get_dictionary(), concept.get_dictionary()) and loaded.names == ("praise",)
    with pytest.raises(ModelError, match="files do not hold it"):
        _ = loaded.agreement
    text = tokenizer("The plot is thin.", return_tensors="pt")
    with torch.no_grad():
        before = model(**text).logits[0]
        with steered(model, Steering.add(loaded, 0, 1.0)):
            after = model(**text).logits[0]
    assert float(after[1] - after[0]) > float(before[1] - before[0])
    (amounts,) = concept.concept_output_gradient(["The plot is thin."], concepts_x_gradients=False, normalization=False)
    assert float(amounts[1].sum() - amounts[0].sum()) > 0


def test_wrong_calls_say_what_to_pass():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    for call, error, message in (
        (lambda: ContrastiveConcept(None, at="first"), OptionError, "`at`"),
        (lambda: ContrastiveConcept(None, nb_concepts=2), OptionError, "`nb_concepts`: got 2"),
        (lambda: ContrastiveConcept(None).fit(POSITIVE, NEGATIVE), OptionError, "`splitter`: there is none"),
        (lambda: ContrastiveConcept(splitter).fit(POSITIVE, NEGATIVE[:2]), InputError, "got 2 for 3 positives"),
        (lambda: ContrastiveConcept(splitter).fit(POSITIVE, POSITIVE), InputError, "pass texts that differ"),
        (lambda: ContrastiveConcept(splitter).fit("good", "bad"), InputError, "pass a list of texts"),
        (lambda: ContrastiveConcept(splitter).fit(POSITIVE), InputError, "`negatives`: got None"),
        (lambda: ContrastiveConcept(splitter, "mean").fit(["The"], ["A"]), InputError, "whose only token is the first"),
        (lambda: ContrastiveConcept(splitter).fit(POSITIVE, NEGATIVE).fit(POSITIVE, NEGATIVE), OptionError, "overwrite=True"),
    ):
        with pytest.raises(error, match=message):
            call()
