"""Write the sources of the site: every page as plain Markdown, and everything that is generated.

python -W ignore tools/site.py [FOLDER]

The folder (default: build/docs) holds what a generator of sites needs, and nothing that depends on which one it is:

- the pages of `docs`, in which a line ``{{ include FILE }}`` became a file of the repository, with headings one level lower on
  a page that has a title, and ``{{ include FILE#Heading }}`` the part under one of its headings; links that leave the
  documentation became plain text;
- ``live/``: pages that the library makes, which frames show;
- ``tutorials/``: the notebooks, as pages and to download;
- ``tables/registry.md``: the methods, from the registry.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # models are small, and numbers the same wherever the site is made

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from screenshots import PAGES  # noqa: E402

from interpreto.registry import METHODS  # noqa: E402

DOCS, BUILD = ROOT / "docs", ROOT / "build" / "docs"
PICTURES = ("classifier-dark", "terminal")
"""Pages that are shown as pictures alone: a frame is dark by itself, and a terminal is no page."""
INCLUDE = re.compile(r"^\{\{ include ([\w./-]+)(?:#(.+?))? \}\}$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
FENCES = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
POLICY = re.compile(r"script-src '(sha256-[^']+)'")
FRAMED = """(() => {
  const root = document.documentElement;
  const tell = (facts) => parent.postMessage({ interpreto: facts }, "*");
  const measure = () => tell({ height: Math.ceil(root.getBoundingClientRect().height) });
  addEventListener("message", ({ data }) => {
    if (!data || !data.scheme) return;
    for (const node of [root, document.body, ...document.querySelectorAll(".interpreto")]) node.style.colorScheme = data.scheme;
    tell({ scheme: data.scheme });
    measure();
  });
  new ResizeObserver(measure).observe(root);
  tell({ ready: true });
})();"""
"""Tells the page around a frame its height, and takes the color scheme from it."""
STYLES = """
:root { color-scheme: light dark; }
body { margin: 0; color: light-dark(#16181d, #eef0f4); font: 0.86rem/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.8rem; text-align: start; border-bottom: 1px solid light-dark(#e4e2dd, #2c313b); }
"""
"""Styles of what a cell of a notebook shows: tables of pandas have none of their own."""


def main(folder: Path = BUILD) -> None:
    """Write the folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("hooks.py", "__pycache__"))
    (folder / "live").mkdir()
    for name, page in PAGES.items():
        if name in PICTURES:
            continue
        (folder / "live" / f"{name}.html").write_text(framed(page()), encoding="utf-8")
    (folder / "tables" / "registry.md").write_text(registry(), encoding="utf-8")
    (folder / "tutorials").mkdir()
    for name, content in tutorials():
        (folder / name).write_text(content, encoding="utf-8")
    for path in sorted((ROOT / "tutorials").glob("*.ipynb")):
        shutil.copy(path, folder / "tutorials")
    pages = {path: included_everywhere(path.read_text(encoding="utf-8")) for path in folder.rglob("*.md")}
    for path, text in pages.items():
        path.write_text(within(text, path, folder), encoding="utf-8")


def included_everywhere(markdown: str) -> str:
    """Return a page with the files that it includes."""
    titled = markdown.startswith("# ")
    return INCLUDE.sub(lambda found: included(found[1], found[2], lower=titled), markdown)


def included(name: str, heading: str | None, lower: bool) -> str:
    """Return a file's text, or the part under one of its headings; what lies in `docs` is linked as from there."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if not name.startswith("docs/"):
        text = text.replace("](docs/", "](")
    if heading is not None:
        found = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        if found is None:
            raise ValueError(f"{name} has no heading {heading!r}")
        return found[0]
    if not lower:
        return text
    return "".join(
        part if part.startswith("```") else re.sub(r"^#", "##", part, flags=re.MULTILINE) for part in FENCES.split(text)
    )


def within(markdown: str, path: Path, folder: Path) -> str:
    """Return a page whose links to files outside of the documentation are plain text."""

    def kept(link: re.Match[str]) -> str:
        target = (path.parent / link[2]).resolve()
        if not target.is_relative_to(folder.resolve()):  # as an included file links, from the top
            target = (folder / link[2]).resolve()
        return link[0] if target.is_relative_to(folder.resolve()) and target.exists() else link[1]

    return "".join(part if part.startswith("```") else LINK.sub(kept, part) for part in FENCES.split(markdown))


def registry() -> str:
    """Return the table of all methods, as Markdown."""
    lines = [
        "| method | reads | explains | sign | passes for u units | values sum to | standard errors | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        cells = (
            f"[`{method.name}`](../reference/attributions.md#interpreto.{method.name})",
            "scores of masked inputs" if method.evidence == "scores" else method.evidence,
            " and ".join(method.inputs),
            "yes" if method.signed else "no",
            method.passes,
            method.sums_to or "–",
            "yes" if method.sampled else "–",
            f"[{method.source}]({method.url})",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def framed(page: str) -> str:
    """Return a page that tells the one around it its height and follows its color scheme; it runs no other script more."""
    digest = f"'sha256-{base64.b64encode(hashlib.sha256(FRAMED.encode()).digest()).decode()}'"
    if "script-src" in page:
        allowed = POLICY.sub(lambda found: f"script-src '{found[1]}' {digest}", page)
    elif "default-src 'none';" in page:  # it has no script of its own
        allowed = page.replace("default-src 'none';", f"default-src 'none'; script-src {digest};", 1)
    else:  # and no policy
        policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {digest}"
        head = f'<meta charset=utf-8><meta http-equiv="Content-Security-Policy" content="{policy}">'
        allowed = page.replace("<meta charset=utf-8>", head, 1)
    script = f"<script>{FRAMED}</script>"
    return allowed.replace("</body>", f"{script}</body>") if "</body>" in allowed else allowed + script


def tutorials() -> Iterator[tuple[str, str]]:
    """Yield each notebook as a page, and its HTML outputs as pages that frames show."""
    for path in sorted((ROOT / "tutorials").glob("*.ipynb")):
        parts: list[str] = []
        for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                parts.append(source)
                parts += [f"[Download this notebook]({path.name}){{ download }}"] if not i else []
                continue
            parts.append(fenced(source, "python"))
            for j, output in enumerate(cell["outputs"]):
                found = shown(output)
                if found is None:
                    frame = f"{path.stem}-{i}-{j}.html"
                    html = "".join(output["data"]["text/html"])
                    yield f"tutorials/{frame}", page_of(html)
                    kind = "result" if '<div class="interpreto' in html else "table"
                    found = f'<iframe class="{kind}" src="{frame}" title="What the cell above shows" loading="lazy"></iframe>'
                parts.append(found)
        yield f"tutorials/{path.stem}.md", "\n\n".join(parts)


def shown(output: dict[str, Any]) -> str | None:
    """Return a cell's output as Markdown; None where it is HTML."""
    if output["output_type"] == "stream":
        return fenced("".join(output["text"]), "text")
    data = output["data"]
    if "text/html" in data:
        return None
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        base64.b64decode(picture, validate=True)
        return f'<img alt="What the cell above draws" src="data:image/png;base64,{picture}">'
    return fenced("".join(data["text/plain"]), "text")


def fenced(text: str, language: str) -> str:
    """Return a block of code without colors of a terminal."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).strip("\n")
    return f"```{language}\n{plain}\n```"


def page_of(fragment: str) -> str:
    """Return a page of what a cell shows, to be framed."""
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Output of a tutorial</title><style>{STYLES}</style>'
    )
    return framed(f"{head}</head><body>{fragment}</body></html>")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
