"""What the pages of attributions do beyond color: views, scales, roles, tables, letters that join, files that are saved."""

from __future__ import annotations

import csv
import io
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

from interpreto.visualizations import to_fragment, to_html
from tests.visualizations.browser import Browser, needs_chromium
from tests.visualizations.dashboard_examples import dashboard
from tests.visualizations.examples import conversation, explanation, film, generation
from tests.visualizations.pages import PAGES, SENTENCE, additive, answer, long_text, side_by_side

pytestmark = [pytest.mark.slow, needs_chromium]

NAMES = "$$('ol.top li:not(.sum) .name').map((node) => node.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("pages"))
    yield one
    one.close()


def switch(browser: Browser, name: str) -> None:
    browser.run(f"$$('.toggle').find((node) => node.textContent === {name!r}).click()")


def test_a_page_opens_on_the_class_with_the_highest_score_and_lists_them_by_score(browser):
    scores = torch.tensor([-1.0, 3.0, 0.5, 2.0])
    browser.open(to_html(explanation(["a"], [[1.0], [2.0], [3.0], [4.0]], list("wxyz"), base_scores=scores)))
    assert browser.run("$$('.target .label').map((node) => node.textContent)") == ["x", "z", "y", "w"]
    assert browser.run("$$('.target').map((node) => node.getAttribute('aria-pressed'))") == ["true"] + ["false"] * 3
    assert browser.run("$('.unit').getAttribute('aria-label')") == "a: +2.00"


def test_bars_of_a_generation_are_words_of_the_prompt_until_the_answer_s_own_are_asked_for(browser):
    browser.open(to_html(generation("The film was", [" so", " good"], [[0.5, -1.0, 2.0, 0, 0], [4.0, 1.0, -3.0, 9.0, 0]])))
    assert browser.run(NAMES) == ["The", "was", "film"]
    assert "of the prompt" in browser.run("$('.account h3').textContent")
    switch(browser, "Answer’s own words")
    assert browser.run(NAMES)[0] == "so" and "of the prompt" not in browser.run("$('.account h3').textContent")
    switch(browser, "Answer’s own words")
    assert browser.run(NAMES) == ["The", "was", "film"]


def test_a_generation_shows_no_sums_at_first_and_has_them_behind_details(browser):
    scores = {"base_scores": torch.tensor([-1.0, -2.0]), "reference_scores": torch.tensor([-2.5, -4.0])}
    values = [[0.5, -1.0, 2.0, 0, 0], [4.0, 1.0, -3.0, 0.0, 0]]
    browser.open(to_html(generation("The film was", [" so", " good"], values, residual=torch.zeros(2), **scores)))
    assert not re.search("sum|f\\(x\\)|residual", browser.run("document.body.innerText"))
    browser.click(".account summary")
    browser.run("new Promise((done) => setTimeout(done, 100))")
    rows = browser.run("$$('.waterfall li').map((node) => node.innerText.replaceAll('\\n', ' '))")
    assert rows[0] == "every word hidden −6.50" and rows[-1] == "the answer −3.00"


def test_the_probability_of_each_token_is_below_it_and_the_legend_speaks_of_probability(browser):
    browser.open(to_html(answer()))
    assert browser.run("$$('[data-chance]').map((node) => node.dataset.chance)") == [
        "95 %",
        "30 %",
        "74 %",
        "14 %",
        "50 %",
        "99 %",
    ]
    assert browser.run("getComputedStyle($('[data-chance]'), '::after').content.startsWith('\"95 %\"')")
    assert browser.run("$('.legend').innerText").replace("\n", " ").endswith("raises the answer’s probability")
    browser.click("[data-row]", 1)
    assert "raises the probability of good" in browser.run("$('.legend').textContent")
    browser.open(to_html(answer(inference_mode="logits")))
    assert browser.run("$$('[data-chance]').length") == 0 and "the answer’s score" in browser.run("$('.legend').textContent")


def test_a_heat_map_has_a_row_per_token_and_a_column_per_word(browser):
    output = answer()
    browser.open(to_html(output))
    switch(browser, "Heat map")
    assert browser.run("$('.reading').hidden") and not browser.run("$('.heat').hidden")
    heads = browser.run("$$('.map thead th').map((node) => node.textContent)")
    assert heads == ["token", "probability", *output.elements[:8]]
    cells = browser.run("$$('.map tbody tr').map((row) => [...row.children].map((cell) => cell.textContent))")
    assert [row[:2] for row in cells] == [
        ["so", "95 %"],
        ["good", "30 %"],
        ["and", "74 %"],
        ["a", "14 %"],
        ["joy", "50 %"],
        [".", "99 %"],
    ]
    weight = "parseFloat($$('.map td.unit')[8 * 4 + 6].style.getPropertyValue('--weight'))"
    assert browser.run(weight) == pytest.approx(100, abs=0.1)  # "dull" for "joy" is the largest of all
    switch(browser, "Answer’s own words")
    assert browser.run("$$('.map thead th').length") == 2 + 14
    assert browser.run("$$('.map td.absent').length") == sum(range(1, 7))
    browser.click(".map tbody button", 1)
    assert "good" in browser.run("$('.now').textContent") and browser.said == []


def test_a_long_text_has_a_scale_on_which_its_words_are_not_white_and_another(browser):
    browser.open(to_html(long_text()))
    colored = "$$('.passage .unit:not(.faint)').length"
    assert browser.run(colored) > 600
    assert browser.run("$('.legend').textContent").count("≥") == 1
    switch(browser, "the largest")
    assert browser.run(colored) < 400 and "≥" not in browser.run("$('.legend').textContent")


def test_a_bar_of_a_long_text_leads_to_its_word_and_so_does_the_strip(browser):
    browser.open(to_html(long_text()))
    seen = """((node) => { const a = node.getBoundingClientRect(), b = $('.passage').getBoundingClientRect();
        return a.top >= b.top && a.bottom <= b.bottom; })($$('.passage .unit')[795])"""
    browser.run("document.documentElement.style.scrollBehavior = $('.passage').style.scrollBehavior = 'auto'")
    assert not browser.run(seen)
    browser.click("ol.top button.name")
    assert browser.run(seen) and browser.run("document.activeElement.dataset.unit") == "795"
    browser.run("$('.passage').scrollTop = 0")
    browser.run(
        "(() => { const box = $('.strip').getBoundingClientRect();"
        " $('.strip').dispatchEvent(new MouseEvent('click', { clientY: box.bottom - 2 })); })()"
    )
    assert browser.run(seen) and "linear-gradient" in browser.run("$('.strip').style.background")


def test_sentences_are_sums_of_their_words(browser):
    output = long_text()
    browser.open(to_html(output))
    browser.run("$$('.target')[1].click()")
    row = 0 if browser.run("$$('.target[aria-pressed=true]')[0].textContent").startswith("positive") else 1
    switch(browser, "Sentences")
    sums = [output.attributions[row, i : i + 12].double().sum().item() for i in range(0, 800, 12)]
    shown = browser.run("$$('ol.texts li').map((n) => [n.children[0].textContent, n.children[2].textContent])")
    best = max(range(len(sums)), key=lambda i: abs(sums[i]))
    assert shown[0][0].startswith(f"Word{12 * best} ") and float(shown[0][1].replace("−", "-")) == pytest.approx(
        sums[best], rel=5e-3
    )
    browser.click("ol.texts button")
    assert browser.run("document.activeElement.dataset.unit") == str(12 * best)


def test_methods_are_columns_of_one_table_with_rank_correlations_on_top(browser):
    outputs = side_by_side()
    browser.open(to_html(outputs))
    values = [output.attributions[0].numpy() for output in outputs]
    found = browser.run("$$('.agreement li').map((node) => node.textContent)")
    wanted = [
        f"{outputs[a].method} and {outputs[b].method}: {spearmanr(values[a], values[b]).statistic:.2f}"
        for a in range(4)
        for b in range(a + 1, 4)
    ]
    assert found == wanted
    column = "$$('.compare tbody th').map((node) => node.textContent)"
    scaled = sum(abs(value) / abs(value).max() for value in values)
    assert browser.run(column) == [SENTENCE[i] for i in sorted(range(11), key=lambda i: (-scaled[i], i))]
    browser.click(".sort", 2)
    assert browser.run(column) == [SENTENCE[i] for i in sorted(range(11), key=lambda i: (-abs(values[1][i]), i))]
    assert browser.run("$$('.compare thead th').map((n) => n.ariaSort || n.getAttribute('aria-sort'))")[2] == "descending"
    browser.click(".sort", 0)
    assert browser.run(column) == list(SENTENCE)


def test_methods_say_on_which_words_they_disagree(browser):
    other = film(method="Lime", attributions=torch.tensor([[0.1, -0.8, 0.02, -0.6, 0.0], [0.1, 0.8, 0.0, -0.4, 0.3]]))
    browser.open(to_html([film(base_scores=torch.tensor([2.0, 1.0])), other]))
    browser.run("$$('button.target')[0].click()")
    assert browser.run("$('.comparison .hint').textContent") == "They disagree on: lovely"
    browser.open(to_html([film(), film(method="Lime")]))
    assert browser.run("$('.comparison .hint').textContent") == "They agree on every word."
    assert browser.run("$('.agreement strong').textContent") == "1.00"


def test_code_has_letters_of_its_own_and_fences_are_blocks(browser):
    text = "Run:\n```python\nprint('hi')\n```\nand `x`."
    browser.open(to_html(conversation(text, "Yes.")))
    assert browser.run("$$('.fence').map((node) => node.textContent)") == ["```python\nprint('hi')\n```"]
    assert browser.run("$$('.code:not(.fence)').map((node) => node.textContent)") == ["`x`"]
    assert "mono" in browser.run("getComputedStyle($('.fence .unit')).fontFamily").lower()
    assert browser.run("getComputedStyle($('.fence')).display") == "block"


ARABIC = "فيلم جميلة"


def letters(**facts: object):
    """Every letter of a text of joined letters is a unit, and one more shares its character with the one before."""
    from interpreto.inputs.samples import Readout, Sample, Targets
    from interpreto.inputs.units import Units

    places = [i for i, letter in enumerate(ARABIC) if letter != " "]
    spans = [(i, i + 1) for i in places]
    at = places.index(6)
    spans.insert(at + 1, spans[at])
    units = Units(torch.arange(len(spans)), tuple(ARABIC[a:b] for a, b in spans), tuple(spans))
    targets = Targets((Readout(torch.arange(1)),), ("positive",), (None,))
    output = explanation(["x"] * len(spans), [torch.linspace(-1, 1, len(spans)).tolist()], ["positive"])
    from dataclasses import replace

    return replace(output, sample=Sample(ARABIC, torch.arange(len(spans)), units, {}, targets), **facts)


def test_letters_of_a_word_join_although_each_is_a_unit(browser):
    browser.open(to_html(letters(granularity="token")))
    assert browser.run("$('.passage').textContent") == ARABIC + "·"
    whole = "(() => { const node = document.createElement('div'); node.className = 'text'; node.textContent = %r;"
    whole += " const span = document.createElement('span'); span.textContent = %r; node.replaceChildren(span);"
    whole += " $('.passage').append(node); const width = span.getBoundingClientRect().width; node.remove(); return width; })()"
    word = ARABIC.split(" ")[1]
    boxes = browser.run(
        "$$('.unit:not(.named)').slice(4).map((n) => n.getBoundingClientRect()).map(({ left, right }) => [left, right])"
    )
    assert browser.run("$('.text').dir") == "auto" and browser.run("getComputedStyle($('.text')).direction") == "rtl"
    width = max(right for _, right in boxes) - min(left for left, _ in boxes)
    assert width == pytest.approx(browser.run(whole % (word, word)), abs=0.6)
    for (left, _), (_, right) in pairwise(boxes):
        assert left == pytest.approx(right, abs=0.1)  # no gap within the word


def test_the_facts_of_a_notebook_are_readable_under_jupyters_own_rules(browser):
    nbconvert = pytest.importorskip("nbconvert")
    import nbformat

    output = nbformat.v4.new_output("display_data", data={"text/html": to_fragment(additive())})
    cell = nbformat.v4.new_code_cell("explanation", outputs=[output])
    page, _ = nbconvert.HTMLExporter(template_name="lab", embed_images=True).from_notebook_node(
        nbformat.v4.new_notebook(cells=[cell])
    )
    page = re.sub(r"<script[^>]*src=.*?</script>", "", page, flags=re.DOTALL)
    browser.open(page)
    rules = browser.run("[...document.styleSheets].flatMap((s) => [...s.cssRules]).map((r) => r.selectorText || '').join()")
    assert ".jp-OutputArea-output dt" in rules  # the rules are there
    sides = "({ left, top, right, bottom }) => [left, top, right, bottom]"
    boxes = browser.run(f"$$('.facts dt, .facts dd').map((node) => node.getBoundingClientRect()).map({sides})")
    for (_, top, right, bottom), (left, below, _, _) in zip(boxes[::2], boxes[1::2], strict=True):
        assert right <= left and abs(top - below) < 2 < bottom - top  # a label, and its value at its side
    assert browser.run("getComputedStyle($('.facts dt')).float") == "none"
    assert browser.run("getComputedStyle($('table.values')?.querySelector('td') ?? $('.facts dd')).textAlign") == "start"


@pytest.fixture
def saved(browser, tmp_path):
    """Return what a button of the open page saves."""
    browser.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))

    def save(name: str, stem: str = "explanation") -> Path:
        browser.run(f"$$('.saving button').find((node) => node.textContent === {name!r}).click()")
        file, end = tmp_path / f"{stem}.{name.lower()}", time.monotonic() + 20
        while not (file.exists() and file.stat().st_size and not list(tmp_path.glob("*.crdownload"))):
            assert time.monotonic() < end, f"nothing was saved: {browser.run('1') and browser.said}"
            time.sleep(0.05)
        return file

    return save


def test_values_are_saved_as_csv(browser, saved):
    output = film(standard_error=torch.full((2, 5), 0.25))
    browser.open(to_html(output))
    rows = list(csv.DictReader(io.StringIO(saved("CSV").read_text(encoding="utf-8"))))
    assert [row["word"] for row in rows] == output.elements * 2 and {row["method"] for row in rows} == {"Occlusion"}
    values = torch.tensor([float(row["value"] or "nan") for row in rows]).reshape(2, 5)
    assert torch.allclose(values, output.attributions, equal_nan=True, atol=1e-6)
    assert {row["standard error"] for row in rows} == {"0.25"} and [row["target"] for row in rows][::5] == [
        "positive",
        "negative",
    ]


def test_texts_with_commas_and_quotes_survive_csv(browser, saved):
    browser.open(to_html(explanation(['a,"b"', "c\nd"], [[1.0, 2.0]], ['x,"y"'])))
    rows = list(csv.DictReader(io.StringIO(saved("CSV").read_bytes().decode(), newline="")))
    assert [row["word"] for row in rows] == ['a,"b"', "c\nd"] and rows[0]["target"] == 'x,"y"'


@pytest.mark.parametrize("bad", ["plain", "</text><script>alert(1)</script>"])
def test_what_is_seen_is_saved_as_svg(browser, saved, bad):
    browser.open(to_html(explanation([bad, "dull", "lovely"], [[0.1, -0.8, 0.6]], ["positive"])))
    tree = ET.fromstring(saved("SVG").read_text(encoding="utf-8"))
    texts = ["".join(node.itertext()) for node in tree.iter("{http://www.w3.org/2000/svg}text")]
    for part in (bad, "dull", "lovely", "positive", "−0.800"):
        assert any(part in text for text in texts)
    fills = {node.get("fill") for node in tree.iter("{http://www.w3.org/2000/svg}rect")}
    assert all(re.fullmatch(r"rgb\(\d+,\d+,\d+\)", fill or "") for fill in fills) and len(fills) > 4
    assert not list(tree.iter("{http://www.w3.org/2000/svg}script"))


def test_what_is_seen_is_saved_as_png(browser, saved):
    from PIL import Image

    browser.open(to_html(film()))
    image = Image.open(saved("PNG")).convert("RGB")
    box = browser.run("(({ width, height }) => [width, height])($('.card').getBoundingClientRect())")
    assert image.size == pytest.approx((2 * box[0], 2 * box[1]), abs=3)
    colors = {color for _, color in image.getcolors(2**24)}
    assert any(r > 200 and b < 100 for r, _, b in colors) and any(b > 180 and r < 120 for r, _, b in colors)
    assert browser.said == []


def test_scores_of_a_benchmark_are_saved_as_csv(browser, saved):
    browser.open(PAGES["benchmark"]())
    file = saved("CSV", "benchmark")
    rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    assert [row["method"] for row in rows] == ["Occlusion", "Saliency", "random", "reversed Occlusion"]
    assert all(re.fullmatch(r"−?\d\.\d{3}( ≈)?", row["Deletion ↓"]) and " to " in row["Deletion ↓, interval"] for row in rows)
    assert browser.said == []


def test_concepts_of_a_dashboard_are_saved_as_csv(browser, saved):
    page = dashboard()
    browser.open(page.to_html())
    rows = list(csv.DictReader(io.StringIO(saved("CSV", "concepts").read_text(encoding="utf-8"))))
    assert [int(row["concept"]) for row in rows] == [one.concept for one in page.profiles]
    assert [row["name"] for row in rows] == [one.name for one in page.profiles] and browser.said == []
