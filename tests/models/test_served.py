"""A language model behind an OpenAI-compatible server: the same numbers as the model itself, and every failure told."""

from __future__ import annotations

import math
import pickle
import warnings

import pytest
import torch

from interpreto import ContextCite, KernelShap, Lime, Occlusion, PartitionShap, Saliency, ServedModel
from interpreto.errors import EndpointError, EstimateWarning, FileError, ModelError, OptionError, TargetError
from interpreto.metrics import Deletion
from tests import tiny
from tests.servers import Reply, serving

PROMPT, TARGET = "The film was great, and the actors were wonderful.", " It was a great film."
KEY = "sk-very-secret-0123456789"
FAST = {"first_wait": 0.0, "retries": 2, "timeout": 5.0}


class Completions:
    """What a server of completions answers, by a tiny model."""

    def __init__(self, ways=("echo", "prompt_logprobs", "first_token")):
        self.model, self.tokenizer = tiny.CAUSAL_LMS["gpt2"]()
        self.ways = ways

    def __call__(self, asked, count):
        ids = self.tokenizer(asked["prompt"], add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            log_p = self.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        tokens = [self.tokenizer.decode([i]) for i in ids]
        values = [None, *(float(log_p[k, i]) for k, i in enumerate(ids[1:]))]
        likely = log_p[-1].topk(asked.get("logprobs") or 1)
        choice = {"index": 0, "text": self.tokenizer.decode(likely.indices[:1]), "logprobs": None}
        if asked.get("echo"):
            if "echo" not in self.ways:
                return Reply({"error": "echo is not supported"}, 400)
            choice["logprobs"] = {
                "tokens": [*tokens, choice["text"]],
                "token_logprobs": [*values, float(likely.values[0])],
                "text_offset": [0] * (len(tokens) + 1),
            }
        elif "prompt_logprobs" in asked:
            if "prompt_logprobs" not in self.ways:
                return Reply({"error": "unknown field"}, 422)
            told = zip(ids, tokens, values, strict=True)
            entries = [None if v is None else {str(i): {"logprob": v, "decoded_token": t}, "0": {}} for i, t, v in told]
            choice["prompt_logprobs"] = entries
        elif "logprobs" in asked:
            top = {self.tokenizer.decode([i]): v for v, i in zip(*map(torch.Tensor.tolist, likely), strict=True)}
            choice["logprobs"] = {"top_logprobs": [top]}
        return Reply({"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}})


@pytest.fixture(scope="module")
def server():
    with serving(Completions()) as found:
        yield found


@pytest.fixture
def local():
    return tiny.CAUSAL_LMS["gpt2"]()


# --- The same numbers as the model


@pytest.mark.parametrize("scoring", ["auto", "prompt_logprobs"])
def test_occlusion_is_that_of_the_model_itself(server, local, scoring):
    served = ServedModel(server.url, "tiny", scoring=scoring, **FAST)
    theirs = Occlusion(*local)(PROMPT, TARGET, attribute_targets=False)[0]
    ours = Occlusion(served, replacement="[MASK]")(PROMPT, TARGET)[0]
    assert ours.elements == theirs.elements and ours.target_labels == theirs.target_labels
    torch.testing.assert_close(ours.base_scores, theirs.base_scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", [Occlusion, KernelShap, PartitionShap, Lime, ContextCite], ids=lambda m: m.__name__)
def test_every_method_that_masks_equals_itself_on_the_model(server, local, method):
    """Sentences after the first are dropped, with the space before them: what is left is cut into the same tokens."""
    sentences = [PROMPT, "Nothing happens for two hours.", "The music is beautiful.", "He paid for it."]
    text = " ".join(sentences)
    spans = [(text.index(sentence), text.index(sentence) + len(sentence)) for sentence in sentences[1:]]
    options = {"replacement": "drop"} | ({} if method in (Occlusion, PartitionShap) else {"n_perturbations": 8})
    call = {"aggregate": "sequence", "spans": spans}
    theirs = method(*local, **options)(text, TARGET, attribute_targets=False, **call)[0]
    ours = method(ServedModel(server.url, "tiny", **FAST), **options)(text, TARGET, **call)[0]
    assert ours.elements == theirs.elements and ours.target_labels == theirs.target_labels and ours.text == theirs.text
    assert ours.inference_mode == theirs.inference_mode
    for name in ("attributions", "base_scores", "standard_error"):
        if (wanted := getattr(theirs, name)) is not None:
            torch.testing.assert_close(getattr(ours, name), wanted, rtol=1e-3, atol=1e-3)


def test_rows_of_an_answer_are_its_tokens_its_units_or_the_whole(server, local):
    served = Occlusion(ServedModel(server.url, "tiny", **FAST), granularity="sentence")
    for aggregate in ("token", "unit", "sequence"):
        theirs = Occlusion(*local, granularity="sentence")(PROMPT + " " + PROMPT, TARGET, aggregate=aggregate)[0]
        ours = served(PROMPT + " " + PROMPT, TARGET, aggregate=aggregate)[0]
        assert ours.target_labels == theirs.target_labels and ours.target_spans == theirs.target_spans
        torch.testing.assert_close(ours.base_scores, theirs.base_scores, rtol=1e-4, atol=1e-4)


def test_a_metric_judges_a_served_model(server):
    served = ServedModel(server.url, "tiny", **FAST)
    explanation = Occlusion(served)([PROMPT, PROMPT[:20]], [TARGET, " was"], aggregate="sequence")
    assert 0 <= float(Deletion(served, replacement="…").run(explanation)) <= 1


def test_targets_are_written_by_the_server(server):
    found = Occlusion(ServedModel(server.url, "tiny", **FAST))(PROMPT, generation_kwargs={"max_new_tokens": 1})[0]
    assert found.text.startswith(PROMPT) and len(found.text) > len(PROMPT)
    assert server.requests[-1][2]["model"] == "tiny"


def test_the_first_token_is_what_is_left_where_a_server_tells_no_more(local):
    model, tokenizer = local
    with serving(Completions(ways=("first_token",))) as server, warnings.catch_warnings():
        warnings.simplefilter("error", EstimateWarning)
        served = ServedModel(server.url, "tiny", likeliest=len(tokenizer), **FAST)
        ours = Occlusion(served, granularity="sentence")(PROMPT + " " + PROMPT, TARGET)[0]
        asked = [request for _, _, request in server.requests]
    theirs = Occlusion(model, tokenizer, granularity="sentence")(PROMPT + " " + PROMPT, TARGET, attribute_targets=False)[0]
    assert "echo" in asked[0] and "prompt_logprobs" in asked[1] and not any("echo" in request for request in asked[2:])
    assert ours.target_labels == theirs.target_labels[:1]
    torch.testing.assert_close(ours.base_scores, theirs.base_scores[:1], rtol=1e-4, atol=1e-4)


def test_an_unlikely_first_token_is_bounded_with_a_warning():
    def answer(asked, count):
        top = {" yes": -0.1, " no": -3.0} if "good" in asked["prompt"] else {" no": -0.2, " so": -2.5}
        return Reply({"choices": [{"text": " no", "logprobs": {"top_logprobs": [top]}}]})

    with serving(answer) as server:
        explainer = Occlusion(ServedModel(server.url, "m", scoring="first_token", **FAST))
        with pytest.warns(EstimateWarning, match="upper bound"):
            found = explainer("all good things", " yes")[0]
        with pytest.raises(EndpointError, match="begins the answer"):
            explainer("all bad things", " yes")
    rest = math.log(1 - math.exp(-0.2) - math.exp(-2.5))
    assert found.attributions[0, 1] == pytest.approx(-0.1 - min(-2.5, rest), abs=1e-5)
    assert found.attributions[0, [0, 2]].tolist() == [0, 0]


# --- Cost


def test_nothing_is_asked_twice(tmp_path, server):
    context = f"{PROMPT} {PROMPT}"
    first = ServedModel(server.url, "tiny", cache=tmp_path / "answers", **FAST)
    before = len(server.requests)
    wanted = Occlusion(first)(context, TARGET)[0]
    made = len(server.requests) - before
    assert made == len(wanted.elements) + 1 == first.usage.requests  # each unit, and the text itself
    assert first.usage.prompt_tokens > made and first.usage.completion_tokens == made
    again = ServedModel(server.url, "tiny", cache=tmp_path / "answers", **FAST)
    found = Occlusion(again)(context, TARGET)[0]
    assert len(server.requests) - before == made and (again.usage.requests, again.usage.cached) == (0, made)
    assert torch.equal(found.attributions, wanted.attributions)
    other = ServedModel(server.url, "another", cache=tmp_path / "answers", **FAST)
    Occlusion(other, granularity="sentence")(context, TARGET)
    assert other.usage.cached == 0
    assert PROMPT.encode() not in (tmp_path / "answers").read_bytes()


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    (tmp_path / "notes").write_text("these are notes, and no cache of answers" * 40)
    with pytest.raises(FileError, match="cache"):
        ServedModel("http://127.0.0.1:1/v1", "m", cache=tmp_path / "notes")


# --- Failures


def test_a_busy_server_is_asked_again_after_what_it_says(server):
    answer, text = Completions(), f"{PROMPT} Nothing happens."
    with serving(lambda asked, count: Reply({}, 429, {"Retry-After": "0"}) if count % 2 else answer(asked, count)) as busy:
        found = Occlusion(ServedModel(busy.url, "m", concurrency=1, **FAST), granularity="sentence")(text, TARGET)[0]
        assert len(busy.requests) > len(found.elements) + 1
    wanted = Occlusion(ServedModel(server.url, "m", **FAST), granularity="sentence")(text, TARGET)[0]
    assert torch.equal(found.attributions, wanted.attributions)


CHOICE = {"text": "", "logprobs": {"tokens": ["a"], "token_logprobs": [-1.0]}}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply({"error": "the tea is out"}, 500), "status 500"),
        (Reply(b"<html>no JSON</html>"), "no JSON object"),
        (Reply({}), "no `choices`"),
        (Reply({"choices": []}), "no `choices`"),
        (Reply({"choices": [{"text": "a", "logprobs": None}]}), "no `logprobs`"),
        (Reply({"choices": [CHOICE]}), "spell 'a'"),
        (Reply({"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": []}}]}), "one length"),
        (Reply({"choices": [{"logprobs": {"tokens": [PROMPT, TARGET], "token_logprobs": [None, "x"]}}]}), "no log-probability"),
        (Reply({"choices": [{"logprobs": {"tokens": [PROMPT, TARGET], "token_logprobs": [None, 7.0]}}]}), "no log-probability"),
        (Reply({"error": "no such model"}, 404), "no such model"),
        (Reply({"error": "who are you"}, 401), "environment variable"),
    ],
)
def test_an_answer_that_cannot_be_used_is_told(reply, said):
    with serving(lambda asked, count: reply) as server:
        explainer = Occlusion(ServedModel(server.url, "m", scoring="echo", **{**FAST, "retries": 1}))
        with pytest.raises(EndpointError, match=said):
            explainer(PROMPT, TARGET)


def test_a_server_without_log_probabilities_is_told_in_full():
    with serving(lambda asked, count: Reply({"choices": [{"text": "a"}]})) as server:
        with pytest.raises(EndpointError, match=r"(?s)echo: .*prompt_logprobs: .*first_token: "):
            Occlusion(ServedModel(server.url, "m", **FAST))(PROMPT, TARGET)
        assert len(server.requests) == 3


def test_a_server_that_is_not_there_is_told():
    with serving(Completions()) as gone:
        pass
    with pytest.raises(EndpointError, match="check the address"):
        Occlusion(ServedModel(gone.url, "m", **{**FAST, "retries": 0}))(PROMPT, TARGET)


def test_a_server_that_does_not_answer_in_time_is_told():
    import threading

    over = threading.Event()
    with serving(lambda asked, count: over.wait(5) and Reply({})) as slow:
        with pytest.raises(EndpointError, match="timed out"):
            Occlusion(ServedModel(slow.url, "m", timeout=0.05, retries=1, first_wait=0.0))(PROMPT, TARGET)
        over.set()


# --- Keys


def test_a_key_is_sent_and_shown_nowhere(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SOME_KEY", KEY)
    answer = Completions()

    def echoing(asked, count):  # a server that repeats the key in its errors
        return answer(asked, count) if count < 3 else Reply({"error": f"the key {KEY} is out of money"}, 403)

    with serving(echoing) as server:
        served = ServedModel(server.url, "m", key_variable="SOME_KEY", cache=tmp_path / "answers", concurrency=1, **FAST)
        explainer = Occlusion(served, granularity="sentence")
        found = explainer(f"{PROMPT} {PROMPT}", TARGET)
        with pytest.raises(EndpointError) as error:
            explainer(f"{PROMPT} {PROMPT}", " was")
        assert {headers["Authorization"] for _, headers, _ in server.requests} == {f"Bearer {KEY}"}
    shown = [repr(served), str(vars(served)), str(error.value), repr(error.value), found.to_html(), repr(found), str(found)]
    found.save(tmp_path / "explanations")
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 2 and pickle.dumps(served.endpoint)
    assert not [text for text in [*shown, *capfd.readouterr()] if KEY in text]
    assert not [data for data in [*written, pickle.dumps(served.endpoint)] if KEY.encode() in data]


# --- Options


def test_what_a_served_model_cannot_do_is_refused(server):
    served = ServedModel(server.url, "tiny", **FAST)
    with pytest.raises(OptionError, match="scoring"):
        ServedModel(server.url, "tiny", scoring="guess")
    with pytest.raises(OptionError, match="model"):
        ServedModel(server.url, "")
    with pytest.raises(OptionError, match="url"):
        ServedModel("http://me:secret@127.0.0.1/v1", "tiny")
    with pytest.raises(OptionError, match="inference_mode"):
        Occlusion(served, inference_mode="logits")
    with pytest.raises(OptionError, match="granularity"):
        Occlusion(served, granularity="token")
    with pytest.raises(OptionError, match="attribute_targets"):
        Occlusion(served)(PROMPT, TARGET, attribute_targets=True)
    with pytest.raises(OptionError, match="leaves nothing"):
        KernelShap(served, n_perturbations=8, granularity="sentence")(PROMPT * 2, TARGET)
    with pytest.raises(TargetError, match="text of the answer"):
        Occlusion(served)(PROMPT, [[1, 2]])
    with pytest.raises(ModelError, match="gradients"):
        Saliency(served)
