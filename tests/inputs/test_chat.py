"""Chats are what their template writes, whatever form the messages have."""

from __future__ import annotations

import pytest
import torch

from interpreto import Occlusion
from interpreto.errors import InputError
from interpreto.inputs.text import InputReader
from tests import tiny

TEXTS = tiny.CHATML
PARTS = tiny.CHATML.replace(
    "{{ message['content'] }}", "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}"
).replace("message['content'] +", "message['content'][0]['text'] +")
BOTH = """{% for m in messages %}<|im_start|>{{ m['role'] }}
{% if m['tool_calls'] %}call {{ m['tool_calls'][0]['name'] }}{% elif m['content'] is string %}{{ m['content'] }}{% else %}\
{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TEMPLATES = {"reads texts": TEXTS, "reads parts": PARTS, "reads both": BOTH}
PLAIN = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Was it good?"}]
FORMS = {
    "texts": PLAIN,
    "parts": [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in PLAIN],
    "parts that are texts": [{**m, "content": [m["content"]]} for m in PLAIN],
    "mixed": [PLAIN[0], {"role": "user", "content": [{"type": "text", "text": "Was it good?"}]}],
    "a tuple of parts": [{**m, "content": ({"type": "text", "text": m["content"]},)} for m in PLAIN],
}


def tokenizer(template: str):
    found = tiny.chat()
    found.chat_template = template
    return found


def test_the_template_that_reads_parts_does():
    assert "part['text']" in PARTS or "[0]['text']" in PARTS


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("form", FORMS)
def test_a_chat_is_the_same_in_every_form(template, form):
    expected = InputReader(tokenizer(BOTH), replies=True)(PLAIN)[0]
    found = InputReader(tokenizer(TEMPLATES[template]), replies=True)(FORMS[form])[0]
    assert found.tokens.text == expected.tokens.text
    assert found.input_ids.tolist() == expected.input_ids.tolist()
    assert found.tokens.frozen == expected.tokens.frozen and found.tokens.segments == expected.tokens.segments


def test_parts_of_a_message_are_segments_of_their_own():
    chat = [{"role": "user", "content": [{"type": "text", "text": "Was it "}, {"type": "text", "text": "good?"}]}]
    found = InputReader(tokenizer(BOTH))(chat)[0].tokens
    assert [found.text[a:b] for a, b in found.segments] == ["Was it ", "good?"]


@pytest.mark.parametrize(
    "silent",
    [
        {"role": "system", "content": ""},
        {"role": "system", "content": " \n"},
        {"role": "system", "content": []},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "look_up"}]},
        {"role": "assistant", "tool_calls": [{"name": "look_up"}]},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "look_up"}]},
    ],
    ids=["empty", "blank", "no parts", "a call", "a call without content", "a call with empty content"],
)
def test_a_message_without_text_is_rendered_and_frozen(silent):
    reader, chat = InputReader(tokenizer(BOTH), replies=True), [silent, PLAIN[1]]
    found = reader(chat)[0].tokens
    assert found.text == reader.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert [found.text[a:b] for a, b in found.segments] == ["Was it good?"]
    model = tiny.CAUSAL_LMS["gpt2"]()[0]
    model.resize_token_embeddings(len(reader.tokenizer))
    output = Occlusion(model, reader.tokenizer)(chat, " yes", attribute_targets=False)[0]
    assert output.elements == ["Was", "it", "good", "?"] and bool(torch.isfinite(output.attributions).all())


def test_a_chat_without_any_text_is_refused():
    with pytest.raises(InputError, match=r"`inputs\[1\]`: no message has text in 'content'"):
        InputReader(tokenizer(BOTH))(["a text", [{"role": "system", "content": ""}]])


def test_a_template_that_prints_its_parts_is_given_texts():
    """Jinja prints a list as Python does; that is no rendering of a chat."""
    found = InputReader(tokenizer(TEXTS))(FORMS["parts"])[0].tokens
    assert "type" not in found.text


def test_a_refusal_of_the_template_is_told():
    refusing = TEXTS + "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError, match=r"`inputs`: the chat template refuses the messages \('roles must alternate'\)"):
        InputReader(tokenizer(refusing))(PLAIN)
