"""Similarity of embeddings: closed forms of a linear encoder, poolings by hand, folders of sentence-transformers."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from interpreto import AttentionRollout, AttnLrp, DeepLift, InputXGradient, Occlusion, RawAttention, SimilarityModel
from interpreto.errors import FileError, InputError, ModelError, OptionError
from interpreto.metrics import Deletion
from tests import tiny
from tests.tiny_tasks import SIMILARITIES

PAIR = ("The old man walks", "The film was not good")


class Lookup(nn.Module):
    """An encoder whose hidden states are its embeddings."""

    def __init__(self, vocabulary):
        super().__init__()
        self.table = nn.Embedding(vocabulary, 5)
        nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(0))

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None):
        return SimpleNamespace(last_hidden_state=self.table(input_ids) if inputs_embeds is None else inputs_embeds)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.wordpiece()


@pytest.fixture(scope="module")
def bert():
    return SIMILARITIES["bert"]()


def test_a_dot_product_of_a_linear_encoder_is_shared_out_exactly(tokenizer):
    encoder = Lookup(len(tokenizer))
    model = SimilarityModel(encoder, tokenizer, similarity="dot")
    rows = [encoder.table(tokenizer(text, return_tensors="pt")["input_ids"])[0].detach() for text in PAIR]
    means = [row.mean(0) for row in rows]
    wanted = torch.cat([row[1:-1] @ other / len(row) for row, other in zip(rows, means[::-1], strict=True)])
    for method, options in ((Occlusion, {"replacement": "zero"}), (InputXGradient, {})):
        found = method(model, tokenizer, granularity="token", **options)(PAIR)[0]
        torch.testing.assert_close(found.attributions[0], wanted, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.base_scores[0], means[0] @ means[1], rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_cosine(tokenizer):
    encoder = Lookup(len(tokenizer))
    found = InputXGradient(SimilarityModel(encoder, tokenizer), tokenizer, granularity="all_tokens")(PAIR)[0]
    assert float(found.attributions.sum()) == pytest.approx(0, abs=1e-6)  # a cosine does not change with length
    a, b = (encoder.table(tokenizer(text, return_tensors="pt")["input_ids"])[0].detach() for text in PAIR)
    u, v = a.mean(0), b.mean(0)
    along = v / (u.norm() * v.norm()) - (u @ v) * u / (u.norm() ** 3 * v.norm())
    torch.testing.assert_close(found.attributions[0, : len(a)], a @ along / len(a), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last", "mean_sqrt_len", "weighted_mean"])
def test_poolings_by_hand_in_company(pooling, tokenizer):
    encoder = Lookup(len(tokenizer))
    model = SimilarityModel(encoder, tokenizer, pooling=pooling, similarity="dot")
    pooled = []
    for text in PAIR:
        row = encoder.table(tokenizer(text, return_tensors="pt")["input_ids"])[0].detach()
        place = torch.arange(1, len(row) + 1)[:, None]
        pooled.append(
            {
                "mean": row.mean(0),
                "cls": row[0],
                "max": row.amax(0),
                "last": row[-1],
                "mean_sqrt_len": row.sum(0) / len(row) ** 0.5,
                "weighted_mean": (row * place).sum(0) / place.sum(),
            }[pooling]
        )
        torch.testing.assert_close(model.embed(text), pooled[-1])
    longer = ("The keys to the cabinet are on the table.", "Great")
    found = Occlusion(model, tokenizer)([PAIR, longer])[0]  # padded
    torch.testing.assert_close(found.base_scores[0], pooled[0] @ pooled[1], rtol=1e-5, atol=1e-5)


def test_hidden_and_dropped_tokens_are_not_pooled(tokenizer):
    encoder = Lookup(len(tokenizer))
    model = SimilarityModel(encoder, tokenizer)
    explainers = [Occlusion(model, tokenizer, replacement=name, granularity="token") for name in ("drop", "attention")]
    values = [explainer(PAIR)[0].attributions for explainer in explainers]
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-6)  # an encoder without positions
    assert values[0].abs().max() > 1e-2


def test_a_reference_is_the_second_text_and_has_no_units(bert):
    model, tokenizer = bert
    pair = Occlusion(model, tokenizer, granularity="word")(PAIR)[0]
    against = SimilarityModel(model.encoder, tokenizer, reference=PAIR[1])
    alone = Occlusion(against, tokenizer)(PAIR[0])[0]
    n = len(alone.elements)
    assert alone.elements == pair.elements[:n] == ["The", "old", "man", "walks"]
    torch.testing.assert_close(alone.attributions, pair.attributions[:, :n], rtol=1e-4, atol=1e-6)
    embedding = model.embed(PAIR[1]).detach()
    for value in (embedding, embedding.tolist(), embedding.numpy()):
        vector = SimilarityModel(model.encoder, tokenizer, reference=value)
        found = Occlusion(vector, tokenizer)([PAIR[0]])[0]
        torch.testing.assert_close(found.attributions, alone.attributions, rtol=1e-4, atol=1e-6)
        assert found.text == PAIR[0]
        mixed = Occlusion(vector, tokenizer)([PAIR[0], PAIR, "Great"])  # a pair among single texts
        torch.testing.assert_close(mixed[0].attributions, alone.attributions, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(mixed[1].attributions, pair.attributions, rtol=1e-4, atol=1e-6)
    assert Deletion(against, tokenizer).run(alone).n_valid == 1


def test_both_texts_of_a_pair_are_units(bert):
    found = Occlusion(*bert, granularity="turn")(PAIR)[0]
    assert found.elements == list(PAIR) and found.sample.inputs["text_index"].unique().tolist() == [1, 2]


def test_the_encoder_of_an_encoder_decoder_is_taken():
    lm, tokenizer = tiny.SEQ2SEQ["t5"]()
    model = SimilarityModel(lm, tokenizer)
    assert model.encoder is lm.get_encoder()
    assert Occlusion(model, tokenizer)(PAIR)[0].model_task == "similarity"


def test_what_cannot_be_compared_is_told(bert):
    model, tokenizer = bert
    with pytest.raises(InputError, match=r"`inputs\[0\]`: got one text .*; pass a pair \(text, text\), or give the model"):
        Occlusion(model, tokenizer)("The old man")
    with pytest.raises(OptionError, match="`pooling`: got 'middle'"):
        SimilarityModel(model.encoder, tokenizer, pooling="middle")
    with pytest.raises(OptionError, match="`similarity`: got 'l2'"):
        SimilarityModel(model.encoder, tokenizer, similarity="l2")
    with pytest.raises(OptionError, match=r"`reference`: got shape \(2, 3\)"):
        SimilarityModel(model.encoder, tokenizer, reference=torch.zeros(2, 3))
    with pytest.raises(ModelError, match="`encoder`: got str"):
        SimilarityModel("an encoder", tokenizer)
    with pytest.raises(InputError, match="nothing to explain"):
        Occlusion(model, tokenizer)([])


@pytest.fixture
def folder(tmp_path, bert):
    """A folder as sentence-transformers writes it: an encoder, the first token, a dense layer, a normalization."""
    model, tokenizer = bert
    model.encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    flags = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 32}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(flags))
    (tmp_path / "2_Dense").mkdir()
    tanh = {"in_features": 32, "out_features": 4, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
    (tmp_path / "2_Dense" / "config.json").write_text(json.dumps(tanh))
    weights = {"linear.weight": torch.randn(4, 32, generator=torch.Generator().manual_seed(0)), "linear.bias": torch.ones(4)}
    save_file(weights, tmp_path / "2_Dense" / "model.safetensors")
    return tmp_path, weights


def test_a_folder_of_sentence_transformers(folder, bert):
    path, weights = folder
    model = SimilarityModel.from_folder(path, similarity="dot")
    assert model.pooling == "cls" and model.normalize
    wanted = []
    for text in PAIR:
        with torch.no_grad():
            hidden = bert[0].encoder(**bert[1](text, return_tensors="pt")).last_hidden_state[0, 0]
        own = torch.tanh(weights["linear.weight"] @ hidden + weights["linear.bias"])
        wanted.append(own / own.norm())
        torch.testing.assert_close(model.embed(text).detach(), wanted[-1], rtol=1e-4, atol=1e-5)
    found = Occlusion(model, model.tokenizer)(PAIR)[0]
    torch.testing.assert_close(found.base_scores[0], wanted[0] @ wanted[1], rtol=1e-4, atol=1e-5)


def test_folders_that_say_something_else(folder, tmp_path):
    path, _ = folder
    pooling = path / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode": "lasttoken"}))
    assert SimilarityModel.from_folder(path).pooling == "last"
    assert SimilarityModel.from_folder(path, pooling="mean").pooling == "mean"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}))
    with pytest.raises(ModelError, match=r"its pooling is \['cls', 'max'\]"):
        SimilarityModel.from_folder(path)
    pooling.write_text("{")
    with pytest.raises(FileError, match="cannot be read"):
        SimilarityModel.from_folder(path)
    (path / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.CNN"}]))
    with pytest.raises(ModelError, match="has a module 'CNN'"):
        SimilarityModel.from_folder(path)
    (path / "modules.json").unlink()
    assert SimilarityModel.from_folder(path).pooling == "mean"
    with pytest.raises(FileError, match="there is no folder"):
        SimilarityModel.from_folder(tmp_path / "nothing")


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
def test_deep_lift_divides_similarities_whole(bert, pooling):
    """Lengths of vectors, products of two embeddings and largest values have rules."""
    model, tokenizer = bert
    for options in ({}, {"similarity": "dot", "normalize": True}):
        found = DeepLift(SimilarityModel(model.encoder, tokenizer, pooling=pooling, **options), tokenizer)(PAIR)[0]
        gap = float((found.base_scores - found.reference_scores).abs())
        assert gap > 0.01 and float(found.residual.abs()) < 1e-4 * max(gap, 1.0)


def test_relevance_of_a_linear_encoder_is_the_cosine(tokenizer):
    """Gradient × input of a cosine sums to 0; by the rules, each text has half of the similarity."""
    model = SimilarityModel(Lookup(len(tokenizer)), tokenizer)
    found = AttnLrp(model, tokenizer, granularity="all_tokens")(PAIR)[0]
    plain = InputXGradient(model, tokenizer, granularity="all_tokens")(PAIR)[0]
    assert float(plain.attributions.sum().abs()) < 1e-6
    torch.testing.assert_close(found.attributions.sum(-1), found.base_scores, rtol=1e-5, atol=1e-6)
    first = len(tokenizer(PAIR[0])["input_ids"])
    torch.testing.assert_close(2 * found.attributions[0, :first].sum(), found.base_scores[0], rtol=1e-5, atol=1e-6)


def test_attention_is_read_of_one_text_and_refused_of_two(bert):
    model, tokenizer = bert
    alone = SimilarityModel(model.encoder, tokenizer, reference=model.embed(PAIR[1]).detach())
    rows = AttentionRollout(alone, tokenizer, granularity="all_tokens")(PAIR[0])[0].attributions
    torch.testing.assert_close(rows.sum(-1), torch.ones(1))
    with pytest.raises(ModelError, match=r"SimilarityModel reads each side of a pair by itself.*`reference`"):
        RawAttention(model, tokenizer)(PAIR)
