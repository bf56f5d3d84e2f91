"""``interpreto concepts label``, in process, on the embedded classifier."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpreto import ModelWithSplitPoints, demo
from interpreto.concepts import ConceptLabels, PCAConcepts
from tests.judges.test_judges import Truth
from tests.servers import chat_reply, serving
from tests.test_cli import run


class TestLabels:
    @pytest.fixture
    def texts(self, tmp_path):
        found = [sentence.text.replace("\n", " ") for sentence in demo.load_sentences("movie")[:120]]
        (tmp_path / "t.txt").write_text("\n".join(found), encoding="utf-8")
        return str(tmp_path / "t.txt")

    def test_keywords_and_their_scores(self, capsys, tmp_path, texts):
        files = [part for end in ("html", "json", "csv") for part in ("-o", str(tmp_path / f"l.{end}"))]
        code, out, err = run(capsys, "concepts", "label", texts, "--number", "3", "--method", "SVD", *files)
        assert (code, err) == (0, "") and len(out.splitlines()) == 3
        assert all("[AUC " in line or "[not scored" in line for line in out.splitlines())
        labels = ConceptLabels.load(tmp_path / "l.json")
        assert [f"{concept}  {label}" for concept, label in labels.items()] == out.splitlines()
        page = (tmp_path / "l.html").read_text(encoding="utf-8")
        assert all(label.verdict in page for label in labels.values())
        assert "shuffled" in (tmp_path / "l.csv").read_text(encoding="utf-8").splitlines()[0]

    @pytest.mark.slow
    def test_a_judge_is_asked_within_its_budget_and_resumed(self, capsys, tmp_path, texts, monkeypatch):
        def answer(asked, _):
            question = asked["messages"][-1]["content"]
            return chat_reply(Truth.reply(asked["messages"]) if "Description:" in question else "films")

        with serving(answer) as served:
            asked = ["--judge", served.url, "--judge-model", "m", "--cache", str(tmp_path / "c.db"), "--number", "2"]
            code, _, err = run(capsys, "concepts", "label", texts, *asked, "--method", "SVD", "--calls", "3")
            assert code == 2 and "budget of 3 calls" in err and len(served.requests) == 3
            code, out, err = run(capsys, "concepts", "label", texts, *asked, "--method", "SVD")
            assert (code, err) == (0, "") and "films [AUC" in out and "m: " in out
            sent = len(served.requests)
            assert run(capsys, "concepts", "label", texts, *asked, "--method", "SVD")[0] == 0 and len(served.requests) == sent

    @pytest.mark.slow
    def test_concepts_of_a_file(self, capsys, tmp_path, texts):
        model, tokenizer = demo.load_classifier()
        splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        lines = Path(texts).read_text(encoding="utf-8").splitlines()
        PCAConcepts(splitter, nb_concepts=2).fit(splitter.get_activations(lines, "word")).save(tmp_path / "c.safetensors")
        code, out, err = run(capsys, "concepts", "label", texts, "--concepts", str(tmp_path / "c.safetensors"))
        assert (code, err) == (0, "") and len(out.splitlines()) == 2

    @pytest.mark.parametrize(
        "options", [["--cache", "c.db"], ["--judge", "http://127.0.0.1:9/v1"], ["--judge", "x", "--judge-model", "m"]]
    )
    def test_what_cannot_be(self, capsys, texts, options):
        code, _, err = run(capsys, "concepts", "label", texts, *options)
        assert (code == 2 and "judge" in err) or "url" in err

    def test_it_has_help_of_its_own(self, capsys):
        code, out, _ = run(capsys, "concepts", "label", "--help")
        assert code == 0 and "interpreto concepts label" in out and max(map(len, out.splitlines())) <= 80
