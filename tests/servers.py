"""A server of this machine that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the server sends back: a status, headers, and JSON or text as it is."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """A running server: its address, and the requests so far, each with its path, headers and JSON."""

    url: str
    requests: list[tuple[str, dict[str, str], Any]]


def chat_reply(text: str) -> Reply:
    """Return an answer of an OpenAI-compatible server with one text."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    return Reply({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})


@contextmanager
def serving(answer: Callable[[Any, int], Reply]) -> Iterator[Served]:
    """Context manager that serves: ``answer`` gets a request's JSON and the number of requests before it."""
    requests: list[tuple[str, dict[str, str], Any]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                count = len(requests)
                requests.append((self.path, dict(self.headers), asked))
            reply = answer(asked, count)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{server.server_port}/v1", requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
