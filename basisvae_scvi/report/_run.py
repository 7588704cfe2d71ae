"""What was run: data, arguments, versions."""

from __future__ import annotations

from collections.abc import Mapping

from anndata import AnnData

from basisvae_scvi.get import Annotation

# Arguments by what they decide; all others follow under the last heading.
_PANELS = {
    "Data": (
        "layer",
        "batch_key",
        "size_factor_key",
        "latent_key",
        "latent_prior_key",
        "categorical_covariate_keys",
        "continuous_covariate_keys",
        "allow_non_integer",
    ),
    "Model": (
        "n_basis",
        "n_latent",
        "scale_invariant",
        "translation_invariant",
        "gene_likelihood",
        "dispersion",
        "zero_inflation",
        "inference",
        "objective",
        "shape_deviation",
        "concentration",
        "latent_weight",
        "assignment_weight",
        "latent_prior_scale",
    ),
}
_HIDDEN = ("latent_min", "latent_max", "data_cells", "data_genes", "data_total")
# Where the record of a command says how a run went.
_RECORDED = {
    "command": "command",
    "started": "started",
    "duration_seconds": "seconds",
    "n_epochs": "epochs",
    "python": "Python",
    "platform": "platform",
}


def describe_run(
    adata: AnnData, annotation: Annotation, run_info: Mapping | None
) -> dict[str, list[tuple[str, str]]]:
    """Lists of names and values, by heading.

    Parameters
    ----------
    adata
        Annotated data.
    annotation
        Its results.
    run_info
        Record of the command that made them, if there is one.
    """
    entry = adata.uns[annotation.keys.uns]
    params = dict(annotation.params)
    panels: dict[str, list[tuple[str, str]]] = {"Run": _run(adata, annotation, entry, run_info)}
    for title, names in _PANELS.items():
        panels[title] = [(name, _text(params.pop(name))) for name in names if name in params]
    others = [(name, _text(value)) for name, value in params.items() if name not in _HIDDEN]
    panels["Other arguments"] = sorted(others)
    panels["Versions"] = _versions(entry, run_info)
    return {title: rows for title, rows in panels.items() if rows}


def _run(
    adata: AnnData, annotation: Annotation, entry: Mapping, run_info: Mapping | None
) -> list[tuple[str, str]]:
    modelled = int((annotation.latent == annotation.latent).all(axis=1).sum())
    rows = [
        ("cells", f"{adata.n_obs:,}" + _of_these(modelled, adata.n_obs)),
        ("genes", f"{adata.n_vars:,}" + _of_these(len(annotation.genes), adata.n_vars)),
        ("seed", _text(entry.get("seed"))),
        ("key of the results", annotation.keys.key_added),
    ]
    recorded = run_info or {}
    return rows + [
        (label, _text(recorded[name])) for name, label in _RECORDED.items() if name in recorded
    ]


def _of_these(n: int, n_all: int) -> str:
    return "" if n == n_all else f" ({n:,} modelled)"


def _versions(entry: Mapping, run_info: Mapping | None) -> list[tuple[str, str]]:
    versions = {"basisvae-scvi": _text(entry.get("version"))}
    for name, version in (run_info or {}).get("versions", {}).items():
        versions.setdefault(name.replace("basisvae_scvi", "basisvae-scvi"), _text(version))
    return list(versions.items())


def _text(value) -> str:
    if value is None or str(value) == "None":
        return "–"
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
