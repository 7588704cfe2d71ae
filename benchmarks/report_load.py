"""How long does a report of many genes take to write, and to open in headless Chromium?

    python benchmarks/report_load.py [fitted.h5ad] --output report_load.json

Without a file, an annotation of 4,142 cells × 14,000 genes is made up. Needs the extra
``browser``, and Chromium with its driver on PATH. The time to open runs from the start of the
navigation to the end of the load event, scripts included, in a browser that is already running;
the best and the worst of several are given, and the time from a key in the search field, or from a
click on a heading, to the rows that are drawn.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _machine import write
from scipy import sparse
from selenium import webdriver

from basisvae_scvi.report import read_results, write_report

N_OBS, N_VARS, N_CLUSTERS, SEED = 4142, 14_000, 20, 0
LOADED = (
    "const t = performance.getEntriesByType('navigation')[0];"
    "return [t.domInteractive, t.loadEventEnd]"
)
SEARCH = (
    "const began = performance.now(), c = document.getElementById('search'); c.value = 'e1';"
    "c.dispatchEvent(new Event('input')); document.body.offsetHeight;"
    "return performance.now() - began"
)
SORT = (
    "const began = performance.now();"
    "document.querySelector('#gene-table th[data-key=scale] button').click();"
    "document.body.offsetHeight; return performance.now() - began"
)


def made_up() -> ad.AnnData:
    """Counts around bumps and waves, annotated with the courses they were drawn from."""
    rng = np.random.default_rng(SEED)
    z = rng.normal(0, 1, N_OBS)
    grid = np.linspace(-3, 3, 200)
    place = np.linspace(-2, 2, N_CLUSTERS - 1)
    basis = np.column_stack([np.ones_like(grid), *(np.exp(-((grid - p) ** 2)) for p in place)])
    cluster = rng.integers(0, N_CLUSTERS, N_VARS)
    shift = np.where(cluster > 0, rng.uniform(-0.5, 0.5, N_VARS), 0.0)
    scale = rng.gamma(3.0, 1 / 3, N_VARS)
    blocks = []
    for start in range(0, N_VARS, 1000):
        genes = slice(start, start + 1000)
        course = np.stack(
            [
                scale[j] * np.interp(z + shift[j], grid, basis[:, cluster[j]])
                for j in range(*genes.indices(N_VARS))
            ],
            axis=1,
        )
        blocks.append(sparse.csc_matrix(rng.poisson(0.6 * course).astype(np.float32)))
    var = pd.DataFrame(
        {
            "basisvae_cluster": pd.Categorical(cluster.astype(str)),
            "basisvae_confidence": rng.beta(8, 1, N_VARS),
            "basisvae_gene_shift": shift,
            "basisvae_gene_scale": scale,
            "basisvae_gene_shift_lower": shift - 0.2,
            "basisvae_gene_shift_upper": shift + 0.2,
            "basisvae_gene_scale_lower": scale * 0.9,
            "basisvae_gene_scale_upper": scale * 1.1,
            "basisvae_shift_identified": cluster > 0,
            "basisvae_is_dynamic": cluster > 0,
            "basisvae_stability": rng.beta(9, 1, N_VARS),
        },
        index=[f"gene{j}" for j in range(N_VARS)],
    )
    params = {
        "gene_likelihood": "poisson",
        "translation_invariant": True,
        "latent_min": -2.5,
        "latent_max": 2.5,
    }
    run = {"params": params, "grid": grid, "basis": basis, "seed": SEED, "version": "made up"}
    run["history"] = {"elbo_train": 2000 + 400 * np.exp(-np.arange(100) / 10)}
    return ad.AnnData(
        sparse.hstack(blocks).tocsr(),
        var=var,
        obsm={"X_basisvae": z[:, None].astype(np.float32)},
        uns={"basisvae": run},
    )


def start_browser() -> webdriver.Chrome:
    """Headless Chromium, 1280 pixels wide."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1280,900"):
        options.add_argument(f"--{argument}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


def open_report(path: Path, n_repeats: int) -> dict:
    """Milliseconds to open the page, to search and to sort."""
    browser = start_browser()
    try:
        opened, searched, sorted_ = [], [], []
        for _ in range(n_repeats):
            browser.get("about:blank")
            browser.get(path.as_uri())
            opened.append(browser.execute_script(LOADED))
            searched.append(browser.execute_script(SEARCH))
            sorted_.append(browser.execute_script(SORT))
        version = browser.capabilities["browserVersion"]
    finally:
        browser.quit()
    loaded = [end for _, end in opened]
    return {
        "chromium": version,
        "open_ms": {"best": min(loaded), "worst": max(loaded)},
        "interactive_ms": {"best": min(t for t, _ in opened), "worst": max(t for t, _ in opened)},
        "search_ms": {"best": min(searched), "worst": max(searched)},
        "sort_ms": {"best": min(sorted_), "worst": max(sorted_)},
    }


def main() -> None:
    """Write the report, open it, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("h5ad", nargs="?", help="annotated file; made up if left out")
    parser.add_argument("-o", "--output")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.h5ad
        if file is None:
            file = Path(folder) / "made_up.h5ad"
            made_up().write_h5ad(file)
        path = Path(folder) / "report.html"
        began, worked = time.perf_counter(), time.process_time()
        with read_results(file) as results:
            shape = results.shape
            write_report(results, path)
        results = {
            "data": "made up" if arguments.h5ad is None else Path(file).name,
            "n_cells": shape[0],
            "n_genes": shape[1],
            "write_seconds": time.perf_counter() - began,
            "write_processor_seconds": time.process_time() - worked,
            "load_average": os.getloadavg()[0],
            "megabytes": path.stat().st_size / 1e6,
            **open_report(path, arguments.repeats),
        }
    for name, value in results.items():
        print(f"{name:16} {value}")
    write(results, arguments.output)


if __name__ == "__main__":
    main()
