"""Setup, training and annotation in one call."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi.data import (
    DEFAULT_KEY,
    Keys,
    check_free,
    check_layer,
    is_run,
    pointing_to_counts,
    root_cells,
)
from basisvae_scvi.model import BasisVAE


def basisvae(
    adata: AnnData,
    *,
    layer: str | None = None,
    batch_key: str | None = None,
    size_factor_key: str | None = None,
    latent_key: str | None = None,
    latent_prior_key: str | None = None,
    n_basis: int = 50,
    translation_invariant: bool = False,
    gene_likelihood: str = "zinb",
    seed: int = 0,
    root: str | np.ndarray | pd.Series | None = None,
    max_epochs: int | None = None,
    key_added: str = DEFAULT_KEY,
    copy: bool = False,
    train_kwargs: dict | None = None,
    **model_kwargs,
) -> AnnData | None:
    """Order the cells along a process and cluster the genes by the shape of their course.

    Fits a :class:`basisvae_scvi.BasisVAE` and writes its results, and nothing else, into
    ``adata``. For saving the model, mapping new cells or covariates, use the class.

    Parameters
    ----------
    adata
        Cells × genes. The matrix is neither changed nor copied.
    layer
        Layer with the raw counts; ``None`` for ``adata.X``.
    batch_key
        Column of ``.obs``: genes get a log offset per batch, the bases are shared.
    size_factor_key
        Column of ``.obs`` with size factors; ``None`` for observed library over its median.
    latent_key
        Column of ``.obs`` or key of ``.obsm`` with an observed z, e.g. a time or another tool's
        pseudotime.
    latent_prior_key
        The same with a guess at z, about which it may differ by ``latent_prior_scale``.
    n_basis
        Number of basis functions K, the flat one included: at least as many as there may be
        clusters. Unused ones stay empty.
    translation_invariant
        Whether genes have shifts δ, so that earlier and later genes can share a cluster.
    gene_likelihood
        ``"zinb"``, ``"nb"`` or ``"poisson"`` for counts; ``"gaussian"`` or ``"bernoulli"``.
    seed
        Seed of everything random.
    root
        Where the process starts: name of a cell, of a boolean ``.obs`` column, of a category of
        cells as ``"cell_type=HSC"``, or of a gene that is highest at the start; or a boolean mask
        over the cells. By default z is oriented such that the gene that follows it most closely
        rises.
    max_epochs
        Passes over the cells; by default 150 for up to 10,000 cells and fewer for more.
    key_added
        Prefix of all keys.
    copy
        Return an annotated copy instead of writing into ``adata``.
    train_kwargs
        Passed on to :meth:`basisvae_scvi.BasisVAE.train`, e.g. ``{"accelerator": "cpu"}``.
    **model_kwargs
        Passed on to :class:`basisvae_scvi.BasisVAE`, e.g. ``n_latent=2``.

    Returns
    -------
    ``None``, or the copy with ``copy=True``. Sets, for ``key_added="basisvae"``:

    ``.obsm["X_basisvae"]`` : float32, (n_obs, Q)
        Latent coordinates z.
    ``.obs["basisvae_pseudotime"]`` : float64, (n_obs,)
        z rescaled to [0, 1]; for one latent dimension.
    ``.varm["basisvae_assignment"]``, ``["basisvae_shift"]``, ``["basisvae_scale"]`` : float64
        Data frames (n_vars, K): φ, δ and λ of every gene under every basis.
    ``.var["basisvae_cluster"]`` : categorical of str, (n_vars,)
        Most probable basis; ``"0"`` is the flat one.
    ``.var["basisvae_confidence"]`` : float64, (n_vars,)
        Its probability.
    ``.var["basisvae_gene_shift"]``, ``["basisvae_gene_scale"]`` : float64, (n_vars,)
        δ and λ under it.
    ``.var["basisvae_gene_shift_sd"]``, ``["…_lower"]``, ``["…_upper"]`` : float64, (n_vars,)
        Standard deviation and 90 % interval of δ, and likewise of λ
        (``basisvae_gene_scale_sd``, …); for one latent dimension.
    ``.var["basisvae_shift_identified"]``, ``["basisvae_is_dynamic"]`` : bool, (n_vars,)
        Whether the data tell δ, and whether the gene changes along z (FDR 0.05).
    ``.var["basisvae_stability"]`` : float64, (n_vars,)
        Agreement of the restarts about the gene's partners, from 0 to 1.
    ``.varm["basisvae_restarts"]`` : float64
        Data frame (n_vars, n_restarts): most probable group in each restart.
    ``.uns["basisvae"]`` : dict
        ``params`` (dict), ``version`` (str), ``seed`` (int), ``grid`` (float64, (G,) or (G, Q))
        and ``basis`` (float64, (G, K)), ``history`` (dict of float64 arrays, one value per
        epoch), and of the search for the structure ``search`` (data frame of moves),
        ``restart_bounds``, ``best_restart`` and ``flat_bound``.

    Raises
    ------
    KeyError
        For a layer or column that is not there.
    ValueError
        If the data do not suit the likelihood, an argument is out of range, or results would
        replace what is not of a fit. ``adata`` is then as it was.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=100, n_vars=30)
    >>> train_kwargs = {"enable_progress_bar": False}
    >>> bv.tl.basisvae(adata, n_basis=5, max_epochs=2, train_kwargs=train_kwargs)
    >>> adata.obsm["X_basisvae"].shape
    (100, 1)
    """
    check_layer(adata, layer)
    check_free(adata, Keys(key_added))
    _check_root(adata, root, n_latent=model_kwargs.get("n_latent", 1))
    work = light_copy(adata, layer)
    BasisVAE.setup_anndata(
        work,
        layer=layer,
        batch_key=batch_key,
        size_factor_key=size_factor_key,
        latent_key=latent_key,
        latent_prior_key=latent_prior_key,
    )
    with pointing_to_counts(adata, layer):
        model = BasisVAE(
            work,
            n_basis=n_basis,
            translation_invariant=translation_invariant,
            gene_likelihood=gene_likelihood,
            **model_kwargs,
        )
    try:
        model.train(max_epochs, seed=seed, **(train_kwargs or {}))
        model.annotate(work, key_added=key_added, root=root)
    finally:
        # scvi-tools would otherwise keep the data alive as long as Python runs.
        model.deregister_manager(work)
    target = adata.copy() if copy else adata
    _move_results(work, target, Keys(key_added))
    return target if copy else None


def _check_root(adata: AnnData, root, *, n_latent: int) -> None:
    """Raise ValueError for a root that could not be used after training."""
    if root is None:
        return
    if n_latent != 1:
        raise ValueError(f"root needs n_latent=1, not {n_latent}; leave one of them out.")
    root_cells(adata, root)


def light_copy(adata: AnnData, layer: str | None) -> AnnData:
    """AnnData of its own that shares the matrix, for scvi-tools to leave its marks in.

    Of ``.uns`` it has what former fits wrote, by which their results are known as such.
    """
    return AnnData(
        X=adata.X if layer is None else None,
        layers=None if layer is None else {layer: adata.layers[layer]},
        obs=adata.obs.copy(),
        var=pd.DataFrame(index=adata.var_names),
        obsm=dict(adata.obsm),
        uns={key: entry for key, entry in adata.uns.items() if is_run(entry)},
        shape=adata.shape if layer is not None else None,
    )


def _move_results(source: AnnData, target: AnnData, keys: Keys) -> None:
    """Move what ``annotate`` wrote; cells and genes are the same, in the same order."""
    target.obsm[keys.latent] = source.obsm[keys.latent]
    for name in (keys.assignment, keys.shift, keys.scale):
        target.varm[name] = source.varm[name]
    for name in (keys.cluster, keys.confidence, keys.gene_shift, keys.gene_scale):
        target.var[name] = source.var[name]
    for attribute, names in keys.optional.items():
        found, place = getattr(source, attribute), getattr(target, attribute)
        for name in names:
            if name in found:
                place[name] = found[name].to_numpy() if attribute == "obs" else found[name]
            elif name in place:
                del place[name]
    target.uns[keys.uns] = source.uns[keys.uns]
