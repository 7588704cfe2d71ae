"""BasisVAE: the public model class."""

from __future__ import annotations

from typing import Literal

import numpy as np
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.data.fields import NumericalObsField
from scvi.model.base import (
    ArchesMixin,
    BaseModelClass,
    RNASeqMixin,
    UnsupervisedTrainingMixin,
    VAEMixin,
)

from basisvae_scvi.data import (
    BatchField,
    CategoriesField,
    DataManager,
    MatrixField,
    NumbersField,
    check_columns,
    describe_location,
    names_of_columns,
    pointing_to_counts,
)
from basisvae_scvi.inference import BasisVAETrainingPlan
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.module import BasisVAEModule

from ._accessors import AccessorsMixin
from ._arguments import check_arguments, default_basis, default_deviation
from ._assign_genes import AssignGenesMixin
from ._constants import feature_constants
from ._latent_fields import latent_arguments, latent_field
from ._query import QueryMixin
from ._registered import RegisteredMixin
from ._saved_file import SavedFileMixin
from ._structure import StructureMixin
from ._training import TrainingMixin
from ._uncertainty import UncertaintyMixin


class BasisVAE(
    AccessorsMixin,
    AssignGenesMixin,
    TrainingMixin,
    StructureMixin,
    UncertaintyMixin,
    QueryMixin,
    SavedFileMixin,
    RegisteredMixin,
    RNASeqMixin,
    VAEMixin,
    ArchesMixin,
    UnsupervisedTrainingMixin,
    BaseModelClass,
):
    """BasisVAE: order cells along a process and group genes by the shape of their course.

    One model gives the latent order z of the cells, the groups of genes that follow the same
    basis function of z, and for every gene how strongly (scale λ) and how much earlier or later
    (shift δ) it follows its group (Märtens & Yau, AISTATS 2020). For counts, gene j under basis k
    has mean μ_njk = s_n · m_j · exp(c_bj) · λ_jk · b_k(z_n + δ_jk).

    Parameters
    ----------
    adata
        AnnData registered with :meth:`setup_anndata`.
    registry
        Registry of a saved model, for use without data.
    n_basis
        Number of basis functions K, the flat one included. Choose it larger than needed: unused
        bases stay empty.
    n_latent
        Number of latent dimensions Q; 1 is a pseudotime.
    scale_invariant
        Whether every gene has a scale λ under each basis (eq 2 of the paper); without, eq 1.
    translation_invariant
        Whether every gene has a shift δ under each basis (eq 3). A gene with δ > 0 runs through
        its group's course earlier.
    gene_likelihood
        ``"zinb"``, ``"nb"`` or ``"poisson"`` for counts; ``"gaussian"`` or ``"bernoulli"`` for
        other features.
    dispersion
        ``"gene"``, or ``"gene-batch"`` for one dispersion per gene and batch.
    zero_inflation
        For ``"zinb"``: dropout logits per ``"gene"``, or as a function of z (``"latent"``).
    inference
        Treatment of the mixing proportions π: ``"collapsed"`` (integrated out),
        ``"non-collapsed"`` (a variational Dirichlet) or ``"fixed_pi"`` (uniform).
    concentration
        Dirichlet concentration α; below 1 favours few bases.
    latent_weight
        β_z, the weight of KL(q(z) ‖ p(z)).
    assignment_weight
        β_w, the weight of KL_w; larger values merge similar groups.
    gene_prior
        ``"assigned"`` weighs the priors of λ_jk and δ_jk with φ_jk; ``"all"`` is the paper's sum
        over all pairs.
    objective
        ``"evidence"`` makes bases and genes pay for their freedom: curves have a smoothness prior
        and a price, λ and δ are integrated out where bases are compared, and the structure is
        searched with moves (``n_latent=1`` only). ``"paper"`` is the bound of the paper, in which
        a basis costs nothing.
    shape_deviation
        Standard deviation τ of the genes' own smooth deviations from the course of their group, in
        the log of counts: 0.3 is about 30 %. ``"learned"``, the default under
        ``objective="evidence"`` with ``n_latent=1``, takes the τ that explains the data best.
        With 0, as in the paper and everywhere else, all genes of a group follow one course to the
        last digit, and real genes fall into as many groups as there are bases. Holds where genes
        are assigned.
    latent_prior_scale
        Standard deviation of the prior of z about the guesses of ``latent_prior_key``, in standard
        deviations of these over the cells.
    n_hidden, n_layers, dropout_rate
        Encoder: units per layer, layers, dropout.
    basis_functions
        ``"smooth"``, the default under ``objective="evidence"`` with ``n_latent=1``: curves on a
        grid with a Gaussian-process prior, the same in search and training. ``"network"``, the
        default elsewhere: small networks of z, as in the paper.
    n_hidden_basis
        Hidden units of each network.
    n_grid
        Grid points from which shifted networks are interpolated when ``n_latent=1``; 0 evaluates
        them directly, which is exact and slow.
    allow_non_integer
        Accept fractional counts, e.g. from ambient-RNA correction or transcript quantification.

    Raises
    ------
    ValueError
        If the data do not suit the likelihood, or an argument is out of range; the message names
        the key and the cure.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=200, n_vars=40, seed=1)
    >>> bv.BasisVAE.setup_anndata(adata)
    >>> model = bv.BasisVAE(adata, n_basis=6, gene_likelihood="nb")
    >>> model.train(max_epochs=5, seed=0, enable_progress_bar=False)
    >>> model.get_assignments().shape
    (40, 6)

    Notes
    -----
    The flat basis is always there and is always labelled ``"0"``: a gene that does not change
    along z has a home. The remaining groups are numbered by where their basis peaks.
    """

    _module_cls = BasisVAEModule
    _training_plan_cls = BasisVAETrainingPlan

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict | None = None,
        n_basis: int = 50,
        n_latent: int = 1,
        scale_invariant: bool = True,
        translation_invariant: bool = False,
        gene_likelihood: Literal["zinb", "nb", "poisson", "gaussian", "bernoulli"] = "zinb",
        dispersion: Literal["gene", "gene-batch"] = "gene",
        zero_inflation: Literal["gene", "latent"] = "gene",
        inference: Literal["collapsed", "non-collapsed", "fixed_pi"] = "collapsed",
        concentration: float = 0.1,
        latent_weight: float = 1.0,
        assignment_weight: float = 1.0,
        gene_prior: Literal["assigned", "all"] = "assigned",
        objective: Literal["evidence", "paper"] = "evidence",
        shape_deviation: float | Literal["learned"] | None = None,
        latent_prior_scale: float = 0.5,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
        basis_functions: Literal["smooth", "network"] | None = None,
        n_hidden_basis: int = 16,
        n_grid: int = 513,
        allow_non_integer: bool = False,
    ):
        super().__init__(adata, registry)
        if shape_deviation is None:
            shape_deviation = default_deviation(objective, n_latent)
        if basis_functions is None:
            basis_functions = default_basis(objective, n_latent)
        self.init_params_ = self._get_init_params(locals())
        check_arguments(self.init_params_["non_kwargs"])
        likelihood = get_likelihood(gene_likelihood)
        if adata is not None:
            self._check_data()
        self.module = self._module_cls(
            self.summary_stats.n_vars,
            n_batch=self.summary_stats.n_batch,
            n_cats_per_cov=self._categories_per_covariate(),
            n_continuous_cov=self.summary_stats.get("n_extra_continuous_covs", 0),
            n_basis=n_basis,
            n_latent=n_latent,
            n_hidden=n_hidden,
            n_layers=n_layers,
            dropout_rate=dropout_rate,
            basis_functions=basis_functions,
            n_hidden_basis=n_hidden_basis,
            n_grid=n_grid,
            scale_invariant=scale_invariant,
            translation_invariant=translation_invariant,
            gene_likelihood=gene_likelihood,
            dispersion=dispersion,
            zero_inflation=zero_inflation,
            inference=inference,
            concentration=concentration,
            latent_weight=latent_weight,
            assignment_weight=assignment_weight,
            gene_prior=gene_prior,
            objective=objective,
            shape_deviation=shape_deviation,
            given_size_factor=self._setup_argument("size_factor_key") is not None,
            **latent_arguments(
                None if adata is None else self.adata_manager,
                self.registry["setup_args"],
                n_latent,
                latent_prior_scale,
            ),
            constants=None if adata is None else self._compute_constants(likelihood),
        )
        self.orientation_ = 1
        self.latent_reference_ = None
        self.latent_range_ = None
        self.batch_share_ = None
        self.seed_ = None
        self.is_query_ = False
        self._model_summary_string = (
            f"BasisVAE model with the following parameters: \nn_basis: {n_basis}, "
            f"n_latent: {n_latent}, gene_likelihood: {gene_likelihood}, "
            f"scale_invariant: {scale_invariant}, "
            f"translation_invariant: {translation_invariant}, inference: {inference}."
        )

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        batch_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        latent_key: str | None = None,
        latent_prior_key: str | None = None,
        **kwargs,
    ) -> None:
        """Register the data with the model class.

        Parameters
        ----------
        adata
            Cells × genes; dense, sparse, lazy (dask) or backed, and left as they are. Storage
            makes no difference to the results; lazy matrices are read into memory.
        layer
            Layer with the raw counts; ``None`` for ``adata.X``.
        batch_key
            Column of ``.obs``: genes get a log offset per batch, the bases are shared.
        size_factor_key
            Column of ``.obs`` with size factors; ``None`` for observed library over its median.
        categorical_covariate_keys, continuous_covariate_keys
            Columns of ``.obs`` that the encoder sees beside the expression.
        latent_key
            Column of ``.obs`` or key of ``.obsm`` with an observed z, e.g. a time or another
            tool's pseudotime; it is standardised. Then no encoder is trained.
        latent_prior_key
            Column of ``.obs`` or key of ``.obsm`` with a guess at z, e.g. the time at which a cell
            was taken; it is standardised. Cells then have the prior N(guess, latent_prior_scale²);
            those without a guess (NaN) keep N(0, 1).

        Raises
        ------
        KeyError
            For a key that is not there; the message lists those that are.
        ValueError
            For duplicate gene names, non-finite values or unusable size factors.

        Examples
        --------
        >>> import basisvae_scvi as bv
        >>> adata = bv.datasets.simulate_counts(n_obs=60, n_vars=30, n_batches=2)
        >>> bv.BasisVAE.setup_anndata(adata, batch_key="batch")
        """
        categorical_covariate_keys = names_of_columns(
            categorical_covariate_keys, "categorical_covariate_keys"
        )
        continuous_covariate_keys = names_of_columns(
            continuous_covariate_keys, "continuous_covariate_keys"
        )
        setup_method_args = cls._get_setup_method_args(**locals())
        check_columns(
            adata,
            batch_key=batch_key,
            size_factor_key=size_factor_key,
            categorical_covariate_keys=categorical_covariate_keys,
            continuous_covariate_keys=continuous_covariate_keys,
            latent_key=latent_key,
            latent_prior_key=latent_prior_key,
        )
        fields = [
            MatrixField(REGISTRY_KEYS.X_KEY, layer),
            BatchField(REGISTRY_KEYS.BATCH_KEY, batch_key),
            NumericalObsField(REGISTRY_KEYS.SIZE_FACTOR_KEY, size_factor_key, required=False),
            CategoriesField(REGISTRY_KEYS.CAT_COVS_KEY, categorical_covariate_keys),
            NumbersField(REGISTRY_KEYS.CONT_COVS_KEY, continuous_covariate_keys),
        ]
        if (field := latent_field(adata, latent_key, latent_prior_key)) is not None:
            fields.append(field)
        manager = DataManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    def _check_data(self) -> None:
        self._check_unchanged(self.adata_manager, cure="Call setup_anndata once more.")
        matrix, layer = self._matrix(), self._setup_argument("layer")
        location = describe_location(layer)
        with pointing_to_counts(self.adata, layer):
            self._check_values(matrix, location)
        n_vars, n_basis = matrix.shape[1], self.init_params_["non_kwargs"]["n_basis"]
        if n_basis > n_vars:
            raise ValueError(
                f"n_basis={n_basis} exceeds the {n_vars} gene(s) of {location}; "
                f"pass n_basis={max(2, n_vars // 2)} or fewer, or keep more genes."
            )

    def _setup_argument(self, name: str):
        """Argument of ``setup_anndata`` with which the data were registered."""
        return self.registry["setup_args"].get(name)

    def _matrix(self):
        """The registered data matrix, in whatever storage the user keeps it."""
        return self.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)

    def _given_size_factor(self) -> np.ndarray | None:
        """The user's size factors, shape ``(N,)``, or ``None``."""
        if self._setup_argument("size_factor_key") is None:
            return None
        return np.asarray(
            self.adata_manager.get_from_registry(REGISTRY_KEYS.SIZE_FACTOR_KEY)
        ).ravel()

    def _compute_constants(self, likelihood):
        return feature_constants(self._matrix(), likelihood, self._given_size_factor())

    def _categories_per_covariate(self) -> list[int] | None:
        registries = self.registry["field_registries"]
        state = registries.get(REGISTRY_KEYS.CAT_COVS_KEY, {}).get("state_registry", {})
        return list(state["n_cats_per_key"]) if "n_cats_per_key" in state else None
