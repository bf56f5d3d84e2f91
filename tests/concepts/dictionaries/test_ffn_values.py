"""Feed-forward values sum to what the layer writes; directions of parameters are rows of their matrices."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from interpreto import ModelWithSplitPoints
from interpreto.concepts import FFNValues, load_concepts, parameter_directions
from interpreto.concepts.interpretations import TopKInputs, VocabularyProjection
from interpreto.errors import ModelError, OptionError
from tests import tiny

TEXT = tiny.SENTENCES[6]
NEOX = partial(tiny._build, "GPTNeoXForCausalLM", tiny.byte_bpe, tiny._DENSE)
OPT = partial(tiny._build, "OPTForCausalLM", tiny.byte_bpe, tiny._SIZES | {"ffn_dim": 64, "max_position_embeddings": 128})
FAMILIES = {
    "gpt2": (tiny.CAUSAL_LMS["gpt2"], "transformer.h.1.mlp.c_proj"),
    "llama": (tiny.CAUSAL_LMS["llama"], "model.layers.1.mlp.down_proj"),
    "gemma": (tiny.CAUSAL_LMS["gemma3_text"], "model.layers.1.mlp.down_proj"),
    "gpt-neox": (NEOX, "gpt_neox.layers.1.mlp.dense_4h_to_h"),
    "opt": (OPT, "model.decoder.layers.1.fc2"),
    "bert": (tiny.CLASSIFIERS["bert"], "bert.encoder.layer.1.output.dense"),
    "t5": (tiny.SEQ2SEQ["t5"], "decoder.block.1.layer.2.DenseReluDense.wo"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_values_times_amounts_are_what_the_layer_writes(family):
    build, path = FAMILIES[family]
    model, tokenizer = build()
    values = FFNValues(model, 1, tokenizer=tokenizer)
    assert values.split_point == f"{path}:input" and values.nb_concepts == (128 if family == "gpt2" else 64)
    samples = values.splitter.samples(TEXT, "all_tokens")
    heard = []
    hook = model.get_submodule(path).register_forward_hook(lambda module, args, output: heard.append((args[0], output)))
    values.splitter.edited_outputs(samples, lambda hidden: hidden)
    hook.remove()
    amounts = values.splitter.activations_of(samples)
    wanted = heard[-1][1].detach().reshape(-1, 32)
    torch.testing.assert_close(values.written(amounts), wanted[: len(amounts)], atol=1e-4, rtol=1e-4)


def test_values_are_rows_of_the_matrix_however_it_is_stored():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    found = FFNValues(model, 0, tokenizer=tokenizer).residual_directions()
    torch.testing.assert_close(found, model.transformer.h[0].mlp.c_proj.weight.detach())  # (in, out)
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    found = FFNValues(ModelWithSplitPoints(model, 0, tokenizer=tokenizer), 0).residual_directions()
    torch.testing.assert_close(found, model.model.layers[0].mlp.down_proj.weight.detach().T)


def test_effects_interpretations_and_files_take_them(tmp_path):
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    values = FFNValues(model, 1, tokenizer=tokenizer)
    projection = VocabularyProjection(values, k=2, side="both")
    found = projection.interpret(concepts_indices=[3])[3]
    assert (
        found
        == VocabularyProjection(model=model, tokenizer=tokenizer, k=2, side="both").read(values.residual_directions()[3:4])[0]
    )
    assert len(TopKInputs(values, "token", k=2).interpret([TEXT], concepts_indices=[3])[3] or {1: 1, 2: 2}) == 2
    (effect,) = values.concept_output_attribution(TEXT, method="ablation")
    rows = values.splitter.get_activations(TEXT)[values.split_point]
    samples = values.splitter.samples(TEXT)
    place = samples[0].units.index.tolist().index(2)
    hidden = values.splitter.batch_activations(samples)
    less = hidden.clone()
    less[0, place, 3] = 0.0
    with torch.no_grad():
        both = [values.splitter.outputs_from(samples, h)[0].log_softmax(-1) for h in (hidden, less)]
    target = int(samples[0].input_ids[place + 1])
    lost = (both[0] - both[1])[place, target]
    torch.testing.assert_close(effect[place, 2, 3], lost, atol=1e-4, rtol=1e-3)
    share = values.positive_share(rows)
    assert bool(((share >= 0) & (share <= 1)).all())
    values.save(tmp_path / "values.safetensors")
    loaded = load_concepts(tmp_path / "values.safetensors")
    assert torch.equal(loaded.residual_directions(), values.residual_directions())
    torch.testing.assert_close(loaded.written(rows), values.written(rows))


def test_directions_of_parameters():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    writes = parameter_directions(model, "transformer.h.0.attn.c_proj")
    torch.testing.assert_close(writes, model.transformer.h[0].attn.c_proj.weight.detach())
    reads = parameter_directions(model, model.transformer.h[0].mlp.c_fc, "reads")
    torch.testing.assert_close(reads, model.transformer.h[0].mlp.c_fc.weight.detach().T)
    assert len(VocabularyProjection(model=model, tokenizer=tokenizer, k=3).read(reads[:2])) == 2
    model, _ = tiny.CAUSAL_LMS["llama"]()
    reads = parameter_directions(model, "model.layers.0.self_attn.v_proj", "reads")
    torch.testing.assert_close(reads, model.model.layers[0].self_attn.v_proj.weight.detach())


def test_other_layers_are_refused_by_name():
    model, tokenizer = tiny.CAUSAL_LMS["mixtral"]()
    with pytest.raises(ModelError, match="of MixtralForCausalLM leads from more dimensions"):
        FFNValues(model, 0, tokenizer=tokenizer)
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    with pytest.raises(OptionError, match="`block`: got 2; pass -2 to 1"):
        FFNValues(model, 2, tokenizer=tokenizer)
    with pytest.raises(ModelError, match=r"no matrix|not linear"):
        parameter_directions(model, "transformer.h.0.mlp.act")
    with pytest.raises(OptionError, match="'writes', 'reads'"):
        parameter_directions(model, "transformer.h.0.mlp.c_fc", "both")
