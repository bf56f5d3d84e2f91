"""Assemble pages and fragments out of data, script and styles.

Text of users and models reaches a page as JSON, which the page's script turns into text nodes, and escaped in the static
view that remains where scripts are stripped. The page allows that one script by its hash and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template


@dataclass(frozen=True)
class Look:
    """The script and the styles of one kind of page: files of this folder, after those that all kinds share."""

    scripts: Sequence[str]
    styles: Sequence[str] = ()
    name: str = ""

    @property
    def script(self) -> str:
        """Return the JavaScript, in a scope of its own."""
        own = "\n".join(_squeezed(_asset(name)) for name in ("common.js", *self.scripts))
        return f'(() => {{\n"use strict";\n{own}}})();'

    @property
    def style(self) -> str:
        """Return the CSS."""
        return "".join(_asset(name) for name in ("style.css", *self.styles))


@dataclass(frozen=True)
class Page:
    """Data and how it is drawn.

    Attributes:
        look: Script and styles.
        data: JSON in which no character has a meaning for HTML.
        static: HTML that is shown where scripts are stripped; the script removes it.
        body: HTML that stays.
    """

    look: Look
    data: str
    static: str = ""
    body: str = ""

    def document(self, title: str) -> str:
        """Return a self-contained page with a heading; one whose look has no script of its own has none."""
        script, page = self.look.script, _asset("page.html")
        if not self.look.scripts:
            page = re.sub(r"<script.*?</script>\n?", "", page, flags=re.DOTALL).replace(" script-src 'sha256-$digest';", "")
        return Template(page).substitute(
            title=escaped(title),
            style=self.look.style,
            static=self._static,
            data=self.data,
            script=script,
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )

    def fragment(self) -> str:
        """Return one element for a notebook; a page may hold any number of them."""
        return (
            f'<div class="{" ".join(["interpreto", *self.look.name.split()])}"><style>{self.look.style}</style>{self._static}'
            f'<script type="application/json">{self.data}</script><script>{self.look.script}</script></div>'
        )

    @property
    def _static(self) -> str:
        return f'<div class="static">{self.static}</div>{self.body}'


def escaped(text: str) -> str:
    """Escape any text for an element's content or a quoted attribute."""
    return html.escape(text.replace("\0", "\ufffd")).encode("utf-8", "replace").decode("utf-8")


def _squeezed(script: str) -> str:
    """Return JavaScript without indentation and lines of comment; no text of ours goes over several lines."""
    lines = (line.strip() for line in script.split("\n"))
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


def _asset(name: str) -> str:
    return (files("interpreto.visualizations") / "html" / name).read_text(encoding="utf-8")
