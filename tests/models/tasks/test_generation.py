"""Targets: the explained tokens are exactly the user's, joined to the prompt as ids."""

from __future__ import annotations

import pytest
import torch

from interpreto import Contrast, Granularity, Occlusion, Saliency
from interpreto.errors import InputError, OptionError, TargetError, TokenizerError
from tests import tiny

LLAMA, GPT2 = tiny.CAUSAL_LMS["llama"], tiny.CAUSAL_LMS["gpt2"]
PROMPT = "The capital of France is"
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Was the film good?"},
]


def explained(build, prompt=PROMPT, target=None, **asked):
    return Saliency(*build(), granularity="token")(prompt, target, **asked)[0]


def read(tokenizer, ids):
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


# --- Texts


@pytest.mark.parametrize("family", list(tiny.CAUSAL_LMS))
@pytest.mark.parametrize(
    "target",
    ["Paris", " Paris", "\nParis", "\n\n", " Paris.", "  two spaces", "巴黎", " 🎬🎬", "é", "…", ' she said, "no"', "0"],
)
def test_a_text_is_explained_as_it_stands(family, target):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    output = explained(lambda: (model, tokenizer), target=target)
    ids, t = output.sample.input_ids.tolist(), len(output.targets)
    prompt = tokenizer(PROMPT)["input_ids"]
    assert ids[:-t] == prompt and ids[-t:] == output.targets.tolist()
    assert output.text == PROMPT + target
    written = read(tokenizer, ids)
    assert written.endswith(target) and written.replace("<s>", "").strip() == (PROMPT + target).strip()
    assert ids.count(tokenizer.bos_token_id) == int(written.startswith("<s>"))


def test_no_space_is_forced_and_none_is_lost():
    _, tokenizer = LLAMA()
    with_space, without = explained(LLAMA, target=" good"), explained(LLAMA, target="good")
    assert tokenizer.convert_ids_to_tokens(with_space.targets.tolist())[0].startswith("▁")
    assert not tokenizer.convert_ids_to_tokens(without.targets.tolist())[0].startswith("▁")
    assert without.text.endswith("isgood") and with_space.text.endswith("is good")


def test_the_start_of_a_text_stands_once_in_front_and_is_never_a_target():
    _, tokenizer = LLAMA()
    output = explained(LLAMA, target=" good")
    assert output.sample.input_ids.tolist().count(tokenizer.bos_token_id) == 1
    assert tokenizer.bos_token_id not in output.targets.tolist()
    with pytest.raises(TargetError, match=r"`targets\[0\]`: begins with '<s>', which begins a text"):
        explained(LLAMA, target=tokenizer(" good", return_tensors="pt")["input_ids"])


def test_an_end_that_the_tokenizer_writes_is_no_part_of_a_prompt():
    model, _ = LLAMA()
    tokenizer = tiny.unigram()  # ends every text with </s>
    model.resize_token_embeddings(len(tokenizer))
    output = Saliency(model, tokenizer)("The film was", " good")[0]
    assert tokenizer.eos_token_id not in output.sample.input_ids.tolist()


# --- Ids


@pytest.mark.parametrize("form", [torch.tensor, lambda ids: torch.tensor([ids]), list, lambda ids: {"input_ids": [ids]}])
def test_ids_are_explained_as_they_are(form):
    _, tokenizer = GPT2()
    ids = tokenizer(" good film")["input_ids"]
    output = explained(GPT2, target=form(ids))
    assert output.targets.tolist() == ids and "".join(output.target_labels) == " good film"


@pytest.mark.parametrize("target", [torch.tensor([300]), torch.tensor(300), [300], 300])
def test_one_id_is_one_target(target):
    assert explained(GPT2, target=target).targets.tolist() == [300]


def test_each_input_has_its_own_target():
    model, tokenizer = GPT2()
    explainer = Occlusion(model, tokenizer)
    padded = {"input_ids": torch.tensor([[300, 301], [302, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
    for targets, wanted in (
        ([[300, 301], torch.tensor([302])], [[300, 301], [302]]),
        (padded, [[300, 301], [302]]),
        (torch.tensor([[300, 301], [302, 303]]), [[300, 301], [302, 303]]),
        ([300, 302], [[300], [302]]),
    ):
        outputs = explainer(["A film", "No end"], targets)
        assert [output.targets.tolist() for output in outputs] == wanted
    same = explainer(["A film", "No end"], " good")
    assert same[0].targets.tolist() == same[1].targets.tolist()


def test_bytes_of_one_character_are_targets_of_their_own():
    output = explained(LLAMA, target="🎬")
    assert len(output.targets) == 4 or len(output.targets) == 5
    assert output.text.endswith("🎬") and output.attributions.shape[0] == len(output.targets)


# --- What the model writes


@pytest.mark.parametrize("family", ["llama", "gpt2", "mamba", "t5", "bart"])
def test_without_targets_the_model_writes(family):
    model, tokenizer = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}[family]()
    prompts = ["The film was", "A dull story", "The story was"]
    outputs = Occlusion(model, tokenizer)(prompts, generation_kwargs={"max_new_tokens": 6})
    for prompt, output in zip(prompts, outputs, strict=True):
        encoded = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            written = model.generate(
                input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], max_new_tokens=6, do_sample=False
            )[0]
        own = written[encoded["input_ids"].shape[1] :] if family not in tiny.SEQ2SEQ else written[1:]
        own = [i for i in own.tolist() if i not in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)]
        assert output.targets.tolist() == own
        with torch.no_grad():  # greedy: each target is the likeliest
            assert float(output.base_scores.exp().min()) > 1 / len(tokenizer)


def test_sampled_texts_depend_on_the_seed_alone():
    model, tokenizer = LLAMA()
    options = {"max_new_tokens": 8, "do_sample": True}
    before = torch.get_rng_state()
    first = Occlusion(model, tokenizer)(PROMPT, generation_kwargs=options)[0].targets.tolist()
    torch.rand(3)
    assert Occlusion(model, tokenizer)(PROMPT, generation_kwargs=options)[0].targets.tolist() == first
    assert Occlusion(model, tokenizer, random_state=5)(PROMPT, generation_kwargs=options)[0].targets.tolist() != first
    torch.set_rng_state(before)


def test_a_model_that_writes_nothing_is_said_to():
    model, tokenizer = GPT2()
    hook = model.lm_head.register_forward_hook(
        lambda _m, _i, out: out.index_fill(-1, torch.tensor(tokenizer.eos_token_id), 1e4)
    )
    with pytest.raises(TargetError, match=r"the model ends at once after `inputs\[0\]`.*pass a target"):
        Occlusion(model, tokenizer)(PROMPT)
    hook.remove()
    kwargs = {"num_return_sequences": 2, "do_sample": True, "max_new_tokens": 3}
    with pytest.raises(OptionError, match="`generation_kwargs`: the model wrote 2 texts for 1 inputs"):
        Occlusion(model, tokenizer)(PROMPT, generation_kwargs=kwargs)


# --- Chats


def test_a_chat_keeps_every_token_of_its_template():
    model, tokenizer = tiny.chat_lm()
    output = Occlusion(model, tokenizer)(CHAT, "Yes.")[0]
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert output.sample.input_ids.tolist()[: -len(output.targets)] == ids
    assert len(set(ids) & set(tokenizer.all_special_ids)) >= 2
    assert output.elements == ["Be", "brief", ".", "Was", "the", "film", "good", "?", "Yes", "."]
    frozen = output.sample.units.index == -1
    assert read(tokenizer, output.sample.input_ids[frozen].tolist()).count("user") == 1


def test_all_tokens_explains_the_template_too():
    model, tokenizer = tiny.chat_lm()
    output = Saliency(model, tokenizer, granularity="all_tokens")(CHAT, "Yes.")[0]
    assert len(output.elements) == len(output.sample.input_ids)


def test_a_turn_is_a_message():
    model, tokenizer = tiny.chat_lm()
    output = Occlusion(model, tokenizer, granularity=Granularity.TURN)(CHAT, "Yes, it was.")[0]
    assert output.elements == ["Be brief.", "Was the film good?", "Yes, it was."]
    assert Occlusion(model, tokenizer, granularity="turn")("A film. And more.", " Yes.")[0].elements == [
        "A film. And more.",
        "Yes.",
    ]


def test_units_stay_inside_messages():
    model, tokenizer = tiny.chat_lm()
    chat = [
        {"role": "user", "content": "No end"},
        {"role": "assistant", "content": "in sight"},
        {"role": "user", "content": "Why?"},
    ]
    output = Occlusion(model, tokenizer, granularity="sentence")(chat, "So.")[0]
    assert output.elements == ["No end", "in sight", "Why?", "So."]


def test_roles_restrict_what_is_perturbed():
    model, tokenizer = tiny.chat_lm()
    for granularity, wanted in (("word", ["Was", "the", "film", "good", "?", "Yes"]), ("turn", ["Was the film good?", "Yes"])):
        output = Occlusion(model, tokenizer, granularity=granularity)(CHAT, "Yes", roles=("user",))[0]
        assert output.elements == wanted
    with pytest.raises(
        OptionError, match=r"`roles`: no message of `inputs` has the role 'tool'; there are \['system', 'user'\]"
    ):
        Occlusion(model, tokenizer)(CHAT, "Yes", roles=("user", "tool"))
    with pytest.raises(OptionError, match=r"`roles`: got \('user',\), but `inputs` is no chat"):
        Occlusion(model, tokenizer)("A film", "Yes", roles=("user",))


def test_a_reply_that_has_begun_is_continued():
    model, tokenizer = tiny.chat_lm()
    begun = [*CHAT, {"role": "assistant", "content": "Yes, it"}]
    output = Occlusion(model, tokenizer)(begun, " was")[0]
    rendered = tokenizer.apply_chat_template(begun, tokenize=False, continue_final_message=True)
    assert output.text == rendered + " was" and rendered.endswith("Yes, it")


# --- Encoder and decoder


@pytest.mark.parametrize("family", list(tiny.SEQ2SEQ))
def test_an_encoder_reads_the_prompt_and_a_decoder_the_target(family):
    model, tokenizer = tiny.SEQ2SEQ[family]()
    output = Occlusion(model, tokenizer)("The film was", " good")[0]
    sample = output.sample
    assert sample.input_ids[: sample.source].tolist() == tokenizer("The film was")["input_ids"]
    assert int(sample.input_ids[sample.source]) == model.config.decoder_start_token_id
    written = tokenizer(text_target=" good", add_special_tokens=False)["input_ids"]
    assert output.targets.tolist() == written
    labels = tokenizer(text_target=" good")["input_ids"]
    lead = labels[: labels.index(written[0])]
    assert sample.input_ids[sample.source + 1 : -len(written)].tolist() == lead
    assert output.text == "The film was\n good" and output.elements == ["The", "film", "was", "good"]


# --- Refusals


REFUSALS = {
    "empty text": (TargetError, r"`targets`: the text is empty", lambda e: e(PROMPT, "")),
    "empty text in a list": (TargetError, r"`targets\[1\]`: the text is empty", lambda e: e([PROMPT] * 2, [" a", ""])),
    "no ids": (TargetError, r"`targets\[0\]`: there are no ids", lambda e: e(PROMPT, torch.tensor([], dtype=torch.long))),
    "floats": (TargetError, r"`targets`: got torch.float32 values; token ids are integers", lambda e: e(PROMPT, torch.ones(2))),
    "beyond": (TargetError, r"`targets\[0\]`: token id 99999 is not in 0\.\.\d+", lambda e: e(PROMPT, [99999])),
    "too few": (TargetError, r"`targets`: got 1 for 2 inputs; pass one per input", lambda e: e([PROMPT] * 2, [" a"])),
    "ids of one for two": (
        TargetError,
        r"`targets`: got ids of one target for 2 inputs",
        lambda e: e([PROMPT] * 2, torch.tensor([5, 6])),
    ),
    "no target": (
        TargetError,
        r"`targets\[0\]`: got 1\.5; pass None \(the model generates\), a text",
        lambda e: e([PROMPT], [1.5]),
    ),
    "a function": (TargetError, r"`targets`: got function; pass None", lambda e: e(PROMPT, lambda: 0)),
    "a mapping": (TargetError, r"`targets`: got a mapping without 'input_ids'", lambda e: e(PROMPT, {"ids": [1]})),
    "contrast with itself": (
        TargetError,
        r"`targets`: the contrast is between ' a' and itself",
        lambda e: e(PROMPT, Contrast(" a", " a")),
    ),
    "empty contrast": (TargetError, r"`targets` of the contrast: the text is empty", lambda e: e(PROMPT, Contrast(" a", ""))),
    "aggregate": (
        OptionError,
        r"`aggregate`: got 'mean'; pass one of 'token', 'unit', 'sequence'",
        lambda e: e(PROMPT, " a", aggregate="mean"),
    ),
    "too long": (
        InputError,
        r"`targets`: '.*' and its target are 1\d\d tokens, and the model takes 128; shorten them",
        lambda e: e(PROMPT, " a" * 128),
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_what_was_asked_found_and_accepted(case):
    error, message, attempt = REFUSALS[case]
    with pytest.raises(error, match=f"^{message}"):
        attempt(Occlusion(*GPT2()))


@pytest.mark.parametrize("asked", [{"aggregate": "sequence"}, {"attribute_targets": False}, {"generation_kwargs": {}}])
def test_what_only_generations_have_is_refused_elsewhere(asked):
    with pytest.raises(OptionError, match="only generations have it"):
        Occlusion(*tiny.CLASSIFIERS["bert"]())("A film", **asked)


def test_contrasts_of_classes_are_checked():
    explainer = Occlusion(*tiny.CLASSIFIERS["bert"]())
    with pytest.raises(TargetError, match="the contrast is between class 1 and itself"):
        explainer("A film", Contrast(1, 1))
    with pytest.raises(TargetError, match=r"class 7 is not in 0\.\.2"):
        explainer("A film", Contrast(1, 7))


def slow(tokenizer):
    tokenizer.__class__ = type("Slow", (type(tokenizer),), {"is_fast": False})
    return tokenizer


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_slow_tokenizer_explains_what_the_fast_one_does(family):
    """Offsets are found by decoding: a text whose ids do not decode to it has the decoded one."""
    model, tokenizer = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}[family]()
    fast = Occlusion(model, tokenizer)("A fine film", " it is")[0]
    found = Occlusion(model, slow(tokenizer))("A fine film", " it is")[0]
    assert found.sample.input_ids.tolist() == fast.sample.input_ids.tolist()
    assert found.elements == fast.elements and found.target_labels == fast.target_labels
    torch.testing.assert_close(found.attributions, fast.attributions, equal_nan=True)


def test_a_slow_tokenizer_that_rewrites_a_target_is_refused_for_texts_and_taken_for_ids():
    model, tokenizer = GPT2()[0], slow(tiny.wordpiece())
    with pytest.raises(TokenizerError, match=r"does not tell which characters a token represents.*pass token ids"):
        Occlusion(model, tokenizer)("a film", "It IS good")
    assert Occlusion(model, tokenizer)(torch.tensor([5, 6]), [7])[0].targets.tolist() == [7]


def test_ids_that_the_tokenizer_does_not_have_are_explained_where_the_model_writes_them():
    """Tables of embeddings are often padded beyond the vocabulary."""
    model, tokenizer = GPT2()
    size = len(tokenizer)
    model.resize_token_embeddings(size + 8)
    model.generation_config.suppress_tokens = list(range(size))
    model.generation_config.pad_token_id = size + 7
    found = Occlusion(model, tokenizer)("A film", generation_kwargs={"max_new_tokens": 2})[0]
    assert (found.targets >= size).all()
    assert found.target_labels == [f"<{i}>" for i in found.targets.tolist()]
    with pytest.raises(TargetError, match=rf"`targets\[0\]`: token id {size} is not in 0\.\.{size - 1}"):
        Occlusion(model, tokenizer)("A film", [size])
