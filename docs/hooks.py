"""Build pages of the site from other files, so that nothing measured or written elsewhere is copied by hand.

A line ``{{ include FILE }}`` becomes a file of the repository, with headings one level lower on a page that has a title;
``{{ include FILE#Heading }}`` becomes the part under one of its headings. The start page's explanations are computed by the
library, tutorials are converted from their notebooks. Links that leave the documentation become plain text. The search also
works without a server.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from interpreto import KernelShap, Occlusion, demo
from interpreto.visualizations.attributions import to_html

ROOT = Path(__file__).parent.parent
SHOWN = ["A gorgeous, witty, seductive movie.", "The acting is wonderful, but the story is too long and rather dull."]
INCLUDE = re.compile(r"^\{\{ include ([\w./-]+)(?:#(.+?))? \}\}$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
FENCES = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
WORKER = """// A page that is opened from a folder may start no worker: its script runs in a frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.body.appendChild(document.createElement("iframe"));
      frame.hidden = true;
      this.inside = frame.contentWindow;
      this.inside.document.open();
      this.inside.document.write("<!doctype html><title>Search</title><body>");
      this.inside.document.close();
      this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = this.inside.document.createElement("script");
      script.src = new URL(address, location.href).href;
      this.ready = new Promise((done) => { script.onload = done; });
      this.inside.document.body.append(script);
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, content in (*explanations(), *tutorials()):
        files.append(File.generated(config, name, content=content))
    files.append(File.generated(config, "search/worker.js", content=WORKER))
    return files


@event_priority(-100)  # after the search has written its index
def on_post_build(config: MkDocsConfig) -> None:
    """Write the index as a script as well: a page that is opened from a folder may read no JSON."""
    folder = Path(config.site_dir) / "search"
    index = (folder / "search_index.json").read_text(encoding="utf-8")
    (folder / "search_index.js").write_text(f"var __index = {index}", encoding="utf-8")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    here = Path(page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        target = (Path(config.docs_dir) / here / link[2]).resolve()
        inside = target.is_relative_to(config.docs_dir) and files.get_file_from_path(
            target.relative_to(config.docs_dir).as_posix()
        )
        return link[0] if inside else link[1]

    titled = markdown.startswith("# ")
    whole = INCLUDE.sub(lambda found: included(found[1], found[2], lower=titled), markdown)
    return "".join(part if part.startswith("```") else LINK.sub(kept, part) for part in FENCES.split(whole))


def included(name: str, heading: str | None, lower: bool) -> str:
    """Return a file's text, or the part under one of its headings."""
    text = (ROOT / name).read_text(encoding="utf-8")
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


def explanations() -> Iterator[tuple[str, str]]:
    """Yield names and pages of explanations of the embedded classifier."""
    model, tokenizer = demo.load_classifier()
    shapley = KernelShap(model, tokenizer)(SHOWN, targets=["positive", "positive"])
    removed = Occlusion(model, tokenizer)(SHOWN, targets=["positive", "positive"])
    yield "live/explanation.html", to_html(shapley, title="Why this sentiment?")
    yield "live/methods.html", to_html([shapley[1], removed[1]], title="Two methods, one sentence")


def tutorials() -> Iterator[tuple[str, str]]:
    """Yield each notebook as a page, and its HTML outputs as pages that frames show."""
    for path in sorted((ROOT / "tutorials").glob("*.ipynb")):
        parts: list[str] = []
        for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                parts.append(source)
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
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).strip("\n")
    return f"```{language}\n{plain}\n```"


def page_of(fragment: str) -> str:
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Output of a tutorial</title></head>'
    return f'{head}<body style="margin:0;font-family:system-ui,sans-serif">{fragment}</body></html>'
