"""The page in headless Chromium: the table works, nothing is reported as an error."""

import csv
import io
import json
import time

import pytest
from report_page import make_annotated

from basisvae_scvi import get
from basisvae_scvi.report import write_report

N_GENES = 1500
# Text whose contrast with what lies behind it is below that of WCAG 2 AA.
CONTRAST = """
const channel = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) =>
  0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const color = parse(getComputedStyle(e).backgroundColor);
    if (color[3] !== 0) return color;
  }
  return [255, 255, 255];
};
const found = [];
for (const e of document.querySelectorAll("body *")) {
  const hasText = [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!hasText || !e.getClientRects().length) continue;
  const levels = [parse(getComputedStyle(e).color), behind(e)].map(luminance);
  const contrast = (Math.max(...levels) + 0.05) / (Math.min(...levels) + 0.05);
  if (contrast < 4.5) found.push([e.tagName, e.textContent.slice(0, 30), contrast]);
}
return JSON.stringify(found);
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Annotated data of 1,500 genes, and their report."""
    adata = make_annotated(n_vars=N_GENES)
    path = tmp_path_factory.mktemp("browser") / "report.html"
    with pytest.MonkeyPatch.context() as patch:  # figures are looked at elsewhere
        patch.setattr("basisvae_scvi.report._write.draw_figures", lambda *_, **__: [])
        write_report(adata, path)
    return adata, path


@pytest.fixture
def page(many, chromium):
    """The report, opened afresh."""
    chromium.get_log("browser")
    chromium.get(many[1].as_uri())
    yield chromium
    errors = [entry for entry in chromium.get_log("browser") if entry["level"] != "INFO"]
    assert errors == []


def shown(page) -> list[str]:
    """Names of the rows that are drawn."""
    return page.execute_script(
        "return [...document.querySelectorAll('#gene-table tbody button')].map(b => b.textContent)"
    )


def click_heading(page, key: str) -> str:
    """Sort by a column; returns the direction."""
    head = page.find_element("css selector", f"#gene-table th[data-key={key}]")
    page.execute_script("arguments[0].click()", head.find_element("css selector", "button"))
    return head.get_attribute("aria-sort")


def choose(page, name: str, value) -> None:
    page.execute_script(
        "const c = document.getElementById(arguments[0]); c.value = arguments[1];"
        "c.dispatchEvent(new Event(c.id === 'search' ? 'input' : 'change'))",
        name,
        str(value),
    )


def as_written(value: float) -> float:
    """The page carries four significant digits."""
    return float(f"{value:.4g}")


def status(page) -> str:
    return page.find_element("id", "count").text


def downloaded(page, button: str, name: str) -> list[dict]:
    file = page.downloads / name
    file.unlink(missing_ok=True)
    page.execute_script("document.getElementById(arguments[0]).click()", button)
    for _ in range(100):
        if file.exists() and file.stat().st_size:
            break
        time.sleep(0.05)
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))


def test_only_rows_in_view_are_drawn_and_scrolling_brings_the_others(many, page):
    table = get.genes(many[0])
    first = shown(page)
    assert first == list(table.index[: len(first)])
    assert 10 < len(first) < 60
    page.execute_script("document.getElementById('scroller').scrollTop = 1e9")
    last = page.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() =>"
        "done([...document.querySelectorAll('#gene-table tbody button')].at(-1).textContent)))"
    )
    assert last == table.index[-1]
    rows = page.find_elements("css selector", "#gene-table tbody tr[data-gene]")
    assert rows[-1].get_attribute("aria-rowindex") == str(N_GENES + 1)


@pytest.mark.parametrize("key", ["shift", "confidence", "scale"])
def test_headings_sort_by_number(many, page, key):
    table = get.genes(many[0])
    assert click_heading(page, key) == "descending"
    rounded = table[key].map(as_written)
    expected = rounded.sort_values(ascending=False, kind="stable").index
    assert shown(page)[:10] == list(expected[:10])
    assert click_heading(page, key) == "ascending"
    expected = rounded.sort_values(kind="stable").index
    assert shown(page)[:10] == list(expected[:10])


def test_genes_without_a_peak_come_last_in_either_direction(many, page):
    table = get.genes(many[0])
    for direction in ("ascending", "descending"):
        assert click_heading(page, "peak") == direction
        assert table.loc[shown(page)[0], "peak"] == pytest.approx(
            table["peak"].min() if direction == "ascending" else table["peak"].max()
        )


def test_names_sort_as_people_count(page):
    assert click_heading(page, "name") == "ascending"
    assert shown(page)[:11] == [f"gene{j}" for j in range(11)]


def test_search_finds_parts_of_names_and_lists(page):
    choose(page, "search", "GENE149")
    assert sorted(shown(page)) == sorted(["gene149", *(f"gene149{j}" for j in range(10))])
    assert status(page) == "11 of 1,500 genes"
    choose(page, "search", "gene7, Gene12,gene99999")
    assert sorted(shown(page)) == ["gene12", "gene7"]
    choose(page, "search", "nobody")
    assert shown(page) == []
    assert "No gene is left" in page.find_element("css selector", "#gene-table tbody").text


def test_filters_leave_what_they_say(many, page):
    table = get.genes(many[0])
    button = page.find_element("css selector", "button.show-cluster[data-cluster='1']")
    page.execute_script("arguments[0].click()", button)
    n = int((table["cluster"] == "1").sum())
    assert status(page) == f"{n} of 1,500 genes"
    choose(page, "confidence", 0.9)
    n = int(((table["cluster"] == "1") & (table["confidence"] >= 0.9)).sum())
    assert status(page) == f"{n} of 1,500 genes"
    assert set(table.loc[shown(page), "cluster"]) == {"1"}
    page.execute_script("document.querySelector('button[type=reset]').click()")
    page.execute_async_script("setTimeout(arguments[0], 20)")
    assert status(page) == "1,500 genes"


def test_downloads_hold_the_genes_that_are_shown(many, page):
    table = get.genes(many[0])
    choose(page, "search", "gene12")
    click_heading(page, "scale")
    rows = downloaded(page, "download-genes", "genes.csv")
    expected = table[table.index.str.contains("gene12")]
    order = expected["scale"].map(as_written).sort_values(ascending=False, kind="stable").index
    expected = expected.loc[order]
    assert [row["gene"] for row in rows] == list(expected.index)
    assert [row["cluster"] for row in rows] == list(expected["cluster"])
    assert [float(row["scale"]) for row in rows] == pytest.approx(expected["scale"], rel=5.1e-4)
    peaks = [float(row["peak"] or "nan") for row in rows]
    assert peaks == pytest.approx(list(expected["peak"]), rel=5.1e-4, nan_ok=True)


def test_clusters_can_be_downloaded(many, page):
    rows = downloaded(page, "download-clusters", "clusters.csv")
    table = get.clusters(many[0], n_top=8)
    assert {row["cluster"]: int(row["n_genes"]) for row in rows} == table["n_genes"].to_dict()
    assert rows[0]["top_genes"] == table.loc[rows[0]["cluster"], "top_genes"]


def test_the_card_of_a_gene_shows_its_numbers_and_closes_with_escape(many, page):
    from selenium.webdriver.common.keys import Keys

    name = shown(page)[2]
    row = get.genes(many[0]).loc[name]
    button = page.find_elements("css selector", "#gene-table tbody button")[2]
    button.send_keys(Keys.ENTER)  # as without a mouse
    card = page.find_element("id", "card")
    assert card.find_element("tag name", "h2").text == name
    assert f"{row['shift']:.2f}".replace("-", "−") in card.text
    assert f"{row['confidence']:.3f}" in card.text
    assert len(card.find_elements("css selector", "circle")) == 24
    page.find_element("id", "card-after").click()
    assert card.find_element("tag name", "h2").text == shown(page)[3]
    card.find_element("id", "card-close").send_keys(Keys.ESCAPE)
    assert not card.is_displayed()


def test_the_drawn_course_is_that_of_the_model(many, page):
    trends = get.trends(many[0], n_points=40)
    for gene in (0, 600, 1400):
        drawn = page.execute_script("return pointsOf(courseOf(arguments[0]), 40)", gene)
        name = page.execute_script("return data.names[arguments[0]]", gene)
        assert [y for _, y in drawn] == pytest.approx(list(trends[name]), rel=5e-3, abs=5e-3)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(page, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        wide = page.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_all_text_has_enough_contrast(page):
    assert json.loads(page.execute_script(CONTRAST)) == []


def test_paper_gets_the_first_hundred_genes_and_a_word_on_the_others(page):
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert len(shown(page)) == 100
    note = page.execute_script("return document.getElementById('print-note').textContent")
    assert note.startswith("The first 100 of 1,500 genes")
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert len(shown(page)) < 60
