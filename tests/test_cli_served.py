"""``interpreto explain --served``: a model behind a server of this machine."""

from __future__ import annotations

import json

import pytest

from interpreto import Occlusion
from tests import tiny
from tests.models.test_served import PROMPT, TARGET, Completions
from tests.servers import serving
from tests.test_cli import run


def test_numbers_are_those_of_the_model_and_the_key_is_written_nowhere(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden-42")
    path = tmp_path / "a.json"
    with serving(Completions()) as served:
        code, out, err = run(
            capsys, "explain", PROMPT, "--served", served.url, "--model", "m", "--target", TARGET, "--replacement", "[MASK]",
            "-o", str(path), "-o", str(tmp_path / "a.html"),
        )  # fmt: skip
        assert (code, err) == (0, "")
        _, headers, asked = served.requests[0]
    assert (code, err) == (0, "") and asked["model"] == "m" and headers["Authorization"] == "Bearer sk-hidden-42"
    wanted = Occlusion(*tiny.CAUSAL_LMS["gpt2"]())(PROMPT, TARGET, attribute_targets=False)[0]
    (found,) = json.loads(path.read_text(encoding="utf-8"))
    assert found["method"] == "Occlusion" and found["elements"] == wanted.elements
    assert found["base_scores"] == pytest.approx(wanted.base_scores.tolist(), rel=1e-4)
    assert "sk-hidden" not in out + "".join(one.read_text(encoding="utf-8") for one in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--served", "http://127.0.0.1:9/v1"], "`--model`: pass the name of a model of http://127.0.0.1:9/v1"),
        (["--served", "here", "--model", "m"], "`--served`: got 'here'"),
        (["--served", "http://127.0.0.1:9/v1", "--model", "m", "--device", "cpu"], "`--device`: got 'cpu'"),
        (["--served", "http://127.0.0.1:9/v1", "--model", "m", "--method", "saliency"], "Saliency"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(capsys, options, says):
    code, _, err = run(capsys, "explain", PROMPT, *options)
    assert code == 2 and says in err and len(err.splitlines()) == 1
