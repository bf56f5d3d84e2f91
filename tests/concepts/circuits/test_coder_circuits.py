"""Circuits of transcoders: edges sum to amounts, are those of a model with constant attention, and ablation is ablation."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from interpreto import ModelWithSplitPoints
from interpreto.concepts import (
    Circuit,
    CrosscoderConcepts,
    CrossLayerTranscoderConcepts,
    NeuronsAsConcepts,
    TranscoderConcepts,
    find_circuit,
)
from interpreto.concepts.circuits import attribution_graph
from interpreto.concepts.circuits.attribution_graph import AttributionGraph, DirectEffects
from interpreto.concepts.circuits.candidates import Candidates
from interpreto.concepts.circuits.circuit import OUTPUT
from interpreto.concepts.circuits.coder_circuit import CoderCircuit
from interpreto.concepts.circuits.pairs import read_texts
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.models.batching import Budget
from tests import tiny
from tests.concepts.circuits.planted_coders import ConstantPass, drawn
from tests.concepts.circuits.toys import Copying, split

WIDTH, TEXT = 32, "The film was great."
LLAMA = "LlamaForCausalLM", tiny.sentencepiece_bpe, tiny._GROUPED, "model.layers.{}.mlp"
FAMILIES = {
    "llama": LLAMA,
    "qwen2": ("Qwen2ForCausalLM", tiny.byte_bpe, tiny._GROUPED, "model.layers.{}.mlp"),
    "falcon": ("FalconForCausalLM", tiny.byte_bpe, tiny._SIZES | {"max_position_embeddings": 128}, "transformer.h.{}.mlp"),
    "gpt2": ("GPT2LMHeadModel", tiny.byte_bpe, tiny._GPT, "transformer.h.{}.mlp"),
}
KINDS = ("across", "relu", "skip", "jumprelu", "topk", "across topk", "one layer")


def score(logits):
    """Return how much likelier one token is than another at the last token, in logits."""
    return logits[:, -1, 270] - logits[:, -1, 300]


def norm(self, hidden):
    """Normalize in the dtype of the activations."""
    return self.weight * (hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


@dataclass
class Case:
    """A model with its transcoders."""

    splitter: ModelWithSplitPoints
    coders: list
    writes: list


def case(family, kind, **options):
    """Return a model in float64 and transcoders of a kind, read at the inputs of its feed-forward layers."""
    of_class, tokenizer, settings, mlp = FAMILIES[family]
    model, tokenizer = tiny._build(of_class, tokenizer, settings | {"attn_implementation": "eager"})
    model = model.double()
    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.forward = norm.__get__(module)
    writes = [mlp.format(layer) for layer in range(2)]
    reads = [f"{place}:input" for place in writes]
    splitter = ModelWithSplitPoints(model, [*reads, *writes], tokenizer=tokenizer)
    if kind.startswith("across"):
        gate = {"activation": "topk", "k": 9} if kind.endswith("topk") else {"activation": "relu"}
        coder = CrossLayerTranscoderConcepts(splitter, 20, reads, writes_to=writes, **gate)
        coders = [drawn(coder, [WIDTH] * 2, [WIDTH] * 2, **options)]
    else:
        gate = {"activation": "relu" if kind in ("skip", "one layer") else kind, "skip": kind == "skip"}
        gate |= {"k": 5} if kind == "topk" else {}
        coders = [
            drawn(TranscoderConcepts(splitter, 10, reads[i], writes_to=writes[i], **gate), [WIDTH], [WIDTH], seed=i, **options)
            for i in ((1,) if kind == "one layer" else (0, 1))
        ]
    return Case(splitter, coders, writes)


def parts_of(own, text=TEXT, corrupt=None, ablation="mean"):
    """Return the model with its parts, their numbers, and direct effects."""
    reads = [read_texts(own.splitter, one, "inputs")[0] for one in (text, corrupt) if one is not None]
    circuit = CoderCircuit(own.splitter, own.coders, reads[0], reads[1] if corrupt is not None else None, [])
    model, _ = circuit._model(score, ablation)
    candidates = Candidates(model, model.counts, len(reads[0].row))
    return model, candidates, DirectEffects(model, candidates, Budget(32, 10**4))


OTHERS = [("llama", kind) for kind in KINDS[1:]] + [
    ("gpt2", "across"),
    ("gpt2", "skip"),
    ("qwen2", "jumprelu"),
    ("falcon", "relu"),
]


@pytest.mark.parametrize(
    ("family", "kind"), [("llama", "across"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHERS)]
)
def test_edges_are_those_of_a_model_with_constant_attention_and_sum_to_amounts(family, kind):
    own = case(family, kind, bias=0.1)
    model, candidates, effects = parts_of(own)
    constant = ConstantPass(own.splitter.model, model, score)
    parts = constant.everything()
    (whole, values), (empty, without) = constant(parts), constant(constant.nothing())
    assert_close(constant(parts)[0], whole)
    total = effects.of([OUTPUT])
    assert total.dtype == torch.float64
    assert_close(total.sum(1), whole - empty, atol=1e-5, rtol=1e-6)  # logits are read in float32

    targets = [number for number, amount in enumerate(effects.amounts()) if amount > 0]
    amounts, rows = effects.amounts()[targets], effects.of(targets)
    assert len(targets) > 10
    assert_close(rows.sum(1), values - without, atol=1e-6, rtol=0)
    assert_close(amounts, values + 0.1, atol=1e-6, rtol=0)  # an active concept's amount is its pre-activation

    order = torch.randperm(len(effects.nodes), generator=torch.Generator().manual_seed(1))[:6]
    for column in order.tolist():  # one part less
        place, token, part = candidates.place(int(effects.nodes[column]))
        changed, codes = [held.clone() for held in parts], model.codes[place]
        if codes is None or part == len(codes.chosen):
            changed[place][0, token] -= effects.errors[place][token]
        else:
            for there in codes.group.written:
                changed[there][0, token] -= codes.amounts[token, part] * codes.group.directions(there, codes.chosen)[part]
        score_left, left = constant(changed)
        assert_close(rows[:, column], values - left, atol=1e-6, rtol=0)
        assert_close(total[0, column], (whole - score_left)[0], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_without_biases_what_enters_a_node_is_all_of_it():
    own = case("llama", "across", offset=0.0)
    circuit = find_circuit(own.splitter, TEXT, score, explainers=own.coders, max_nodes=10**6, edges=10**6)
    entering = [0.0] * (len(circuit.nodes) + 1)
    for edge in circuit.edges:
        entering[edge.target] += edge.weight
    assert entering[OUTPUT] == pytest.approx(circuit.model_score, abs=1e-5)
    inner = [i for i, node in enumerate(circuit.nodes) if node.amount is not None]
    assert len(inner) > 20 and [entering[i] for i in inner] == pytest.approx([circuit.nodes[i].amount for i in inner], abs=1e-6)
    assert all(entering[i] == 0 for i, node in enumerate(circuit.nodes) if node.amount is None)
    assert circuit.method == "influence" and circuit.places[0] == "embedding"
    assert 0 < circuit.replacement_score < 1 and 0 < circuit.completeness_score < 1
    influences = [node.influence for node in circuit.nodes]
    assert influences == sorted(influences, reverse=True) and min(influences) > 0


def test_influence_and_effects_are_sums_over_all_paths():
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 7, generator=draw, dtype=torch.float64)
    targets = torch.tensor([3, 4, 5, 6])  # each from parts before it; 0 to 2 are a token and two errors
    for row, target in enumerate(targets):
        rows[row, target:] = 0.0
    output = torch.randn(7, generator=draw, dtype=torch.float64)
    amounts = torch.tensor([torch.nan] * 3 + [1.5, 0.5, 2.0, 1.0], dtype=torch.float64)
    graph = AttributionGraph(torch.arange(7), amounts, output, targets, rows)

    def over_paths(start, steps):
        square = torch.zeros(7, 7, dtype=torch.float64)
        square[targets] = steps
        return start @ torch.linalg.inv(torch.eye(7, dtype=torch.float64) - square)

    shares = rows.abs() / rows.abs().sum(1, keepdim=True)
    influence = over_paths(output.abs() / output.abs().sum(), shares)
    assert_close(graph.influence(7), influence)
    assert_close(graph.effects(7), over_paths(output, rows / amounts[3:, None]))
    assert float(influence[:3].sum()) == pytest.approx(1.0)  # all that leaves is what has entered
    unexplained, entering = torch.zeros(7, dtype=torch.float64), torch.zeros(7, dtype=torch.float64)
    unexplained[1:3], entering[0] = 1.0, 1.0
    replacement, completeness = graph.scores(unexplained, entering, 7)
    assert replacement == pytest.approx(float(influence[0]))
    errors = [float((output.abs() / output.abs().sum())[1:3].sum()), *shares[:, 1:3].sum(1).tolist()]
    weights = [1.0, *influence[3:].tolist()]
    assert completeness == pytest.approx(sum(w * (1 - e) for w, e in zip(weights, errors, strict=True)) / sum(weights))


@pytest.mark.parametrize("kind", ["across", pytest.param("relu", marks=pytest.mark.slow)])
def test_effects_are_what_is_lost_through_all_concepts_that_stay_active(kind):
    own = case("llama", kind, bias=0.1)
    model, candidates, effects = parts_of(own)
    graph = AttributionGraph.of(effects, len(model.places))
    found = graph.effects(len(model.places))
    constant = ConstantPass(own.splitter.model, model, score)
    constant(constant.everything())
    embedding, errors = constant.everything()[0], [error[None] for error in effects.errors]
    whole = constant.through_concepts(embedding, errors)
    assert whole == pytest.approx(candidates.ends()[0], abs=1e-5)
    for column in (graph.amounts.isnan()).nonzero()[:, 0].tolist()[::2]:
        place, token, _ = candidates.place(int(graph.nodes[column]))
        less, without = embedding.clone(), [error.clone() for error in errors]
        if place == 0:
            less[0, token] = 0.0
        without[place][0, token] = 0.0
        assert float(found[column]) == pytest.approx(whole - constant.through_concepts(less, without), abs=1e-5)


@pytest.mark.slow
def test_rounds_find_the_same_edges_and_end_at_the_most_influential(monkeypatch):
    own = case("llama", "across")
    _, _, effects = parts_of(own)
    whole = AttributionGraph.of(effects, 3)
    monkeypatch.setattr(attribution_graph, "ROUND", 7)
    small = AttributionGraph.of(effects, 3)
    assert sorted(small.targets.tolist()) == sorted(whole.targets.tolist()) and len(whole.targets) > 20
    assert_close(small.influence(3), whole.influence(3))
    monkeypatch.setattr(attribution_graph, "ROWS", 9)
    few = AttributionGraph.of(effects, 3)
    assert few.targets.tolist() == small.targets[:9].tolist()
    first = few.output.abs()[~few.amounts.isnan()].max()
    assert float(few.output[few.targets[0]].abs()) == float(first)  # the largest direct effect of a concept


SOME = [
    "across",
    pytest.param("topk", marks=pytest.mark.slow),
    pytest.param("jumprelu", marks=pytest.mark.slow),
    pytest.param("skip", marks=pytest.mark.slow),
    pytest.param("one layer", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("kind", SOME)
def test_all_ablated_is_the_counterpart_and_one_concept_is_what_hooks_take_away(kind):
    own = case("llama", kind, bias=0.1)
    corrupt = own.splitter.tokenizer(TEXT, return_tensors="pt").input_ids[0]
    with torch.no_grad():
        whole = float(score(own.splitter.model(corrupt[None]).logits))
        corrupt[2] = 299
        other = float(score(own.splitter.model(corrupt[None]).logits))
    model, candidates, _ = parts_of(own, corrupt=corrupt, ablation="corrupt")
    assert candidates.ends() == pytest.approx((whole, other), abs=1e-5)
    ids = model.read.row.input_ids[None]
    for place, codes in enumerate(model.codes):
        if codes is None:
            continue
        token, part = (codes.amounts != codes.goals).nonzero()[-1].tolist()
        number = sum(candidates.sizes[:place]) + token * candidates.shapes[place][1] + part
        found = candidates.score(candidates.weights([number], inside=1.0))
        gap = codes.goals[token, part] - codes.amounts[token, part]
        hooks = []
        for there in codes.group.written:
            step = gap * codes.group.directions(there, codes.chosen)[part]

            def change(_, __, out, step=step, token=token):
                moved = out.clone()
                moved[0, token] += step
                return moved

            module = dict(own.splitter.model.named_modules())[model.places[there].point.name]
            hooks.append(module.register_forward_hook(change))
        with torch.no_grad():
            wanted = float(score(own.splitter.model(ids).logits))
        for hook in hooks:
            hook.remove()
        assert found == pytest.approx(wanted, abs=1e-5) and found != pytest.approx(whole, abs=1e-4)


@pytest.mark.slow
def test_fused_attention_has_the_same_edges():
    own = case("llama", "relu")
    eager = parts_of(own)[2].of([OUTPUT])
    own.splitter.model.config._attn_implementation = "sdpa"
    assert_close(parts_of(own)[2].of([OUTPUT]), eager, atol=1e-6, rtol=1e-6)


def test_a_layer_without_a_transcoder_is_one_node_at_each_token():
    own = case("llama", "one layer")
    circuit = find_circuit(own.splitter, TEXT, score, explainers=own.coders[0], max_nodes=10**6, edges=0)
    names = {node.name for node in circuit.nodes}
    assert {"embedding", "layer 0 feed-forward", "layer 1 error"} < names and circuit.edges == ()
    assert any(name.startswith("layer 1 concept") for name in names)
    assert circuit.places == ("embedding", "layer 0 mlp.down_proj", "layer 1 mlp")


def test_transcoders_that_explain_all_leave_no_error():
    splitter = split(
        Copying(({0: (2, 1)}, {0: (4, 2)})), ["blocks.0.mlp:input", "blocks.0.mlp", "blocks.1.mlp:input", "blocks.1.mlp"]
    )
    width = 24
    coders = []
    for i in (0, 1):  # a feed-forward layer that adds nothing is explained by concepts that write nothing
        coder = TranscoderConcepts(splitter, 4, f"blocks.{i}.mlp:input", writes_to=f"blocks.{i}.mlp", activation="relu")
        coder = drawn(coder, [width], [width], bias=1.0, offset=0.0, dtype=torch.float32)
        coder.concept_model.atoms.zero_()
        coders.append(coder)
    ids, other = torch.tensor([3, 1, 4, 2, 5]), torch.tensor([3, 7, 4, 2, 5])
    told = lambda logits: logits[:, -1, 1] - logits[:, -1, 7]  # noqa: E731
    circuit = find_circuit(splitter, ids, told, corrupt=other, explainers=coders)
    assert [(node.name, node.token) for node in circuit.nodes] == [("embedding", 1)]
    assert (circuit.replacement_score, circuit.completeness_score) == (1.0, 1.0)
    assert [(edge.source, edge.target, edge.weight) for edge in circuit.edges] == [(0, OUTPUT, 1.0)]
    assert circuit.faithfulness == circuit.completeness == 1.0


@pytest.mark.slow
def test_a_file_holds_scores_influences_and_amounts(tmp_path):
    own = case("llama", "relu")
    circuit = find_circuit(own.splitter, TEXT, score, explainers=own.coders, max_nodes=5)
    circuit.save(tmp_path / "circuit")
    assert vars(Circuit.load(tmp_path / "circuit")) == vars(circuit)
    assert len(circuit.nodes) == 5 and circuit.nodes[0].influence is not None


def test_what_has_no_meaning_is_refused():
    own = case("llama", "relu")
    splitter, (first, second) = own.splitter, own.coders
    crosscoder = drawn(CrosscoderConcepts(splitter, 8, own.writes, activation="relu"), [WIDTH] * 2)
    neurons = NeuronsAsConcepts(splitter, split_point=own.writes[0])
    backward = TranscoderConcepts(splitter, 8, own.writes[1], writes_to=own.writes[0], activation="relu")
    backward = drawn(backward, [WIDTH], [WIDTH])
    asked = {"explainers": [first, second]}
    for wrong, match in [
        ({"explainers": crosscoder}, "CrosscoderConcepts reads the places that it writes"),
        ({"explainers": [first, neurons]}, "got NeuronsAsConcepts next to transcoders"),
        ({"explainers": [first, first]}, "two of them write 'model.layers.0.mlp'"),
        ({"explainers": backward}, "is written before 'model.layers.1.mlp' is read"),
        ({**asked, "method": "exact"}, "`method`: got 'exact'; nodes of transcoders are ranked by 'influence'"),
        ({**asked, "by_token": False}, "nodes of transcoders are at tokens"),
        ({"explainers": neurons, "method": "influence"}, "'influence' is over paths between concepts of transcoders"),
        ({"method": "influences"}, "`method`: got 'influences'"),
        ({"explainers": case("llama", "relu").coders[0]}, "of another model"),
    ]:
        with pytest.raises(OptionError, match=match):
            find_circuit(splitter, TEXT, score, **wrong)
    shared, tokenizer = tiny.CLASSIFIERS["albert"]()
    layer = "albert.encoder.albert_layer_groups.0.albert_layers.0"
    twice = ModelWithSplitPoints(shared, [f"{layer}.ffn:input", f"{layer}.ffn_output"], tokenizer=tokenizer)
    coder = drawn(TranscoderConcepts(twice, 8, activation="relu"), [WIDTH], [WIDTH], dtype=torch.float32)
    with pytest.raises(ModelError, match="runs 1 blocks in 2 layers"):
        find_circuit(twice, TEXT, "positive", explainers=coder)
    with pytest.raises(InputError, match="got 2 texts"):
        find_circuit(splitter, [TEXT, TEXT], score, **asked)
