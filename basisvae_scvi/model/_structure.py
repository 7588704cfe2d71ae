"""What the search for the structure did, and how far its restarts agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from basisvae_scvi.inference import Start

# Orders of the cells whose rank correlation is below this tell another process.
_SAME_PROCESS = 0.9


def describe_search(start: Start, genes: np.ndarray, orders: list[np.ndarray]) -> dict:
    """A search in plain arrays, so that it can be saved with a model.

    Parameters
    ----------
    start
        What the search has found.
    genes
        Indices of the genes it looked at.
    orders
        Orders of all cells that it chose from, each ``(N,)``.
    """
    found = start.found
    columns = zip(*found.history, strict=True)
    names = ("restart", "move", "bound", "n_used_bases")
    return {
        "genes": np.asarray(genes),
        "bounds": np.asarray(found.totals),
        "order_bounds": np.asarray(found.order_gains),
        "order": int(found.order),
        **_describe_orders(orders, found.order_gains, found.order),
        "flat_bound": float(found.flat_total),
        "shift_prior_sd": float(found.hyperparameters.shift_prior_sd),
        "shape_deviation": float(found.hyperparameters.deviation),
        "assignments": [np.asarray(phi) for phi in found.assignments],
        "history": {name: list(column) for name, column in zip(names, columns, strict=True)},
    }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation; 0 where one of them is constant."""
    a, b = (rankdata(values) - 0.5 * (len(values) + 1) for values in (first, second))
    power = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / power) if power > 0 else 0.0


def _describe_orders(orders: list[np.ndarray], bounds: list[float], taken: int) -> dict:
    """How far orders agree with the one taken, and the best that does not, as ranks 0 to 1."""
    correlation = np.array([rank_correlation(order, orders[taken]) for order in orders])
    agreement = np.abs(correlation)
    described = {"order_agreement": agreement, "other": -1, "other_order": None}
    differ = np.flatnonzero(agreement < _SAME_PROCESS)
    if len(differ):
        other = int(differ[np.argmax(np.asarray(bounds)[differ])])
        rank = (rankdata(orders[other]) - 0.5) / len(orders[other])
        forward = rank if correlation[other] >= 0 else 1.0 - rank
        described |= {"other": other, "other_order": forward.astype(np.float32)}
    return described


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far genes keep their partners in another co-clustering, shape ``(P,)``."""
    a, b = first @ first.T, second @ second.T
    np.fill_diagonal(a, 0.0)
    np.fill_diagonal(b, 0.0)
    either = np.maximum(a, b).sum(1)
    return np.divide(
        np.minimum(a, b).sum(1), either, out=np.ones_like(either), where=either > 1e-9
    )


def call_dynamic(flat: pd.Series, fdr: float) -> pd.Series:
    """See :meth:`StructureMixin.get_dynamic_genes`; ``flat`` is the probability of being flat."""
    ranked = flat.sort_values(kind="stable")
    expected = ranked.expanding().mean()
    called = expected[(expected <= fdr) & (ranked < 0.5)].index
    return pd.Series(flat.index.isin(called), index=flat.index, name="is_dynamic")


class StructureMixin:
    """Accessors of the search, which takes ``objective="evidence"`` and ``n_latent=1``."""

    search_: dict | None = None

    def _search(self) -> dict:
        self._check_if_trained(warn=False)
        if self.search_ is None:
            raise ValueError(
                "This model was trained without a search for the structure: that takes "
                "objective='evidence' and n_latent=1."
            )
        return self.search_

    def get_search_history(self) -> pd.DataFrame:
        """Accepted moves of the search, in order.

        Returns
        -------
        Data frame with ``restart``, ``move`` (``"start"``, ``"delete"``, ``"merge"``, ``"split"``,
        several joined by ``"+"``, ``"compose"``, ``"spread"``, ``"deviate"``, ``"turn"``,
        ``"settle"``, ``"recombine"``), ``bound`` after it (nats; bases, genes and cells paid for)
        and ``n_used_bases``, the flat one included.

        Raises
        ------
        ValueError
            For a model that was trained without a search.

        Notes
        -----
        Within a restart the bound never falls: a move is kept if it raises the bound, and cells
        that would lower it by settling stay where they were.

        Examples
        --------
        >>> list(model.get_search_history().columns)
        ['restart', 'move', 'bound', 'n_used_bases']
        """
        return pd.DataFrame(self._search()["history"])

    def get_stability(self) -> pd.DataFrame:
        """How far the restarts of the search agree with the best one.

        Other curves are looked for from the cells of the best restart alone; the others count as
        they settled before.

        Returns
        -------
        Data frame indexed by gene. ``stability`` is the share of a gene's partners that it keeps,
        Σ_i min(c_ij, c'_ij) / Σ_i max(c_ij, c'_ij) for the co-clustering probabilities c of the
        best restart and c' of another, averaged over the others: 1 where all agree. NaN for genes
        that the search did not look at, which only happens with more than a thousand.
        ``cluster_stability`` is its mean over the gene's cluster.

        Raises
        ------
        ValueError
            For a model that was trained without a search, or with a single restart.

        Examples
        --------
        >>> stability = model.get_stability()
        >>> bool(stability["stability"].between(0, 1).all())
        True
        """
        search = self._search()
        best = int(search["bounds"].argmax())
        others = [phi for i, phi in enumerate(search["assignments"]) if i != best]
        if not others:
            raise ValueError("Stability takes train(n_restarts=2) or more.")
        of_best = search["assignments"][best]
        values = np.full(len(self._gene_names()), np.nan)
        values[search["genes"]] = np.mean([_overlap(of_best, phi) for phi in others], axis=0)
        table = pd.DataFrame({"stability": values}, index=self._gene_names())
        cluster = self.get_clusters()["cluster"].astype(str)
        table["cluster_stability"] = (
            table["stability"].groupby(cluster.to_numpy()).transform("mean")
        )
        return table

    def get_consensus(self) -> pd.DataFrame:
        """Probability that two genes share a group, averaged over the restarts of the search.

        Returns
        -------
        Genes × genes of those that the search looked at, float64, 1 on the diagonal.

        Raises
        ------
        ValueError
            For a model that was trained without a search.

        Examples
        --------
        >>> model.get_consensus().shape
        (30, 30)
        """
        search = self._search()
        values = np.mean([phi @ phi.T for phi in search["assignments"]], axis=0)
        np.fill_diagonal(values, 1.0)
        names = self._gene_names()[search["genes"]]
        return pd.DataFrame(values, index=names, columns=names)

    def get_dynamic_genes(self, fdr: float = 0.05) -> pd.Series:
        """Which genes change along z, at a false discovery rate.

        Genes are taken in order of their probability of the flat basis, as long as the mean of
        these, which is the expected share of flat genes among them, stays at or below ``fdr``, and
        as long as they are more probably dynamic than flat.

        Parameters
        ----------
        fdr
            Expected share of flat genes among those called dynamic, in (0, 1).

        Returns
        -------
        Boolean series indexed by gene.

        Raises
        ------
        ValueError
            If ``fdr`` is not in (0, 1).

        Examples
        --------
        >>> int(model.get_dynamic_genes(fdr=0.05).sum()) <= 30
        True
        """
        if not 0.0 < fdr < 1.0:
            raise ValueError(f"fdr={fdr} must lie in (0, 1).")
        return call_dynamic(self.get_assignments()["0"], fdr)
