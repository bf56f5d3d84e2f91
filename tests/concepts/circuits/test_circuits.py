"""Circuits: a chain of two heads is recovered exactly, edges sum to effects, and faithfulness is what ablation says."""

from __future__ import annotations

import pytest
import torch

from interpreto import Contrast, ModelWithSplitPoints, demo
from interpreto.concepts import ActivationPatching, Circuit, PCAConcepts, find_circuit
from interpreto.errors import FileError, InputError, OptionError, TargetError
from tests import tiny
from tests.concepts.circuits.toys import TOKENS, Copying, planted, split

CLEAN, CORRUPT = torch.tensor([3, 1, 4, 2, 5]), torch.tensor([3, 7, 4, 2, 5])
CHAIN = {0: (2, 1), 1: (4, 3)}, {0: (4, 2)}  # token 1 to token 2, from there to the last; and a head that tells nothing


def told(logits):
    """Return how much more the last token says 1 than 7."""
    return logits[:, -1, 1] - logits[:, -1, 7]


SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in ("integrated", "exact")]


@pytest.mark.parametrize("method", ["attribution", *SLOW])
def test_a_chain_of_two_heads_is_recovered_exactly(method):
    circuit = find_circuit(split(Copying(CHAIN), ["blocks.0"]), CLEAN, told, corrupt=CORRUPT, method=method)
    assert {(node.name, node.token) for node in circuit.nodes} == {("layer 0 head 0", 2), ("layer 1 head 0", 4)}
    assert [node.effect for node in circuit.nodes] == pytest.approx([2.0, 2.0], abs=1e-5)
    ends = {(circuit.label(edge.source), circuit.label(edge.target)) for edge in circuit.edges}
    assert ends == {("layer 0 head 0 at 'u4'", "layer 1 head 0 at 'u5'"), ("layer 1 head 0 at 'u5'", "told")}
    assert [edge.weight for edge in circuit.edges] == pytest.approx([2.0, 2.0], abs=1e-5)
    assert [(p.size, p.faithfulness, p.completeness) for p in circuit.curve] == [
        (0, 0.0, 0.0),
        (1, 0.0, 1.0),
        (2, 1.0, 1.0),
        (circuit.candidates, 1.0, 1.0),
    ]
    assert (circuit.faithfulness, circuit.completeness, circuit.candidates) == (1.0, 1.0, 2 * 5 * 3)
    assert (circuit.model_score, circuit.empty_score) == (1.0, -1.0)


def test_without_tokens_the_same_heads_are_found():
    circuit = find_circuit(split(Copying(CHAIN), ["blocks.0"]), [CLEAN, CLEAN], told, corrupt=[CORRUPT, CORRUPT], parts="heads")
    assert {(node.name, node.token) for node in circuit.nodes} == {("layer 0 head 0", None), ("layer 1 head 0", None)}
    assert len(circuit.edges) == 2 and circuit.faithfulness == 1.0 and circuit.tokens == ()


def test_the_concepts_that_a_chain_carries_are_recovered():
    splitter = split(Copying(CHAIN), ["blocks.0", "blocks.1"])
    width = 2 * TOKENS
    explainers = [planted(splitter, name, torch.eye(width), torch.eye(width)) for name in reversed(splitter.split_points)]
    circuit = find_circuit(splitter, CLEAN, told, corrupt=CORRUPT, explainers=explainers)
    assert circuit.places == ("layer 0", "layer 1")
    assert {(node.name, node.token) for node in circuit.nodes} == {
        (f"layer {layer} concept {concept}", token) for layer, token in ((0, 2), (1, 4)) for concept in (1, 7)
    }
    assert all(node.effect == pytest.approx(1.0) for node in circuit.nodes)
    edges = {(circuit.label(edge.source), circuit.label(edge.target)): edge.weight for edge in circuit.edges}
    wanted = {(f"layer 0 concept {c} at 'u4'", f"layer 1 concept {c} at 'u5'") for c in (1, 7)}
    assert set(edges) == wanted | {(f"layer 1 concept {c} at 'u5'", "told") for c in (1, 7)}
    assert list(edges.values()) == pytest.approx([1.0] * 4) and circuit.faithfulness == pytest.approx(1.0)


@pytest.fixture(scope="module")
def classifier():
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer)
    rows = splitter.get_activations([sentence.text for sentence in demo.load_sentences()[:60]])
    return splitter, [PCAConcepts(splitter, 5, name).fit(rows) for name in splitter.split_points]


@pytest.mark.slow
def test_what_leaves_a_node_sums_to_its_effect(classifier):
    splitter, explainers = classifier
    contrast = Contrast("positive", "negative")
    for options in ({"explainers": explainers}, {"parts": "sublayers", "by_token": False}):
        circuit = find_circuit(
            splitter, "A charming film.", contrast, corrupt="A boring film.", max_nodes=1000, edges=1000, **options
        )
        sums = [0.0] * len(circuit.nodes)
        for edge in circuit.edges:
            sums[edge.source] += edge.weight
        assert sums == pytest.approx([node.effect for node in circuit.nodes], abs=2e-3)


@pytest.mark.slow
def test_without_any_part_the_corrupt_text_is_left_and_with_all_the_clean_one(classifier):
    splitter, explainers = classifier
    texts, contrast = ("A charming film.", "A boring film."), Contrast("positive", "negative")
    circuit = find_circuit(splitter, texts[0], contrast, corrupt=texts[1], explainers=explainers, edges=0)
    (output,) = ActivationPatching(splitter, contrast, "attribution", explainers, directions="noise")(*texts)
    assert circuit.model_score == pytest.approx(output.clean_score, abs=1e-4)
    assert circuit.empty_score == pytest.approx(output.corrupt_score, abs=1e-3)
    assert (circuit.curve[0].faithfulness, circuit.curve[-1].faithfulness) == pytest.approx((0.0, 1.0), abs=1e-4)
    for node in circuit.nodes[:5]:  # to first order, both are the same gradient
        change = output.changes["noise"][output.parts.index(node.name), node.token]
        assert node.effect == pytest.approx(-float(change), rel=1e-3, abs=1e-4)
    assert circuit.edges == () and circuit.ablation == "corrupt"


@pytest.mark.slow
def test_means_leave_the_first_token_apart_and_padding_out():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    texts = ["The film was great, and the actors were", "The story is a"]
    options = {"metric": [[300], [310]], "parts": "heads", "edges": 0, "max_nodes": 3}
    both = find_circuit(splitter, texts, reference=texts, **options)
    alone = [
        find_circuit(splitter, text, metric=[ids], reference=texts, by_token=False, parts="heads", edges=0, max_nodes=3)
        for text, ids in zip(texts, ([300], [310]), strict=True)
    ]
    for name in ("model_score", "empty_score"):
        assert getattr(both, name) == pytest.approx(sum(getattr(one, name) for one in alone) / 2, abs=1e-4)
    assert both.ablation == "mean" and both.metric.endswith("(and of other texts)")


@pytest.mark.slow
def test_a_circuit_ends_where_enough_is_kept(classifier):
    splitter, explainers = classifier
    contrast = Contrast("positive", "negative")
    asked = {"corrupt": "A boring film.", "explainers": explainers[0], "edges": 0}
    whole = find_circuit(splitter, "A charming film.", contrast, **asked)
    short = find_circuit(splitter, "A charming film.", contrast, enough=0.5, **asked)
    first = next(point for point in whole.curve if point.faithfulness >= 0.5)
    assert len(short.nodes) == first.size and short.faithfulness == pytest.approx(first.faithfulness, abs=1e-4)


def test_equal_texts_have_no_circuit():
    circuit = find_circuit(split(Copying(CHAIN), ["blocks.0"]), CLEAN, told, corrupt=CLEAN)
    assert circuit.nodes == circuit.edges == () and circuit.faithfulness != circuit.faithfulness


def test_a_file_holds_the_circuit(tmp_path):
    circuit = find_circuit(split(Copying(CHAIN), ["blocks.0"]), CLEAN, told, corrupt=CORRUPT)
    circuit.save(tmp_path / "circuit")
    assert vars(Circuit.load(tmp_path / "circuit")) == vars(circuit)
    assert "2 of 30 nodes, 2 edges, faithfulness=1.00" in repr(circuit)
    with pytest.raises(FileError, match="there is no file"):
        Circuit.load(tmp_path / "none")


@pytest.mark.slow
def test_what_cannot_be_asked_is_refused(classifier):
    splitter, _ = classifier
    with pytest.raises(OptionError, match="'corrupt' needs counterparts"):
        find_circuit(splitter, "A film.", "positive", ablation="corrupt")
    with pytest.raises(InputError, match=r"`by_token`: the texts have \[4, 5\] tokens"):
        find_circuit(splitter, ["A film", "A good film"], "positive", by_token=True)
    with pytest.raises(InputError, match="'position' needs one"):
        find_circuit(splitter, ["A film", "A good film"], "positive", ablation="position")
    with pytest.raises(TargetError, match="pass a target, a Contrast of two"):
        find_circuit(splitter, "A film.")
    with pytest.raises(OptionError, match="`enough`: got 2"):
        find_circuit(splitter, "A film.", "positive", enough=2)
