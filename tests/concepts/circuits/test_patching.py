"""Activation patching: planted heads are the only cells, integrals sum to the gap, equal texts do nothing."""

from __future__ import annotations

import pytest
import torch

from interpreto import Contrast, ModelWithSplitPoints, SplitterForClassification, demo
from interpreto.concepts import ActivationPatching, NeuronsAsConcepts, PCAConcepts
from interpreto.errors import InputError, OptionError, TargetError
from tests import tiny
from tests.concepts.circuits.toys import Copying, Linear, split

CLEAN, CORRUPT = torch.tensor([3, 1, 4, 2, 5]), torch.tensor([3, 7, 4, 2, 5])
BLOCKS = ["blocks.0", "blocks.1"]


def told(logits):
    """Return how much more the last token says 1 than 7."""
    return logits[:, -1, 1] - logits[:, -1, 7]


def copying(**options):
    return split(Copying(({}, {1: (-1, 1)}), **options), BLOCKS)


def test_one_cell_of_each_layer_counts_for_a_head_that_copies():
    output = ActivationPatching(copying(), told)(CLEAN, CORRUPT)[0]
    wanted = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
    for direction in ("denoise", "noise"):
        torch.testing.assert_close(output.effects(direction), wanted)
    assert (output.clean_score, output.corrupt_score) == (1.0, -1.0) and output.parts == ("layer 0", "layer 1")
    torch.testing.assert_close(output.changes["noise"], -2 * wanted)


@pytest.mark.parametrize("method", ["exact", "attribution", "integrated"])
def test_one_head_at_one_token_is_the_only_cell(method):
    output = ActivationPatching(copying(), told, method, parts="heads")(CLEAN, CORRUPT)[0]
    assert output.parts == ("layer 0 head 0", "layer 0 head 1", "layer 1 head 0", "layer 1 head 1")
    wanted = torch.zeros(4, 5)
    wanted[3, 4] = 1.0
    for direction in output.directions:
        torch.testing.assert_close(output.effects(direction), wanted)
    (cell,) = output.top()
    assert cell[:2] == ("layer 1 head 1", 4) and cell[2] == pytest.approx(2.0)


def test_feed_forward_layers_are_parts_too():
    output = ActivationPatching(copying(), told, parts="sublayers")(CLEAN, CORRUPT)[0]
    assert [name for name in output.parts if "feed" in name] == ["layer 0 feed-forward", "layer 1 feed-forward"]
    assert [part for part, *_ in output.top()] == ["layer 1 head 1"]


def test_integrated_patching_sums_to_the_gap():
    splitter = copying(nonlinear=True)
    output = ActivationPatching(splitter, lambda logits: logits[:, -1, 1], "integrated")(CLEAN, CORRUPT)[0]
    first_order = ActivationPatching(splitter, lambda logits: logits[:, -1, 1], "attribution")(CLEAN, CORRUPT)[0]
    for direction, gap in (("denoise", output.gap), ("noise", -output.gap)):
        torch.testing.assert_close(output.changes[direction].sum(1), torch.full((2,), gap), atol=1e-3, rtol=1e-3)
    assert abs(float(first_order.changes["denoise"].sum()) / 2 - output.gap) > 0.1  # which a gradient alone does not


def swapped(tokenizer):
    """Return two texts, as ids, that differ in one token."""
    ids = tokenizer("The film was great", return_tensors="pt")["input_ids"][0]
    other = ids.clone()
    other[2] = 300 if ids[2] != 300 else 301
    return ids, other


@pytest.mark.slow
def test_a_transformer_sums_to_the_gap_and_its_last_layer_does_all():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    splitter = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer)
    texts = swapped(tokenizer)
    (integrated,) = ActivationPatching(splitter, None, "integrated")(*texts)
    (exact,) = ActivationPatching(splitter, None)(*texts)
    for direction, gap in (("denoise", integrated.gap), ("noise", -integrated.gap)):
        torch.testing.assert_close(integrated.changes[direction].sum(1), torch.full((2,), gap), atol=1e-3, rtol=1e-3)
        assert float(exact.effects(direction)[-1, -1]) == pytest.approx(1.0, abs=1e-4)
        assert not exact.changes[direction][-1, :-1].any()
        checked = ~integrated.exact[direction].isnan()
        torch.testing.assert_close(
            integrated.exact[direction][checked], exact.changes[direction][checked], atol=1e-5, rtol=1e-4
        )
    assert "−" in exact.metric and exact.tokens != exact.corrupt_tokens


def test_equal_texts_change_nothing():
    for method in ("exact", "attribution", "integrated"):
        output = ActivationPatching(copying(nonlinear=True), told, method)(CLEAN, CLEAN)[0]
        assert not any(values.any() for values in output.changes.values())
        assert output.effects().isnan().all() and output.top() == []


@pytest.fixture(scope="module")
def classifier():
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer)
    rows = splitter.get_activations([sentence.text for sentence in demo.load_sentences()[:60]])
    return splitter, [PCAConcepts(splitter, 5, name).fit(rows) for name in splitter.split_points]


@pytest.mark.slow
def test_concepts_and_their_errors_sum_to_the_gap(classifier):
    splitter, explainers = classifier
    texts, metric = ("A charming film.", "A boring film."), Contrast("positive", "negative")
    (output,) = ActivationPatching(splitter, metric, "integrated", explainers, n_steps=48)(*texts)
    names = [name for name in output.parts if name.startswith("layer 1")]
    assert names[-1] == "layer 1 error" and "concept" in names[0] and len(names) <= 6
    first = len(output.parts) - len(names)
    for direction, gap in (("denoise", output.gap), ("noise", -output.gap)):
        changes = output.changes[direction]
        assert float(changes[:first].sum()) == pytest.approx(gap, abs=2e-3 * abs(gap) + 1e-3)
        assert float(changes[first:].sum()) == pytest.approx(gap, abs=2e-3 * abs(gap) + 1e-3)
    assert -1.0 <= output.agreement["denoise"] <= 1.0


@pytest.mark.slow
def test_a_concept_is_patched_by_what_its_amounts_decode_to(classifier):
    splitter, explainers = classifier
    texts = "A charming film.", "A boring film."
    metric = Contrast("positive", "negative")
    (output,) = ActivationPatching(splitter, metric, explainers=explainers[1], directions="denoise")(*texts)
    clean, corrupt = (
        splitter.batch_activations(splitter.samples(text, "all_tokens"), "bert.encoder.layer.1") for text in texts
    )
    explainer = explainers[1]
    codes, other = (explainer.encode_activations(hidden[0]) for hidden in (corrupt, clean))
    changed = codes.clone()
    concept = int(output.parts[0].split()[-1])
    changed[2, concept] = other[2, concept]
    moved = corrupt + (explainer.decode_concepts(changed) - explainer.decode_concepts(codes))
    logits = splitter.outputs_from(splitter.samples(texts[1], "all_tokens"), moved, "bert.encoder.layer.1").detach()
    change = float(logits[0, 1] - logits[0, 0]) - output.corrupt_score
    assert float(output.changes["denoise"][0, 2]) == pytest.approx(change, abs=1e-4)


@pytest.mark.slow
def test_each_pair_has_its_own_metric_and_is_alone(classifier):
    splitter, _ = classifier
    clean, corrupt = (
        ["A charming film.", "What a great story, told with love."],
        ["A boring film.", "What a bad story, told with love."],
    )
    metrics = ["positive", Contrast("negative", "positive")]
    together = ActivationPatching(splitter, metrics, directions="noise")(clean, corrupt)
    for i, output in enumerate(together):
        alone = ActivationPatching(splitter, metrics[i], directions="noise")(clean[i], corrupt[i])[0]
        torch.testing.assert_close(alone.changes["noise"], output.changes["noise"], atol=1e-4, rtol=1e-3)
    assert [output.metric for output in together] == ["positive", "negative − positive"]


@pytest.mark.slow
def test_tokens_that_may_follow_are_metrics():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    sides = [tokenizer.convert_ids_to_tokens([i])[0] for i in (300, 310)]
    (output,) = ActivationPatching(splitter, [Contrast([300], [310])], directions="noise")(*swapped(tokenizer))
    with torch.no_grad():
        logits = model(**tokenizer("The film was great", return_tensors="pt")).logits[0, -1]
    assert output.clean_score == pytest.approx(float(logits[300] - logits[310]), abs=1e-4) and len(sides) == 2


@pytest.mark.slow
def test_pairs_that_cannot_be_patched_are_refused(classifier):
    splitter, explainers = classifier
    patching = ActivationPatching(splitter, "positive")
    with pytest.raises(
        InputError, match=r"`clean\[1\]`, `corrupt\[1\]`: 6 tokens and 7; .* They part at token 3: 'film.\[SEP\]' and"
    ):
        patching(["A film.", "A charming film."], ["A book.", "A charming old film."])
    with pytest.raises(InputError, match="`corrupt`: got 1 texts for 2"):
        patching(["A film.", "A book."], ["A book."])
    with pytest.raises(TargetError, match="predicts negative for both texts of pair 0"):
        ActivationPatching(splitter)("A dull film.", "A boring film.")
    with pytest.raises(OptionError, match="`metric`: returned"):
        ActivationPatching(splitter, lambda logits: logits)("A film.", "A book.")
    with pytest.raises(OptionError, match="`splitter`: got SplitterForClassification"):
        ActivationPatching(SplitterForClassification(splitter.model, tokenizer=splitter.tokenizer))
    with pytest.raises(OptionError, match="`method`: got 'fast'"):
        ActivationPatching(splitter, method="fast")
    with pytest.raises(OptionError, match=r"`explainers\[1\]`: two of them"):
        ActivationPatching(splitter, explainers=[explainers[0], explainers[0]])
    with pytest.raises(OptionError, match="one vector per text"):
        ActivationPatching(ModelWithSplitPoints(splitter.model, "bert.pooler", tokenizer=splitter.tokenizer), 1)("A", "B")
    linear = split(Linear(), ["blocks.0"])
    with pytest.raises(OptionError, match="of another model"):
        ActivationPatching(splitter, explainers=NeuronsAsConcepts(linear, 8))
