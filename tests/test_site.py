"""The documentation builds without a warning, has every public name, and neither loads nor links what is not there."""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import re
import subprocess
import sys
import time
import zlib
from html.parser import HTMLParser
from inspect import ismodule, signature
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import interpreto
from interpreto.registry import METHODS
from tests.visualizations.browser import Browser, needs_chromium

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
PACKAGES = (
    "interpreto",
    "interpreto.attributions",
    "interpreto.attributions.aggregations",
    "interpreto.attributions.metrics",
    "interpreto.attributions.perturbations",
    "interpreto.concepts",
    "interpreto.concepts.interpretations",
    "interpreto.concepts.metrics",
    "interpreto.concepts.splitters",
    "interpreto.demo",
    "interpreto.metrics",
    "interpreto.training",
)
ADDRESS = re.compile(r"https?://(?:\([^\s)]*\)|[^\s);,\"])+(?<!\.)")
SERVER = re.compile(r"https?://(127\.0\.0\.1|[\w.-]*example\b|api\.openai\.com|localhost)")
"""Addresses of servers, which are no papers."""
LOADING = {*((tag, "src") for tag in ("script", "img", "iframe", "source", "video", "audio", "track", "embed", "input"))}
LOADING |= {("use", "href"), ("image", "href"), ("object", "data"), ("video", "poster")}
LOADED_LINKS = {"stylesheet", "preload", "icon", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
ELSEWHERE = re.compile(r"(?:@import|url\()\s*(?:url\()?\s*['\"]?(?:https?:)?//")
SHOWN = "The acting is wonderful, but the story is too long and rather dull."


class Parsed(HTMLParser):
    """Ids, links, styles, frames and what is loaded, of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.styles: list[str] = []
        self.frames: list[dict[str, str]] = []
        self.within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.within = tag
        self.ids.update(given[name] for name in ("id", "name") if name in given)
        self.styles.append(given.get("style", ""))
        if tag == "iframe":
            self.frames.append(given)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.loads += [given[name] for of, name in LOADING if of == tag and name in given]
        if tag == "link" and LOADED_LINKS & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        self.loads += [part.split()[0] for part in given.get("srcset", "").split(", ") if part.strip()]

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    def handle_data(self, data: str) -> None:
        if self.within == "style":
            self.styles.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="mkdocs-material is not installed; it is in the extra `dev`")
    folder = tmp_path_factory.mktemp("site")
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    sources = [sys.executable, "-W", "ignore", "tools/site.py"]
    for command in (sources, [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]):
        built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=500)
        assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Parsed(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_public_name_is_in_the_reference(site):
    lines = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode().splitlines()
    documented = [line.split(" ")[0] for line in lines if line.startswith("interpreto")]
    assert len(documented) > 300
    there = {id(found) for found in map(resolved, documented) if found is not None}
    missing = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        public = {name: getattr(module, name) for name in module.__all__ if not name.startswith("__")}
        missing += [f"{package}.{name}" for name, item in public.items() if not ismodule(item) and id(item) not in there]
    assert not missing


def resolved(name: str) -> object:
    """What a dotted name stands for, in whichever module it is."""
    parts = name.split(".")
    found: object = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], 2):
        found = getattr(found, part, None) or (importlib.import_module(".".join(parts[:i])) if ismodule(found) else None)
    return found


def test_every_option_of_an_explainer_of_concepts_is_in_the_reference(site):
    """Their constructors end in ``**options``, which the concept model declares."""
    page = re.sub(r"<[^>]+>", "", (site / "reference" / "concepts.html").read_text(encoding="utf-8"))
    missing = []
    for name in interpreto.concepts.__all__:
        found = getattr(interpreto.concepts, name)
        if isinstance(found, type) and "__signature__" in vars(found):
            shown = re.search(rf"\b{name}\(.*?\)\n", page, re.DOTALL)
            missing += [f"{name}({o})" for o in signature(found).parameters if not shown or f"{o}:" not in shown[0]]
    assert not missing


def test_every_paper_of_a_docstring_is_cited():
    text = (ROOT / "docs" / "citations.md").read_text(encoding="utf-8")
    cited = set(ADDRESS.findall(text)) | set(re.findall(r"\]\((https?:.*?)\)\. ", text))
    named = {
        (found, path.name)
        for path in (ROOT / "interpreto").rglob("*.py")
        for found in ADDRESS.findall(path.read_text(encoding="utf-8"))
        if not SERVER.match(found)
    }
    assert len(named) > 60
    assert not {each for each in named if each[0] not in cited}
    assert f"version = {{{interpreto.__version__}}}" in text


def test_links_and_anchors_lead_somewhere(site, pages):
    broken, followed = [], 0
    for path, page in pages.items():
        for link in page.links if path.name != "404.html" else []:  # which knows nothing of its place
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            followed += 1
            if not target.exists() or (parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids):
                broken.append((path.relative_to(site).as_posix(), link))
    assert followed > 1000
    assert not broken


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        for load in page.loads if path.name != "404.html" else []:
            assert load.startswith("data:") or not (urlsplit(load).scheme or urlsplit(load).netloc), f"{path.name} loads {load}"
            if not load.startswith("data:"):
                assert (path.parent / unquote(urlsplit(load).path)).exists(), f"{path.name} loads {load}"
        assert not any(map(ELSEWHERE.search, page.styles)), path.name
    for path in site.rglob("*.css"):
        assert not ELSEWHERE.search(path.read_text(encoding="utf-8")), path.name


@pytest.mark.parametrize("style", ["@import '//a.b/c'", "@import url(https://a.b)", 'url( "http://a.b/c")', "url(//a.b)"])
def test_loading_from_elsewhere_is_found(style):
    page = Parsed(f'<style>{style}</style><p style="color: red">url(//text)</p><img srcset="a.png 1x, //a.b/c.png 2x">')
    assert [bool(ELSEWHERE.search(each)) for each in page.styles if each] == [True, False]
    assert page.loads == ["a.png", "//a.b/c.png"]


def test_the_start_page_shows_explanations_made_by_the_library(site, pages):
    start = pages[site / "index.html"]
    assert [frame["src"] for frame in start.frames] == ["live/classifier.html", "live/side-by-side.html"]
    assert all(frame["title"] and frame["loading"] == "lazy" for frame in start.frames)
    page = (site / "live" / "classifier.html").read_text(encoding="utf-8")
    assert SHOWN in re.sub(r"<.*?>", "", page) and "KernelShap" in page


def test_the_gallery_shows_every_kind_of_page_itself(site, pages):
    shown = {frame["src"].removeprefix("live/").removesuffix(".html") for frame in pages[site / "gallery.html"].frames}
    assert shown == {file.stem for file in (site / "live").glob("*.html")}
    assert len(shown) >= 9


def test_the_table_of_the_registry_is_in_the_guide(site):
    text = (site / "guides" / "methods.html").read_text(encoding="utf-8")
    assert all(f'reference/attributions.html#interpreto.{method.name}"' in text for method in METHODS)
    assert "KernelShap: shares of the score" in text  # the tree


def test_a_frame_runs_its_own_scripts_alone(site):
    """Each page allows its scripts by their hashes: the library's, and the one that tells its height."""
    for file in (site / "live").glob("*.html"):
        page = file.read_text(encoding="utf-8")
        scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
        policy = re.search(r"script-src ([^;\"]+)", page)[1]
        assert policy == " ".join(f"'sha256-{digest}'" for digest in digests), file.name


def test_tutorials_are_shown_as_they_ran(site):
    found = sorted(path.stem for path in (ROOT / "tutorials").glob("*.ipynb"))
    assert len(found) >= 8
    listed = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
    for name in found:
        assert f"(tutorials/{name}.md)" in listed
        text = (site / "tutorials" / f"{name}.html").read_text(encoding="utf-8")
        assert text.count('class="language-python highlight"') >= 5
        assert 'class="language-text highlight"' in text
        assert f'href="{name}.ipynb"' in text and (site / "tutorials" / f"{name}.ipynb").is_file()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


@needs_chromium
@pytest.mark.parametrize("name", ["index.html", "reference/concepts.html"])
def test_the_search_needs_no_server(site, browser, name):
    browser.said = []
    browser.ask("Page.navigate", url=(site / name).as_uri())
    eventually(browser, "$('.md-search-result__meta')?.textContent.trim() === 'Type to start searching'", before="focus()")
    browser.run("$('.md-search__input').value = 'KernelShap'")
    found = "$('.md-search-result__meta').textContent.includes('matching documents')"
    eventually(browser, found, before="dispatchEvent(new KeyboardEvent('keyup', { bubbles: true }))")
    hits = browser.run("$$('.md-search-result__link').map((link) => link.href)")
    assert any(hit.endswith("reference/attributions.html?h=kernelshap#interpreto.KernelShap") for hit in hits)
    assert not browser.said


@needs_chromium
@pytest.mark.parametrize("name", ["index.html", "gallery.html", "tutorials/1_classifier.html"])
def test_frames_are_as_high_as_their_pages_and_follow_the_theme(site, browser, name):
    browser.said = []
    browser.size(1200, 14000)  # so that all frames are in sight, and loaded
    browser.ask("Page.navigate", url=(site / name).as_uri())
    frames = "$$('iframe[src]')"
    eventually(browser, f"{frames}.length >= 2 && {frames}.every((frame) => frame.style.height.endsWith('px'))")
    for scheme, wanted in (("slate", "dark"), ("default", "light")):
        browser.run(f"document.body.setAttribute('data-md-color-scheme', '{scheme}')")
        eventually(browser, f"{frames}.every((frame) => frame.dataset.scheme === '{wanted}')")
    heights = browser.run(f"{frames}.map((frame) => frame.offsetHeight)")
    assert len(heights) >= 2 and min(heights) > 40
    assert not browser.said


def eventually(browser: Browser, expression: str, before: str = "value") -> None:
    """Do something to the search box again and again, until an expression is true."""
    end = time.monotonic() + 60
    while not browser.run(f"($('.md-search__input')?.{before}, document.readyState === 'complete' && ({expression}))"):
        assert time.monotonic() < end, f"never true: {expression}"
        time.sleep(0.2)
