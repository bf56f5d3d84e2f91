"""Requests: tried again when that may help, never otherwise; a key goes nowhere but to its server."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from interpreto.endpoints import KEY_VARIABLE, Endpoint, Secret
from interpreto.errors import EndpointError, OptionError
from tests.servers import Reply, serving

KEY = "sk-secret-0123"


def client(url: str, **options: Any) -> Endpoint:
    return Endpoint(url, first_wait=0.0, **{"retries": 3, **options})


@pytest.mark.parametrize(
    "first",
    [
        Reply({"error": "slow down"}, 429, {"Retry-After": "0"}),
        Reply({}, 503),
        Reply(b"<html>busy</html>"),
        Reply(b"[1, 2]"),
        Reply(b""),
    ],
    ids=["429", "503", "html", "list", "empty"],
)
def test_what_passes_is_tried_again(first: Reply) -> None:
    with serving(lambda _, count: first if count < 2 else Reply({"ok": 1})) as served:
        assert client(served.url).post("completions", {"a": "é"}) == {"ok": 1}
    assert [asked for _, _, asked in served.requests] == [{"a": "é"}] * 3
    assert {path for path, _, _ in served.requests} == {"/v1/completions"}


def test_retry_after_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("interpreto.endpoints.time.sleep", waits.append)
    busy = [Reply({}, 429, {"Retry-After": "7"}), Reply({}, 429, {"Retry-After": "100000"})]
    with serving(lambda _, count: busy[count] if count < 2 else Reply({})) as served:
        client(served.url).post("x", {})
    assert waits == [7.0, 60.0]


def test_tries_end_and_say_what_the_server_said() -> None:
    with (
        serving(lambda *_: Reply({"error": "out of cards"}, 503)) as served,
        pytest.raises(EndpointError, match="out of cards") as e,
    ):
        client(served.url).post("x", {})
    assert e.value.status == 503 and len(served.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 301, 302, 307])
def test_what_stays_is_asked_once(status: int) -> None:
    with (
        serving(lambda *_: Reply({}, status, {"Location": "http://127.0.0.1:9/v1"})) as served,
        pytest.raises(EndpointError) as e,
    ):
        client(served.url).post("x", {})
    assert e.value.status == status and len(served.requests) == 1


def test_a_server_that_is_not_there() -> None:
    with serving(lambda *_: Reply({})) as served:
        pass
    with pytest.raises(EndpointError, match="check the address") as e:
        client(served.url, retries=1).post("x", {})
    assert e.value.status is None


def test_several_requests_keep_their_places() -> None:
    with serving(lambda asked, _: Reply({"twice": 2 * asked["n"]})) as served:
        found = dict(client(served.url).post_all("x", [{"n": n} for n in range(20)]))
    assert found == {n: {"twice": 2 * n} for n in range(20)}


def test_one_bad_request_spares_the_others_and_a_refused_key_ends_all() -> None:
    with serving(lambda asked, _: Reply({}, 400 if asked["n"] == 1 else 200)) as served:
        found = dict(client(served.url).post_all("x", [{"n": n} for n in range(3)]))
    assert isinstance(found[1], EndpointError) and found[0] == found[2] == {}
    with serving(lambda *_: Reply({}, 401)) as served, pytest.raises(EndpointError, match=KEY_VARIABLE):
        list(client(served.url, concurrency=1).post_all("x", [{"n": n} for n in range(50)]))
    assert len(served.requests) < 50


def test_the_key_goes_to_its_server_and_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with serving(lambda *_: Reply({"error": f"bad key {KEY}"}, 400)) as served:
        for endpoint in (client(served.url), client(served.url, key=KEY)):
            with pytest.raises(EndpointError) as e:
                endpoint.post("x", {})
            assert KEY not in str(e.value) and KEY not in repr(endpoint) and "bad key" in str(e.value)
    assert {headers["Authorization"] for _, headers, _ in served.requests} == {f"Bearer {KEY}"}
    with pytest.raises(TypeError, match="not written"):
        pickle.dumps(client(served.url, key=KEY))
    assert Secret(KEY).reveal() == KEY


@pytest.mark.parametrize("before", range(188, 201, 2))
def test_a_key_is_not_shown_in_part_where_a_long_answer_is_cut(before: int) -> None:
    for reply in (Reply(b"x" * before + KEY.encode(), 400), Reply(b"x" * before + KEY.encode(), 200)):
        with serving(lambda *_, reply=reply: reply) as served, pytest.raises(EndpointError) as e:
            client(served.url, key=KEY, retries=0).post("chat/completions", {})
        assert KEY[:4] not in str(e.value)


def test_a_key_of_the_environment_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert Endpoint("http://models.example/v1")._key() is None
    assert Endpoint("https://models.example/v1")._key() == KEY
    with pytest.raises(OptionError, match="in the clear"):
        Endpoint("http://models.example/v1", key=KEY)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://a/b", "http://", "http://a:x/", "https://me:pw@a/v1", "https://a/v1?key=1"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(OptionError, match="`url`") as e:
        Endpoint(url)
    assert "pw" not in str(e.value)
