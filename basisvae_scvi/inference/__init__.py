"""How the structure is found: starting values, warm start, training plan."""

from ._checkpoint import TrainingCheckpoint, keeping_state
from ._checkpoint_file import CheckpointFile
from ._evidence_table import EvidenceTable, GenePosterior, PairEvidence, WorkingBases
from ._finite import FiniteGuard
from ._frozen import FrozenCells, FrozenModel
from ._gene_blocks import GeneFit, fit_gene_block
from ._interrupt import GracefulStop, survive_interrupt
from ._latent import LatentPrior, start_latent
from ._orders import further_orders
from ._own_courses import gene_tables
from ._plan import BasisVAETrainingPlan
from ._pooling import PooledCells, pool_cells
from ._processes import one_process, processes_asked_for
from ._profile import ProfileTable, working_model
from ._refresh import AssignmentRefresher, pair_evidence, place_cells
from ._runner import Runner, raising_errors
from ._shapes import CurveSpace, ShapeSearch, shift_grid
from ._start import Start, StartSearch, apply_start
from ._training_progress import TrainingProgress, with_progress
from ._warm_start import (
    ENCODER_STEPS,
    fit_basis_functions,
    fit_encoder,
    pooled_start,
    start_shapes,
)
from .structure import OwnCourse, own_course

__all__ = [
    "ENCODER_STEPS",
    "AssignmentRefresher",
    "BasisVAETrainingPlan",
    "CheckpointFile",
    "EvidenceTable",
    "CurveSpace",
    "FiniteGuard",
    "FrozenCells",
    "FrozenModel",
    "GeneFit",
    "GenePosterior",
    "GracefulStop",
    "LatentPrior",
    "OwnCourse",
    "PairEvidence",
    "PooledCells",
    "ProfileTable",
    "Runner",
    "ShapeSearch",
    "Start",
    "StartSearch",
    "TrainingCheckpoint",
    "TrainingProgress",
    "WorkingBases",
    "apply_start",
    "fit_basis_functions",
    "fit_encoder",
    "fit_gene_block",
    "further_orders",
    "gene_tables",
    "keeping_state",
    "one_process",
    "own_course",
    "pair_evidence",
    "place_cells",
    "pool_cells",
    "pooled_start",
    "processes_asked_for",
    "raising_errors",
    "shift_grid",
    "start_latent",
    "start_shapes",
    "survive_interrupt",
    "with_progress",
    "working_model",
]
