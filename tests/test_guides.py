"""The pages of the guides run as they stand: what a block prints is what the page shows under it."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest

import interpreto.concepts
from interpreto.attributions import methods
from tests import tiny

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[+−-]?\d+(?:\.\d+)?(?:e[+−-]?\d+)?")
OURS = (
    "docs/quickstart.md",
    "docs/guides/methods.md",
    "docs/guides/targets.md",
    "docs/guides/tasks.md",
    "docs/guides/concepts.md",
    "docs/guides/sae_training.md",
    "docs/guides/labels.md",
    "docs/guides/supervised_concepts.md",
    "docs/guides/lenses.md",
    "docs/guides/black_boxes.md",
    "docs/guides/long_contexts.md",
    "docs/guides/datasets.md",
)
FRAME = ("reference/", "performance.md", "tutorials.md", "extending.md")  # made with the site, and checked with it


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pages() -> list[str]:
    """Pages with code, but for those that test_docs.py and test_recipes.py run."""
    found = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return [name for name in found if "```python" in read(name) and name not in ("docs/metrics.md", "docs/recipes.md")]


def blocks(text: str) -> list[tuple[str, str, int]]:
    """Each Python block, the text block right under it (empty: there is none), and its line."""
    fences = list(FENCE.finditer(text))
    found = []
    for fence, under in zip(fences, [*fences[1:], None], strict=True):
        if fence[1] == "python":
            shown = under is not None and under[1] == "text" and not text[fence.end() : under.start()].strip()
            found.append((fence[2], under[2] if under is not None and shown else "", text[: fence.start()].count("\n") + 2))
    return found


def alike(printed: str, shown: str) -> bool:
    """Whether two outputs say the same: words and whole numbers exactly, other numbers to what other machines round."""
    words = [re.sub(r"\s+", " ", NUMBER.sub("#", re.sub("[█-▏]", "", text))).strip() for text in (printed, shown)]
    numbers = [NUMBER.findall(text) for text in (printed, shown)]
    if words[0] != words[1] or len(numbers[0]) != len(numbers[1]):
        return False
    return all(
        a == b or ("." in a + b and _value(a) == pytest.approx(_value(b), abs=0.011, rel=0.02))
        for a, b in zip(*numbers, strict=True)
    )


def _value(number: str) -> float:
    return float(number.replace("−", "-"))


@pytest.mark.parametrize("name", pages())
def test_a_page_prints_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    language_model, its_tokenizer = tiny.chat_lm()
    scope: dict = {"language_model": language_model, "its_tokenizer": its_tokenizer, "__name__": "page"}
    for code, shown, line in blocks(read(name)):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (line - 1) + code, name, "exec"), scope)
        assert alike(printed.getvalue(), shown), f"{name}, line {line}, prints:\n{printed.getvalue()}"


def test_a_page_that_lies_is_caught():
    shown = "Occlusion 12 rows   dull +1.46\n  █████ residual +2.22e−16\n"
    assert alike("Occlusion  12 rows dull +1.455\n ████ residual −1.11e−16", shown)
    assert not alike("Occlusion 13 rows dull +1.46\n residual +2.22e−16", shown)
    assert not alike("Occlusion 12 rows dull −1.46\n residual +2.22e−16", shown)
    assert not alike("Occlusion 12 rows dull +1.51\n residual +2.22e−16", shown)
    assert not alike("Occlusion 12 rows good +1.46\n residual +2.22e−16", shown)
    assert not alike(shown, "")


def test_the_guides_are_all_here():
    assert set(OURS) <= set(pages())
    for name in OURS:
        shown = sum(bool(text) for _, text, _ in blocks(read(name)))
        assert shown >= len(blocks(read(name))) - 1  # a page may begin with names alone


def test_every_method_has_its_row_its_cost_and_its_section():
    text = read("docs/guides/methods.md")
    rows = {
        row.split("|")[2].strip().strip("`"): row for row in text.splitlines() if row.startswith("|") and row.count("|") == 7
    }
    headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
    for name in methods.__all__:
        assert any(name in heading.split(", ") for heading in headings), f"{name} has no section"
        assert name in rows, f"{name} has no row"
        options = inspect.signature(getattr(methods, name)).parameters
        default = next((p.default for p in options.values() if p.name in ("n_perturbations", "n_token_perturbations")), None)
        cost = rows[name].split("|")[3]
        assert default is None or re.search(rf"\b{default}\b", cost) or "the same" in cost, f"{name} costs {default}"


def test_the_tests_that_the_pages_name_exist():
    there = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = {name for page in OURS for name in re.findall(r"`(test_\w+)`", read(page))}
    assert len(named) > 10
    assert not [name for name in named if f"def {name}(" not in there]


def test_what_is_said_of_the_tables_stands_in_them():
    part = read("docs/guides/methods.md").split("## Measured")[1].split("## On")[0]
    tables = [name for name in re.findall(r'--8<-- "(.*?)"', part) if (ROOT / name).is_file()]
    assert tables == [f"docs/tables/{name}.md" for name in ("methods", "generation")]
    said = set(re.findall(r"-?\d+\.\d+", part))
    assert len(said) > 15
    assert not said - set(re.findall(r"-?\d+\.\d+", "".join(map(read, tables))))


def test_every_concept_model_has_a_row():
    text = read("docs/guides/concepts.md")
    rows = "\n".join(row for row in text.splitlines() if row.startswith("| `"))
    for name in interpreto.concepts.__all__:
        if name.endswith("Concepts") or name == "Cockatiel":
            assert f"`{name}`" in rows, f"{name} has no row"


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("name", OURS)
def test_links_lead_somewhere(name):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", FENCE.sub("", read(name))):
        page = ROOT / name if not target else (ROOT / name).parent / target
        if any(part in target for part in FRAME):
            continue
        assert page.is_file(), f"{name} points at {target}"
        assert not anchor or anchor in anchors(page.read_text(encoding="utf-8")), f"{name}: no #{anchor} in {target}"
