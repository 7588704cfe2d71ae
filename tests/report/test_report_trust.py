"""What is said about trust follows from the numbers, and comes with what to try."""

import numpy as np
import pytest
from report_page import make_annotated

from basisvae_scvi.get import Annotation
from basisvae_scvi.report._genes import gene_table
from basisvae_scvi.report._observed import Observed
from basisvae_scvi.report._trust import findings


def judged(adata) -> dict:
    """Findings by what was looked at."""
    annotation, genes = Annotation.of(adata), gene_table(adata)
    observed = Observed.of(adata, annotation, genes.index)
    found = findings(adata, annotation, genes, observed)
    assert len({f.title for f in found}) == len(found)
    return {f.title: f for f in found}


def test_a_sound_run_has_no_warnings():
    adata = make_annotated()
    found = judged(adata)
    assert {f.level for f in found.values()} == {"ok"}
    mean = adata.var["basisvae_stability"].mean()
    assert f"{100 * mean:.0f} % of their partners" in found["Stability over restarts"].text
    assert "4 of 5 basis functions" in found["Clusters in use"].text
    moving = adata.var[adata.var["basisvae_cluster"] != "0"]
    share = moving["basisvae_shift_identified"].mean()
    assert f"{100 * share:.0f} % of 30 changing genes" in found["Shifts"].text


@pytest.mark.parametrize(
    ("loss", "level", "words"),
    [
        (100.0 + 0.0 * np.arange(60), "ok", "settled"),
        (100.0 - 0.01 * np.arange(60), "note", "still improved by 0.12 %"),
        (100.0 - 0.5 * np.arange(60), "warning", "max_epochs=120"),
        (100.0 + 0.5 * np.arange(60), "warning", "got worse"),
        (np.full(4, 100.0), "note", "4 epochs on record"),
        (np.array([]), "note", "0 epochs"),
    ],
)
def test_convergence_is_read_off_the_history(loss, level, words):
    adata = make_annotated()
    adata.uns["basisvae"]["history"] = {"elbo_train": loss}
    finding = judged(adata)["Convergence"]
    assert finding.level == level
    assert words in f"{finding.text} {finding.advice}"


@pytest.mark.parametrize(("stability", "level"), [(0.9, "ok"), (0.7, "note"), (0.3, "warning")])
def test_stability_is_judged_by_its_mean(stability, level):
    adata = make_annotated()
    adata.var["basisvae_stability"] = stability
    finding = judged(adata)["Stability over restarts"]
    assert finding.level == level
    assert bool(finding.advice) == (level != "ok")


def test_all_bases_in_use_leave_no_choice():
    adata = make_annotated()
    adata.uns["basisvae"]["basis"] = adata.uns["basisvae"]["basis"][:, :4]
    finding = judged(adata)["Clusters in use"]
    assert (finding.level, "n_basis=8" in finding.advice) == ("warning", True)


def test_nothing_but_flat_genes_is_no_process():
    adata = make_annotated()
    adata.var["basisvae_cluster"] = adata.var["basisvae_cluster"].where(lambda c: c == "0", "0")
    found = judged(adata)
    assert found["Clusters in use"].level == "warning"
    assert "100 % of 40 genes do not change" in found["Flat genes"].text
    assert "No gene changes" in found["Shifts"].text


def test_low_confidence_warns():
    adata = make_annotated()
    adata.var["basisvae_confidence"] = 0.6
    finding = judged(adata)["Confidence of the clusters"]
    assert finding.level == "warning"
    assert finding.text.startswith("0 % of the genes")


def test_islands_of_cells_warn():
    adata = make_annotated()
    z = adata.obsm["X_basisvae"]
    adata.obsm["X_basisvae"] = z + 3 * np.sign(z)
    finding = judged(adata)["Cells along z"]
    assert (finding.level, "islands" in finding.text) == ("warning", True)


@pytest.mark.parametrize(
    ("correlation", "kept", "level", "words"),
    [
        (0.9, 0.9, "ok", "thinned to one depth and placed again: +0.90. The order does not come"),
        (-0.9, 0.95, "ok", "counts of the cells: −0.90; with"),
        (0.9, 0.1, "warning", "+0.10: the order is lost"),
        (-0.8, -0.2, "warning", "−0.20: the order is lost"),
        (0.2, 0.1, "ok", "counts of the cells: +0.20."),
    ],
)
def test_an_order_that_follows_the_counts_warns_if_one_depth_loses_it(
    correlation, kept, level, words
):
    adata = make_annotated()
    adata.uns["basisvae"]["depth"] = {"correlation": correlation, "at_one_depth": kept}
    finding = judged(adata)["Sequencing depth"]
    assert finding.level == level
    assert words in finding.text
    assert bool(finding.advice) == (level == "warning")


def test_an_order_that_follows_the_counts_and_was_not_tested_is_a_note():
    adata = make_annotated()
    adata.obs["size"] = np.exp(adata.obsm["X_basisvae"][:, 0].astype(float))
    finding = judged(adata)["Sequencing depth"]
    assert (finding.level, "+1.00" in finding.text) == ("note", True)
    assert "Annotate again" in finding.advice


def test_an_order_by_batches_warns():
    adata = make_annotated()
    adata.uns["basisvae"]["params"]["batch_key"] = "stage"
    assert judged(adata)["Batches"].level == "warning"


def test_warnings_come_first():
    adata = make_annotated(certain=False)
    adata.var["basisvae_confidence"] = 0.6
    annotation, genes = Annotation.of(adata), gene_table(adata)
    levels = [f.level for f in findings(adata, annotation, genes, None)]
    assert levels == sorted(levels, key=("warning", "note", "ok").index)
    assert set(levels) == {"warning", "note", "ok"}


@pytest.mark.parametrize(
    ("other", "level", "words"),
    [
        (-1, "ok", "All 3 orders that were looked at agree"),
        (1, "note", "9,500 by the best other one (rank correlation 0.40 with it)"),
        (2, "ok", "7,000 by the best other one"),
    ],
)
def test_another_order_that_is_nearly_as_good_is_told(other, level, words):
    adata = make_annotated()
    adata.uns["basisvae"] |= {
        "order_bounds": np.array([10_000.0, 9_500.0, 7_000.0]),
        "order_agreement": np.array([1.0, 0.4, 0.2]),
        "order": 0,
        "other_order": other,
    }
    finding = judged(adata)["Orders to choose from"]
    assert finding.level == level
    assert words in finding.text
