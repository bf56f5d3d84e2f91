"""One headless Firefox, spoken to through Marionette, its own protocol: JSON after its length, over a socket."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
needs_firefox = pytest.mark.skipif(
    FIREFOX is None and not os.environ.get("CI"),  # there it fails
    reason="no Firefox on the PATH: `make browsers`, or install it, to test pages in it",
)
PATIENCE = 120  # seconds
PREFERENCES = {
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}


class Firefox:
    """A page at a time.

    Args:
        folder: Where the profile and the pages are put.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.kept = folder, 0, b""
        profile = folder / "profile"
        profile.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        lines = [
            f'user_pref("{name}", {json.dumps(value)});' for name, value in (PREFERENCES | {"marionette.port": port}).items()
        ]
        (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
        flags = ["--headless", "--no-remote", "--marionette", "--remote-allow-system-access", "--profile", str(profile)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([str(FIREFOX), *flags], env={**os.environ, "HOME": str(folder)}, **quiet)
        self.wire = self._connected(port)
        self._message()  # its greeting
        self.ask("WebDriver:NewSession")
        self.ask("WebDriver:SetWindowRect", width=1200, height=900)

    def _connected(self, port: int) -> socket.socket:
        end = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None and time.monotonic() < end, "Firefox does not start"
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            except OSError:
                time.sleep(0.2)

    def close(self) -> None:
        self.ask("Marionette:Quit")
        self.wire.close()
        self.process.wait(PATIENCE)

    def _message(self) -> Any:
        while b":" not in self.kept:
            self._read()
        size, self.kept = self.kept.split(b":", 1)
        while len(self.kept) < int(size):
            self._read()
        message, self.kept = self.kept[: int(size)], self.kept[int(size) :]
        return json.loads(message)

    def _read(self) -> None:
        found = self.wire.recv(2**20)
        assert found, "Firefox has gone"
        self.kept += found

    def ask(self, command: str, **parameters: Any) -> Any:
        """Call a command of the protocol and return its answer."""
        self.count += 1
        data = json.dumps([0, self.count, command, parameters]).encode()
        self.wire.sendall(str(len(data)).encode() + b":" + data)
        _, _, error, answer = self._message()
        assert error is None, error
        return answer

    def open(self, page: str) -> Firefox:
        """Show a page, from a file."""
        file = self.folder / f"page{self.count}.html"
        file.write_text(page, encoding="utf-8", newline="\n")
        self._in_chrome("Services.console.reset()")
        self.ask("WebDriver:Navigate", url=file.as_uri())
        return self

    def run(self, expression: str) -> Any:
        """Return the value of an expression in the page; ``$`` and ``$$`` find elements by their selector."""
        found = "const $ = (s) => document.querySelector(s), $$ = (s) => [...document.querySelectorAll(s)];"
        return self.ask("WebDriver:ExecuteScript", script=f"{found} return ({expression});", args=[])["value"]

    def click(self, selector: str, i: int = 0) -> None:
        """Click an element as a person does."""
        found = self.ask("WebDriver:FindElements", using="css selector", value=selector)[i]
        self.ask("WebDriver:ElementClick", id=next(iter(found.values())))

    @property
    def said(self) -> list[str]:
        """Return what the console says of the pages of the folder."""
        lines = self._in_chrome("return Services.console.getMessageArray().map((one) => String(one.message || one))")
        return [line for line in lines if self.folder.as_uri() in line]

    def _in_chrome(self, script: str) -> Any:
        self.ask("Marionette:SetContext", value="chrome")
        try:
            return self.ask("WebDriver:ExecuteScript", script=script, args=[])["value"]
        finally:
            self.ask("Marionette:SetContext", value="content")

    def picture(self, file: Path) -> None:
        """Write what is seen of the whole page as PNG."""
        file.write_bytes(base64.b64decode(self.ask("WebDriver:TakeScreenshot", full=True)["value"]))
