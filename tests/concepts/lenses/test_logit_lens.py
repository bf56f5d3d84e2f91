"""The lens at the last block is the model; at others it is the model's own last layers on other activations."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from interpreto import AllLayersSplitter, LogitLens, SplitterForGeneration, demo
from interpreto.errors import InputError, ModelError, OptionError, TargetError, TaskError
from tests import tiny, tiny_tasks

TEXTS = [tiny.SENTENCES[i] for i in (6, 1, 2)]
NEOX = partial(tiny._build, "GPTNeoXForCausalLM", tiny.byte_bpe, tiny._DENSE)
OPT = partial(tiny._build, "OPTForCausalLM", tiny.byte_bpe, tiny._SIZES | {"ffn_dim": 64, "max_position_embeddings": 128})
SOFTCAP = {"head_dim": 16, "query_pre_attn_scalar": 16, "final_logit_softcapping": 3.0, "sliding_window": 8}
GEMMA2 = partial(tiny._build, "Gemma2ForCausalLM", tiny.sentencepiece_bpe, tiny._GROUPED | SOFTCAP)
FAMILIES = {
    "gpt2": tiny.CAUSAL_LMS["gpt2"],
    "llama": tiny.CAUSAL_LMS["llama"],
    "gpt-neox": NEOX,
    "opt": OPT,
    "gemma2": GEMMA2,
    "bert-mlm": tiny_tasks.MASKED_LMS["bert"],
    "classifier": demo.load_classifier,
    "decoder-classifier": tiny.CLASSIFIERS["gpt2"],
    "mamba": tiny.CAUSAL_LMS["mamba"],
}
EVERY = {f"lm-{name}": build for name, build in tiny.CAUSAL_LMS.items()} | {
    f"classifier-{name}": build for name, build in tiny.CLASSIFIERS.items() if name != "albert"
}


def plain(model, tokenizer, text):
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0].float()
    return logits if logits.ndim == 2 else logits[None]


def check_last_layer(build, texts):
    model, tokenizer = build()
    outputs = LogitLens(model, tokenizer, k=3)(texts)
    for text, output in zip(texts, outputs, strict=True):
        logs = plain(model, tokenizer, text).log_softmax(-1)
        k = min(3, logs.shape[-1])
        top = logs.topk(k)
        assert output.ids.shape == (len(output.layers), len(logs), k)
        torch.testing.assert_close(output.probabilities[-1], top.values.exp(), atol=1e-5, rtol=1e-4)
        assert float(output.divergence[-1].abs().max()) < 1e-5 and bool((output.divergence > -1e-5).all())
        assert bool((output.target_ranks[-1] == 1).all()) and torch.equal(output.target_ids, output.ids[-1, :, 0])
        torch.testing.assert_close(output.entropy[-1], -(logs.exp() * logs).sum(-1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_after_the_last_block_it_is_the_models_output(family):
    check_last_layer(FAMILIES[family], TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize("family", EVERY)
def test_after_the_last_block_it_is_the_models_output_in_every_family(family):
    check_last_layer(EVERY[family], TEXTS)


def test_in_between_it_is_the_norm_and_the_head_by_hand():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    output = LogitLens(model, tokenizer, k=4)(TEXTS[0], targets="next")[0]
    inputs = tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs, output_hidden_states=True).hidden_states
        final = model(**inputs).logits[0].log_softmax(-1)
        following = inputs["input_ids"][0, 1:]
        for row, h in enumerate(hidden[:-1]):  # the last one is normalized already
            logs = model.lm_head(model.model.norm(h))[0].log_softmax(-1)
            torch.testing.assert_close(output.probabilities[row], logs.topk(4).values.exp(), atol=1e-6, rtol=1e-4)
            kl = F.kl_div(logs, final, log_target=True, reduction="none").sum(-1)
            torch.testing.assert_close(output.divergence[row], kl, atol=1e-5, rtol=1e-4)
            own = logs[:-1].gather(1, following[:, None])
            torch.testing.assert_close(output.target_probabilities[row, :-1], own[:, 0].exp(), atol=1e-6, rtol=1e-4)
            assert output.target_ranks[row, :-1].tolist() == (1 + (logs[:-1] > own).sum(1)).tolist()
    assert output.target_ids[:-1].tolist() == following.tolist()


def test_blocks_that_add_nothing_leave_the_lens_as_it_is():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    with torch.no_grad():
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            model.get_submodule(f"model.layers.1.{name}").weight.zero_()
    output = LogitLens(model, tokenizer)(TEXTS[0])[0]
    assert torch.equal(output.ids[1], output.ids[2]) and torch.equal(output.probabilities[1], output.probabilities[2])
    assert not torch.equal(output.ids[0], output.ids[1])
    assert output.depth.max() <= 1  # settled from the first block on


def test_a_text_has_the_same_lens_alone_and_in_company():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    together = LogitLens(model, tokenizer)(TEXTS)
    for text, output in zip(TEXTS, together, strict=True):
        alone = LogitLens(model, tokenizer, batch_size=1)(text)[0]
        torch.testing.assert_close(output.probabilities, alone.probabilities, atol=1e-5, rtol=1e-4)
        assert output.tokens == alone.tokens and output.text == text


def test_layers_are_chosen_by_number():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    whole, part = LogitLens(model, tokenizer)(TEXTS[0])[0], LogitLens(model, tokenizer, layers=[0])(TEXTS[0])[0]
    assert part.layers == ("0",) and torch.equal(part.ids[0], whole.ids[1]) and torch.equal(part.target_ids, whole.target_ids)
    assert LogitLens(model, tokenizer, layers=["embeddings", -1]).layers == ("embeddings", "1")
    with pytest.raises(OptionError, match=r"`layers`: got 2; pass numbers from -2 to 1"):
        LogitLens(model, tokenizer, layers=[2])


def test_a_decoder_is_read_at_the_tokens_that_it_writes():
    model, tokenizer = tiny.SEQ2SEQ["t5"]()
    lens = LogitLens(model, tokenizer, max_new_tokens=3)
    output = lens(TEXTS[1])[0]
    inputs = tokenizer(TEXTS[1], return_tensors="pt")
    written = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    with torch.no_grad():
        logits = model(**inputs, decoder_input_ids=written).logits[0]
    torch.testing.assert_close(output.probabilities[-1], logits.softmax(-1).topk(5).values, atol=1e-5, rtol=1e-4)
    assert len(output.tokens) == written.shape[1]


def test_what_the_model_writes_is_read_too():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    texts, outputs = LogitLens(model, tokenizer).generate(["The film"], max_new_tokens=3)
    prompt = len(tokenizer("The film")["input_ids"])
    assert texts[0].startswith("The film") and len(outputs[0].tokens) == prompt + 3
    splitter = SplitterForGeneration(model, 0, tokenizer, max_new_tokens=3)
    assert torch.equal(LogitLens(splitter)("The film")[0].ids, outputs[0].ids)
    written = outputs[0].ids[-1, prompt - 1 : -1, 0]  # greedy: what is written is what was likeliest
    assert tokenizer.decode(written) == texts[0][len("The film") :]


def test_a_target_is_followed_at_every_token():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    lens, (token,) = LogitLens(model, tokenizer), tokenizer.encode(" film")
    by_text, by_id = lens(TEXTS[:2], " film"), lens(TEXTS[:2], [token, token])
    assert by_text[1].target_labels == [" film"] * len(by_text[1].tokens)
    assert torch.equal(by_text[1].target_ranks, by_id[1].target_ranks)
    logs = plain(model, tokenizer, TEXTS[1])
    assert by_text[1].ranks(0)[-1] == 1 + int((logs[0] > logs[0, token]).sum())
    classes = LogitLens(*demo.load_classifier())
    assert classes("Dull.", "Positive")[0].target_labels == classes("Dull.", 1)[0].target_labels == ["positive"]


WRONG = {
    "two tokens": (lambda lens: lens("a", "wonderful films"), TargetError, r"'wonderful films' is \d tokens"),
    "no id": (lambda lens: lens("a", 10**6), TargetError, "pass a token"),
    "one for two": (lambda lens: lens(["a", "b"], [1]), TargetError, "got 1 for 2 texts"),
    "no text": (lambda lens: lens([]), InputError, "nothing in it"),
    "no layer": (lambda lens: lens("a")[0].top("7"), OptionError, "'embeddings', '0', '1'"),
    "no token": (lambda lens: lens("a")[0].top(0, 9), OptionError, "`token`: got 9"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_calls_say_what_to_do(wrong):
    call, error, message = WRONG[wrong]
    with pytest.raises(error, match=message):
        call(LogitLens(*tiny.CAUSAL_LMS["gpt2"]()))


def test_models_without_layers_of_their_own_are_refused_by_name():
    with pytest.raises(ModelError, match="AlbertForSequenceClassification has 2 layers and 1 blocks"):
        LogitLens(*tiny.CLASSIFIERS["albert"]())
    with pytest.raises(TaskError, match="BartForSequenceClassification reads its text twice"):
        LogitLens(*tiny.SEQ2SEQ_CLASSIFIERS["bart"]())
    with pytest.raises(TaskError, match="BertForTokenClassification is for token classification"):
        LogitLens(*tiny_tasks.TAGGERS["bert"]())
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    model.config.problem_type = "multi_label_classification"
    with pytest.raises(TaskError, match="multi-label"):
        LogitLens(model, tokenizer)
    with pytest.raises(TargetError, match=r"pass a class: 'negative', 'positive'"):
        LogitLens(*demo.load_classifier())("Dull.", "dull")


def test_the_reference_names():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    splitter = AllLayersSplitter(model, tokenizer=tokenizer)
    hidden = splitter.get_activations(TEXTS[1])
    assert len(hidden) == len(splitter.activation_names) == 3 and splitter.split_points == [
        "transformer.h.0",
        "transformer.h.1",
    ]
    logits = splitter.apply_head(hidden)
    torch.testing.assert_close(logits[-1][0], plain(model, tokenizer, TEXTS[1]), atol=1e-5, rtol=1e-4)
    lens = LogitLens(splitter, top_k=2)
    output = lens.explain([TEXTS[1]])[0]
    assert torch.equal(output.top_indices[0], logits[0][0].topk(2).indices) and output.top_scores is output.probabilities
    with pytest.raises(OptionError, match="got 2 texts"):
        splitter.get_activations(TEXTS[:2])
