"""Names come from anywhere: none of them may become part of the page's code."""

import json
import re
from pathlib import Path

import pytest
from report_page import Page, data_of, make_annotated

from basisvae_scvi.report import write_report

EVIL = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<!--<script>",
    '"><img src=x onerror=alert(3)>',
    "'quoted' & \"double\"",
    "back\\slash\u2028line\u2029end",
    "{{ 7 * 7 }}",
    "$x_{$",
    "Ünï-code 遺伝子 🧬",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Report of data whose genes, cells, columns, categories and title are hostile."""
    names = [EVIL[j] if j < len(EVIL) else f"gene{j}" for j in range(24)]
    adata = make_annotated(names=names, n_vars=24)
    adata.obs_names = [f"{EVIL[i % len(EVIL)]}{i}" for i in range(adata.n_obs)]
    adata.obs[EVIL[3]] = [EVIL[i % 3] for i in range(adata.n_obs)]
    path = tmp_path_factory.mktemp("hostile") / "report.html"
    info = {"command": EVIL[1], "versions": {EVIL[0]: EVIL[2]}}
    write_report(adata, path, color=EVIL[3], title=EVIL[1], genes=EVIL, run_info=info)
    return path


def test_no_name_becomes_an_element(hostile):
    page = Page(hostile.read_text(encoding="utf-8"))
    assert len(page.all("script")) == 2
    assert all(image["src"].startswith("data:image/png") for image in page.all("img"))
    assert not any(name.startswith("on") for _, found in page.elements for name in found)
    assert "{{ 7 * 7 }}" in page.text
    assert "Not shown" not in page.text


def test_every_name_is_in_the_data_as_it_was(hostile):
    assert set(EVIL) <= set(data_of(hostile)["names"])


def test_the_block_of_data_has_no_sign_that_html_reads(hostile):
    text = hostile.read_text(encoding="utf-8")
    [block] = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert not re.search("[<>&\u2028\u2029]", block)
    assert json.loads(block)["names"]


def test_a_browser_shows_the_names_and_runs_nothing(hostile, chromium):
    from selenium.common.exceptions import NoAlertPresentException

    chromium.get(hostile.as_uri())
    shown = chromium.execute_script(
        "return [...document.querySelectorAll('#gene-table tbody button')].map(b => b.textContent)"
    )
    assert {EVIL[0], EVIL[1], EVIL[3]} <= set(shown)
    with pytest.raises(NoAlertPresentException):
        _ = chromium.switch_to.alert
    assert chromium.title == EVIL[1]
    assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("path", [0, None, "", ".", b"r.html"])
def test_a_report_needs_the_name_of_a_file(path):
    with pytest.raises(ValueError, match=r"^path=.* must name a file, e\.g\. 'report\.html'"):
        write_report(None, path)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_report_needs_a_folder_that_is_there(tmp_path, kind):
    with pytest.raises(ValueError, match="nowhere is no folder; make it, or name another"):
        write_report(None, kind(tmp_path / "nowhere" / "r.html"))
    with pytest.raises(ValueError, match="must name a file"):
        write_report(None, kind(tmp_path))
