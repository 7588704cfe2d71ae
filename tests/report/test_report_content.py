"""The numbers on the page are those of the tables."""

import base64
import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from report_page import Page, data_of

from basisvae_scvi import get
from basisvae_scvi.report import read_results, write_report


@pytest.fixture(scope="module")
def page(written):
    return Page(written[1].read_text(encoding="utf-8"))


def test_every_gene_has_the_numbers_of_the_table(written):
    adata, path = written
    data, table = data_of(path), get.genes(adata)
    columns = data["columns"]
    assert data["names"] == list(table.index)
    labels = [data["clusters"][i]["label"] for i in columns["cluster"]]
    assert labels == list(table["cluster"])
    assert [data["shapes"][i] for i in columns["shape"]] == list(table["shape"])
    for name in ("peak", "shift", "scale", "confidence"):
        values = np.array(columns[name], dtype=float)
        np.testing.assert_allclose(values, table[name], rtol=5.1e-4, atol=1e-12)
    var = adata.var.loc[table.index]
    for name in ("shift_lower", "shift_upper", "scale_lower", "scale_upper"):
        np.testing.assert_allclose(columns[name], var[f"basisvae_gene_{name}"], rtol=5.1e-4)
    np.testing.assert_allclose(columns["stability"], var["basisvae_stability"], rtol=5.1e-4)
    assert columns["identified"] == var["basisvae_shift_identified"].astype(int).tolist()
    assert columns["dynamic"] == var["basisvae_is_dynamic"].astype(int).tolist()


def test_observed_means_are_those_of_the_counts(written):
    adata, path = written
    data = data_of(path)
    observed = data["observed"]
    n_bins = len(observed["z"])
    steps = np.frombuffer(base64.b64decode(observed["steps"]), dtype=np.uint8)
    relative = steps.reshape(-1, n_bins) / 255 * np.array(observed["largest"])[:, None]
    counts = adata[:, data["names"]].X.toarray()
    order = np.argsort(adata.obsm["X_basisvae"][:, 0], kind="stable")
    bins = np.array([counts[part].mean(axis=0) for part in np.array_split(order, n_bins)]).T
    mean = counts.mean(axis=0)
    np.testing.assert_allclose(data["columns"]["mean"], mean, rtol=5.1e-4)
    half_step = np.array(observed["largest"])[:, None] / 255 / 2 + 1e-3
    assert (np.abs(relative - bins / mean[:, None]) <= half_step).all()


def test_clusters_have_the_numbers_of_their_table(written, page):
    adata, path = written
    table = get.clusters(adata, n_top=8)
    clusters = data_of(path)["clusters"]
    assert [c["label"] for c in clusters] == ["2", "1", "3", "0"]  # by peak, the flat one last
    for cluster in clusters:
        row = table.loc[cluster["label"]]
        assert cluster["n_genes"] == row["n_genes"]
        assert cluster["shape"] == row["shape"]
        assert cluster["top_genes"] == row["top_genes"]
        assert row["top_genes"] in page.text
    assert data_of(path)["basis"][1][100] == pytest.approx(
        adata.uns["basisvae"]["basis"][100, 1], 1e-3
    )


def test_the_head_counts_cells_genes_and_clusters(page):
    assert (
        "260 cells ordered 40 genes 3 clusters of changing genes 25 % of genes flat" in page.text
    )


def test_what_was_run_is_listed(written, tmp_path, no_figures):
    adata, _ = written
    path = tmp_path / "report.html"
    info = {"command": "basisvae-scvi fit x", "versions": {"torch": "9.8.7"}, "seconds": 1}
    write_report(adata, path, run_info=info, title="A run")
    text = Page(path.read_text(encoding="utf-8")).text
    for words in (
        "seed 7",
        "n_basis 5",
        "translation_invariant yes",
        "layer –",
        "basisvae-scvi 0.0.test",
        "torch 9.8.7",
        "command basisvae-scvi fit x",
    ):
        assert words in text


def test_figures_are_inside_and_have_words_for_those_who_do_not_see_them(page):
    images = page.all("img")
    assert len(images) >= 5
    for image in images:
        assert image["src"].startswith("data:image/png;base64,")
        assert len(image["alt"]) > 20
        assert int(image["width"]) > 200
        assert int(image["height"]) > 100
    assert "Not shown" not in page.text


def test_nothing_is_fetched_from_elsewhere(written, page):
    text = written[1].read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    policy = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    assert policy[0].startswith("default-src 'none'")
    for tag in ("script", "link", "iframe"):
        assert not any("src" in attributes for attributes in page.all(tag))


def test_headings_and_language_guide_a_screen_reader(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1
    assert page.all("html") == [{"lang": "en"}]
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids


def test_the_same_results_give_the_same_bytes(written, tmp_path):
    adata, path = written
    with plt.style.context("dark_background"):
        write_report(adata.copy(), tmp_path / "again.html", color="stage")
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_a_file_gives_the_report_of_the_data_in_memory(written, tmp_path, no_figures, suffix):
    adata, _ = written
    stored = adata.copy()
    stored.layers["other"] = stored.X.copy()
    stored.obsp["graph"] = stored.X @ stored.X.T
    file = tmp_path / f"fitted{suffix}"
    (stored.write_h5ad if suffix == ".h5ad" else stored.write_zarr)(file)
    write_report(adata, tmp_path / "memory.html")
    with read_results(file) as results:
        assert not isinstance(results.X, type(adata.X))  # still on disk
        assert "other" not in results.layers
        write_report(results, tmp_path / "file.html")
    assert (tmp_path / "file.html").read_bytes() == (tmp_path / "memory.html").read_bytes()


def test_counts_in_a_layer_are_found(written, tmp_path, no_figures):
    adata, path = written
    stored = adata.copy()
    stored.layers["counts"] = stored.X
    stored.X = np.zeros(stored.shape, dtype=np.float32)
    stored.uns["basisvae"]["params"]["layer"] = "counts"
    stored.write_h5ad(tmp_path / "fitted.h5ad")
    with read_results(tmp_path / "fitted.h5ad") as results:
        write_report(results, tmp_path / "again.html")
    assert data_of(tmp_path / "again.html")["columns"]["mean"] == data_of(path)["columns"]["mean"]


def test_what_is_missing_is_said_with_the_cure(annotated, tmp_path):
    adata = annotated(certain=False)
    adata.X = None
    write_report(adata, tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "adata.X is empty; name the matrix with layer=..." in text
    assert "Train with n_restarts=2 or more" in text
    data = data_of(tmp_path / "report.html")
    assert "observed" not in data
    assert "stability" not in data["columns"]


def test_shifts_are_only_called_unknown_where_they_were_not_looked_at(
    annotated, tmp_path, no_figures
):
    adata = annotated()
    unseen = adata.var_names[1::2]
    for name in ("lower", "upper"):
        adata.var.loc[unseen, f"basisvae_gene_shift_{name}"] = np.nan
    adata.var.loc[unseen, "basisvae_shift_identified"] = False
    write_report(adata, tmp_path / "report.html")
    data = data_of(tmp_path / "report.html")
    found = dict(zip(data["names"], data["columns"]["identified"], strict=True))
    for name in adata.var_names:
        flag = int(adata.var.loc[name, "basisvae_shift_identified"])
        assert found[name] == (None if name in unseen else flag)


def test_two_latent_dimensions_have_a_report(annotated, tmp_path):
    adata = annotated(certain=False)
    adata.obsm["X_basisvae"] = np.repeat(adata.obsm["X_basisvae"], 2, axis=1)
    run = adata.uns["basisvae"]
    run["grid"], run["params"]["n_latent"] = np.column_stack([run["grid"]] * 2), 2
    write_report(adata, tmp_path / "report.html")
    data = data_of(tmp_path / "report.html")
    assert "basis" not in data
    assert data["columns"]["peak"] == [None] * adata.n_vars
    assert data["columns"]["shape"] == [None] * adata.n_vars


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": "other"}, "adata.uns\\['other'\\] is missing"),
        ({"genes": ["nobody"]}, "nobody"),
        ({"color": "nothing"}, "color='nothing' is not a column"),
    ],
)
def test_a_wrong_name_writes_nothing(written, tmp_path, arguments, message):
    with pytest.raises(KeyError, match=message):
        write_report(written[0], tmp_path / "report.html", **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_fourteen_thousand_genes_stay_below_ten_megabytes(annotated, tmp_path):
    path = tmp_path / "report.html"
    write_report(annotated(n_obs=300, n_vars=14_000), path)
    assert len(data_of(path)["names"]) == 14_000
    assert path.stat().st_size < 10e6
