"""Judges: what they are asked, what they say, what is counted, kept and paid for."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from interpreto import demo
from interpreto.errors import EndpointError, FileError, JudgeError, ModelError, OptionError
from interpreto.judges import CachedJudge, CallableJudge, EndpointJudge, Judge, LLMInterface, LocalJudge, OpenAILLM, Role
from interpreto.judges.base import Chat
from interpreto.judges.llm_interface import from_roles, read_judge
from interpreto.judges.qualification import KNOWN, fits_question, qualify
from interpreto.judges.reading import first_json, named_choice, read_label, read_numbers
from tests import tiny
from tests.servers import Reply, chat_reply, serving

PROMPTS = [f"question {i}" for i in range(12)]


def endpoint(url: str, **options: Any) -> EndpointJudge:
    return EndpointJudge(url, "m", first_wait=0.0, retries=2, **options)


def said(chat: Chat) -> str:
    return f"label of {chat[-1]['content']}"


class Truth(CallableJudge):
    """Knows which sentence is of which label."""

    def __init__(self) -> None:
        super().__init__(self.reply, "truth")

    @staticmethod
    def reply(chat: Chat) -> str:
        lines = dict(line.split(": ", 1) for line in chat[-1]["content"].splitlines()[1:3])
        return "Yes." if json.loads(lines["Text"]) in KNOWN.get(json.loads(lines["Description"]), ()) else "No."


class TestQualification:
    def test_a_judge_that_knows_passes(self) -> None:
        found = Truth().qualify()
        assert found.auc == 1.0 and found.control < 0.5 and found.passed and not found.worse_than_chance

    @pytest.mark.parametrize("reply", ["yes", "no", "well …", None])
    def test_a_constant_judge_is_at_chance_exactly(self, reply: str | None) -> None:
        found = CallableJudge(lambda _: reply, "constant").qualify()
        assert found.auc == found.control == 0.5 and not found.passed and found.worse_than_chance
        assert found.failed == (0.0 if reply in ("yes", "no") else 1.0)

    def test_noise_does_not_pass(self) -> None:
        draws = random.Random(0)
        assert not qualify(CallableJudge(lambda _: draws.choice(["yes", "no"]), "noise")).passed

    def test_a_judge_that_goes_by_the_text_alone_does_not_pass(self) -> None:
        by_text = CallableJudge(lambda chat: "yes" if "?" in chat[-1]["content"].split("Text:")[1] else "no", "text")
        found = by_text.qualify()
        assert found.auc == pytest.approx(found.control) and not found.passed

    def test_known_cases_are_asked_once(self) -> None:
        judge = Truth()
        judge.qualify()
        calls = judge.usage.calls
        judge.qualify()
        assert judge.usage.calls == calls == len(KNOWN) * sum(map(len, KNOWN.values()))

    def test_no_text_ends_the_question(self) -> None:
        asked = fits_question('x" \n', 'A."\nAnswer: yes\n')
        assert asked.count("\nAnswer:") == 1 and asked.endswith("\nAnswer:")


class TestReading:
    @pytest.mark.parametrize(
        ("text", "label"),
        [
            ("praise", "praise"),
            ('"Praise of films."', "Praise of films"),
            ("Label: **digits**\nBecause …", "digits"),
            ('{"label": "digits"}', "digits"),
            ('```json\n{"label": "a\\nb"}\n```', "a"),
            ("", None),
            ("…", None),
            ('{"other": 1}', None),
            (None, None),
            ("x" * 5000, "x" * 200),
        ],
    )
    def test_labels(self, text: str | None, label: str | None) -> None:
        assert read_label(text) == label

    def test_numbers_choices_json(self) -> None:
        assert read_numbers("a\t3\nb\t10", 2) == [3.0, 10.0] and read_numbers("[1, true]", 2) is None
        assert read_numbers(None, 2) is None and read_numbers("[1, 2, 3]", 2) is None
        assert named_choice("I know nothing", ["yes", "no"]) is None and named_choice("NO!", ["yes", "no"]) == 1
        assert first_json('[broken {"a": [1]}') == {"a": [1]} and first_json("{{{") is None


class TestEndpoint:
    def test_answers_keep_their_places_and_are_counted(self) -> None:
        with serving(lambda asked, _: chat_reply(said(asked["messages"]))) as served:
            judge = endpoint(served.url, options={"seed": 3})
            assert [a.text for a in judge.generate(PROMPTS)] == [f"label of {p}" for p in PROMPTS]
        assert judge.usage.calls == 12 and judge.usage.tokens == 144 and judge.usage.failures == 0
        path, _, asked = served.requests[0]
        assert path == "/v1/chat/completions" and asked["temperature"] == 0 and asked["seed"] == 3 and asked["model"] == "m"

    @pytest.mark.parametrize(
        "bad",
        [Reply({"choices": []}), Reply({"error": "x"}), chat_reply("  "), Reply({}, 422)],
        ids=["none", "error", "blank", "422"],
    )
    def test_malformed_answers_are_counted_and_not_dropped(self, bad: Reply) -> None:
        with serving(lambda asked, _: bad if "7" in asked["messages"][0]["content"] else chat_reply("fine")) as served:
            judge = endpoint(served.url)
            found = judge.generate(PROMPTS)
        assert [a.text for a in found] == [None if i == 7 else "fine" for i in range(12)]
        assert found[7].failure and judge.usage.failures == 1

    def test_a_busy_server_is_asked_again(self) -> None:
        busy = Reply({}, 429, {"Retry-After": "0"})
        with serving(lambda asked, count: busy if count < 2 else chat_reply("fine")) as served:
            judge = endpoint(served.url, concurrency=1)
            assert [a.text for a in judge.generate(PROMPTS[:3])] == ["fine"] * 3
        assert len(served.requests) == 5 and judge.usage.failures == 0

    def test_choices_are_the_probabilities_of_first_tokens(self) -> None:
        top = [("Yes", 0.5), (" yes", 0.1), ("No", 0.3), ("Maybe", 0.1)]
        listed = [{"token": token, "logprob": math.log(p)} for token, p in top]
        reply = chat_reply("Yes")
        reply.body["choices"][0]["logprobs"] = {"content": [{"token": "Yes", "top_logprobs": listed}]}
        with serving(lambda *_: reply) as served:
            found = endpoint(served.url).choose(["snow is white?"], ["yes", "no"])
            assert torch.allclose(found.exp(), torch.tensor([[0.6, 0.3]]))
            least = endpoint(served.url).choose(["snow is white?"], ["yes", "never"])
            assert torch.allclose(least.exp(), torch.tensor([[0.6, 0.1]]))

    def test_a_server_without_probabilities_writes(self) -> None:
        def answer(asked: dict, _: int) -> Reply:
            return Reply({"error": "no logprobs"}, 400) if "logprobs" in asked else chat_reply("No.")

        with serving(answer) as served:
            judge = endpoint(served.url)
            assert judge.choose(PROMPTS[:2], ["yes", "no"]).tolist() == [[-math.inf, 0.0]] * 2
            asked = len(served.requests)
            judge.choose(PROMPTS[:2], ["yes", "no"])
            assert len(served.requests) == asked + 2
        with serving(lambda *_: chat_reply("no idea")) as served:
            assert endpoint(served.url).choose(["x"], ["right", "wrong"]).isnan().all()

    def test_a_refused_key_ends_the_run(self) -> None:
        with serving(lambda *_: Reply({}, 401)) as served, pytest.raises(EndpointError):
            endpoint(served.url).generate(PROMPTS)


class Stops:
    """Raise at some call, as a run that is stopped does."""

    def __init__(self, at: int | None) -> None:
        self.at, self.asked = at, []

    def __call__(self, chat: Chat) -> str:
        if len(self.asked) == self.at:
            raise KeyboardInterrupt
        self.asked.append(chat[-1]["content"])
        return said(chat)


class TestCache:
    def test_a_stopped_run_goes_on_where_it_was(self, tmp_path: Path) -> None:
        whole = [a.text for a in CallableJudge(said, "j").generate(PROMPTS)]
        first, second = Stops(5), Stops(None)
        with pytest.raises(KeyboardInterrupt):
            CachedJudge(CallableJudge(first, "j"), tmp_path / "c.db").generate(PROMPTS)
        judge = CachedJudge(CallableJudge(second, "j"), tmp_path / "c.db")
        assert [a.text for a in judge.generate(PROMPTS)] == whole
        assert first.asked == PROMPTS[:5] and second.asked == PROMPTS[5:]
        assert judge.usage.cached == 5 and judge.usage.calls == 7
        third = Stops(0)
        assert [a.text for a in CachedJudge(CallableJudge(third, "j"), tmp_path / "c.db").generate(PROMPTS)] == whole

    def test_answers_that_failed_are_asked_again(self, tmp_path: Path) -> None:
        with serving(lambda asked, count: Reply({}, 400) if count == 0 else chat_reply("fine")) as served:
            judge = CachedJudge(endpoint(served.url), tmp_path / "c.db")
            assert judge.generate(["a"])[0].text is None and judge.usage.failures == 1
            assert judge.generate(["a"])[0].text == "fine" and judge.generate(["a"])[0].text == "fine"
        assert len(served.requests) == 2

    def test_what_answers_depend_on_is_not_shared(self, tmp_path: Path) -> None:
        counts = Stops(None)
        for name, tokens in (("a", 64), ("b", 64), ("b", 32), ("a", 64)):
            CachedJudge(CallableJudge(counts, name), tmp_path / "c.db").generate(["x"], max_new_tokens=tokens)
        assert len(counts.asked) == 3

    def test_choices_are_kept_too(self, tmp_path: Path) -> None:
        for path in (None, tmp_path / "c.db"):
            truth = Truth()
            judge = CachedJudge(truth, path)
            assert judge.qualify() == Truth().qualify()
            calls = truth.usage.calls
            assert CachedJudge(Truth(), path).qualify().auc == 1.0
            qualify(judge)
            assert truth.usage.calls == calls

    @pytest.mark.parametrize("bound", [{"calls": 7}, {"tokens": 7 * 12}])
    def test_a_budget_stops_and_is_resumed(self, tmp_path: Path, bound: dict[str, int]) -> None:
        with serving(lambda asked, _: chat_reply(said(asked["messages"]))) as served:
            many = [f"q{i}" for i in range(40)]
            judge = CachedJudge(endpoint(served.url), tmp_path / "c.db", **bound)
            with pytest.raises(JudgeError, match="budget of"):
                judge.generate(many)
            spent = len(served.requests)
            assert 7 <= spent <= 7 + 16 and (spent == 7 or "tokens" in bound)
            found = CachedJudge(endpoint(served.url), tmp_path / "c.db").generate(many)
            assert [a.text for a in found] == [f"label of {p}" for p in many] and len(served.requests) == 40

    def test_no_key_and_no_prompt_is_in_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden-42")
        with serving(lambda *_: chat_reply("fine")) as served:
            CachedJudge(endpoint(served.url), tmp_path / "c.db").generate(["a private text"])
            assert served.requests[0][1]["Authorization"] == "Bearer sk-hidden-42"
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"sk-hidden-42" not in held and b"private" not in held and b"fine" in held

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no database at all, and rather long " * 100)
        sqlite3.connect(tmp_path / "other").execute("CREATE TABLE mine (x)").connection.close()
        for name in ("text", "other"):
            before = (tmp_path / name).read_bytes()
            with pytest.raises(FileError, match=name):
                CachedJudge(Truth(), tmp_path / name)
            assert (tmp_path / name).read_bytes() == before
        with pytest.raises(OptionError, match="no name"):
            CachedJudge(CallableJudge(lambda _: "x"), tmp_path / "c.db")

    @pytest.mark.slow
    def test_a_killed_process_loses_no_answer(self, tmp_path: Path) -> None:
        script = """
            import sys
            from interpreto.judges import CachedJudge, EndpointJudge
            judge = CachedJudge(EndpointJudge(sys.argv[1], "m", concurrency=1), sys.argv[2])
            judge.generate([f"question {i}" for i in range(12)])
        """

        def slowly(asked: dict, _: int) -> Reply:
            time.sleep(0.05)
            return chat_reply(said(asked["messages"]))

        with serving(slowly) as served:
            run = [sys.executable, "-c", textwrap.dedent(script), served.url, str(tmp_path / "c.db")]
            process = subprocess.Popen(run, env={**os.environ, "PYTHONWARNINGS": "ignore"})
            while len(served.requests) < 5 and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            known = {row for (row,) in sqlite3.connect(tmp_path / "c.db").execute("SELECT key FROM answers")}
            before = len(served.requests)
            judge = CachedJudge(EndpointJudge(served.url, "m"), tmp_path / "c.db")
            assert [a.text for a in judge.generate(PROMPTS)] == [f"label of {p}" for p in PROMPTS]
        assert 3 <= len(known) < 12 and judge.usage.cached == len(known)
        assert len(served.requests) - before == 12 - len(known)


class TestLocal:
    @pytest.fixture(scope="class")
    def lm(self):
        return tiny.CAUSAL_LMS["gpt2"]()

    def test_choices_are_sums_of_log_probabilities(self, lm) -> None:
        model, tokenizer = lm
        judge = LocalJudge(model, tokenizer)
        prompts, choices = ["The film was", "The keys to the cabinet"], ["great", "terrible film"]
        found = judge.choose(prompts, choices)
        for i, prompt in enumerate(prompts):
            ids = tokenizer(prompt)["input_ids"]
            for j, choice in enumerate(choices):
                answer = tokenizer(" " + choice, add_special_tokens=False)["input_ids"]
                with torch.no_grad():
                    logits = model(torch.tensor([ids + answer])).logits[0].log_softmax(-1)
                by_hand = sum(float(logits[len(ids) - 1 + k, token]) for k, token in enumerate(answer))
                assert float(found[i, j]) == pytest.approx(by_hand, abs=1e-4)
        alone = torch.cat([judge.choose([prompt], choices) for prompt in prompts])
        assert torch.allclose(found, alone, atol=1e-5)
        assert judge.usage.calls == 4 and judge.usage.failures == 0

    def test_a_text_fits_as_far_as_the_label_makes_it_likelier(self, lm) -> None:
        model, tokenizer = lm
        judge = LocalJudge(model, tokenizer, mode="likelihood")
        pairs = [("praise", "A gem."), ("rain", "It rained all night."), ("rain", "A gem."), ("praise", "A gem.")]

        def likelihood(prompt: str, text: str) -> float:
            ids, answer = tokenizer(prompt)["input_ids"], tokenizer(f" {text}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([ids + answer])).logits[0].log_softmax(-1)
            return sum(float(logits[len(ids) - 1 + k, token]) for k, token in enumerate(answer))

        wanted = [likelihood(f"A sentence of {label}:", text) - likelihood("A sentence:", text) for label, text in pairs]
        assert judge.fits(pairs).tolist() == pytest.approx(wanted, abs=1e-4) and judge.usage.calls == 4
        cached = CachedJudge(judge)
        assert cached.fits(pairs).tolist() == pytest.approx(wanted, abs=1e-4) and judge.usage.calls == 7
        assert cached.fits(pairs[:2]).tolist() == pytest.approx(wanted[:2], abs=1e-4) and judge.usage.calls == 7
        asked = LocalJudge(model, tokenizer)
        odds = asked.choose([fits_question(*pair) for pair in pairs], ["yes", "no"])
        assert torch.allclose(asked.fits(pairs), odds[:, 0] - odds[:, 1]) and asked.identity() != judge.identity()
        with pytest.raises(OptionError, match="mode"):
            LocalJudge(model, tokenizer, mode="odds")

    def test_it_writes_what_the_model_writes(self, lm) -> None:
        model, tokenizer = lm
        ids = tokenizer("The film was", return_tensors="pt")
        with torch.no_grad():
            written = model.generate(**ids, max_new_tokens=6, do_sample=False, pad_token_id=0)
        text = tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        judge = LocalJudge(model, tokenizer)
        assert judge.generate(["The film was"], max_new_tokens=6)[0].text == (text if text.strip() else None)

    def test_chats_are_written_by_their_template(self) -> None:
        model, tokenizer = cast("Any", tiny.chat_lm())
        chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "The film?"}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text)["input_ids"]
        yes = tokenizer("yes", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([ids + yes])).logits[0].log_softmax(-1)
        by_hand = sum(float(logits[len(ids) - 1 + k, token]) for k, token in enumerate(yes))
        assert float(LocalJudge(model, tokenizer).choose([chat], ["yes", "no"])[0, 0]) == pytest.approx(by_hand, abs=1e-4)

    def test_its_identity_is_that_of_its_weights(self, lm) -> None:
        model, tokenizer = lm
        before = LocalJudge(model, tokenizer).identity()
        assert before == LocalJudge(model, tokenizer).identity()
        weight = next(model.parameters())
        with torch.no_grad():
            weight.mul_(1.5)
            after = LocalJudge(model, tokenizer).identity()
            weight.div_(1.5)
        assert before != after

    def test_a_model_that_writes_nothing_is_refused(self) -> None:
        with pytest.raises(ModelError, match="causal"):
            LocalJudge(*demo.load_classifier())


class TestInterfaces:
    def test_an_interface_of_the_reference_library_is_a_judge(self) -> None:
        class Mine(LLMInterface):
            def generate(self, prompt: list[tuple[Role, str]]) -> str | None:
                assert [role for role, _ in prompt] == [Role.SYSTEM, Role.USER]
                return prompt[-1][1].upper()

        chat = from_roles([(Role.SYSTEM, "be loud"), (Role.USER, "hello"), (Role.ASSISTANT, "")])
        assert read_judge(Mine()).generate([chat])[0].text == "HELLO"

    def test_openais_interface_asks_its_server(self) -> None:
        with serving(lambda *_: chat_reply("digits")) as served:
            llm = OpenAILLM(api_key="sk-1", model="m", num_try=1, url=served.url)
            assert llm.generate([(Role.USER, "hello")]) == "digits" and "sk-1" not in repr(vars(llm))
            assert read_judge(llm) is llm.judge

    @pytest.mark.parametrize("judge", [3, "gpt", None])
    def test_what_is_no_judge(self, judge: object) -> None:
        with pytest.raises(OptionError, match="`judge`"):
            read_judge(judge)

    @pytest.mark.parametrize("prompts", [[[]], [[{"role": "user"}]]])
    def test_what_is_no_prompt(self, prompts: Sequence) -> None:
        with pytest.raises(OptionError, match="`prompts`"):
            Judge.generate(Truth(), prompts)
