"""What each command takes: one dataclass per command, whose fields are its options.

Defaults of ``fit`` are those of :class:`basisvae_scvi.BasisVAE` and its ``train``. They stand here
a second time because the model cannot be imported for ``--help``; a test holds the two together.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ._choices import (
    Accelerator,
    BasisFunctionKind,
    CountLikelihood,
    Dispersion,
    GeneLikelihood,
    GenePrior,
    Inference,
    Objective,
    SimulationKind,
    ZeroInflation,
    deviation,
    fraction,
    non_negative,
    positive,
    share,
)

# Help lists the options in this order.
PANELS = (DATA, MODEL, TRAINING, OUTPUT, LOG) = "Data", "Model", "Training", "Output", "Messages"
MAX_SEED = 2**32 - 1
_KINDS = ".h5ad file, .zarr folder, 10x .h5 file or 10x mtx folder"


def _option(text: str, panel: str, *names: str, **kwargs):
    return Option(*names, help=text, rich_help_panel=panel, **kwargs)


Overwrite = Annotated[bool, _option("Replace results that are there.", OUTPUT, "--overwrite")]
AcceleratorChoice = Annotated[Accelerator, _option("Where to compute.", TRAINING)]
Threads = Annotated[
    int | None, _option("CPU threads to use; all of them by default.", TRAINING, min=1)
]
MaxEpochs = Annotated[
    int | None,
    _option("Passes over the cells; 150 or fewer by default, by their number.", TRAINING, min=1),
]
BatchSize = Annotated[int, _option("Cells per step.", TRAINING, min=1)]
Seed = Annotated[int | None, _option("Seed of everything random.", TRAINING, min=0, max=MAX_SEED)]
KeyAdded = Annotated[str, _option("Prefix of the keys that are written.", OUTPUT)]
Output = Annotated[
    Path, _option("Result, .h5ad or .zarr: all cells, all genes.", OUTPUT, "--output", "-o")
]
Tables = Annotated[
    Path | None, _option("Folder for genes.tsv, assignments.tsv and cells.tsv.", OUTPUT)
]
Metrics = Annotated[
    Path | None, _option("JSON with the figures of the run and its warnings.", OUTPUT)
]
SavedModel = Annotated[Path, _option("Folder of a model that fit saved.", MODEL)]
TrustModel = Annotated[
    bool,
    _option(
        "Load a model even if its file names code that ours do not: it is run.",
        MODEL,
        "--trust-model",
    ),
]
LayerOfModel = Annotated[
    str | None, _option("Layer with the data, or raw; by default that of the model.", DATA)
]
Backed = Annotated[
    bool, _option("Leave the counts of an .h5ad or .zarr on disk.", DATA, "--backed")
]
TranslationInvariant = Annotated[bool, _option("Give every gene a shift δ.", MODEL)]


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What is said while a command runs."""

    quiet: Annotated[
        bool, _option("Only warnings and errors on stderr.", LOG, "--quiet", "-q")
    ] = False
    verbose: Annotated[bool, _option("More detail on stderr.", LOG, "--verbose", "-v")] = False
    debug: Annotated[bool, _option("Show the traceback of an error.", LOG, "--debug")] = False
    log_file: Annotated[Path | None, _option("File to which all messages are appended.", LOG)] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class ModelSettings(LogSettings):
    """How to model an AnnData and where to write what came out."""

    output: Output
    layer: Annotated[str | None, _option("Layer with the counts, or raw; X by default.", DATA)] = (
        None
    )
    batch_key: Annotated[str | None, _option("Column of obs with the batch.", DATA)] = None
    size_factor_key: Annotated[
        str | None, _option("Column of obs with size factors; library/median by default.", DATA)
    ] = None
    latent_key: Annotated[
        str | None, _option("Column of obs or key of obsm with an observed z.", DATA)
    ] = None
    latent_prior_key: Annotated[
        str | None, _option("Column of obs or key of obsm with a guess at z.", DATA)
    ] = None
    categorical_covariate_keys: Annotated[
        list[str] | None,
        _option("Column of obs for the encoder; repeatable.", DATA, "--categorical-covariate-key"),
    ] = None
    continuous_covariate_keys: Annotated[
        list[str] | None,
        _option("Column of obs for the encoder; repeatable.", DATA, "--continuous-covariate-key"),
    ] = None
    n_top_genes: Annotated[
        int | None, _option("Model only so many variable genes (and --root).", DATA, min=2)
    ] = None
    allow_non_integer: Annotated[
        bool, _option("Accept fractional counts.", DATA, "--allow-non-integer")
    ] = False
    n_basis: Annotated[
        int, _option("Number of basis functions, the flat one too.", MODEL, min=2)
    ] = 50
    n_latent: Annotated[int, _option("Latent dimensions; 1 is a pseudotime.", MODEL, min=1)] = 1
    scale_invariant: Annotated[bool, _option("Give every gene a scale λ.", MODEL)] = True
    translation_invariant: TranslationInvariant = False
    gene_likelihood: Annotated[
        GeneLikelihood, _option("Observation model.", MODEL, "--likelihood")
    ] = GeneLikelihood.zinb
    dispersion: Annotated[
        Dispersion, _option("Dispersion per gene, or per gene and batch.", MODEL)
    ] = Dispersion.gene
    zero_inflation: Annotated[ZeroInflation, _option("Dropout per gene, or along z.", MODEL)] = (
        ZeroInflation.gene
    )
    inference: Annotated[Inference, _option("Treatment of the mixing proportions.", MODEL)] = (
        Inference.collapsed
    )
    objective: Annotated[
        Objective, _option("Let bases and genes pay for their freedom, or as in the paper.", MODEL)
    ] = Objective.evidence
    gene_prior: Annotated[
        GenePrior, _option("Priors of λ and δ for the assigned basis, or for all.", MODEL)
    ] = GenePrior.assigned
    concentration: Annotated[
        float, _option("Dirichlet α; below 1 favours few groups.", MODEL, callback=positive)
    ] = 0.1
    latent_weight: Annotated[
        float, _option("β_z, the weight of the prior of z.", MODEL, callback=positive)
    ] = 1.0
    assignment_weight: Annotated[
        float, _option("β_w; larger values merge similar groups.", MODEL, callback=positive)
    ] = 1.0
    shape_deviation: Annotated[
        str | None,
        _option(
            "How far genes may differ from their group: a number, or learned (default).",
            MODEL,
            callback=deviation,
        ),
    ] = None
    latent_prior_scale: Annotated[
        float, _option("Spread of z about --latent-prior-key.", MODEL, callback=positive)
    ] = 0.5
    n_hidden: Annotated[int, _option("Units per layer of the encoder.", MODEL, min=1)] = 128
    n_layers: Annotated[int, _option("Layers of the encoder.", MODEL, min=1)] = 1
    dropout_rate: Annotated[
        float, _option("Dropout of the encoder.", MODEL, callback=fraction)
    ] = 0.1
    basis_functions: Annotated[
        BasisFunctionKind | None,
        _option("Curves with a smoothness prior (default), or the paper's networks.", MODEL),
    ] = None
    n_hidden_basis: Annotated[int, _option("Units of each network.", MODEL, min=1)] = 16
    n_grid: Annotated[
        int, _option("Grid points of the networks; 0 for none, exact and slow.", MODEL, min=0)
    ] = 513
    max_epochs: MaxEpochs = None
    batch_size: BatchSize = 128
    train_size: Annotated[
        float | None,
        _option(
            "Share of cells to train on; all, or 0.9 with --early-stopping.",
            TRAINING,
            callback=share,
        ),
    ] = None
    validation_size: Annotated[
        float | None,
        _option(
            "Share of cells to validate on; the rest by default.", TRAINING, callback=fraction
        ),
    ] = None
    shuffle_set_split: Annotated[
        bool, _option("Draw the cells to train on at random.", TRAINING)
    ] = True
    early_stopping: Annotated[
        bool, _option("Stop when 10 % held-out cells gain no more.", TRAINING, "--early-stopping")
    ] = False
    n_restarts: Annotated[
        int, _option("Searches for the structure; the best is kept.", TRAINING, min=1)
    ] = 2
    init: Annotated[
        str, _option("Start of z: manifold, pca, random, or a key of obs/obsm.", TRAINING)
    ] = "manifold"
    root: Annotated[
        str | None,
        _option("Where z starts: a cell, obs column, column=category, or early gene.", TRAINING),
    ] = None
    seed: Seed = None
    accelerator: AcceleratorChoice = Accelerator.auto
    threads: Threads = None
    key_added: KeyAdded = "basisvae"
    model_dir: Annotated[Path | None, _option("Folder for the model, to load later.", OUTPUT)] = (
        None
    )
    checkpoint_dir: Annotated[
        Path | None,
        _option(
            "Folder from which the same call goes on after a kill; emptied at the end.",
            OUTPUT,
            "--checkpoint",
        ),
    ] = None
    tables: Tables = None
    figures: Annotated[Path | None, _option("Folder for figures (PNG).", OUTPUT)] = None
    report: Annotated[
        Path | None, _option("Report, one HTML file: what was found, can it be trusted.", OUTPUT)
    ] = None
    metrics: Metrics = None
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class FitSettings(ModelSettings):
    """Arguments of ``basisvae-scvi fit``."""

    input: Annotated[Path, Argument(help=f"Cells × genes: {_KINDS}.")]
    backed: Backed = False


@dataclass(frozen=True, kw_only=True)
class ProjectSettings(LogSettings):
    """Arguments of ``basisvae-scvi project``."""

    input: Annotated[Path, Argument(help=f"New cells: {_KINDS}.")]
    model_dir: SavedModel
    output: Output
    backed: Backed = False
    layer: LayerOfModel = None
    max_epochs: Annotated[
        int | None,
        _option("Passes over cells of new batches; 150 or fewer by default.", TRAINING, min=1),
    ] = None
    batch_size: BatchSize = 128
    seed: Seed = None
    accelerator: AcceleratorChoice = Accelerator.auto
    threads: Threads = None
    key_added: KeyAdded = "basisvae"
    tables: Annotated[Path | None, _option("Folder for cells.tsv.", OUTPUT)] = None
    metrics: Metrics = None
    trust_model: TrustModel = False
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class AssignSettings(LogSettings):
    """Arguments of ``basisvae-scvi assign``."""

    input: Annotated[Path, Argument(help=f"Cells of the model × further genes: {_KINDS}.")]
    model_dir: SavedModel
    output: Output
    backed: Backed = False
    layer: LayerOfModel = None
    genes: Annotated[
        list[str] | None, _option("Gene to assign; repeatable. All by default.", DATA, "--gene")
    ] = None
    max_cells: Annotated[
        int | None, _option("Work on a random sample of so many cells.", TRAINING, min=1)
    ] = None
    block_size: Annotated[
        int | None, _option("Genes at a time; by default by the number of cells.", TRAINING, min=1)
    ] = None
    seed: Seed = None
    accelerator: AcceleratorChoice = Accelerator.auto
    threads: Threads = None
    key_added: KeyAdded = "basisvae"
    tables: Annotated[
        Path | None, _option("Folder for genes.tsv and assignments.tsv.", OUTPUT)
    ] = None
    metrics: Metrics = None
    trust_model: TrustModel = False
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class ReportSettings(LogSettings):
    """Arguments of ``basisvae-scvi report``."""

    input: Annotated[Path, Argument(help="Annotated cells × genes: .h5ad file or .zarr folder.")]
    output: Annotated[Path, _option("Report, one .html file.", OUTPUT, "--output", "-o")]
    key_added: Annotated[str, _option("Prefix of the keys of the results.", DATA)] = "basisvae"
    genes: Annotated[
        list[str] | None,
        _option("Gene to draw; repeatable. By default one per cluster.", DATA, "--gene"),
    ] = None
    color: Annotated[
        list[str] | None,
        _option("Column of obs to show z against, e.g. cell types; repeatable.", DATA),
    ] = None
    title: Annotated[str | None, _option("Heading; the file's name by default.", OUTPUT)] = None
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class SimulateSettings(LogSettings):
    """Arguments of ``basisvae-scvi simulate``."""

    output: Annotated[Path, _option("Result, .h5ad or .zarr.", OUTPUT, "--output", "-o")]
    kind: Annotated[
        SimulationKind, _option("Counts, or one of the paper's two toy data sets.", DATA)
    ] = SimulationKind.counts
    n_obs: Annotated[int | None, _option("Cells.", DATA, min=1)] = None
    n_vars: Annotated[int | None, _option("Genes.", DATA, min=1)] = None
    likelihood: Annotated[
        CountLikelihood | None, _option("Observation model of counts; nb by default.", DATA)
    ] = None
    dropout: Annotated[
        float | None,
        _option("Share of extra zeros; 0.1 by default with zinb.", DATA, callback=fraction),
    ] = None
    max_shift: Annotated[
        float | None, _option("Largest shift of a gene along z.", DATA, callback=non_negative)
    ] = None
    n_batches: Annotated[int | None, _option("Batches of counts.", DATA, min=1)] = None
    seed: Annotated[int, _option("Seed.", DATA, min=0, max=MAX_SEED)] = 0
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class DemoSettings(LogSettings):
    """Arguments of ``basisvae-scvi demo``."""

    output: Annotated[Path, _option("Folder for the results.", OUTPUT, "--output", "-o")]
    n_genes: Annotated[
        int, _option("Use so many variable genes, and four markers.", DATA, min=20, max=2000)
    ] = 500
    n_basis: Annotated[int, _option("Number of basis functions.", MODEL, min=2)] = 24
    translation_invariant: TranslationInvariant = True
    max_epochs: MaxEpochs = None
    seed: Annotated[int, _option("Seed.", TRAINING, min=0, max=MAX_SEED)] = 0
    accelerator: AcceleratorChoice = Accelerator.auto
    threads: Threads = None
    overwrite: Overwrite = False
