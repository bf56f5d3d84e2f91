"""One headless Chromium, spoken to over its own pipe, so that tests click and type as a person does."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),  # there it fails
    reason="no Chromium on the PATH: `make chromium`, or install it, to test pages",
)
PATIENCE = 60  # seconds
KEYS = {"Enter": 13, " ": 32, "Tab": 9, "Escape": 27, "Home": 36, "End": 35}
KEYS |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """A page at a time. ``said`` holds what the console, the page's errors and its security policy said of it.

    Args:
        folder: Where the profile and the pages are put.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.kept, self.said = folder, 0, b"", []
        from_us, self.out = os.pipe()
        self.into, to_us = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        flags += [f"--user-data-dir={folder / 'profile'}", "--no-first-run", "about:blank"]
        # It reads file 3 and writes file 4.
        moved = f'exec 5<&{from_us} 6>&{to_us}; exec 3<&5 4>&6; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", moved, "bash", str(CHROMIUM), *flags], pass_fds=(from_us, to_us), stderr=subprocess.DEVNULL
        )
        os.close(from_us)
        os.close(to_us)
        self.session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.size(1200, 900)

    def close(self) -> None:
        self.session = None
        self.ask("Browser.close")
        self.process.wait(PATIENCE)
        os.close(self.out)
        os.close(self.into)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer; what happens meanwhile is kept."""
        self.count += 1
        mine = self.count
        message = {"id": mine, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == mine:
                assert "error" not in found, found["error"]
                return found["result"]
            self._keep(found)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.kept:
            ready, _, _ = select.select([self.into], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            self.kept += os.read(self.into, 2**20)
        message, self.kept = self.kept.split(b"\0", 1)
        return json.loads(message)

    def _keep(self, message: dict[str, Any]) -> None:
        kind, facts = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.said.append(str(facts["exceptionDetails"].get("exception", facts["exceptionDetails"]).get("description")))
        elif kind == "Runtime.consoleAPICalled":
            self.said.append(str([argument.get("value") for argument in facts["args"]]))
        elif kind == "Log.entryAdded":
            self.said.append(facts["entry"]["text"])
        elif kind == "Page.javascriptDialogOpening":
            self.said.append(f"a dialog: {facts['message']}")
            self.ask("Page.handleJavaScriptDialog", accept=False)
        elif kind == "Page.loadEventFired":
            self.loaded = True

    def open(self, page: str) -> Browser:
        """Show a page, from a file."""
        file = self.folder / f"page{self.count}.html"
        file.write_text(page, encoding="utf-8", newline="\n")
        self.said, self.loaded = [], False
        self.ask("Page.navigate", url=file.as_uri())
        while not self.loaded:
            self._keep(self._next())
        return self

    def size(self, width: int, height: int, scale: float = 1) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False)

    def prefer(self, scheme: str) -> None:
        """``"dark"`` or ``"light"``."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; ``$`` and ``$$`` find elements by their selector."""
        found = "const $ = (s) => document.querySelector(s), $$ = (s) => [...document.querySelectorAll(s)];"
        body = f"(() => {{ {found} return ({expression}); }})()"
        answer = self.ask("Runtime.evaluate", expression=body, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def _center(self, selector: str, i: int) -> tuple[float, float]:
        node = f"$$({json.dumps(selector)})[{i}]"
        self.run(f"{node}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.run(f"(({{left, top, width, height}}) => [left, top, width, height])({node}.getClientRects()[0])")
        return box[0] + box[2] / 2, box[1] + box[3] / 2

    def hover(self, selector: str, i: int = 0) -> None:
        x, y = self._center(selector, i)
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str, i: int = 0) -> None:
        x, y = self._center(selector, i)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        facts: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": KEYS[key]}
        if key in ("Enter", " "):
            facts["text"] = "\r" if key == "Enter" else key
        self.ask("Input.dispatchKeyEvent", type="keyDown", **facts)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, file: Path) -> None:
        """Write what is seen of the whole page as PNG."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))
