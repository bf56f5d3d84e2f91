"""Pairs of tokens of attention heads are the largest entries of the heads' matrices in the vocabulary."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from interpreto.concepts import head_pairs
from interpreto.concepts.dictionaries.head_pairs import top_products
from interpreto.concepts.output_names import name_of_token
from interpreto.errors import ModelError, OptionError
from interpreto.models.attention_heads import head_matrices
from tests import tiny

NEOX = partial(tiny._build, "GPTNeoXForCausalLM", tiny.byte_bpe, tiny._DENSE)


def weights_of_gpt2(model, head):
    attention = model.transformer.h[1].attn
    r = 32 // attention.num_heads
    own = slice(head * r, (head + 1) * r)
    parts = attention.c_attn.weight.detach().split(32, dim=1)  # (in, out)
    return *(part[:, own] for part in parts), attention.c_proj.weight.detach()[own]


def weights_of_llama(model, head):
    attention, config = model.model.layers[1].self_attn, model.config
    r, shared = attention.head_dim, config.num_attention_heads // config.num_key_value_heads
    assert shared > 1
    own, group = slice(head * r, (head + 1) * r), slice(head // shared * r, (head // shared + 1) * r)
    layers = ((attention.q_proj, own), (attention.k_proj, group), (attention.v_proj, group))
    rows = [layer.weight.detach()[at].T for layer, at in layers]
    return *rows, attention.o_proj.weight.detach().T[own]


def weights_of_neox(model, head):
    attention = model.gpt_neox.layers[1].attention
    r = 32 // model.config.num_attention_heads
    parts = attention.query_key_value.weight.detach().T.view(32, -1, 3, r)[:, head].unbind(1)
    own = slice(head * r, (head + 1) * r)
    return *parts, attention.dense.weight.detach().T[own]


@pytest.mark.parametrize(
    ("build", "weights"),
    [
        (tiny.CAUSAL_LMS["gpt2"], weights_of_gpt2),
        (tiny.CAUSAL_LMS["llama"], weights_of_llama),
        (NEOX, weights_of_neox),
    ],
)
def test_pairs_are_the_largest_entries_of_the_heads_matrices(build, weights):
    model, tokenizer = build()
    head = model.config.num_attention_heads - 1
    queries, keys, values, outputs = weights(model, head)
    embedded, read = model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()
    whole = {
        "qk": embedded @ queries @ keys.T @ embedded.T / queries.shape[1] ** 0.5,
        "ov": embedded @ values @ outputs @ read.T,
    }
    special = [i for i in range(len(embedded)) if i in tokenizer.all_special_ids or i >= len(tokenizer)]
    for circuit, matrix in whole.items():
        for side, sign in (("top", 1), ("bottom", -1)):
            wanted = sign * matrix.clone()
            wanted[special], wanted[:, special] = -torch.inf, -torch.inf
            best = wanted.flatten().topk(5)
            found = head_pairs(model, -1, head, circuit, tokenizer=tokenizer, k=5, side=side)
            scores = torch.tensor([pair.score for pair in found])
            torch.testing.assert_close(scores, sign * best.values, atol=1e-6, rtol=1e-4)
            i, j = divmod(int(best.indices[0]), len(read))
            assert (found[0].first, found[0].second) == (name_of_token(tokenizer, i), name_of_token(tokenizer, j))


def test_top_products_in_parts_are_those_of_the_whole_matrix():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(23, 4, generator=generator), torch.randn(17, 4, generator=generator)
    whole = (left @ right.T).flatten().topk(9)
    for held in (1, 40, 10_000):
        values, rows, columns = top_products(left, right, 9, held)
        torch.testing.assert_close(values, whole.values)
        assert torch.equal(rows * 17 + columns, whole.indices)
    assert len(top_products(left, right, 1000, 40)[0]) == 23 * 17


def test_hands_off_and_wrong_calls():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    head_matrices(model, tokenizer, 0)
    assert not any(module._forward_hooks for module in model.modules()) and not model.training
    for options in ({"block": 2}, {"head": 99}, {"circuit": "vo"}, {"side": "both"}, {"k": 0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            head_pairs(model, **{"block": 0, "head": 0, "tokenizer": tokenizer, **options})
    with pytest.raises(ModelError, match="per head"):
        head_pairs(*tiny.CAUSAL_LMS["mamba"]()[:1], 0, 0, tokenizer=tokenizer)
