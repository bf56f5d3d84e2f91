"""Send JSON to a server over HTTP: retries, ``Retry-After``, timeouts, several requests at once, a key that is never shown.

Everything that talks to an OpenAI-compatible server goes through `Endpoint`: judges of labels, and models that are served.
Nothing of it runs unless an address was passed.

    endpoint = Endpoint("http://127.0.0.1:8000/v1")
    found = endpoint.post("chat/completions", {"model": "m", "messages": [...]})
    for place, found in endpoint.post_all("completions", payloads):  # as they come; an EndpointError where one failed
        ...
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from interpreto.errors import EndpointError, OptionError
from interpreto.validation import check_count, check_not_negative, check_positive, shown

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable that holds the key, as servers of this protocol name it."""
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which a request is sent again."""
FOR_ALL = frozenset({401, 403, 404, 405})
"""Statuses that every other request would get too."""
LARGEST = 2**28
"""Bytes of an answer that are read."""
LONGEST_WAIT = 60.0
"""Seconds that are waited at most between two tries, whatever the server asks for."""


class Secret:
    """Hold a key so that no ``repr``, error or file can show it.

    Examples:
        >>> Secret("sk-1234")
        Secret(…)
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> Any:
        raise TypeError("a key is not written to files; set it in the environment where it is used.")


@dataclass(frozen=True)
class Endpoint:
    """Send JSON to a server and return the JSON that it answers.

    A request is sent again after a failed connection, a timeout, an answer that cannot be read, and the statuses in
    `PASSING`: after what ``Retry-After`` asks for, else after a random time below a bound that doubles. Redirections are not
    followed, so that a key reaches no other host.

    Args:
        url: Address that paths are appended to: ``"http://127.0.0.1:8000/v1"``.
        key: Key of the server. None: the environment variable, where it is set.
        key_variable: Name of the environment variable, which is read for each request. It is sent over ``https`` and to
            this machine only.
        timeout: Seconds without a byte after which a try has failed.
        retries: Tries after the first.
        concurrency: Requests of `post_all` that are sent at once.
        first_wait: Upper bound of the first wait, in seconds.

    Raises:
        OptionError: an option is out of range, the address is none, or a key would be sent in the clear.

    Examples:
        >>> Endpoint("http://127.0.0.1:8000/v1", key="sk-1234")
        Endpoint('http://127.0.0.1:8000/v1')
    """

    url: str
    key: str | Secret | None = field(default=None, repr=False)
    key_variable: str = KEY_VARIABLE
    timeout: float = 60.0
    retries: int = 5
    concurrency: int = 8
    first_wait: float = 0.5

    def __post_init__(self) -> None:
        parts = _parts(self.url)
        key = Secret(self.key) if isinstance(self.key, str) else self.key
        if key is not None and not (parts.scheme == "https" or is_loopback(self.url)):
            raise OptionError(f"`url`: got {self.url!r} and a key, which http sends in the clear; pass an https address.")
        if key is not None and not key.reveal().isascii():
            raise OptionError("`key`: holds characters that no key has; pass the key as its server shows it.")
        check_positive(self.timeout, "timeout")
        check_not_negative(self.first_wait, "first_wait")
        check_count(self.retries, "retries", 0)
        check_count(self.concurrency, "concurrency")
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    def post(self, path: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer.

        Args:
            path: What is appended to the address: ``"chat/completions"``.
            payload: The request, as JSON can hold it.

        Returns:
            The object that the server answers.

        Raises:
            EndpointError: the server cannot be reached, refuses the request, or answers no JSON object; after the last try.
        """
        body = json.dumps(payload, ensure_ascii=False).encode()
        key, opener = self._key(), self._opener()
        bound = self.first_wait
        for left in range(self.retries, -1, -1):
            try:
                return self._once(opener, path, body, key)
            except _PassingError as failure:
                if not left:
                    raise EndpointError(self._said(path, failure, key), failure.status) from None
                wait = random.SystemRandom().uniform(0, bound) if failure.wait is None else failure.wait
                time.sleep(min(wait, LONGEST_WAIT))
                bound = min(2 * bound, LONGEST_WAIT)
        raise AssertionError("the last try raises")

    def post_all(
        self, path: str, payloads: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[int, dict[str, Any] | EndpointError]]:
        """Send several requests at once and yield the place of each with its answer, in the order in which they come.

        Args:
            path: What is appended to the address.
            payloads: The requests.

        Yields:
            Place in ``payloads`` and the answer, or the error that this request ended with.

        Raises:
            EndpointError: the server cannot be reached, or refuses what every request needs (`FOR_ALL`); requests that were
                not sent yet are not sent.
        """
        with ThreadPoolExecutor(min(self.concurrency, max(len(payloads), 1))) as workers:
            places = {workers.submit(self.post, path, payload): place for place, payload in enumerate(payloads)}
            try:
                for future in as_completed(places):
                    error = future.exception()
                    if error is not None and (not isinstance(error, EndpointError) or error.status in {None, *FOR_ALL}):
                        raise error
                    yield places[future], (error if isinstance(error, EndpointError) else future.result())
            finally:
                workers.shutdown(wait=False, cancel_futures=True)

    def _once(self, opener: OpenerDirector, path: str, body: bytes, key: str | None) -> dict[str, Any]:
        """Send a request once."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "interpreto"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = Request(f"{self.url}/{path.lstrip('/')}", data=body, headers=headers, method="POST")
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                text, status = answer.read(LARGEST + 1), answer.status
        except HTTPError as error:
            with error:
                failure = _PassingError(_start(_read(error), key), error.code, waited(error.headers.get("Retry-After")))
            if error.code in PASSING:
                raise failure from None
            raise EndpointError(self._said(path, failure, key), error.code) from None
        except (URLError, HTTPException, OSError) as error:  # timeouts are OSErrors
            raise _PassingError(str(getattr(error, "reason", None) or error or type(error).__name__)) from None
        if len(text) > LARGEST:
            raise EndpointError(self._said(path, _PassingError(f"an answer of more than {LARGEST} bytes", status), key), status)
        return _object(text, status, key)

    def _said(self, path: str, failure: _PassingError, key: str | None) -> str:
        """Return what happened, without the key."""
        status = "no answer" if failure.status is None else f"status {failure.status}"
        told = failure.text if key is None else failure.text.replace(key, "…")
        advice = "check the address, and that the server runs"
        if failure.status in (401, 403):
            kept = key is None and bool(os.environ.get(self.key_variable))
            advice = f"set its key in the environment variable {self.key_variable}"
            advice = "its key is set, and is only sent over https or to this machine" if kept else advice
        elif failure.status is not None:
            advice = "see what the server says"
        return f"{self.url}/{path.lstrip('/')}: {status} ({told}); {advice}."

    def _key(self) -> str | None:
        """Return the key to send with a request."""
        if self.key is not None:
            return self.key.reveal() if isinstance(self.key, Secret) else self.key
        found = os.environ.get(self.key_variable, "").strip()
        safe = urlsplit(self.url).scheme == "https" or is_loopback(self.url)
        return found if found and found.isascii() and safe else None

    def _opener(self) -> OpenerDirector:
        """Return what opens requests: without redirections, and for this machine without a proxy."""
        return build_opener(_NoRedirect, ProxyHandler({} if is_loopback(self.url) else None))


class _NoRedirect(HTTPRedirectHandler):
    """Follow no redirection: the status becomes an error."""

    def redirect_request(self, *_: Any) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


class _PassingError(Exception):
    """A failed try that another may mend."""

    def __init__(self, text: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(text)
        self.text, self.status, self.wait = text, status, wait


def is_loopback(url: str) -> bool:
    """Return whether an address is one of this machine.

    Examples:
        >>> is_loopback("http://127.0.0.1:8000/v1"), is_loopback("https://api.example.com/v1")
        (True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def waited(header: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for: a number, or a date; None where there is none that can be read.

    Examples:
        >>> waited("2"), waited("soon"), waited("Thu, 01 Jan 1970 00:00:00 GMT")
        (2.0, None, 0.0)
    """
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _parts(url: Any) -> Any:
    """Return the parts of an address.

    Raises:
        OptionError: it is no address of http or https, or holds a password.
    """
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        usable = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        parts, usable = None, False
    if not usable or parts is None:
        raise OptionError(f"`url`: got {shown(url)}; pass the address of a server, such as 'http://127.0.0.1:8000/v1'.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise OptionError("`url`: holds a name, a password or a query; pass the address alone, and the key by the environment.")
    return parts


def _object(text: bytes, status: int, key: str | None) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _PassingError(f"no JSON object: {_start(text, key)}", status)
    return found


def _read(error: HTTPError) -> bytes:
    """Return what a server says about an error."""
    try:
        return error.read(2**16)
    except (OSError, HTTPException, AttributeError):
        return b""


def _start(text: bytes, key: str | None) -> str:
    """Return the start of an answer on one line, without the key: also not the part of it that the cut would leave."""
    said = " ".join(text.decode("utf-8", "replace").split())
    said = said if key is None else said.replace(key, "…")
    return repr(said[:200]) if said else "without a text"
